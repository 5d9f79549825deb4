"""What left the block of an operation: an error, or an end from outside that says nothing."""

from __future__ import annotations

INTERRUPTIONS: frozenset[tuple[str, str]] = frozenset({
    ("builtins", "KeyboardInterrupt"),
    ("builtins", "GeneratorExit"),
    ("asyncio.exceptions", "CancelledError"),
    ("trio", "Cancelled"),
    ("greenlet", "GreenletExit"),
})  # fmt: skip
"""By name: the application may have none of these libraries, and the SDK imports none."""


def is_error(left: BaseException) -> bool:
    """Return whether an exception that ended an operation, or one of its causes, is an error.

    An interruption is none, and neither is an exit with the code 0. Everything else is: an exit
    with another code, as of a worker that its server aborts, and timeouts that are no
    ``Exception``. An error in a group, or that something was raised ``from``, is one too.
    """
    causes: list[BaseException] = [left]
    seen: set[int] = set()
    while causes:
        cause = causes.pop()
        if id(cause) in seen:
            continue
        seen.add(id(cause))
        if cause.__cause__ is not None:
            causes.append(cause.__cause__)
        if isinstance(cause, BaseExceptionGroup):
            causes.extend(cause.exceptions)
        elif isinstance(cause, SystemExit):
            if cause.code not in (None, 0):
                return True
        elif not _is_interruption(cause):
            return True
    return False


def _is_interruption(cause: BaseException) -> bool:
    kinds = type(cause).__mro__
    return any((kind.__module__, kind.__name__) in INTERRUPTIONS for kind in kinds)
