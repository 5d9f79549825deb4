"""`tidegate audit`: show, export and verify the audit log."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from tidegate_server.cli.api_client import ApiClient, Json, api_path
from tidegate_server.cli.exit_codes import NOT_REACHED
from tidegate_server.cli.formatting import instant
from tidegate_server.cli.options import (
    Command,
    decorated_with,
    limit_option,
    output_option,
    project_options,
)
from tidegate_server.cli.output import (
    JSON,
    Columns,
    print_json,
    print_json_line,
    print_list,
    print_stderr,
    print_text,
)
from tidegate_server.domain.audited_kinds import AUDITED_KINDS

if TYPE_CHECKING:
    from tidegate_server.domain.audit_chain import ChainedEntry, Link, Verification

DEFAULT_LIMIT = 50
CHANGES_SHOWN = 3
"""How many changed fields of an entry the table shows; JSON has all."""

HASHED = ("actor", "action", "target", "environment", "reason", "details", "documents")
"""The fields of an entry that its hash is about, besides ``address``."""

COLUMNS: Columns = {
    "when": lambda each: instant(each["at"]),
    "who": "actor",
    "action": "action",
    "target": lambda each: _target_text(each),
    "environment": "environment",
    "reason": "reason",
    "address": lambda each: each.get("address") or "",
    "changes": lambda each: _changes_text(each),
}

SERVER_OPTION = click.option(
    "--server", "server_log", is_flag=True,
    help="The server's own log: changes of projects, tokens, people, groups and roles.",
)  # fmt: skip

FILTERS = (
    click.option("--object", "object_", type=click.Choice(AUDITED_KINDS), help="Only this kind."),
    click.option(
        "--key",
        metavar="KEY",
        help="Only what has this key, id or email; a flag with its releases.",
    ),
    click.option(
        "--actor",
        metavar="NAME",
        help="Only by this token or person: the name, the id or the email.",
    ),
    click.option("--action", metavar="ACTION", help="Only this action, such as flag.kill."),
    click.option("--environment", metavar="KEY", help="Only in this environment."),
    click.option(
        "--search", "text", metavar="TEXT", help="Only with this text: who, key, action or reason."
    ),
    click.option("--from", "from_", metavar="TIME", help="Only from this time on, in UTC."),
    click.option("--to", metavar="TIME", help="Only before this time, in UTC."),
)


class AuditGroup(click.Group):
    """Commands about the audit log; without a command it shows the log."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Insert the command `list` if none is given."""
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = ["list", *args]
        return super().parse_args(ctx, args)


@click.group(cls=AuditGroup)
def audit() -> None:
    """Show, export and verify who changed what, when and why.

    Without a command it shows the log, as `tidegate audit list`.
    """


def filter_options(command: Command) -> Command:
    """Add the options that filter; the command gets what was given as ``query``."""

    @wraps(command)
    def filtered(
        client: ApiClient,
        object_: str | None,
        key: str | None,
        actor: str | None,
        action: str | None,
        environment: str | None,
        text: str | None,
        from_: str | None,
        to: str | None,
        **parameters: Any,
    ) -> None:
        query = {
            "object": object_,
            "key": key,
            "actor": actor,
            "action": action,
            "environment": environment,
            "text": text,
            "from": from_,
            "to": to,
        }
        given = {name: value for name, value in query.items() if value is not None}
        command(client, query=given, **parameters)

    return decorated_with(*FILTERS)(filtered)


@audit.command("list")
@SERVER_OPTION
@limit_option(DEFAULT_LIMIT)
@output_option
@project_options
@filter_options
def list_audit(client: ApiClient, query: Json, server_log: bool, limit: int, output: str) -> None:
    """Show who changed what, when and why, the latest last."""
    entries = client.list(_path(client, server_log), limit, **query)
    print_list(entries.items[::-1], COLUMNS, output, more=entries.has_more)


@audit.command("export")
@SERVER_OPTION
@project_options
@filter_options
def export_audit(client: ApiClient, query: Json, server_log: bool) -> None:
    """Print the log as NDJSON: one entry per line, the earliest first."""
    for entry in client.lines(_path(client, server_log, "export"), **query):
        print_json_line(entry)


@audit.command("verify")
@SERVER_OPTION
@click.option(
    "--known", metavar="NUMBER:HASH",
    help="A number and hash that an earlier run printed; the log must still have them.",
)  # fmt: skip
@output_option
@project_options
def verify_audit(client: ApiClient, server_log: bool, known: str | None, output: str) -> None:
    """Check that nobody changed, inserted or removed entries.

    Every entry has a hash over the one before it. Keep the number and the hash that this command
    prints in another place: with --known they show whether someone made the whole log anew.

    Exit status 5: the log is broken; the message names the first entry that is wrong.
    """
    from tidegate_server.domain.audit_chain import Link, verify

    expected = None if known is None else _parse_link(known)
    ends = client.get(_path(client, server_log, "chain")).body
    entries = _chained(client.lines(_path(client, server_log, "export")))
    result = verify(entries, Link(**ends["head"]), Link(**ends["anchor"]), expected)
    if output == JSON:
        print_json(_as_json(result))
    elif result.broken is None:
        print_text(_confirmation(result))
    else:
        where = f"entry {result.broken}" if result.broken else "its end"
        print_stderr(f"The audit log is broken at {where}. {result.problem}")
    if result.broken is not None:
        sys.exit(NOT_REACHED)


def _path(client: ApiClient, server_log: bool, *parts: str) -> str:
    return api_path("audit", *parts) if server_log else client.project_path("audit", *parts)


def _target_text(entry: Json) -> str:
    """Return what an entry is about, as people know it: people and tokens have ids."""
    details = entry["details"]
    email = details.get("email")
    name = details.get("name") if entry["action"].startswith("token.") else None
    return str(email or (f"{name} ({entry['target']})" if name else entry["target"]))


def _changes_text(entry: Json) -> str:
    documents = entry.get("documents", ())  # earlier servers have none
    texts = [change_text(each) for document in documents for each in document["changes"]]
    more = max(0, len(texts) - CHANGES_SHOWN)
    more += sum(document["changes_left_out"] for document in documents)
    return "; ".join(texts[:CHANGES_SHOWN]) + (f"; and {more:,} more" if more else "")


def change_text(change: Json) -> str:
    """Return a changed field as one line: ``default variant: "off" → "on"``."""
    from tidegate_server.domain.json_differences import ABSENT, Difference, difference_text

    before, after = change.get("before", ABSENT), change.get("after", ABSENT)
    return difference_text(Difference(change["pointer"], change["field"], before, after))


def _parse_link(text: str) -> Link:
    from tidegate_server.domain.audit_chain import Link

    match = re.fullmatch(r"([0-9]{1,15}):([0-9a-f]{64})", text.strip())
    if match is None:
        raise click.UsageError(
            f"--known is {text!r}; write the number, a colon and the hash, as `tidegate audit "
            "verify` prints them."
        )
    return Link(int(match[1]), match[2])


def _chained(lines: Iterable[Json]) -> Iterator[ChainedEntry]:
    from tidegate_server.domain.audit_chain import ChainedEntry, Link

    for line in lines:
        at_ms = round(datetime.fromisoformat(line["at"]).timestamp() * 1000)
        content = {name: line[name] for name in HASHED}
        if line.get("address") is not None:  # older entries have none
            content["address"] = line["address"]
        link = None if line["number"] is None else Link(line["number"], line["hash"])
        yield ChainedEntry(line["id"], at_ms, content, link)


def _confirmation(result: Verification) -> str:
    unchained = (
        f" {result.unchained:,} earlier entries have no hash: a version before the hash chain "
        "added them."
        if result.unchained
        else ""
    )
    return (
        f"The audit log is intact: {result.chained:,} entries.{unchained}\n"
        f"Latest: {result.latest.number}:{result.latest.hash}"
    )


def _as_json(result: Verification) -> Json:
    return {
        "intact": result.broken is None,
        "chained": result.chained,
        "unchained": result.unchained,
        "latest": {"number": result.latest.number, "hash": result.latest.hash},
        "broken": result.broken,
        "problem": result.problem,
    }
