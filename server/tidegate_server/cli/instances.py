"""`tidegate instances`: list the processes that run an SDK."""

from __future__ import annotations

import click

from tidegate_server.cli.api_client import ApiClient
from tidegate_server.cli.formatting import instant
from tidegate_server.cli.options import environment_options, output_option
from tidegate_server.cli.output import JSON, Columns, print_list

COLUMNS: Columns = {
    "instance": "id",
    "host": "host",
    "pid": lambda each: str(each["pid"]),
    "sdk": "sdk",
    "version": "version",
    "live": "live",
    "samples users": "samples",
    "last report": lambda each: instant(each["last_seen_at"]),
}


@click.command()
@click.option("--all", "include_gone", is_flag=True, help="Include instances that are gone.")
@output_option
@environment_options
def instances(client: ApiClient, include_gone: bool, output: str) -> None:
    """List instances: the processes that run an SDK."""
    known = client.list(client.environment_path("instances")).items
    shown = [each for each in known if include_gone or each["live"]]
    if output != JSON:
        shown.sort(key=lambda each: (each["host"], each["pid"]))
    print_list(
        shown,
        COLUMNS,
        output,
        empty=f"No live instances in {client.target.environment}.",
    )
