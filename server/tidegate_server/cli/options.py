"""Options that commands share.

``@environment_options`` and its like add the options that select a server to a command, and call
it with a connected ``ApiClient`` as its first argument.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from tidegate_server.cli.output import JSON, TABLE, print_stderr, printable
from tidegate_server.cli.target import TargetOptions, resolve_target
from tidegate_server.errors import StartupRefused, TidegateError
from tidegate_server.processes.settings import check_environment

if TYPE_CHECKING:
    from tidegate_server.cli.api_client import ApiClient, Json

Command: TypeAlias = Callable[..., None]
Decorator: TypeAlias = Callable[[Command], Command]

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}

# The names of their parameters differ from those that commands give to their own.
_URL = click.option(
    "--url", "target_url", help="Server address.  [TIDEGATE_URL, or the current context]"
)
_CONTEXT = click.option(
    "--context", "target_context", metavar="NAME",
    help="Context saved by `tidegate login`.  [TIDEGATE_CONTEXT]",
)  # fmt: skip
_PROJECT = click.option(
    "--project", "target_project", metavar="KEY",
    help="Project.  [TIDEGATE_PROJECT, the context, or default]",
)  # fmt: skip
_ENVIRONMENT = click.option(
    "--environment", "-e", "target_environment", metavar="KEY",
    help="Environment.  [TIDEGATE_ENVIRONMENT, the context, or production]",
)  # fmt: skip


def _target_options(*options: Decorator, lenient: bool = False, lazy: bool = False) -> Decorator:
    def decorate(command: Command) -> Command:
        @wraps(command)
        def connected(
            *,
            target_url: str | None,
            target_context: str | None,
            target_project: str | None = None,
            target_environment: str | None = None,
            **arguments: Any,
        ) -> None:
            with ExitStack() as stack:

                def connect() -> ApiClient:
                    from tidegate_server.cli.api_client import ApiClient

                    _check_settings(lenient)
                    selected = TargetOptions(
                        target_url, target_context, target_project, target_environment
                    )
                    target = resolve_target(selected, os.environ)
                    if target.warning:
                        print_stderr(f"tidegate: {target.warning}")
                    return stack.enter_context(closing(ApiClient(target)))

                command(connect if lazy else connect(), **arguments)

        return decorated_with(*options)(connected)

    return decorate


server_options = _target_options(_URL, _CONTEXT)
"""For commands about the server."""

project_options = _target_options(_PROJECT, _URL, _CONTEXT)
"""For commands about a project."""

environment_options = _target_options(_ENVIRONMENT, _PROJECT, _URL, _CONTEXT)
"""For commands about an environment of a project."""

optional_server_options = _target_options(_PROJECT, _URL, _CONTEXT, lazy=True)
"""For commands that can work without a server. Their first argument is a function that returns
an ``ApiClient``, or raises what ``resolve_target`` raises."""

kill_switch_options = _target_options(_ENVIRONMENT, _PROJECT, _URL, _CONTEXT, lenient=True)
"""As ``environment_options``, but an unknown setting is only reported: nothing that the kill
switch does not need may stop it."""

output_option = click.option(
    "--output", "-o", type=click.Choice((TABLE, JSON)), default=TABLE, show_default=True,
    help="Output format.",
)  # fmt: skip

yes_option = click.option("--yes", "-y", is_flag=True, help="Skip the confirmation prompt.")

reason_option = click.option("--reason", default="", help="Reason, for the audit log.")

version_option = click.option(
    "--version", "revision", type=click.IntRange(min=1), metavar="N",
    help="Show it as it was at revision N; `history` lists the revisions.",
)  # fmt: skip

name_option = click.option("--name", help="Display name.")

description_option = click.option("--description", help="Description.")


def decorated_with(*decorators: Decorator) -> Decorator:
    """Return a decorator that applies others, as if they were written below each other."""

    def decorate(command: Command) -> Command:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


def limit_option(default: int) -> Decorator:
    """Return the option `--limit`: how many of the latest items to show."""
    return click.option(
        "--limit", type=click.IntRange(min=1), default=default, show_default=True,
        help="Show at most this many, the latest.",
    )  # fmt: skip


def confirm(question: str, yes: bool) -> None:
    """Ask before something is deleted for good; ends the command unless the answer is yes.

    Raises:
        StartupRefused: there is no terminal to ask on.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise StartupRefused(f"{question} Not an interactive terminal: confirm with --yes.")
    click.confirm(printable(question), abort=True)


def _check_settings(lenient: bool) -> None:
    try:
        check_environment(os.environ)
    except StartupRefused as refused:
        if not lenient:
            raise
        print_stderr(f"tidegate: {refused.message}")


def duration(text: str) -> float:
    """Return the seconds in a duration like ``10s`` or ``500ms``: an option type."""
    match = re.fullmatch(r"([0-9]{1,6})(ms|s|m|h)", text)
    if match is None:
        raise click.BadParameter(f"{text!r} is not a duration. Examples: 500ms, 10s, 2m.")
    return int(match[1]) * UNITS[match[2]]


def read_text(name: str) -> str:
    """Return the text of a file, or of standard input for ``-``: an option type."""
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        return data.decode("utf-8-sig")
    except OSError as error:
        raise click.BadParameter(f"Cannot read {file_label(name)}: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise click.BadParameter(f"{file_label(name)} is not UTF-8.") from None


def file_label(name: str) -> str:
    """Return how messages name a file."""
    return "standard input" if name == "-" else name


def read_document(name: str) -> Any:
    """Return the value in a YAML or JSON file, or on standard input for ``-``: an option type."""
    from tidegate_server.strict_text import parse_text

    text = read_text(name)
    try:
        return parse_text(text, file_label(name))
    except TidegateError as error:
        raise click.BadParameter(error.message) from None


def read_object(name: str) -> Json:
    """As ``read_document``, for files that must contain an object: an option type."""
    document = read_document(name)
    if not isinstance(document, dict):
        raise click.BadParameter(f"{file_label(name)} does not contain an object with fields.")
    return document
