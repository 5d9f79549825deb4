"""`tidegate share`: links that show a release or a state to people who have no account."""

from __future__ import annotations

import click

from tidegate_server.cli.api_client import ApiClient, Json
from tidegate_server.cli.formatting import instant
from tidegate_server.cli.options import (
    confirm,
    environment_options,
    output_option,
    reason_option,
    yes_option,
)
from tidegate_server.cli.output import JSON, Columns, print_json, print_list, print_text

COLUMNS: Columns = {
    "id": "id",
    "kind": "kind",
    "flag": "flag",
    "release": "release",
    "works until": lambda each: instant(each["expires_at"]) or "it is revoked",
    "made": lambda each: instant(each["created_at"]),
    "by": "created_by",
}


@click.group()
def share() -> None:
    """Manage links that work without an account: reports of releases, and badges."""


@share.command("list")
@output_option
@environment_options
def list_shares(client: ApiClient, output: str) -> None:
    """List the links of an environment; their addresses are shown only when they are made."""
    items = client.list(client.environment_path("shares")).items
    print_list(items, COLUMNS, output, empty="Nothing is shared here.")


@share.command()
@click.argument("release", metavar="RELEASE")
@click.option(
    "--lasts",
    metavar="TIME",
    default="7d",
    show_default=True,
    help="How long the link works, such as 12h or 30d; at most 90d.",
)
@reason_option
@output_option
@environment_options
def report(client: ApiClient, release: str, lasts: str, reason: str, output: str) -> None:
    """Make a link to the report of RELEASE, and print it. It is not shown again."""
    from tidegate_server.cli.release import find_release

    id = find_release(client, release)["id"]
    _make(client, {"kind": "report", "release": id, "lasts": lasts}, reason, output)


@share.command()
@click.argument("flag", required=False)
@click.option("--release", metavar="ID", help="A release instead of a flag.")
@reason_option
@output_option
@environment_options
def badge(
    client: ApiClient, flag: str | None, release: str | None, reason: str, output: str
) -> None:
    """Make a badge (SVG) of the state of FLAG, or of a release, and print its address.

    It works until you revoke it, and is not shown again.
    """
    if (flag is None) == (release is None):
        raise click.UsageError("Give the key of a flag, or --release ID.")
    shown = {"flag": flag} if flag else {"release": release}
    _make(client, {"kind": "badge", "lasts": None, **shown}, reason, output)


@share.command()
@click.argument("id")
@reason_option
@yes_option
@environment_options
def revoke(client: ApiClient, id: str, reason: str, yes: bool) -> None:
    """Revoke the link ID: it stops working at once."""
    confirm(f"Revoke link {id}?", yes)
    client.end(client.environment_path("shares", id), reason)
    print_text(f"Link {id} revoked.")


def _make(client: ApiClient, body: Json, reason: str, output: str) -> None:
    made = client.post(client.environment_path("shares"), body, reason)
    if output == JSON:
        return print_json(made)
    return print_text(made["link"])
