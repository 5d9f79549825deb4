"""`tidegate saved-context`: test contexts of a project, to try flags out with."""

from __future__ import annotations

import click

from tidegate_server.cli.api_client import ApiClient, Json
from tidegate_server.cli.formatting import instant, json_text, last_change
from tidegate_server.cli.history import add_history_commands
from tidegate_server.cli.options import (
    description_option,
    name_option,
    project_options,
    read_object,
)
from tidegate_server.cli.output import Columns
from tidegate_server.cli.resource_commands import (
    Facts,
    Resource,
    create_command,
    delete_command,
    edit_command,
    list_command,
    show_command,
)

CONTEXT = Resource(name="saved context", plural="contexts")

COLUMNS: Columns = {
    "context": "key",
    "targeting key": lambda each: each["context"].get("targetingKey") or "",
    "name": "name",
    "last change": lambda each: instant(each["updated_at"]),
}

FILE = click.option(
    "--file", "context", type=read_object, metavar="FILE",
    help="A YAML or JSON file with targetingKey and any attributes; - is standard input.",
)  # fmt: skip


def _facts(_: ApiClient, saved: Json) -> Facts:
    return (
        ("saved context", saved["key"]),
        ("name", saved["name"]),
        ("description", saved["description"]),
        *((name, json_text(value)) for name, value in saved["context"].items()),
        ("last change", last_change(saved)),
    )


@click.group("saved-context")
def saved_context() -> None:
    """Manage saved contexts, for which `tidegate evaluate --saved` tries flags out."""


saved_context.add_command(
    list_command(
        CONTEXT,
        "List saved contexts.",
        COLUMNS,
        "Save one with `tidegate saved-context create KEY --file FILE`.",
    )
)
saved_context.add_command(show_command(CONTEXT, "Show a saved context.", _facts))
saved_context.add_command(
    create_command(
        CONTEXT, "Save a context.", click.argument("key"), FILE, name_option, description_option
    )
)
saved_context.add_command(
    edit_command(CONTEXT, "Edit a saved context.", FILE, name_option, description_option)
)
saved_context.add_command(delete_command(CONTEXT, "Delete a saved context."))
add_history_commands(saved_context, CONTEXT.name, CONTEXT.path, project_options)
