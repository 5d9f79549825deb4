"""`tidegate project` and `tidegate environment`: where flags live and where they run."""

from __future__ import annotations

import click

from tidegate_server.cli.options import for_project, for_server, output_option
from tidegate_server.cli.output import JSON, note, print_json, print_table, say
from tidegate_server.cli.server import Json, Server, path

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


def _print(found: list[Json], kind: str, output: str) -> None:
    from tidegate_server.cli.words import instant

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
