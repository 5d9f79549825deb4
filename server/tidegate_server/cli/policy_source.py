"""Finds the policy that a command names: in a file, on the server, or built in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import click

from tidegate_server.cli.api_client import ApiClient, Json
from tidegate_server.cli.options import read_object
from tidegate_server.cli.output import print_stderr
from tidegate_server.cli.resource_commands import writable_fields
from tidegate_server.errors import ServerUnreachable, StartupRefused

Connect: TypeAlias = Callable[[], ApiClient]

FILE_ENDINGS = (".yaml", ".yml", ".json")


def is_file(name: str) -> bool:
    """Return whether a policy's name means a file; an existing file takes precedence."""
    return name == "-" or name.endswith(FILE_ENDINGS) or "/" in name or Path(name).is_file()


def read_policy(name: str) -> Json:
    """Return the policy in a file, or a built-in one: an option type."""
    from tidegate_server.documents import shipped

    if not is_file(name) and shipped.is_shipped(name):
        return shipped.document(name)
    return read_object(name)


def create_shipped_policy(client: ApiClient, name: str, reason: str) -> Json:
    """Create a built-in policy in the target's project, and return it as the server has it."""
    from tidegate_server.documents import shipped

    return client.post(client.project_path("policies"), shipped.document(name), reason)


def policy_on_server(connect: Connect, key: str) -> Json | None:
    """Return a policy of the server.

    None means: use the built-in policy of this name, because the server has none or there is no
    server. A note on standard error says so.

    Raises:
        StartupRefused, ServerUnreachable, ServerRefused: the server does not return the policy,
            and no policy of this name is built in.
    """
    from tidegate_server.documents import shipped

    try:
        client = connect()
        path = client.project_path("policies", key)
        if not shipped.is_shipped(key):
            return client.get(path).body
        policy = client.get_if_exists(path)
    except (StartupRefused, ServerUnreachable) as error:
        if not shipped.is_shipped(key):
            raise
        print_stderr(f"tidegate: {error.message} Using the built-in policy {key}.")
        return None
    if policy is None:
        print_stderr(
            f"Project {client.target.project} has no policy {key}. Using the built-in one."
        )
        return None
    return policy.body


def find_policy(name: str, connect: Connect) -> Json:
    """Return the writable fields of a policy, by a file's name or by its key.

    Raises:
        click.BadParameter: the file cannot be read.
        StartupRefused, ServerUnreachable, ServerRefused: there is no such policy.
    """
    if is_file(name):
        try:
            return writable_fields(read_object(name))
        except click.BadParameter as error:
            error.param_hint = "POLICY"
            raise
    from tidegate_server.documents import shipped

    policy = policy_on_server(connect, name)
    return writable_fields(policy) if policy is not None else shipped.document(name)
