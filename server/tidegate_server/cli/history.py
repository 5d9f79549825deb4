"""The commands `history`, `diff` and `restore`, which every kind of document has."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import click

from tidegate_server.cli.api_client import ApiClient
from tidegate_server.cli.formatting import instant, json_text
from tidegate_server.cli.options import (
    Decorator,
    decorated_with,
    limit_option,
    output_option,
    reason_option,
)
from tidegate_server.cli.output import (
    JSON,
    Columns,
    print_facts,
    print_json,
    print_list,
    print_stderr,
    print_text,
)

DEFAULT_LIMIT = 50

COLUMNS: Columns = {
    "revision": "revision",
    "when": lambda each: instant(each["at"]),
    "who": lambda each: each["actor"] or "not known",
    "action": "action",
    "reason": "reason",
}

Path: TypeAlias = Callable[..., str]
"""Returns the path of a document from a client, its key, and the options of the command."""

REVISION = click.IntRange(min=1)


def add_history_commands(
    group: click.Group,
    name: str,
    path: Path,
    options: Decorator,
    key: str = "KEY",
    *more: Decorator,
) -> None:
    """Add the commands about the history of a kind of document to its group.

    Args:
        group: the group.
        name: what messages call a document.
        path: returns the path of a document.
        options: the decorator that selects the server and the project.
        key: what identifies a document.
        more: options that ``path`` needs.
    """
    shared: tuple[Decorator, ...] = (*more, output_option, options)

    @group.command("history", help=f"List the versions of a {name}, the latest last.")
    @click.argument("key", metavar=key)
    @limit_option(DEFAULT_LIMIT)
    @decorated_with(*shared)
    def list_versions(client: ApiClient, key: str, limit: int, output: str, **how: Any) -> None:
        versions = client.list(f"{path(client, key, **how)}/history", limit)
        print_list(versions.items[::-1], COLUMNS, output, more=versions.has_more)

    @group.command(
        "diff",
        help=f"Show what differs between a {name} at revision N and at revision M, or now.",
    )
    @click.argument("key", metavar=key)
    @click.argument("revision", type=REVISION, metavar="N")
    @click.argument("other", type=REVISION, metavar="[M]", required=False)
    @decorated_with(*shared)
    def compare(
        client: ApiClient, key: str, revision: int, other: int | None, output: str, **how: Any
    ) -> None:
        query = {} if other is None else {"to": str(other)}
        where = f"{path(client, key, **how)}/history/{revision}/diff"
        diff = client.get(where, **query).body
        if output == JSON:
            return print_json(diff)
        if not diff["changes"]:
            return print_stderr("Nothing differs.")
        older, newer = diff["from"]["revision"], diff["to"]["revision"]
        print_stderr(f"{name.capitalize()} {key}, revision {older} → {newer}:")
        return print_text("\n".join(each["text"] for each in diff["changes"]))

    @group.command(
        "restore",
        help=f"Make a {name} what it was at revision N again.\n\n"
        "This is a change like any other: the server checks it, and it gets a new revision.",
    )
    @click.argument("key", metavar=key)
    @click.argument("revision", type=REVISION, metavar="N")
    @reason_option
    @decorated_with(*shared)
    def restore(
        client: ApiClient, key: str, revision: int, reason: str, output: str, **how: Any
    ) -> None:
        where = path(client, key, **how)
        before = client.get_if_exists(where)
        etag = None if before is None else before.etag
        after = client.post(f"{where}/history/{revision}/restore", None, reason, etag)
        if output == JSON:
            return print_json(after)
        if before is not None and before.body["revision"] == after["revision"]:
            return print_text(f"{name.capitalize()} {key} is as it was at revision {revision}.")
        return print_text(
            f"{name.capitalize()} {key} is as it was at revision {revision} again; this is "
            f"revision {after['revision']}."
        )


def show_version(client: ApiClient, path: str, revision: int, output: str) -> None:
    """Print a version of a document."""
    version = client.get(f"{path}/history/{revision}").body
    if output == JSON:
        return print_json(version)
    return print_facts(_facts(version))


def _facts(version: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    yield "revision", version["revision"]
    yield "made", instant(version["at"])
    yield "by", version["actor"]
    yield "reason", version["reason"]
    for name, value in version["document"].items():
        shown = value if isinstance(value, str | bool | int) else json_text(value)
        yield name.replace("_", " "), None if value in (None, [], {}) else shown
