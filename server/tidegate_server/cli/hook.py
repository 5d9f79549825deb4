"""`tidegate hook`: manage hooks, which let alerts act on flags."""

from __future__ import annotations

import click

from tidegate_server.cli.api_client import ApiClient, Json
from tidegate_server.cli.formatting import instant, last_change
from tidegate_server.cli.history import add_history_commands
from tidegate_server.cli.options import description_option, environment_options
from tidegate_server.cli.output import Columns
from tidegate_server.cli.put_commands import put_command
from tidegate_server.cli.resource_commands import (
    Facts,
    Resource,
    create_command,
    delete_command,
    edit_command,
    list_command,
    show_command,
)

KINDS = ("alertmanager", "datadog", "grafana", "generic")
ACTIONS = ("hold", "rollback", "kill")

HOOK = Resource(
    name="hook",
    plural="hooks",
    options=environment_options,
    key="ID",
    read_only=("id", "path", "created_by", "created_at"),
)

COLUMNS: Columns = {
    "id": "id",
    "name": "name",
    "kind": "kind",
    "action": "action",
    "environment": "environment",
    "flags": lambda each: ", ".join(each["flags"]),
    "enabled": "enabled",
}

KIND_OPTION = click.option("--kind", type=click.Choice(KINDS), help="System that sends the alerts.")
ACTION_OPTION = click.option(
    "--action", type=click.Choice(ACTIONS), help="What a firing alert does to the flags."
)


def _facts(client: ApiClient, hook: Json) -> Facts:
    return (
        ("hook", hook["id"]),
        ("name", hook["name"]),
        ("description", hook["description"]),
        ("url", _url(client, hook)),
        ("kind", hook["kind"]),
        ("action", hook["action"]),
        ("environment", hook["environment"]),
        ("flags", ", ".join(hook["flags"])),
        ("enabled", hook["enabled"]),
        ("created", f"{instant(hook['created_at'])} by {hook['created_by']}"),
        ("last change", last_change(hook)),
    )


def _url(client: ApiClient, hook: Json) -> str:
    return f"{client.target.url}{hook['path']}"


@click.group()
def hook() -> None:
    """Manage hooks: URLs for alerts that act on flags."""


hook.add_command(
    list_command(
        HOOK,
        "List hooks of all environments.",
        COLUMNS,
        "Create one with `tidegate hook create NAME`.",
    )
)
hook.add_command(show_command(HOOK, "Show a hook, without its secret.", _facts))
add_history_commands(hook, HOOK.name, HOOK.path, environment_options, "ID")
hook.add_command(
    put_command(
        HOOK,
        """Replace what a hook does from a file. It keeps its URL and its secret.

        FILE is YAML or JSON, such as `hook show --output json` prints; - is standard input.
        The server refuses it if the hook has changed since.
        """,
        "id",
    )
)
hook.add_command(
    delete_command(
        HOOK,
        "Delete a hook. Its secret stops working at once.",
        label=lambda hook: f"{hook['name']} ({hook['id']})",
    )
)


def _body(client: ApiClient, fields: Json) -> Json:
    if "kind" not in fields or "action" not in fields:
        raise click.UsageError("Give --kind and --action.")
    enabled = not fields.pop("disabled")
    return {**fields, "environment": client.target.environment, "enabled": enabled}


def _created(client: ApiClient, hook: Json) -> str:
    return (
        f"Hook {hook['id']} created. Configure {hook['kind']} to post alerts to\n"
        f"  {_url(client, hook)}\n"
        "with the secret as bearer token or as Basic password."
    )


hook.add_command(
    create_command(
        HOOK,
        """Create a hook in an environment and print its secret.

        A firing alert runs the action on the flags; the secret allows nothing else. It is shown
        only once, as the only line on standard output, so that a script can capture it.
        """,
        click.argument("name"),
        KIND_OPTION,
        ACTION_OPTION,
        click.option(
            "--flag", "flags", multiple=True, required=True, help="A flag to act on. Repeatable."
        ),
        click.option("--disabled", is_flag=True, help="Accept alerts, but do not act on them."),
        description_option,
        body=_body,
        message=_created,
    )
)
hook.add_command(
    edit_command(
        HOOK,
        "Edit a hook. Its URL, environment and secret stay the same.",
        click.option("--name", help="Name, as in the audit log."),
        KIND_OPTION,
        ACTION_OPTION,
        click.option("--flag", "flags", multiple=True, help="Replace the flags. Repeatable."),
        click.option(
            "--enable/--disable", "enabled", default=None, help="Whether alerts act on the flags."
        ),
        description_option,
    )
)
