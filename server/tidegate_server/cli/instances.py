"""`tidegate instances` and `tidegate receipt`: the processes that run an SDK, and their version."""

from __future__ import annotations

from datetime import datetime

import click

from tidegate_server.cli.api_client import ApiClient, Json
from tidegate_server.cli.formatting import age, instant, milliseconds
from tidegate_server.cli.options import environment_options, output_option
from tidegate_server.cli.output import JSON, Columns, print_facts, print_json, print_list

COLUMNS: Columns = {
    "instance": "id",
    "application": "application",
    "host": "host",
    "pid": lambda each: str(each["pid"]),
    "sdk": "sdk",
    "token": "token",
    "version": "version",
    "live": "live",
    "age": lambda each: _age(each),
    "samples users": "samples",
    "last report": lambda each: instant(each["last_seen_at"]),
}

REFUSED: Columns = {
    "last request": lambda each: instant(each["last_at"]),
    "address": "address",
    "token": "token",
    "reason": "detail",
}

WAITING: Columns = {
    "instance": "id",
    "application": "application",
    "host": "host",
    "pid": lambda each: str(each["pid"]),
    "version": "version",
    "last report": lambda each: instant(each["last_seen_at"]),
}


@click.command()
@click.option("--all", "include_gone", is_flag=True, help="Include instances that are gone.")
@click.option("--behind", is_flag=True, help="Only instances that use an old version.")
@click.option("--refused", is_flag=True, help="Instead, why requests of applications were refused.")
@output_option
@environment_options
def instances(
    client: ApiClient, include_gone: bool, behind: bool, refused: bool, output: str
) -> None:
    """List instances: the processes that run an SDK."""
    if refused:
        found = client.list(client.environment_path("refused-requests")).items
        return print_list(found, REFUSED, output, empty="No request was refused in the last day.")
    chosen = {} if include_gone else {"live": "true"}
    if behind:
        chosen["behind"] = "true"
    shown = client.list(client.environment_path("instances"), None, **chosen).items
    if output != JSON:
        shown.sort(key=lambda each: (each["host"], each["pid"]))
    what = "instances" if include_gone else "live instances"
    old = " use an old version" if behind else ""
    print_list(shown, COLUMNS, output, empty=f"No {what} in {client.target.environment}{old}.")
    return None


@click.command()
@click.argument("version", type=click.IntRange(min=1))
@output_option
@environment_options
def receipt(client: ApiClient, version: int, output: str) -> None:
    """Show how far a version of the environment has reached the instances, and how fast.

    Every change that reaches applications makes a version: an edit, a kill, a step of a release.
    """
    found = client.get(client.environment_path("receipts", str(version))).body
    if output == JSON:
        return print_json(found)
    print_facts(
        [
            ("version", version),
            ("committed", instant(found["committed_at"])),
            ("by", f"{found['actor'] or 'not known'} ({found['action'] or 'not known'})"),
            ("applied by", f"{found['applied']} of {found['live']} live instances"),
            ("half of them within", milliseconds(found["median_ms"])),
            ("95 % within", milliseconds(found["p95_ms"])),
            ("the slowest", milliseconds(found["slowest_ms"])),
        ]
    )
    if found["waiting"]:
        print_list(found["waiting"], WAITING, output)
    return None


def _age(each: Json) -> str:
    """How long an instance had run at its last report; empty if that is not known."""
    if each["started_at"] is None:
        return ""
    began = datetime.fromisoformat(each["started_at"])
    return age((datetime.fromisoformat(each["last_seen_at"]) - began).total_seconds())
