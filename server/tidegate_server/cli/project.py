"""`tidegate project` and `tidegate environment`: manage projects and their environments."""

from __future__ import annotations

import click

from tidegate_server.cli.api_client import ApiClient, Json
from tidegate_server.cli.formatting import instant, last_change
from tidegate_server.cli.history import add_history_commands
from tidegate_server.cli.options import (
    confirm,
    description_option,
    name_option,
    output_option,
    project_options,
    reason_option,
    server_options,
    yes_option,
)
from tidegate_server.cli.output import JSON, Columns, print_json
from tidegate_server.cli.resource_commands import (
    Facts,
    Resource,
    create_command,
    edit_command,
    list_command,
    print_secret,
    show_command,
)

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


def _project_created(_: ApiClient, project: Json) -> str:
    command = f"`tidegate environment create production --project {project['key']}`"
    return f"Project {project['key']} created. Add an environment: {command}"


def _environment_change(_: str, fields: Json) -> Json:
    return {"allowed_origins": [], **fields} if fields.pop("no_origins") else fields


def _environment_facts(_: ApiClient, environment: Json) -> Facts:
    return (
        ("environment", environment["key"]),
        ("name", environment["name"]),
        ("description", environment["description"]),
        ("allowed origins", ", ".join(environment["allowed_origins"])),
        ("reasons required", environment["require_reason"]),
        ("last change", last_change(environment)),
    )


@click.group()
def project() -> None:
    """Manage projects: namespaces of flags."""


project.add_command(
    list_command(PROJECT, "List the projects your token can access.", {"project": "key", **DETAILS})
)
project.add_command(
    create_command(
        PROJECT,
        "Create a project, without environments.",
        click.argument("key"),
        name_option,
        description_option,
        message=_project_created,
    )
)


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
environment.add_command(show_command(ENVIRONMENT, "Show an environment.", _environment_facts))
environment.add_command(
    create_command(
        ENVIRONMENT,
        """Create an environment.

        Every flag of the project serves its off variant there until you change that.
        """,
        click.argument("key"),
        name_option,
        description_option,
    )
)
environment.add_command(
    edit_command(
        ENVIRONMENT,
        "Edit an environment: its name, its allowed origins, whether changes need a reason.",
        name_option,
        description_option,
        click.option(
            "--allow-origin", "allowed_origins", metavar="ORIGIN", multiple=True,
            help="Replace the origins whose pages may evaluate flags: https://shop.example, or * "
            "for all. Repeatable.",
        ),
        click.option("--no-origins", is_flag=True, help="Allow no origins."),
        click.option(
            "--require-reason/--no-require-reason", "require_reason", default=None,
            help="Whether every change here needs --reason; a kill, a pause or a rollback never "
            "does.",
        ),
        change=_environment_change,
    )
)  # fmt: skip
add_history_commands(environment, ENVIRONMENT.name, ENVIRONMENT.path, project_options)


@environment.command("rotate-key")
@click.argument("key")
@reason_option
@yes_option
@output_option
@project_options
def rotate_key(client: ApiClient, key: str, reason: str, yes: bool, output: str) -> None:
    """Give an environment a new context key and print it.

    Your server signs the targeting keys of visitors with it, so that the outcomes they report
    count as a server's. The old key stays valid for a day; rotate twice to end it now.
    """
    confirm(f"Give environment {key}{ENVIRONMENT.location_phrase(client)} a new context key?", yes)
    rotated = client.post(ENVIRONMENT.path(client, key, "rotate-key"), {}, reason)
    if output == JSON:
        return print_json(rotated)
    old = rotated["old_key_until"]
    until = f" The old one is valid until {instant(old)}." if old else ""
    return print_secret(f"Environment {key} has a new context key.{until}", rotated)
