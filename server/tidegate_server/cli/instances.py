"""`tidegate instances`: the processes that evaluate flags."""

from __future__ import annotations

import click

from tidegate_server.cli.api_client import Server
from tidegate_server.cli.options import for_environment, output_option
from tidegate_server.cli.output import JSON, note, print_json, print_table


@click.command()
@click.option("--all", "every", is_flag=True, help="Also those that do not report any more.")
@output_option
@for_environment
def instances(server: Server, every: bool, output: str) -> None:
    """List the processes that evaluate flags, and their versions."""
    from tidegate_server.cli.formatting import instant

    known = server.list(server.environment_path("instances")).items
    found = [each for each in known if every or each["live"]]
    if output == JSON:
        return print_json(found)
    if not found:
        return note(f"No process with the SDK reports in {server.target.environment}.")
    return print_table(
        ("instance", "host", "pid", "sdk", "version", "live", "last report"),
        [
            (
                each["id"],
                each["host"],
                str(each["pid"]),
                each["sdk"],
                each["version"],
                each["live"],
                instant(each["last_seen_at"]),
            )
            for each in sorted(found, key=lambda each: (each["host"], each["pid"]))
        ],
    )
