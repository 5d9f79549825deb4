"""`tidegate segment`: named sets of contexts."""

from __future__ import annotations

from collections.abc import Sequence

import click

from tidegate_server.cli.api_client import Json, Server
from tidegate_server.cli.document_fields import as_sent, given
from tidegate_server.cli.options import (
    confirm,
    for_project,
    object_file,
    output_option,
    yes_option,
)
from tidegate_server.cli.output import (
    JSON,
    note,
    print_changed,
    print_facts,
    print_json,
    print_table,
    say,
)

MOST_SHOWN = 20
"""Keys of a list that `segment show` prints; JSON has them all."""

WHEN_OPTION = click.option(
    "--when", type=object_file, metavar="FILE",
    help="A YAML or JSON condition: who else belongs to it; - is standard input.",
)  # fmt: skip


@click.group()
def segment() -> None:
    """Segments: named sets of contexts, for rules and for stages."""


@segment.command("list")
@output_option
@for_project
def list_segments(server: Server, output: str) -> None:
    """List the project's segments."""
    from tidegate_server.cli.formatting import condition

    found = server.list(server.project_path("segments")).items
    if output == JSON:
        return print_json(found)
    if not found:
        return note(f"No segments in {server.target.project}.")
    return print_table(
        ("segment", "conditions", "included", "excluded", "name"),
        [
            (
                each["key"],
                condition(each["when"]),
                len(each["included"]),
                len(each["excluded"]),
                each["name"],
            )
            for each in found
        ],
    )


@segment.command("show")
@click.argument("key")
@output_option
@for_project
def show_segment(server: Server, key: str, output: str) -> None:
    """Show a segment."""
    from tidegate_server.cli.formatting import condition, instant

    found = server.read(server.project_path("segments", key)).body
    if output == JSON:
        return print_json(found)
    return print_facts(
        (
            ("segment", key),
            ("name", found["name"]),
            ("description", found["description"]),
            ("included", _first(found["included"])),
            ("excluded", _first(found["excluded"])),
            ("conditions", condition(found["when"])),
            ("changed", f"{instant(found['updated_at'])}, revision {found['revision']}"),
        )
    )


def _first(keys: Sequence[str]) -> str:
    more = len(keys) - MOST_SHOWN
    return ", ".join(keys[:MOST_SHOWN]) + (f" and {more:,} more" if more > 0 else "")


@segment.command("create")
@click.argument("key")
@WHEN_OPTION
@click.option("--include", "included", metavar="KEY", multiple=True, help="Always in it.")
@click.option("--exclude", "excluded", metavar="KEY", multiple=True, help="Never in it.")
@click.option("--name", help="For people.")
@click.option("--description", help="For people.")
@click.option("--file", type=object_file, help="A YAML or JSON document of the segment.")
@output_option
@for_project
def create_segment(
    server: Server,
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
    said = given(
        when=when,
        name=name,
        description=description,
        included=list(included) or None,
        excluded=list(excluded) or None,
    )
    asked = {**as_sent(file or {}), **said, "key": key}
    made = server.post(server.project_path("segments"), asked)
    if output == JSON:
        return print_json(made)
    return say(f"Segment {key} created in project {server.target.project}.")


@segment.command("edit")
@click.argument("key")
@WHEN_OPTION
@click.option("--no-conditions", is_flag=True, help="Only the keys that it lists belong to it.")
@click.option("--name", help="For people.")
@click.option("--description", help="For people.")
@output_option
@for_project
def edit_segment(
    server: Server,
    key: str,
    when: Json | None,
    no_conditions: bool,
    name: str | None,
    description: str | None,
    output: str,
) -> None:
    """Change a segment's conditions or words, at once for all that refer to it."""
    changes = given(when=when, name=name, description=description)
    if no_conditions:
        changes["when"] = None
    if not changes:
        raise click.UsageError("Say what to change: --when, --name, --description.")
    _edit(server, key, changes, output)


@segment.command("include")
@click.argument("key")
@click.argument("keys", nargs=-1, required=True)
@click.option("--remove", is_flag=True, help="Take them off the list instead.")
@output_option
@for_project
def include_keys(server: Server, key: str, keys: Sequence[str], remove: bool, output: str) -> None:
    """Let targeting KEYS belong to a segment, whatever its conditions say."""
    _list_keys(server, key, keys, ("included", "excluded"), remove, output)


@segment.command("exclude")
@click.argument("key")
@click.argument("keys", nargs=-1, required=True)
@click.option("--remove", is_flag=True, help="Take them off the list instead.")
@output_option
@for_project
def exclude_keys(server: Server, key: str, keys: Sequence[str], remove: bool, output: str) -> None:
    """Keep targeting KEYS out of a segment, whatever its conditions say."""
    _list_keys(server, key, keys, ("excluded", "included"), remove, output)


@segment.command("delete")
@click.argument("key")
@yes_option
@for_project
def delete_segment(server: Server, key: str, yes: bool) -> None:
    """Delete a segment that nothing refers to."""
    confirm(f"Delete segment {key} of project {server.target.project}?", yes)
    server.delete(server.project_path("segments", key))
    say(f"Segment {key} deleted.")


def _edit(server: Server, key: str, changes: Json, output: str) -> None:
    at = server.project_path("segments", key)
    edited = server.edit(at, lambda document: {**as_sent(document), **changes})
    print_changed(f"Segment {key}", edited, output)


def _list_keys(
    server: Server,
    key: str,
    keys: Sequence[str],
    lists: tuple[str, str],
    remove: bool,
    output: str,
) -> None:
    """Put keys on one list, and off the other one; or take them off."""
    wanted, other = lists

    def change(document: Json) -> Json:
        after = as_sent(document)
        if remove:
            after[wanted] = [each for each in after[wanted] if each not in keys]
        else:
            after[wanted] = list(dict.fromkeys((*after[wanted], *keys)))
            after[other] = [each for each in after[other] if each not in keys]
        return after

    before, after = server.edit(server.project_path("segments", key), change)
    if output == JSON:
        return print_json(after)
    counts = f"{len(after['included'])} keys included, {len(after['excluded'])} excluded"
    same = before["revision"] == after["revision"]
    return say(f"Segment {key}{' was like that already' if same else ''}: {counts}.")
