"""The options that commands share, and the server that they are given.

``@for_environment`` and its like put the options for reaching a server on a command, and
call it with a ``Server`` as its first argument.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import click

from tidegate_server.cli.output import JSON, TABLE, clean, note
from tidegate_server.cli.target import Given, resolve
from tidegate_server.errors import StartupRefused, TidegateError
from tidegate_server.processes.settings import check_environment

if TYPE_CHECKING:
    from tidegate_server.cli.api_client import Json, Server

Command: TypeAlias = Callable[..., None]
Decorator: TypeAlias = Callable[[Command], Command]
AnyCommand = TypeVar("AnyCommand", bound=Command)

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}

# Their names are kept apart from those that a command gives to its own parameters.
_URL = click.option(
    "--url", "at_url", help="The server's address.  [TIDEGATE_URL, else the current context]"
)
_CONTEXT = click.option(
    "--context", "at_context", help="A context of `tidegate login`.  [TIDEGATE_CONTEXT]"
)
_PROJECT = click.option("--project", "at_project", help="The project.  [TIDEGATE_PROJECT; default]")
_ENVIRONMENT = click.option(
    "--environment",
    "-e",
    "at_environment",
    help="The environment.  [TIDEGATE_ENVIRONMENT; production]",
)


def _reaching(
    *options: Callable[[Command], Command], lenient: bool = False, perhaps: bool = False
) -> Decorator:
    def decorate(command: Command) -> Command:
        @wraps(command)
        def reached(
            *,
            at_url: str | None,
            at_context: str | None,
            at_project: str | None = None,
            at_environment: str | None = None,
            **arguments: Any,
        ) -> None:
            with ExitStack() as at_the_end:

                def reach() -> Server:
                    from tidegate_server.cli.api_client import Server

                    _check_settings(lenient)
                    given = Given(at_url, at_context, at_project, at_environment)
                    target = resolve(given, os.environ)
                    if target.warning:
                        note(f"tidegate: {target.warning}")
                    return at_the_end.enter_context(closing(Server(target)))

                command(reach if perhaps else reach(), **arguments)

        optioned: Command = reached
        for option in reversed(options):
            optioned = option(optioned)
        return optioned

    return decorate


for_server = _reaching(_URL, _CONTEXT)
"""For commands about the server itself."""

for_project = _reaching(_PROJECT, _URL, _CONTEXT)
"""For commands about a project."""

for_project_perhaps = _reaching(_PROJECT, _URL, _CONTEXT, perhaps=True)
"""For commands that may do without a server: their first argument is a function that reaches
it, or raises what ``resolve`` raises."""

for_environment = _reaching(_ENVIRONMENT, _PROJECT, _URL, _CONTEXT)
"""For commands about an environment of a project."""

for_environment_in_a_hurry = _reaching(_ENVIRONMENT, _PROJECT, _URL, _CONTEXT, lenient=True)
"""As ``for_environment``, for the kill switch: a setting nobody knows does not stop it."""

output_option = click.option(
    "--output", "-o", type=click.Choice((TABLE, JSON)), default=TABLE, show_default=True,
    help="For people, or for programs.",
)  # fmt: skip

yes_option = click.option("--yes", "-y", is_flag=True, help="Do not ask.")

reason_option = click.option("--reason", default="", help="Why; it goes to the audit log.")


def limit_option(most: int) -> Callable[[AnyCommand], AnyCommand]:
    """How many of a long list are shown: the latest."""
    return click.option(
        "--limit", type=click.IntRange(min=1), default=most, show_default=True,
        help="How many, the latest.",
    )  # fmt: skip


def confirm(question: str, yes: bool) -> None:
    """Ask before something is gone for good; ends the command unless the answer is yes.

    Raises:
        StartupRefused: nobody is there to be asked.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise StartupRefused(f"{question} Nobody is there to say so: add --yes.")
    click.confirm(clean(question), abort=True)


def _check_settings(lenient: bool) -> None:
    try:
        check_environment(os.environ)
    except StartupRefused as refused:
        if not lenient:
            raise
        note(f"tidegate: {refused.message}")


def duration(text: str) -> float:
    """The seconds in a span of time, written ``10s`` or ``500ms``: a type of options."""
    found = re.fullmatch(r"([0-9]{1,6})(ms|s|m|h)", text)
    if found is None:
        raise click.BadParameter(f"{text!r} is no span of time; one is written 500ms, 10s or 2m.")
    return int(found[1]) * UNITS[found[2]]


def file_text(name: str) -> str:
    """The text in a file, ``-`` for standard input: a type of options."""
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        return data.decode("utf-8-sig")
    except OSError as error:
        raise click.BadParameter(f"{said(name)} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise click.BadParameter(f"{said(name)} is not UTF-8.") from None


def said(name: str) -> str:
    """How a sentence names a file."""
    return "standard input" if name == "-" else name


def document_file(name: str) -> Any:
    """The value in a YAML or JSON file, ``-`` for standard input: a type of options."""
    from tidegate_server.strict_text import parse_text

    text = file_text(name)
    try:
        return parse_text(text, said(name))
    except TidegateError as error:
        raise click.BadParameter(error.message) from None


def object_file(name: str) -> Json:
    """As ``document_file``, for files that hold an object with named fields."""
    found = document_file(name)
    if not isinstance(found, dict):
        raise click.BadParameter(f"{said(name)} holds no object with named fields.")
    return found
