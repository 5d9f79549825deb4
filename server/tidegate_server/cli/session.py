"""`tidegate whoami` and `tidegate session`: who you are, and where people are signed in."""

from __future__ import annotations

import click

from tidegate_server.cli.api_client import ApiClient
from tidegate_server.cli.formatting import count, instant
from tidegate_server.cli.options import (
    confirm,
    output_option,
    reason_option,
    server_options,
    yes_option,
)
from tidegate_server.cli.output import (
    JSON,
    Columns,
    print_facts,
    print_json,
    print_list,
    print_text,
)
from tidegate_server.cli.person import grant_text, person_id

COLUMNS: Columns = {
    "id": "id",
    "person": "email",
    "signed in": lambda each: instant(each["began_at"]),
    "last seen": lambda each: instant(each["last_seen_at"]),
    "address": "address",
    "with": lambda each: each["provider"] or each["method"],
    "device": "device",
}

PERSON_OPTION = click.option(
    "--person", metavar="EMAIL", default="", help="A person, if it is not you."
)


@click.command()
@output_option
@server_options
def whoami(client: ApiClient, output: str) -> None:
    """Show who you are to the server, and what you may do."""
    me = client.get(client.server_path("me")).body
    if output == JSON:
        return print_json(me)
    facts: list[tuple[str, object]] = [("you", me["name"])]
    if me["person"] is not None:
        facts.append(("groups", ", ".join(me["person"]["groups"])))
    facts.extend(("grant", grant_text(each)) for each in me["grants"])
    return print_facts(facts)


@click.group()
def session() -> None:
    """Manage sessions: where people are signed in."""


@session.command("list")
@PERSON_OPTION
@click.option("--everyone", is_flag=True, help="Of everyone who may do nothing that you may not.")
@output_option
@server_options
def list_sessions(client: ApiClient, person: str, everyone: bool, output: str) -> None:
    """List your sessions, a person's, or everyone's."""
    query = _query(client, person)
    if everyone:
        query["everyone"] = "true"
    items = client.list(client.server_path("sessions"), None, **query).items
    print_list(items, COLUMNS, output, empty="Nobody is signed in with a browser.")


@session.command()
@click.argument("id", required=False)
@click.option("--all", "everything", is_flag=True, help="End all of them.")
@PERSON_OPTION
@reason_option
@yes_option
@server_options
def revoke(
    client: ApiClient, id: str | None, everything: bool, person: str, reason: str, yes: bool
) -> None:
    """End the session ID, or all. It stops working within two seconds."""
    if everything == (id is not None):
        raise click.UsageError("Give the ID of a session, or --all.")
    query, whose = _query(client, person), f" of {person}" if person else ""
    if id is not None:
        confirm(f"End session {id}{whose}?", yes)
        client.end(client.server_path("sessions", id), reason, **query)
        return print_text(f"Session {id} ended.")
    confirm(f"End all sessions{whose}?", yes)
    ended = client.end(client.server_path("sessions"), reason, **query)["ended"]
    return print_text(f"{count(ended, 'session')} ended.")


def _query(client: ApiClient, person: str) -> dict[str, str]:
    return {"person": person_id(client, person)} if person else {}
