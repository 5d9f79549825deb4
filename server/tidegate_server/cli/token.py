"""`tidegate token`: manage access tokens."""

from __future__ import annotations

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
    if fields["role"] in ENVIRONMENT_ROLES:
        fields["project"] = fields.get("project") or client.target.project
        fields["environment"] = fields.get("environment") or client.target.environment
    return fields


def _created(_: ApiClient, token: Json) -> str:
    return f"Token {token['name']} created: {token['role']} of {_scope(token)}, id {token['id']}."


token.add_command(
    create_command(
        TOKEN,
        """Create a token and print it.

        The token is shown only once. It is the only line on standard output, so that a script
        can capture it.

        Without --project the token is valid for the whole server. An sdk or client token is
        valid for the current project and environment unless you name others.
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
            "--environment", "-e", metavar="KEY", help="Limit the token to an environment."
        ),
        click.option(
            "--rate-limit", type=click.IntRange(min=1), metavar="N",
            help="For sdk and client: allow at most N evaluation requests a minute.",
        ),
        body=_body,
        message=_created,
    )
)  # fmt: skip
