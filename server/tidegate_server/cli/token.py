"""`tidegate token`: manage access tokens."""

from __future__ import annotations

import sys

import click

from tidegate_server.cli.api_client import ApiClient, Json
from tidegate_server.cli.formatting import instant
from tidegate_server.cli.options import output_option, reason_option, server_options
from tidegate_server.cli.output import JSON, Columns, print_json
from tidegate_server.cli.resource_commands import (
    Resource,
    create_command,
    delete_command,
    list_command,
    print_secret,
)

ROLES = (
    "admin",
    "release_manager",
    "developer",
    "responder",
    "viewer",
    "custom",
    "sdk",
    "client",
    "writer",
    "reader",
)
PERMISSIONS = ("read", "write", "release", "approve", "kill", "administer", "code")
ENVIRONMENT_ROLES = ("sdk", "client")

TOKEN = Resource(
    name="token",
    plural="tokens",
    path_prefix=ApiClient.server_path,
    options=server_options,
    key="ID",
    place="",
)

COLUMNS: Columns = {
    "id": "id",
    "name": "name",
    "role": "role",
    "scope": lambda each: _scope(each),
    "owner": "owner",
    "expires": lambda each: instant(each["expires_at"]) if each["expires_at"] else "never",
    "last used": lambda each: instant(each["last_used_at"]) if each["last_used_at"] else "",
    "created by": "created_by",
    "created": lambda each: instant(each["created_at"]),
}


def _scope(token: Json) -> str:
    project, environment = token["project"], token["environment"]
    if project is None:
        return "the whole server"
    return f"{environment} (project {project})" if environment else f"project {project}"


@click.group()
def token() -> None:
    """Manage access tokens."""


token.add_command(list_command(TOKEN, "List tokens you may see, without their secrets.", COLUMNS))
token.add_command(
    delete_command(
        TOKEN,
        "Revoke a token. It stops working within two seconds.",
        verb="revoke",
        label=lambda token: f"{token['name']} ({token['role']}, {token['id']})",
    )
)


def _body(client: ApiClient, fields: Json) -> Json:
    """Return the fields of a new token with its scope.

    Raises:
        click.UsageError: the options do not say what the token is valid for, or contradict.
    """
    role, whole_server = fields["role"], fields.pop("whole_server")
    server = {**fields, "whole_server": True}
    named = {"project", "environment"} & fields.keys()
    if role in ENVIRONMENT_ROLES:
        if whole_server:
            raise click.UsageError(
                f"A token with the role {role} is valid for one environment: use --project and "
                "--environment instead of --server."
            )
        here = {"project": client.target.project, "environment": client.target.environment}
        return {**here, **fields}
    if whole_server and named:
        raise click.UsageError(
            f"--server is for the whole server, --{max(named)} for a part of it. Use one of them."
        )
    if whole_server:
        return server
    if "project" in fields:
        return fields
    if not sys.stdin.isatty():
        raise click.UsageError(
            "Say what the token is valid for: --project KEY for a project, --project KEY "
            "--environment KEY for one environment, or --server for the whole server."
        )
    return {**fields, **_ask_scope(client, asks_project="environment" in fields)}


def _ask_scope(client: ApiClient, asks_project: bool) -> Json:
    """Ask what a token is valid for. Questions go to standard error, which is not captured."""
    if not asks_project:
        question, choices = "Valid for one project or the whole server?", ("project", "server")
        if click.prompt(question, type=click.Choice(choices), err=True) == "server":
            return {"whole_server": True}
    return {"project": click.prompt("Project", default=client.target.project, err=True)}


def _created(_: ApiClient, token: Json) -> str:
    return f"Token {token['name']} created: {token['role']} of {_scope(token)}, id {token['id']}."


token.add_command(
    create_command(
        TOKEN,
        """Create a token and print it.

        The token is shown only once. It is the only line on standard output, so that a script
        can capture it.

        Say what the token is valid for: --project, --project with --environment, or --server.
        An sdk or client token is valid for one environment: the current one unless you name
        another.
        """,
        click.argument("name"),
        click.option(
            "--role", type=click.Choice(ROLES), required=True,
            help="What the token may do. viewer: see everything. developer: change flags, segments "
            "and policies, too. responder: kill flags, pause releases and roll them back. "
            "release_manager: all of this, and start, advance and approve releases. admin: manage "
            "tokens, projects and environments, too. custom: what --permission says. sdk: for "
            "applications, reads the flags of one environment and sends reports. client: for "
            "browsers and apps, evaluates the flags that are available to clients. writer and "
            "reader are older names of release_manager and viewer.",
        ),
        click.option(
            "--permission", "permissions", type=click.Choice(PERMISSIONS), multiple=True,
            help="With --role custom: what the token may do; may be repeated.",
        ),
        click.option("--project", metavar="KEY", help="Limit the token to a project."),
        click.option(
            "--environment", "-e", metavar="KEY",
            help="Limit the token to an environment of the project.",
        ),
        click.option(
            "--server", "whole_server", is_flag=True,
            help="Make the token valid for the whole server, with all its projects.",
        ),
        click.option(
            "--expires-in", metavar="TIME", help="How long the token works: 90d, for example.",
        ),
        click.option("--owner", metavar="NAME", help="Who answers for it: a person or a team."),
        click.option(
            "--network", "networks", metavar="CIDR", multiple=True,
            help="The only network from which it may be used; may be repeated.",
        ),
        click.option(
            "--rate-limit", type=click.IntRange(min=1), metavar="N",
            help="For sdk and client: allow at most N evaluation requests a minute.",
        ),
        body=_body,
        message=_created,
    )
)  # fmt: skip


@token.command()
@click.argument("id")
@click.option(
    "--overlap",
    default="1h",
    show_default=True,
    metavar="TIME",
    help="How long the secret until now still works; 0s: not at all.",
)
@reason_option
@output_option
@server_options
def rotate(client: ApiClient, id: str, overlap: str, reason: str, output: str) -> None:
    """Give a token another secret and print it.

    For the time of the overlap both secrets work, so that applications can change to the new one
    without an interruption.
    """
    rotated = client.post(TOKEN.path(client, id, "rotate"), {"overlap": overlap}, reason)
    if output == JSON:
        return print_json(rotated)
    until = rotated["previous_secret_until"]
    works = f"works until {instant(until)}" if until else "does not work any more"
    return print_secret(f"Token {rotated['name']} ({id}) rotated; the old secret {works}.", rotated)
