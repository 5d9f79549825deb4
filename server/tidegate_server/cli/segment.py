"""`tidegate segment`: manage segments."""

from __future__ import annotations

from collections.abc import Sequence

import click

from tidegate_server.cli.api_client import ApiClient, Json
from tidegate_server.cli.formatting import condition, count, last_change
from tidegate_server.cli.history import add_history_commands
from tidegate_server.cli.options import (
    description_option,
    name_option,
    output_option,
    project_options,
    read_object,
    reason_option,
)
from tidegate_server.cli.output import Columns
from tidegate_server.cli.resource_commands import (
    Facts,
    Resource,
    create_command,
    delete_command,
    edit,
    edit_command,
    list_command,
    show_command,
    writable_fields,
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
add_history_commands(segment, SEGMENT.name, SEGMENT.path, project_options)
segment.add_command(
    delete_command(
        SEGMENT, "Delete a segment.\n\nThe server refuses if something still refers to the segment."
    )
)


def _body(_: ApiClient, fields: Json) -> Json:
    return {**writable_fields(fields.pop("file", {})), **fields}


segment.add_command(
    create_command(
        SEGMENT,
        "Create a segment.",
        click.argument("key"),
        WHEN_OPTION,
        click.option(
            "--include", "included", metavar="KEY", multiple=True,
            help="A targeting key that always belongs to the segment. Repeatable.",
        ),
        click.option(
            "--exclude", "excluded", metavar="KEY", multiple=True,
            help="A targeting key that never belongs to the segment. Repeatable.",
        ),
        name_option,
        description_option,
        click.option(
            "--file", type=read_object, metavar="FILE",
            help="Read the segment from a YAML or JSON file; - is standard input.",
        ),
        body=_body,
    )
)  # fmt: skip


def _change(_: str, fields: Json) -> Json:
    return {**fields, "when": None} if fields.pop("no_conditions") else fields


segment.add_command(
    edit_command(
        SEGMENT,
        """Edit a segment's conditions, name or description.

        The change applies at once wherever the segment is used.
        """,
        WHEN_OPTION,
        click.option(
            "--no-conditions", is_flag=True, help="Remove the conditions; the lists stay."
        ),
        name_option,
        description_option,
        change=_change,
    )
)


def _keys_command(name: str, field: str, other: str) -> click.Command:
    """Return a command that moves keys to a list from the ``other`` one, or removes them."""

    @click.command(name, help=f"{name.capitalize()} targeting keys, whatever the conditions say.")
    @click.argument("key")
    @click.argument("keys", nargs=-1, required=True)
    @click.option("--remove", is_flag=True, help="Remove the keys from the list.")
    @reason_option
    @output_option
    @project_options
    def command(
        client: ApiClient, key: str, keys: Sequence[str], remove: bool, reason: str, output: str
    ) -> None:
        def change(segment: Json) -> Json:
            if remove:
                return {**segment, field: [each for each in segment[field] if each not in keys]}
            return {
                **segment,
                field: list(dict.fromkeys((*segment[field], *keys))),
                other: [each for each in segment[other] if each not in keys],
            }

        edit(SEGMENT, client, key, change, reason, output, _key_counts)

    return command


def _key_counts(segment: Json) -> str:
    included, excluded = len(segment["included"]), len(segment["excluded"])
    return f"{count(included, 'key')} included, {excluded:,} excluded"


segment.add_command(_keys_command("include", "included", "excluded"))
segment.add_command(_keys_command("exclude", "excluded", "included"))
