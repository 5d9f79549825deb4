"""`tidegate policy`: what must hold before a release opens further."""

from __future__ import annotations

import click

from tidegate_server.cli.options import confirm, for_project, object_file, output_option, yes_option
from tidegate_server.cli.output import (
    JSON,
    draw,
    note,
    print_json,
    print_table,
    say,
)
from tidegate_server.cli.server import Json, Server
from tidegate_server.cli.stored import as_sent, tag_of


@click.group()
def policy() -> None:
    """Policies: what must hold before a release opens further."""


@policy.command("list")
@output_option
@for_project
def list_policies(server: Server, output: str) -> None:
    """List the project's policies."""
    from tidegate_server.cli.words import percent

    found = server.list(server.project_path("policies")).items
    if output == JSON:
        return print_json(found)
    if not found:
        return note(
            f"No policies in {server.target.project}; `tidegate policy put FILE` writes one."
        )
    return print_table(
        ("policy", "revision", "stages", "interval", "bake", "name"),
        [
            (
                each["key"],
                each["revision"],
                ", ".join(percent(stage["percentage"]) for stage in each["stages"]),
                each["interval"],
                each["bake"],
                each["name"],
            )
            for each in found
        ],
    )


@policy.command("show")
@click.argument("key")
@output_option
@for_project
def show_policy(server: Server, key: str, output: str) -> None:
    """Show a policy. Its JSON can be edited and `put` again."""
    from tidegate_server.cli.policy_view import picture

    found = server.read(server.project_path("policies", key)).body
    if output == JSON:
        return print_json(found)
    return draw(*picture(found))


@policy.command("put")
@click.argument("file", type=object_file)
@output_option
@for_project
def put_policy(server: Server, file: Json, output: str) -> None:
    """Write a policy from a YAML or JSON FILE, a new one or in place of the present one.

    Releases that have started keep the policy that they started under. A file that `policy
    show --output json` wrote replaces only the revision that it was read from.
    """
    key, revision = file.get("key"), file.get("revision")
    if not isinstance(key, str) or not key:
        raise click.UsageError("The policy has no `key`; it is its name.")
    at = server.project_path("policies", key)
    present = server.find(at)
    if present is None:
        after = server.post(server.project_path("policies"), as_sent(file))
        words = f"Policy {key} created in project {server.target.project}."
    else:
        tag = tag_of(revision) if isinstance(revision, int) else present.tag
        after = server.put(at, as_sent(file), tag)
        same = after["revision"] == present.body["revision"]
        words = (
            f"Policy {key} was like that already."
            if same
            else f"Policy {key} replaced, revision {after['revision']}; it counts for releases "
            "that start from now on."
        )
    if output == JSON:
        return print_json(after)
    return say(words)


@policy.command("delete")
@click.argument("key")
@yes_option
@for_project
def delete_policy(server: Server, key: str, yes: bool) -> None:
    """Delete a policy; releases that have started keep theirs."""
    confirm(f"Delete policy {key} of project {server.target.project}?", yes)
    server.delete(server.project_path("policies", key))
    say(f"Policy {key} deleted.")
