"""`tidegate audit`: show the audit log."""

from __future__ import annotations

import click

from tidegate_server.cli.api_client import ApiClient, api_path
from tidegate_server.cli.formatting import instant
from tidegate_server.cli.options import limit_option, output_option, project_options
from tidegate_server.cli.output import Columns, print_list

DEFAULT_LIMIT = 50

COLUMNS: Columns = {
    "when": lambda each: instant(each["at"]),
    "who": "actor",
    "action": "action",
    "target": "target",
    "environment": "environment",
    "reason": "reason",
}


@click.command()
@click.option(
    "--server", "server_log", is_flag=True,
    help="Show the server's own log: changes of projects and tokens.",
)  # fmt: skip
@limit_option(DEFAULT_LIMIT)
@output_option
@project_options
def audit(client: ApiClient, server_log: bool, limit: int, output: str) -> None:
    """Show who changed what, when and why, the latest last."""
    entries = client.list(api_path("audit") if server_log else client.project_path("audit"), limit)
    print_list(entries.items[::-1], COLUMNS, output, more=entries.has_more)
