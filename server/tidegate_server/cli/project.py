"""`tidegate project` and `tidegate environment`: where flags live and where they run."""

from __future__ import annotations

from collections.abc import Sequence

import click

from tidegate_server.cli.api_client import Json, Server, path
from tidegate_server.cli.document_fields import as_sent, given
from tidegate_server.cli.options import for_project, for_server, output_option
from tidegate_server.cli.output import JSON, note, print_changed, print_json, print_table, say

NAME = click.option("--name", default="", help="For people.")
DESCRIPTION = click.option("--description", default="", help="For people.")


@click.group()
def project() -> None:
    """Projects: namespaces of flags."""


@project.command("list")
@output_option
@for_server
def list_projects(server: Server, output: str) -> None:
    """List the projects that the token reaches."""
    _print(server.list(path("projects")).items, "project", output)


@project.command("create")
@click.argument("key")
@NAME
@DESCRIPTION
@output_option
@for_server
def create_project(server: Server, key: str, name: str, description: str, output: str) -> None:
    """Create a project; it has no environments yet."""
    asked = {"key": key, "name": name, "description": description}
    made = server.post(path("projects"), asked)
    if output == JSON:
        return print_json(made)
    return say(
        f"Project {key} created. It has no environments yet: "
        f"`tidegate environment create production --project {key}` makes one."
    )


@click.group()
def environment() -> None:
    """Environments: where a project's flags run."""


@environment.command("list")
@output_option
@for_project
def list_environments(server: Server, output: str) -> None:
    """List the project's environments that the token reaches."""
    _print(server.list(server.project_path("environments")).items, "environment", output)


@environment.command("create")
@click.argument("key")
@NAME
@DESCRIPTION
@output_option
@for_project
def create_environment(server: Server, key: str, name: str, description: str, output: str) -> None:
    """Create an environment, with every flag of the project at its off variant."""
    asked = {"key": key, "name": name, "description": description}
    made = server.post(server.project_path("environments"), asked)
    if output == JSON:
        return print_json(made)
    return say(f"Environment {key} created in project {server.target.project}.")


@environment.command("edit")
@click.argument("key")
@click.option("--name", help="For people.")
@click.option("--description", help="For people.")
@click.option(
    "--allow-origin", "origins", metavar="ORIGIN", multiple=True,
    help="Pages from there may ask for evaluations: https://shop.example, or * for all, in "
    "place of the present ones. May be repeated.",
)  # fmt: skip
@click.option("--no-origins", is_flag=True, help="No page may ask for evaluations any more.")
@output_option
@for_project
def edit_environment(
    server: Server,
    key: str,
    name: str | None,
    description: str | None,
    origins: Sequence[str],
    no_origins: bool,
    output: str,
) -> None:
    """Change what people read about an environment, and which pages may ask in it."""
    changes = given(name=name, description=description)
    if origins or no_origins:
        changes["allowed_origins"] = list(origins)
    if not changes:
        raise click.UsageError("Say what to change: --name, --description, --allow-origin.")
    at = server.project_path("environments", key)
    edited = server.edit(at, lambda document: {**as_sent(document), **changes})
    print_changed(f"Environment {key}", edited, output)


def _print(found: list[Json], kind: str, output: str) -> None:
    from tidegate_server.cli.formatting import instant

    if output == JSON:
        return print_json(found)
    if not found:
        return note(f"There is no {kind}.")
    return print_table(
        (kind, "name", "description", "changed"),
        [
            (each["key"], each["name"], each["description"], instant(each["updated_at"]))
            for each in found
        ],
    )
