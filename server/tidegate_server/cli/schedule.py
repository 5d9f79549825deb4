"""`tidegate schedule`: changes that are made at a time, once or again and again."""

from __future__ import annotations

from collections.abc import Iterator

import click

from tidegate_server.cli.api_client import ApiClient, Json
from tidegate_server.cli.audit import change_text
from tidegate_server.cli.formatting import instant
from tidegate_server.cli.options import output_option, project_options, read_object, reason_option
from tidegate_server.cli.output import (
    JSON,
    Columns,
    print_facts,
    print_json,
    print_list,
    print_stderr,
    print_text,
)

STATES = ("scheduled", "done", "failed", "missed", "cancelled")


def _actions(schedule: Json) -> str:
    return ", ".join(f"{each['action']} {each['target']}" for each in schedule["actions"])


def _when(schedule: Json) -> str:
    every = schedule["every"]
    if every is None:
        return "once"
    days = "every day" if len(every["days"]) == 7 else ", ".join(every["days"])
    month_days = ", ".join(map(str, every["month_days"]))
    of_month = f" on day {month_days} of the month" if month_days else ""
    return f"{days}{of_month} at {every['time']} {schedule['timezone']}"


COLUMNS: Columns = {
    "id": "id",
    "state": "state",
    "next run": lambda each: instant(each["held_until"] or each["next_run_at"]),
    "repeated": _when,
    "what": _actions,
    "by": "owner",
    "reason": "reason",
    "last run": lambda each: each["last_run"]["outcome"] if each["last_run"] else "",
}


@click.group()
def schedule() -> None:
    """Make changes at a time.

    Every command that changes something takes --at TIME. `create` repeats a change, or makes
    several operations one change.
    """


@schedule.command("list")
@click.option("--state", type=click.Choice(STATES), help="Only those in this state.")
@output_option
@project_options
def list_schedules(client: ApiClient, state: str | None, output: str) -> None:
    """List scheduled changes, those with the next runs first."""
    query = {"state": state} if state is not None else {}
    items = client.list(_path(client), None, **query).items
    print_list(items, COLUMNS, output, empty="No scheduled changes.")


@schedule.command("show")
@click.argument("id", metavar="ID")
@output_option
@project_options
def show_schedule(client: ApiClient, id: str, output: str) -> None:
    """Show a scheduled change: what it changes, its next and its last runs."""
    found = client.get(_path(client, id)).body
    if output == JSON:
        return print_json(found)
    print_facts(_facts(found))
    for each in found["conflicts"]:
        if each.get("killed"):  # earlier servers do not say so
            where = f"{each['key']} in {each['environment']}"
            print_stderr(f"flag {where} is killed; restore it first.")
            continue
        print_stderr(
            f"{each['kind']} {each['key']} was changed since: it is at revision "
            f"{each['revision']}, not {each['made_against']}."
        )
    return None


@schedule.command("create")
@click.argument("body", metavar="FILE", type=read_object)
@reason_option
@output_option
@project_options
def create_schedule(client: ApiClient, body: Json, reason: str, output: str) -> None:
    """Schedule the operations in a file.

    The file has the body of the request: reason, operations (method, path, body, if_match), at or
    every (time, days, month_days), and optionally timezone, until, on_conflict and late_limit.
    """
    created = client.post(_path(client), {**body, "reason": reason or body.get("reason", "")})
    if output == JSON:
        return print_json(created)
    return print_text(
        f"Scheduled change {created['id']}: it runs at {instant(created['next_run_at'])}."
    )


@schedule.command("cancel")
@click.argument("id", metavar="ID")
@reason_option
@output_option
@project_options
def cancel_schedule(client: ApiClient, id: str, reason: str, output: str) -> None:
    """Cancel the runs that a scheduled change still has."""
    cancelled = client.post(_path(client, id, "cancel"), {"reason": reason})
    if output == JSON:
        return print_json(cancelled)
    return print_text(f"Scheduled change {id} cancelled.")


def _path(client: ApiClient, *parts: str) -> str:
    return client.project_path("scheduled-changes", *parts)


def _facts(found: Json) -> Iterator[tuple[str, object]]:
    yield "scheduled change", found["id"]
    yield "state", found["state"]
    yield "reason", found["reason"]
    yield "scheduled by", f"{found['owner']}, {instant(found['created_at'])}"
    yield "repeated", _when(found)
    yield "until", instant(found["until"])
    yield "next runs", ", ".join(instant(each) for each in found["next_runs"])
    if found["held_until"] is not None:
        yield "held", f"until {instant(found['held_until'])}: {found['held_because']}"
    yield "at most late", found["late_limit"]
    yield "on conflict", found["on_conflict"].replace("_", " ")
    for each in found["approvals"]:
        yield "approved by", f"{each['actor']}, {instant(each['at'])}"
    if found["cancelled"] is not None:
        cancelled = found["cancelled"]
        why = f": {cancelled['reason']}" if cancelled["reason"] else ""
        yield "cancelled by", f"{cancelled['actor']}, {instant(cancelled['at'])}{why}"
    yield "does", _actions(found)
    for document in found["changes"]:
        for change in document["changes"]:
            yield "changes", f"{document['key']}: {change_text(change)}"
    for run in found["runs"]:
        said = f": {run['message']}" if run["message"] else ""
        yield f"run {instant(run['due_at'])}", f"{run['outcome']}{said}"
