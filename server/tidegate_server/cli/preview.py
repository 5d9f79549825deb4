"""`--preview`: who of the recently seen users would get another variant, before a change."""

from __future__ import annotations

import click

from tidegate_server.cli.api_client import ApiClient, Json
from tidegate_server.cli.output import (
    JSON,
    Columns,
    print_json,
    print_list,
    print_stderr,
    print_text,
)

preview_option = click.option(
    "--preview", is_flag=True,
    help="Change nothing: show how many recently seen users would get another variant.",
)  # fmt: skip

MOVES: Columns = {
    "flag": "flag",
    "from": lambda each: each["from"] or "the default in the code",
    "to": lambda each: each["to"] or "the default in the code",
    "users": lambda each: f"{each['count']:,}",
}


def show_preview(client: ApiClient, path: str, body: Json, output: str) -> None:
    """Ask the server what a change would do, and print the answer.

    Args:
        client: the server.
        path: of the preview.
        body: what the change would send.
        output: how to print it.
    """
    preview = client.compute(path, body)
    if output == JSON:
        return print_json(preview)
    print_text(f"In {client.target.environment}: {preview['text']}")
    if preview["by"]:
        print_list(preview["by"], MOVES, output)
    for caveat in preview["caveats"]:
        print_stderr(caveat)
    return None
