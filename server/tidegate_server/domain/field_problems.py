"""Finds what is wrong with the fields of a document.

Validation collects every problem, so that a client sees all of them at once. Functions that
are called ``..._problems`` yield problems; those called ``check_...`` raise ``Invalid``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Iterator
from decimal import Decimal

from tidegate_server.errors import FieldProblem, Invalid
from tidegate_server.near_misses import question, similar

KEY = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
"""Keys of projects, environments, flags, segments and policies; they are part of URLs."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""Names within a document: variants, rules, stages."""

MAX_COMPARED_PROBLEMS = 5
"""How many problems of one document get suggestions."""

MAX_DURATION_MS = 365 * 86_400_000


def raise_problems(subject: str, problems: Iterable[FieldProblem]) -> None:
    """Raise ``Invalid`` if there are problems.

    Args:
        subject: what was validated, for the message: ``flag new-checkout``.
        problems: everything that is wrong with it.
    """
    found = tuple(_with_suggestions(problems))
    if len(found) == 1:
        raise Invalid(found[0].detail, *found)
    if found:
        raise Invalid(
            f"{subject[:1].upper()}{subject[1:]} has {len(found)} invalid fields.", *found
        )


def _with_suggestions(problems: Iterable[FieldProblem]) -> Iterator[FieldProblem]:
    """Yield problems, the first with what the person may have meant: to compare names is slow."""
    compared = 0
    for problem in problems:
        found: tuple[str, ...] = ()
        if problem.known and compared < MAX_COMPARED_PROBLEMS:
            compared += 1
            found = similar(problem.name, problem.known)
        detail = problem.detail + question(found)
        yield FieldProblem(problem.pointer, detail, found or problem.suggestions)


def check_key(subject: str, key: str) -> None:
    """Raise ``Invalid`` if a key cannot be part of a URL."""
    raise_problems(subject, key_problems(key))


def key_problems(key: str, pointer: str = "/key") -> Iterator[FieldProblem]:
    """Yield a problem if a key cannot be part of a URL."""
    if not KEY.fullmatch(key):
        yield FieldProblem(
            pointer,
            f"{key[:120]!r} is not a valid key: use 1 to 100 lower-case letters, digits, dots, "
            "hyphens and underscores, starting with a letter or digit.",
        )


def name_problems(name: str, pointer: str) -> Iterator[FieldProblem]:
    """Yield a problem if a name has characters that are awkward in commands and tables."""
    if not NAME.fullmatch(name):
        yield FieldProblem(
            pointer,
            f"{name[:120]!r} is not a valid name: use 1 to 100 letters, digits, dots, hyphens "
            "and underscores, starting with a letter or digit.",
        )


def duplicate_problems(names: Iterable[str], pointer: str, what: str) -> Iterator[FieldProblem]:
    """Yield a problem for each repeated name; ``{}`` in ``pointer`` is its position."""
    known: set[str] = set()
    for index, name in enumerate(names):
        if name in known:
            yield FieldProblem(
                pointer.format(index), f"There are two {what} {name!r}; rename or remove one."
            )
        known.add(name)


def missing_problems(
    keys: Iterable[str], known: Collection[str], pointer: str, kind: str
) -> Iterator[FieldProblem]:
    """Yield a problem for each key that does not exist; ``{}`` in ``pointer`` is its position."""
    for index, key in enumerate(keys):
        if key not in known:
            yield FieldProblem(
                pointer.format(index),
                f"There is no {kind} {key!r}; create it first.",
                name=key,
                known=known,
            )


def percentage_problems(value: float, pointer: str) -> Iterator[FieldProblem]:
    """Yield a problem unless a percentage is above 0, at most 100, with at most 3 decimals."""
    if not math.isfinite(value) or not 0 < value <= 100:
        yield FieldProblem(pointer, f"{value:g} is not a percentage above 0 and up to 100.")
    elif _decimals(value) > 3:
        yield FieldProblem(pointer, f"{value!r} has more than three decimals; use at most three.")


def duration_problems(milliseconds: int, pointer: str) -> Iterator[FieldProblem]:
    """Yield a problem unless a duration is between 0 and 365 days."""
    if not 0 <= milliseconds <= MAX_DURATION_MS:
        yield FieldProblem(pointer, "A duration must be between 0s and 365d.")


def exact_decimal(value: float) -> Decimal:
    """Return a number as its shortest decimal text has it, so that sums are exact."""
    return Decimal(repr(value))


def _decimals(value: float) -> int:
    exponent = exact_decimal(value).normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0
