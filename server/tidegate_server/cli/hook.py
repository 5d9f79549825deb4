"""`tidegate hook`: what alerts of monitoring systems may do, and to which flags."""

from __future__ import annotations

from collections.abc import Sequence

import click

from tidegate_server.cli.api_client import Json, Server
from tidegate_server.cli.document_fields import as_sent, given
from tidegate_server.cli.options import confirm, for_environment, output_option, yes_option
from tidegate_server.cli.output import (
    JSON,
    note,
    print_changed,
    print_facts,
    print_json,
    print_table,
    say,
)

KINDS = ("alertmanager", "datadog", "grafana", "generic")
ACTIONS = ("hold", "rollback", "kill")
SET_BY_SERVER = ("id", "path", "created_by", "created_at")

KIND_OPTION = click.option("--kind", type=click.Choice(KINDS), help="Who sends the alerts.")
ACTION_OPTION = click.option(
    "--action", type=click.Choice(ACTIONS), help="What an alert that fires does to the flags."
)
DESCRIPTION_OPTION = click.option("--description", help="For people.")


@click.group()
def hook() -> None:
    """Hooks: what alerts of monitoring systems may do, and to which flags."""


@hook.command("list")
@output_option
@for_environment
def list_hooks(server: Server, output: str) -> None:
    """List the project's hooks, of every environment."""
    found = server.list(server.project_path("hooks")).items
    if output == JSON:
        return print_json(found)
    if not found:
        return note(f"No hooks in {server.target.project}.")
    return print_table(
        ("id", "name", "kind", "action", "environment", "flags", "enabled"),
        [
            (
                each["id"],
                each["name"],
                each["kind"],
                each["action"],
                each["environment"],
                ", ".join(each["flags"]),
                each["enabled"],
            )
            for each in found
        ],
    )


@hook.command("show")
@click.argument("id")
@output_option
@for_environment
def show_hook(server: Server, id: str, output: str) -> None:
    """Show a hook, without its secret."""
    from tidegate_server.cli.formatting import instant

    found = server.read(server.project_path("hooks", id)).body
    if output == JSON:
        return print_json(found)
    return print_facts(
        (
            ("hook", id),
            ("name", found["name"]),
            ("description", found["description"]),
            ("address", _address(server, found)),
            ("kind", found["kind"]),
            ("action", found["action"]),
            ("environment", found["environment"]),
            ("flags", ", ".join(found["flags"])),
            ("enabled", found["enabled"]),
            ("made", f"{instant(found['created_at'])} by {found['created_by']}"),
            ("changed", f"{instant(found['updated_at'])}, revision {found['revision']}"),
        )
    )


@hook.command("create")
@click.argument("name")
@KIND_OPTION
@ACTION_OPTION
@click.option("--flag", "flags", multiple=True, required=True, help="May be repeated.")
@click.option("--disabled", is_flag=True, help="Say what is understood, and do nothing.")
@DESCRIPTION_OPTION
@output_option
@for_environment
def create_hook(
    server: Server,
    name: str,
    kind: str | None,
    action: str | None,
    flags: Sequence[str],
    disabled: bool,
    description: str | None,
    output: str,
) -> None:
    """Create a hook called NAME in the environment, and print its secret, this once.

    An alert that fires does the action to these flags; nothing else can be done with the
    secret. The secret alone goes to standard output, so that a program can take it.
    """
    if kind is None or action is None:
        raise click.UsageError("Say --kind and --action.")
    asked = {
        "name": name,
        "environment": server.target.environment,
        "enabled": not disabled,
        "kind": kind,
        "action": action,
        "flags": list(flags),
        **given(description=description),
    }
    made = server.post(server.project_path("hooks"), asked)
    if output == JSON:
        return print_json(made)
    note(f"Hook {made['id']} created. Let {kind} post its alerts to {_address(server, made)},")
    note("with this secret as the bearer token or the Basic password. It is shown this once:")
    return say(made["secret"])


@hook.command("edit")
@click.argument("id")
@click.option("--name", help="The audit log names it so.")
@KIND_OPTION
@ACTION_OPTION
@click.option("--flag", "flags", multiple=True, help="The flags, all of them. May be repeated.")
@click.option("--enable/--disable", "enabled", default=None, help="Whether it does anything.")
@DESCRIPTION_OPTION
@output_option
@for_environment
def edit_hook(
    server: Server,
    id: str,
    name: str | None,
    kind: str | None,
    action: str | None,
    flags: Sequence[str],
    enabled: bool | None,
    description: str | None,
    output: str,
) -> None:
    """Change what a hook does; its address, its environment and its secret stay."""
    changes = given(
        name=name,
        kind=kind,
        action=action,
        flags=list(flags) or None,
        enabled=enabled,
        description=description,
    )
    if not changes:
        raise click.UsageError(
            "Say what to change: --name, --kind, --action, --flag, --enable, --disable, "
            "--description."
        )
    edited = server.edit(
        server.project_path("hooks", id),
        lambda document: {**as_sent(document, *SET_BY_SERVER), **changes},
    )
    print_changed(f"Hook {id}", edited, output)


@hook.command("delete")
@click.argument("id")
@yes_option
@for_environment
def delete_hook(server: Server, id: str, yes: bool) -> None:
    """Delete a hook; its secret is worth nothing from now on."""
    at = server.project_path("hooks", id)
    named = server.read(at).body["name"]
    confirm(f"Delete the hook {named} ({id})?", yes)
    server.delete(at)
    say(f"The hook {named} ({id}) is deleted.")


def _address(server: Server, hook: Json) -> str:
    return f"{server.target.url}{hook['path']}"
