"""Where a command's policy comes from: a file, the server, or what comes with Tidegate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from tidegate_server.cli.api_client import Json, Server
from tidegate_server.cli.document_fields import as_sent
from tidegate_server.cli.options import object_file
from tidegate_server.cli.output import note
from tidegate_server.errors import ServerUnreachable, StartupRefused

Reach = Callable[[], Server]

FILES = (".yaml", ".yml", ".json")


def is_file(name: str) -> bool:
    """Whether a policy's name is that of a file; a file that is there counts first."""
    return name == "-" or name.endswith(FILES) or "/" in name or Path(name).is_file()


def policy_file(name: str) -> Json:
    """The policy in a file, or one that comes with Tidegate: a type of options."""
    from tidegate_server.documents import shipped

    if not is_file(name) and shipped.is_shipped(name):
        return shipped.document(name)
    return object_file(name)


def on_server(reach: Reach, key: str) -> Json | None:
    """A policy of the server's; None: there is no such one, or no server, and a policy of this
    name comes with Tidegate.

    Raises:
        StartupRefused, ServerUnreachable, ServerRefused: it is not there, and there is none.
    """
    from tidegate_server.documents import shipped

    try:
        server = reach()
        at = server.project_path("policies", key)
        if not shipped.is_shipped(key):
            return server.read(at).body
        found = server.find(at)
    except (StartupRefused, ServerUnreachable) as error:
        if not shipped.is_shipped(key):
            raise
        note(f"tidegate: {error.message} The policy {key} is the one that comes with Tidegate.")
        return None
    if found is None:
        note(
            f"Project {server.target.project} has no policy {key}; this is the one that comes with "
            "Tidegate."
        )
        return None
    return found.body


def policy_document(name: str, reach: Reach) -> Json:
    """A policy by a file's name or its key, as one would send it.

    Raises:
        click.BadParameter: the file cannot be read.
        StartupRefused, ServerUnreachable, ServerRefused: there is no such policy.
    """
    if is_file(name):
        try:
            return as_sent(object_file(name))
        except click.BadParameter as error:
            error.param_hint = "POLICY"
            raise
    from tidegate_server.documents import shipped

    found = on_server(reach, name)
    return as_sent(found) if found is not None else shipped.document(name)
