"""Options that commands share.

``@environment_options`` and its like add the options that select a server to a command, and call
it with a connected ``ApiClient`` as its first argument.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from tidegate_server.cli.output import JSON, TABLE, print_json, print_stderr, print_text, printable
from tidegate_server.cli.secret_options import secret_option
from tidegate_server.cli.target import TargetOptions, resolve_target
from tidegate_server.errors import StartupRefused, TidegateError
from tidegate_server.processes.settings import check_environment

if TYPE_CHECKING:
    from tidegate_server.cli.api_client import ApiClient, Json, Later

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
                    return stack.enter_context(closing(ApiClient(target, _later())))

                with _printed_plans(arguments.get("output")):
                    command(connect if lazy else connect(), **arguments)

        return decorated_with(*options)(connected)

    return decorate


def _later() -> Later:
    """Return when and how the running command makes its change.

    Raises:
        click.UsageError: there is a time zone without a time.
    """
    from tidegate_server.cli.api_client import Later

    noted = click.get_current_context().meta
    at, zone = noted.get(SCHEDULE_AT, ""), noted.get(SCHEDULE_TIMEZONE, "")
    if zone and not at:
        raise click.UsageError("--timezone is the time zone of --at; give that too.")
    return Later(noted.get(PROPOSAL, ""), at, zone or "UTC")


@contextmanager
def _printed_plans(output: str | None) -> Iterator[None]:
    """Print the change request or the scheduled change that was made instead of a change."""
    from tidegate_server.cli.api_client import Planned

    try:
        yield
    except Planned as planned:
        if output == JSON:
            return print_json(planned.document)
        return print_text(planned.text)


server_options = _target_options(_URL, _CONTEXT)
"""For commands about the server."""

project_options = _target_options(_PROJECT, _URL, _CONTEXT)
"""For commands about a project."""

environment_options = _target_options(_ENVIRONMENT, _PROJECT, _URL, _CONTEXT)
"""For commands about an environment of a project."""

optional_server_options = _target_options(_PROJECT, _URL, _CONTEXT, lazy=True)
"""For commands that can work without a server. Their first argument is a function that returns
an ``ApiClient``, or raises what ``resolve_target`` raises."""

optional_environment_options = _target_options(_ENVIRONMENT, _PROJECT, _URL, _CONTEXT, lazy=True)
"""As ``optional_server_options``, for commands about an environment."""

kill_switch_options = _target_options(_ENVIRONMENT, _PROJECT, _URL, _CONTEXT, lenient=True)
"""As ``environment_options``, but an unknown setting is only reported: nothing that the kill
switch does not need may stop it."""

output_option = click.option(
    "--output", "-o", type=click.Choice((TABLE, JSON)), default=TABLE, show_default=True,
    help="Output format.",
)  # fmt: skip

yes_option = click.option("--yes", "-y", is_flag=True, help="Skip the confirmation prompt.")

local_reason_option = click.option("--reason", default="", help="Reason, for the audit log.")
"""The reason of a change that the command makes itself, without a server."""


def _note_proposal(ctx: click.Context, _: click.Parameter, why: str | None) -> None:
    if why is not None and not why.strip():
        raise click.BadParameter("Say why the change is needed.")
    ctx.meta[PROPOSAL] = why or ""


PROPOSAL = "tidegate.proposal"
"""Where the context of a command keeps why its change is proposed; empty: it is made at once."""

_PROPOSE = click.option(
    "--propose", metavar="WHY", expose_value=False, callback=_note_proposal,
    help="Propose the change, for other people to approve, instead of making it.",
)  # fmt: skip


SCHEDULE_AT = "tidegate.at"
SCHEDULE_TIMEZONE = "tidegate.timezone"
"""Where the context of a command keeps when its change is to be made."""


def _note(name: str) -> Callable[[click.Context, click.Parameter, str | None], None]:
    def note(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
        ctx.meta[name] = value or ""

    return note


_AT = click.option(
    "--at", metavar="TIME", expose_value=False, callback=_note(SCHEDULE_AT),
    help="Make the change at this time: 2026-05-01T09:00; needs --reason, or --propose.",
)  # fmt: skip

_TIMEZONE = click.option(
    "--timezone", metavar="NAME", expose_value=False, callback=_note(SCHEDULE_TIMEZONE),
    help="Time zone of --at, such as Europe/Berlin.  [UTC]",
)  # fmt: skip


def reason_option(command: Command) -> Command:
    """Add the options of every command that changes something on a server."""
    return local_reason_option(_PROPOSE(_AT(_TIMEZONE(command))))


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


store_options = decorated_with(
    click.option(
        "--data-dir", envvar="TIDEGATE_DATA_DIR", show_envvar=True, show_default=True,
        default="./tidegate-data", type=click.Path(file_okay=False, path_type=Path),
        help="Data folder of the server.",
    ),
    secret_option(
        "--store-url", "TIDEGATE_STORE_URL",
        "Store of the servers, if it is not the one in the data folder.",
    ),
)  # fmt: skip
"""The options of commands that reach the store itself."""


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
