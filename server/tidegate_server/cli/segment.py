"""`tidegate segment`: manage segments."""

from __future__ import annotations

from collections.abc import Sequence

import click

from tidegate_server.cli.api_client import ApiClient, Json
from tidegate_server.cli.document_fields import without_none, writable_fields
from tidegate_server.cli.formatting import condition, count, last_change
from tidegate_server.cli.options import (
    description_option,
    name_option,
    output_option,
    project_options,
    read_object,
)
from tidegate_server.cli.output import Columns
from tidegate_server.cli.resource_commands import (
    Facts,
    Resource,
    create,
    delete_command,
    edit,
    list_command,
    show_command,
)

MAX_KEYS_SHOWN = 20
"""`segment show` prints this many keys of a list; JSON has all."""

SEGMENT = Resource(name="segment", plural="segments")

COLUMNS: Columns = {
    "segment": "key",
    "conditions": lambda each: condition(each["when"]),
    "included": lambda each: len(each["included"]),
    "excluded": lambda each: len(each["excluded"]),
    "name": "name",
}

WHEN_OPTION = click.option(
    "--when", type=read_object, metavar="FILE",
    help="Read the conditions from a YAML or JSON file; - is standard input.",
)  # fmt: skip
REMOVE_OPTION = click.option("--remove", is_flag=True, help="Remove the keys from the list.")


def _facts(_: ApiClient, segment: Json) -> Facts:
    return (
        ("segment", segment["key"]),
        ("name", segment["name"]),
        ("description", segment["description"]),
        ("included", _first_keys(segment["included"])),
        ("excluded", _first_keys(segment["excluded"])),
        ("conditions", condition(segment["when"])),
        ("last change", last_change(segment)),
    )


def _first_keys(keys: Sequence[str]) -> str:
    more = len(keys) - MAX_KEYS_SHOWN
    return ", ".join(keys[:MAX_KEYS_SHOWN]) + (f" and {more:,} more" if more > 0 else "")


@click.group()
def segment() -> None:
    """Manage segments: named sets of contexts."""


segment.add_command(
    list_command(
        SEGMENT, "List segments.", COLUMNS, "Create one with `tidegate segment create KEY`."
    )
)
segment.add_command(show_command(SEGMENT, "Show a segment.", _facts))
segment.add_command(
    delete_command(
        SEGMENT, "Delete a segment.\n\nThe server refuses if something still refers to the segment."
    )
)


@segment.command("create")
@click.argument("key")
@WHEN_OPTION
@click.option(
    "--include", "included", metavar="KEY", multiple=True,
    help="A targeting key that always belongs to the segment. Repeatable.",
)  # fmt: skip
@click.option(
    "--exclude", "excluded", metavar="KEY", multiple=True,
    help="A targeting key that never belongs to the segment. Repeatable.",
)  # fmt: skip
@name_option
@description_option
@click.option(
    "--file", type=read_object, metavar="FILE",
    help="Read the segment from a YAML or JSON file; - is standard input.",
)  # fmt: skip
@output_option
@project_options
def create_segment(
    client: ApiClient,
    key: str,
    when: Json | None,
    included: Sequence[str],
    excluded: Sequence[str],
    name: str | None,
    description: str | None,
    file: Json | None,
    output: str,
) -> None:
    """Create a segment."""
    fields = without_none(
        when=when,
        name=name,
        description=description,
        included=list(included) or None,
        excluded=list(excluded) or None,
    )
    create(SEGMENT, client, {**writable_fields(file or {}), **fields, "key": key}, output)


@segment.command("edit")
@click.argument("key")
@WHEN_OPTION
@click.option("--no-conditions", is_flag=True, help="Remove the conditions; the lists stay.")
@name_option
@description_option
@output_option
@project_options
def edit_segment(
    client: ApiClient,
    key: str,
    when: Json | None,
    no_conditions: bool,
    name: str | None,
    description: str | None,
    output: str,
) -> None:
    """Edit a segment's conditions, name or description.

    The change applies at once wherever the segment is used.
    """
    changes = without_none(when=when, name=name, description=description)
    if no_conditions:
        changes["when"] = None
    edit(SEGMENT, client, key, changes, output)


@segment.command("include")
@click.argument("key")
@click.argument("keys", nargs=-1, required=True)
@REMOVE_OPTION
@output_option
@project_options
def include_keys(
    client: ApiClient, key: str, keys: Sequence[str], remove: bool, output: str
) -> None:
    """Include targeting keys, whatever the conditions say."""
    _edit_keys(client, key, keys, "included", "excluded", remove, output)


@segment.command("exclude")
@click.argument("key")
@click.argument("keys", nargs=-1, required=True)
@REMOVE_OPTION
@output_option
@project_options
def exclude_keys(
    client: ApiClient, key: str, keys: Sequence[str], remove: bool, output: str
) -> None:
    """Exclude targeting keys, whatever the conditions say."""
    _edit_keys(client, key, keys, "excluded", "included", remove, output)


def _edit_keys(
    client: ApiClient,
    key: str,
    keys: Sequence[str],
    field: str,
    other: str,
    remove: bool,
    output: str,
) -> None:
    """Move keys from the ``other`` list to the list ``field``, or remove them from ``field``."""

    def change(segment: Json) -> Json:
        if remove:
            return {**segment, field: [each for each in segment[field] if each not in keys]}
        return {
            **segment,
            field: list(dict.fromkeys((*segment[field], *keys))),
            other: [each for each in segment[other] if each not in keys],
        }

    def details(segment: Json) -> str:
        included, excluded = len(segment["included"]), len(segment["excluded"])
        return f"{count(included, 'key')} included, {excluded:,} excluded"

    edit(SEGMENT, client, key, change, output, details=details)
