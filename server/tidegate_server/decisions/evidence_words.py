"""The words for the numbers of decisions, in reasons, histories and on the command line alike.

It imports nothing, because commands that only print a number start fast.
"""

from __future__ import annotations

UNITS = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min"))
"""Units of time in milliseconds, the largest first; seconds follow."""


def format_number(value: float) -> str:
    """Return a number with at most three significant digits below 100, without exponents."""
    if value >= 1e6:
        return "more than a million"
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 0.001 else "less than 0.001"


def duration(milliseconds: int) -> str:
    """Return a duration in its largest fitting unit: ``90 s``, ``15 min``, ``2 h``, ``3 d``."""
    for unit, name in UNITS:
        if milliseconds >= 2 * unit or (milliseconds >= unit and milliseconds % unit == 0):
            return f"{format_number(round(milliseconds / unit, 1))} {name}"
    return f"{format_number(round(milliseconds / 1_000, 1))} s"


def with_limit(value: float | None, word: str, limit: float | None) -> str:
    """Return a number and its limit: ``1,155 (limit 200)``; ``-`` for None."""
    if value is None:
        return "-"
    text = format_number(value)
    return text if limit is None else f"{text} ({word} {format_number(limit)})"


def harm(value: float, limit: float | None = None) -> str:
    """Return E in words: ``evidence of harm 0.8 (limit 111)``."""
    return f"evidence of harm {with_limit(value, 'limit', limit)}"


def safety(value: float, needed: float | None = None) -> str:
    """Return A in words: ``evidence of safety 3.2 (needs 10)``."""
    return f"evidence of safety {with_limit(value, 'needs', needed)}"


def noticeable(ratio: float | None) -> str:
    """Return what E would have noticed by now.

    Args:
        ratio: the detectable ratio; None: even the largest that it is computed for might have
            stayed unnoticed.
    """
    if ratio is None:
        return "even 1,000 times as many errors might not have been noticed"
    times = format_number(ratio if ratio >= 100 else round(ratio, 1))
    return f"errors {times} times as frequent would have been noticed, less might not"


def wobble(deviation: float) -> str:
    """Return how much the arms wobble against each other; empty if they do not.

    Args:
        deviation: the standard deviation of the log ratio of their rates between windows.
    """
    if deviation < 0.005:
        return ""
    return f"the arms wobble against each other by {format_number(round(100 * deviation))} %"
