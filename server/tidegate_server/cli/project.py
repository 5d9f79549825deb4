"""`tidegate project` and `tidegate environment`: manage projects and their environments."""

from __future__ import annotations

import sys

import click

from tidegate_server.cli.api_client import ApiClient, Json
from tidegate_server.cli.formatting import instant, last_change
from tidegate_server.cli.history import add_history_commands
from tidegate_server.cli.options import (
    confirm,
    decorated_with,
    description_option,
    name_option,
    output_option,
    project_options,
    reason_option,
    server_options,
    yes_option,
)
from tidegate_server.cli.output import JSON, Columns, print_json, print_text
from tidegate_server.cli.put_commands import put_command
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
        ("seen users reported", environment.get("report_seen_users", False)),
        ("approvals required", environment.get("required_approvals", 0)),
        *(("freeze", _freeze(each, environment)) for each in environment.get("freezes", ())),
        ("last change", last_change(environment)),
    )


def _freeze(freeze: Json, environment: Json) -> str:
    """Return ``2026-12-24 to 2026-12-27 (Europe/Berlin): holidays``."""
    reason = f": {freeze['reason']}" if freeze.get("reason") else ""
    return f"{freeze['from']} to {freeze['to']} ({environment['timezone']}){reason}"


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


def _confirmed(key: str, confirm: str | None, noun: str) -> str:
    """Return the key that the person has typed once more.

    Raises:
        UsageError: nobody can type it.
    """
    if confirm is not None:
        return confirm
    if not sys.stdin.isatty():
        raise click.UsageError(f"Pass --confirm {key} to delete the {noun} without a terminal.")
    return str(click.prompt(f"This cannot be undone. Type the key of the {noun} to delete it"))


DELETION = decorated_with(
    click.option(
        "--force", is_flag=True,
        help="Delete it although applications use it: they keep the flags that they have, and get "
        "no others.",
    ),
    click.option("--confirm", metavar="KEY", help="Its key once more, instead of a question."),
)  # fmt: skip


def _delete(
    client: ApiClient, path: str, key: str, noun: str, force: bool, confirm: str | None, reason: str
) -> None:
    typed = _confirmed(key, confirm, noun)
    if typed != key:
        raise click.UsageError(f"{typed!r} is not {key!r}; nothing was deleted.")
    query = {"force": "true", "confirm": key} if force else {}
    client.delete(path, reason, **query)


@project.command("delete")
@click.argument("key")
@DELETION
@reason_option
@server_options
def delete_project(
    client: ApiClient, key: str, force: bool, confirm: str | None, reason: str
) -> None:
    """Delete a project: its environments, flags, releases, tokens and everything else of it.

    The server refuses if a release is active, or if an application has used the project within the
    last days (7, unless the project says otherwise). The audit log stays.
    """
    _delete(client, PROJECT.path(client, key), key, "project", force, confirm, reason)
    print_text(f"Project {key} deleted.")


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
        "Edit an environment: its name, its origins, the reasons and approvals that changes need.",
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
        click.option(
            "--report-seen-users/--no-report-seen-users", "report_seen_users", default=None,
            help="Whether SDKs report a sample of recently seen users, for previews of changes.",
        ),
        click.option(
            "--require-approvals", "required_approvals", type=click.IntRange(0, 10), metavar="N",
            help="How many other people must approve a change of targeting, segments, policies or "
            "permissions here; 0: none.",
        ),
        change=_environment_change,
    )
)  # fmt: skip
environment.add_command(
    put_command(
        ENVIRONMENT,
        """Create or replace an environment from a file.

        FILE is YAML or JSON, such as `environment show --output json` prints; - is standard
        input. The server refuses it if the environment has changed since.
        """,
    )
)
add_history_commands(environment, ENVIRONMENT.name, ENVIRONMENT.path, project_options)


@environment.command("delete")
@click.argument("key")
@DELETION
@reason_option
@project_options
def delete_environment(
    client: ApiClient, key: str, force: bool, confirm: str | None, reason: str
) -> None:
    """Delete an environment: what flags serve there, its releases, tokens and everything else.

    The server refuses if a release is active there, or if an application has used the environment
    within the last days (7, unless the project says otherwise).
    """
    path = ENVIRONMENT.path(client, key)
    _delete(client, path, key, "environment", force, confirm, reason)
    print_text(f"Environment {key} deleted{ENVIRONMENT.location_phrase(client)}.")


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
