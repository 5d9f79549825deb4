"""`tidegate project` and `tidegate environment`: manage projects and their environments."""

from __future__ import annotations

from collections.abc import Sequence

import click

from tidegate_server.cli.api_client import ApiClient
from tidegate_server.cli.document_fields import without_none
from tidegate_server.cli.formatting import instant
from tidegate_server.cli.options import (
    description_option,
    name_option,
    output_option,
    project_options,
    server_options,
)
from tidegate_server.cli.output import Columns
from tidegate_server.cli.resource_commands import Resource, create, edit, list_command

PROJECT = Resource(
    name="project",
    plural="projects",
    path_prefix=ApiClient.server_path,
    options=server_options,
    place="",
)

ENVIRONMENT = Resource(name="environment", plural="environments")

DETAILS: Columns = {
    "name": "name",
    "description": "description",
    "last change": lambda each: instant(each["updated_at"]),
}

NAME = click.option("--name", default="", help="Display name.")
DESCRIPTION = click.option("--description", default="", help="Description.")


@click.group()
def project() -> None:
    """Manage projects: namespaces of flags."""


project.add_command(
    list_command(PROJECT, "List the projects your token can access.", {"project": "key", **DETAILS})
)


@project.command("create")
@click.argument("key")
@NAME
@DESCRIPTION
@output_option
@server_options
def create_project(client: ApiClient, key: str, name: str, description: str, output: str) -> None:
    """Create a project, without environments."""
    body = {"key": key, "name": name, "description": description}
    next_step = f"`tidegate environment create production --project {key}`"
    message = f"Project {key} created. Add an environment: {next_step}"
    create(PROJECT, client, body, output, lambda _: message)


@click.group()
def environment() -> None:
    """Manage environments: where a project's flags run."""


environment.add_command(
    list_command(
        ENVIRONMENT,
        "List the environments your token can access.",
        {"environment": "key", **DETAILS},
    )
)


@environment.command("create")
@click.argument("key")
@NAME
@DESCRIPTION
@output_option
@project_options
def create_environment(
    client: ApiClient, key: str, name: str, description: str, output: str
) -> None:
    """Create an environment.

    Every flag of the project serves its off variant there until you change that.
    """
    body = {"key": key, "name": name, "description": description}
    create(ENVIRONMENT, client, body, output)


@environment.command("edit")
@click.argument("key")
@name_option
@description_option
@click.option(
    "--allow-origin", "origins", metavar="ORIGIN", multiple=True,
    help="Replace the origins whose pages may evaluate flags: https://shop.example, or * for "
    "all. Repeatable.",
)  # fmt: skip
@click.option("--no-origins", is_flag=True, help="Allow no origins.")
@output_option
@project_options
def edit_environment(
    client: ApiClient,
    key: str,
    name: str | None,
    description: str | None,
    origins: Sequence[str],
    no_origins: bool,
    output: str,
) -> None:
    """Edit an environment's name, description or allowed origins."""
    changes = without_none(name=name, description=description)
    if origins or no_origins:
        changes["allowed_origins"] = list(origins)
    edit(ENVIRONMENT, client, key, changes, output)
