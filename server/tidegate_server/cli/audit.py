"""`tidegate audit`: who changed what, when and why."""

from __future__ import annotations

import click

from tidegate_server.cli.api_client import Server, path
from tidegate_server.cli.options import for_project, limit_option, output_option
from tidegate_server.cli.output import JSON, note, print_json, print_table

DEFAULT_LIMIT = 50


@click.command()
@click.option(
    "--server", "of_server", is_flag=True,
    help="The log of the server itself: projects and tokens.",
)  # fmt: skip
@limit_option(DEFAULT_LIMIT)
@output_option
@for_project
def audit(server: Server, of_server: bool, limit: int, output: str) -> None:
    """Show who changed what, when and why, the latest last."""
    from tidegate_server.cli.formatting import instant

    at = path("audit") if of_server else server.project_path("audit")
    listing = server.list(at, limit)
    found = listing.items[::-1]
    if output == JSON:
        return print_json(found)
    if listing.more:
        note(f"The latest {limit:,}; --limit shows more.")
    return print_table(
        ("when", "who", "what", "of", "environment", "reason"),
        [
            (
                instant(each["at"]),
                each["actor"],
                each["action"],
                each["target"],
                each["environment"],
                each["reason"],
            )
            for each in found
        ],
    )
