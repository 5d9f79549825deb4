"""Exit statuses of the `tidegate` command, and how it prints errors."""

from __future__ import annotations

from tidegate_server import errors
from tidegate_server.errors import TidegateError

USAGE = 2
"""No request was sent: wrong usage, a wrong setting or file, or a server that cannot start."""

REFUSED = 3
"""The server refused the request; nothing changed."""

UNREACHABLE = 4
"""No server answers, or its store is down; a change may or may not have been made."""

NOT_REACHED = 5
"""The awaited result did not happen: not every instance applied a kill, a release was rolled
back, a replay differs from its ledger, a project differs from its files."""

INTERRUPTED = 130


def exit_status(error: TidegateError) -> int:
    """Return the exit status for an error."""
    if isinstance(error, errors.ServerRefused):
        return REFUSED
    if isinstance(error, errors.ServerUnreachable | errors.StoreUnavailable):
        return UNREACHABLE
    return USAGE


def error_text(error: TidegateError) -> str:
    """Return the message of an error, a line for each invalid field, and what helps."""
    text = _message_and_fields(error)
    hint = error.hint if isinstance(error, errors.ServerRefused) else ""
    return f"{text}\n{hint}" if hint else text


def _message_and_fields(error: TidegateError) -> str:
    if not error.fields:
        return error.message
    # Most refusals repeat their first field in the message.
    repeated = any(field.detail in error.message for field in error.fields)
    heading = "Refused, nothing changed:" if repeated else error.message
    lines = (f"  {field.pointer or 'the whole document'}: {field.detail}" for field in error.fields)
    return "\n".join((heading, *lines))
