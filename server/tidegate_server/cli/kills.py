"""`tidegate kills`: the kills in force."""

from __future__ import annotations

import click

from tidegate_server.cli.api_client import ApiClient, Json
from tidegate_server.cli.formatting import instant
from tidegate_server.cli.options import output_option, project_options
from tidegate_server.cli.output import Columns, print_list

COLUMNS: Columns = {
    "environment": "environment",
    "flag": "flag",
    "serves": "serves",
    "since": lambda each: instant(each["killed"]["at"]),
    "by": lambda each: str(each["killed"]["actor"]),
    "applied": lambda each: _applied(each["receipt"]),
    "reason": lambda each: str(each["killed"]["reason"]),
}


@click.command()
@output_option
@project_options
def kills(client: ApiClient, output: str) -> None:
    """List the kills in force, in all environments of a project."""
    found = client.list(client.project_path("kills")).items
    print_list(
        found, COLUMNS, output, empty=f"No flag of project {client.target.project} is killed."
    )


def _applied(receipt: Json | None) -> str:
    return "" if receipt is None else f"{receipt['applied']} of {receipt['live']}"
