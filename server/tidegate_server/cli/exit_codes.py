"""What the exit status of the `tidegate` command says."""

from __future__ import annotations

from tidegate_server import errors
from tidegate_server.errors import TidegateError

NOT_STARTED = 2
"""Nothing was asked of a server: wrong usage, a setting, a file, or a start that is refused."""

REFUSED = 3
"""The server refused, and nothing was changed."""

UNREACHABLE = 4
"""No server answers, or it cannot reach its store; what was asked may not have been done."""

NOT_SEEN = 5
"""What was waited for, or checked, was not seen: a kill applied everywhere, a release completed,
a ledger that agrees with its replay."""

INTERRUPTED = 130


def status_of(error: TidegateError) -> int:
    """The exit status of an error."""
    if isinstance(error, errors.ServerRefused):
        return REFUSED
    if isinstance(error, errors.ServerUnreachable | errors.StoreUnavailable):
        return UNREACHABLE
    return NOT_STARTED


def sentence_of(error: TidegateError) -> str:
    """What is wrong, and each field at fault on a line of its own with its pointer and mend."""
    fields = error.fields
    if not fields:
        return error.message
    # Most refusals repeat their first field in the message.
    told = any(field.detail in error.message for field in fields)
    opening = "Refused, and nothing was changed:" if told else error.message
    lines = (f"  {field.pointer or 'the whole document'}: {field.detail}" for field in fields)
    return "\n".join((opening, *lines))
