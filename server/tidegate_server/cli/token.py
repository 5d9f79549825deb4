"""`tidegate token`: manage access tokens."""

from __future__ import annotations

import sys

import click

from tidegate_server.cli.api_client import ApiClient, Json
from tidegate_server.cli.formatting import instant
from tidegate_server.cli.options import server_options
from tidegate_server.cli.output import Columns
from tidegate_server.cli.resource_commands import (
    Resource,
    create_command,
    delete_command,
    list_command,
)

ROLES = ("admin", "writer", "reader", "sdk", "client")
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
    if whole_server or "project" in fields:
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
            return {}
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
            help="What the token may do. sdk: for applications, reads the flags of one environment "
            "and sends reports. client: for browsers and apps, evaluates the flags that are "
            "available to clients.",
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
            "--rate-limit", type=click.IntRange(min=1), metavar="N",
            help="For sdk and client: allow at most N evaluation requests a minute.",
        ),
        body=_body,
        message=_created,
    )
)  # fmt: skip
