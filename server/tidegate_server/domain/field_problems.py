"""Collecting what is wrong with a document, so that a client hears of all of it at once."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from decimal import Decimal

from tidegate_server.errors import FieldProblem, Invalid

KEY = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
"""Keys of projects, environments, flags, segments and policies: they stand in addresses."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""Names within a document: variants, rules, stages."""


def refuse(what: str, problems: Iterable[FieldProblem]) -> None:
    """Raise ``Invalid`` when there are problems.

    Args:
        what: what was written, as the sentence names it: ``flag new-checkout``.
        problems: all that is wrong with it.
    """
    found = tuple(problems)
    if len(found) == 1:
        raise Invalid(found[0].detail, *found)
    if found:
        raise Invalid(f"{len(found)} fields of {what} are wrong.", *found)


def of_key(key: str, pointer: str = "/key") -> Iterator[FieldProblem]:
    """A key that could not stand in an address."""
    if not KEY.fullmatch(key):
        yield FieldProblem(
            pointer,
            f"{key[:120]!r} cannot be a key: use small letters, digits, dots, hyphens and "
            "underscores, a letter or digit first, 100 at most.",
        )


def of_name(name: str, pointer: str) -> Iterator[FieldProblem]:
    """A name that has characters which are awkward in a command or a table."""
    if not NAME.fullmatch(name):
        yield FieldProblem(
            pointer,
            f"{name[:120]!r} cannot be a name here: use letters, digits, dots, hyphens and "
            "underscores, a letter or digit first, 100 at most.",
        )


def of_twice(names: Iterable[str], pointer: str, what: str) -> Iterator[FieldProblem]:
    """Names that occur twice. In ``pointer``, ``{}`` stands for the position in the list."""
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name in seen:
            yield FieldProblem(
                pointer.format(index), f"There are two {what} {name!r}; rename or remove one."
            )
        seen.add(name)


def of_percentage(value: float, pointer: str) -> Iterator[FieldProblem]:
    """A share that is not above 0 and up to 100, or has more than three decimals."""
    if not math.isfinite(value) or not 0 < value <= 100:
        yield FieldProblem(pointer, f"{value:g} is not a percentage above 0 and up to 100.")
    elif _decimals(value) > 3:
        yield FieldProblem(
            pointer,
            f"{value!r} has more than three decimals; the finest share is 0.001 %.",
        )


def exact(value: float) -> Decimal:
    """The number as it was written, so that sums come out exactly."""
    return Decimal(repr(value))


def _decimals(value: float) -> int:
    exponent = exact(value).normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0
