"""`tidegate token`: who may do what."""

from __future__ import annotations

import click

from tidegate_server.cli.api_client import Server, path
from tidegate_server.cli.options import confirm, for_server, output_option, yes_option
from tidegate_server.cli.output import JSON, note, print_json, print_table, say

ROLES = ("admin", "writer", "reader", "sdk", "client")
OF_ONE_ENVIRONMENT = ("sdk", "client")


@click.group()
def token() -> None:
    """Tokens: who may do what, and where."""


@token.command("create")
@click.argument("name")
@click.option(
    "--role", type=click.Choice(ROLES), required=True,
    help="sdk: for an application, reads one environment's flags and reports. client: for "
    "pages and apps, asks how the flags available to clients evaluate.",
)  # fmt: skip
@click.option("--project", "for_project", help="The only project it is for.")
@click.option("--environment", "-e", "for_environment", help="The only environment it is for.")
@click.option(
    "--rate-limit", type=click.IntRange(min=1), metavar="N",
    help="For sdk and client: at most N evaluation requests a minute.",
)  # fmt: skip
@output_option
@for_server
def create_token(
    server: Server,
    name: str,
    role: str,
    for_project: str | None,
    for_environment: str | None,
    rate_limit: int | None,
    output: str,
) -> None:
    """Make a token for NAME and print it, this once.

    The token alone goes to standard output, so that a program can take it. Without --project
    it is for the whole server; an sdk or client token is for the present project and
    environment unless others are named.
    """
    if role in OF_ONE_ENVIRONMENT:
        for_project = for_project or server.target.project
        for_environment = for_environment or server.target.environment
    asked = {
        "name": name,
        "role": role,
        "project": for_project,
        "environment": for_environment,
        "rate_limit": rate_limit,
    }
    made = server.post(path("tokens"), asked)
    if output == JSON:
        return print_json(made)
    note(f"Token {made['id']} for {name}: {role}, {_scope(made['project'], made['environment'])}.")
    note("It is shown this once:")
    return say(made["secret"])


@token.command("list")
@output_option
@for_server
def list_tokens(server: Server, output: str) -> None:
    """List the tokens that this one may see, without their secrets."""
    from tidegate_server.cli.formatting import instant

    found = server.list(path("tokens")).items
    if output == JSON:
        return print_json(found)
    return print_table(
        ("id", "name", "role", "for", "made by", "made"),
        [
            (
                each["id"],
                each["name"],
                each["role"],
                _scope(each["project"], each["environment"]),
                each["created_by"],
                instant(each["created_at"]),
            )
            for each in found
        ],
    )


@token.command("revoke")
@click.argument("id")
@yes_option
@for_server
def revoke_token(server: Server, id: str, yes: bool) -> None:
    """Revoke the token with this ID; it stops working within a second or two."""
    at = path("tokens", id)
    named = server.read(at).body
    confirm(f"Revoke the {named['role']} token of {named['name']} ({id})?", yes)
    server.delete(at)
    say(f"The {named['role']} token of {named['name']} ({id}) is revoked.")


def _scope(project: str | None, environment: str | None) -> str:
    if project is None:
        return "the whole server"
    return project if environment is None else f"{environment} of {project}"
