"""What came of a drill, in words."""

from __future__ import annotations

from collections.abc import Iterator

from tidegate_server.drill.exercise import Count, Outcome


def outcome_lines(number: int, outcome: Outcome) -> Iterator[str]:
    """Yield what came of one cut, under its heading."""
    yield f"{number}. {outcome.cut.what}, for {outcome.lasted:.0f} s."
    if (seen := outcome.seen) is not None:
        yield _fact(
            "Applications",
            f"{seen.answered:,} evaluations answered, {_some(seen.errors, 'error')}, "
            f"the slowest took {duration(seen.slowest)}",
        )
        yield _fact(
            "Changes", f"did not arrive for {duration(seen.without_changes)}" + _back(outcome)
        )
    if outcome.kill is not None:
        yield _fact("Kill", f"arrived in every worker {duration(outcome.kill)} after the request")
    if outcome.decided is not None:
        yield _fact(
            "Policy job", f"evaluated the release {duration(outcome.decided)} after the end"
        )
    if outcome.acknowledged:
        lost = "something is lost" if outcome.failures else "none is lost"
        yield _fact(
            "Acknowledged",
            f"{outcome.acknowledged:,} changes so far, {lost}; "
            f"{outcome.refused:,} were refused or not answered",
        )
    yield from _verdict(outcome.failures)


def count_lines(count: Count) -> Iterator[str]:
    """Yield whether the server has counted every operation of the application."""
    yield "At the end, the application did no more operations, and reported those before."
    yield _fact(
        "Operations", f"{count.ended:,} ended, {count.counted:,} are counted for the release"
    )
    yield from _verdict([] if count.agrees else ["Operations are lost, or were counted twice."])


def duration(seconds: float) -> str:
    """Return a time in the unit that reads best: ``0.4 ms``, ``12 ms``, ``3.1 s``."""
    if seconds >= 1.0:
        return f"{seconds:.1f} s"
    return f"{seconds * 1000:.{0 if seconds >= 0.01 else 1}f} ms"


def _back(outcome: Outcome) -> str:
    if outcome.back is None:
        return ""
    return f", and again {duration(outcome.back)} after the end"


def _some(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _fact(label: str, text: str) -> str:
    return f"   {label:<13} {text}"


def _verdict(failures: list[str]) -> Iterator[str]:
    for failure in failures:
        yield f"   FAILED: {failure[:1].upper()}{failure[1:]}"
    if not failures:
        yield "   Held."
