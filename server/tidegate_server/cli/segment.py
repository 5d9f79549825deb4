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
from tidegate_server.cli.preview import preview_option
from tidegate_server.cli.put_commands import put_command
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
from tidegate_server.cli.segment_keys import download_command, lookup_command, upload_command

MAX_KEYS_SHOWN = 20
"""`segment show` prints this many keys of a list; JSON has all."""

SETS = ("included_set", "excluded_set")
"""The fields with uploaded keys, which only an upload changes; left out where there are none."""

SEGMENT = Resource(
    name="segment",
    plural="segments",
    read_only=SETS,
    preview_path=lambda client, key: client.environment_path("segments", key, "preview"),
)

COLUMNS: Columns = {
    "segment": "key",
    "conditions": lambda each: condition(each["when"]),
    "included": lambda each: len(each["included"]) + _uploaded(each, "included"),
    "excluded": lambda each: len(each["excluded"]) + _uploaded(each, "excluded"),
    "name": "name",
}

WHEN_OPTION = click.option(
    "--when", type=read_object, metavar="FILE",
    help="Read the conditions from a YAML or JSON file; - is standard input.",
)  # fmt: skip


def _facts(client: ApiClient, segment: Json) -> Facts:
    uses = client.get(SEGMENT.path(client, segment["key"], "used-by")).body["items"]
    return (
        ("segment", segment["key"]),
        ("name", segment["name"]),
        ("description", segment["description"]),
        ("included", _keys(segment, "included")),
        ("excluded", _keys(segment, "excluded")),
        ("conditions", condition(segment["when"])),
        ("used by", [use["text"] for use in uses] or "nothing"),
        ("seen users", _seen_users(client, segment["key"])),
        ("last change", last_change(segment)),
    )


def _seen_users(client: ApiClient, key: str) -> list[str]:
    """Return how many recently seen users a segment holds, by environment, where some were seen."""
    path = SEGMENT.path(client, key, "seen-users")
    return [
        line
        for each in client.get(path).body["items"]
        if each["seen"]
        for line in (f"{each['environment']}: {each['text']}", *each["caveats"])
    ]


def _keys(segment: Json, list: str) -> str:
    uploaded = _uploaded(segment, list)
    texts = (_first_keys(segment[list]), f"{uploaded:,} uploaded" if uploaded else "")
    return ", ".join(filter(None, texts))


def _uploaded(segment: Json, list: str) -> int:
    found = segment.get(f"{list}_set")
    return 0 if found is None else int(found["count"])


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
    put_command(
        SEGMENT,
        """Create or replace a segment from a file.

        FILE is YAML or JSON, such as `segment show --output json` prints; - is standard input.
        The server refuses it if the segment has changed since.
        """,
    )
)
segment.add_command(
    delete_command(
        SEGMENT, "Delete a segment.\n\nThe server refuses if something still refers to the segment."
    )
)


def _body(_: ApiClient, fields: Json) -> Json:
    return {**writable_fields(fields.pop("file", {}), *SETS), **fields}


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
    @preview_option
    @reason_option
    @output_option
    @project_options
    def command(
        client: ApiClient,
        key: str,
        keys: Sequence[str],
        remove: bool,
        preview: bool,
        reason: str,
        output: str,
    ) -> None:
        def change(segment: Json) -> Json:
            if remove:
                return {**segment, field: [each for each in segment[field] if each not in keys]}
            return {
                **segment,
                field: list(dict.fromkeys((*segment[field], *keys))),
                other: [each for each in segment[other] if each not in keys],
            }

        edit(SEGMENT, client, key, change, reason, output, _key_counts, preview)

    return command


def _key_counts(segment: Json) -> str:
    included, excluded = len(segment["included"]), len(segment["excluded"])
    return f"{count(included, 'key')} included, {excluded:,} excluded"


segment.add_command(_keys_command("include", "included", "excluded"))
segment.add_command(_keys_command("exclude", "excluded", "included"))
segment.add_command(upload_command)
segment.add_command(download_command)
segment.add_command(lookup_command)
