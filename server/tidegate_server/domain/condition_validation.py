"""Validates conditions: known operators, fitting values, existing segments."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from tidegate.errors import InvalidCondition
from tidegate.evaluation import operators
from tidegate.model import All, AnyOf, Comparison, Condition, InKeySet, InSegment, NoneOf
from tidegate.wire import MAX_DEPTH

from tidegate_server.errors import FieldProblem

TARGETING_KEY = "targetingKey"

NAMES_OF_USERS = frozenset({"id", "key", "uid", "user", "userid", "userkey"})
"""What other products and applications call the targeting key, without case and separators."""


def condition_problems(
    condition: Condition, pointer: str, segments: Collection[str], depth: int = 0
) -> Iterator[FieldProblem]:
    """Yield what is wrong with a condition.

    Args:
        condition: what a client wrote.
        pointer: its place in the client's document.
        segments: the keys of the segments that it may name.
        depth: how many conditions enclose it.
    """
    if depth > MAX_DEPTH:
        yield FieldProblem(
            pointer, f"Conditions can be nested {MAX_DEPTH} levels deep; use a segment instead."
        )
        return
    match condition:
        case Comparison():
            yield from _comparison_problems(condition, pointer)
        case InSegment(segment):
            if segment not in segments:
                yield FieldProblem(
                    f"{pointer}/segment",
                    f"There is no segment {segment!r}; create it first.",
                    name=segment,
                    known=segments,
                )
        case InKeySet():
            yield FieldProblem(
                pointer,
                "Only the server writes key_set; upload the keys to a segment, and name the "
                "segment here.",
            )
        case All(parts):
            yield from _part_problems(parts, f"{pointer}/all", segments, depth)
        case AnyOf(parts):
            yield from _part_problems(parts, f"{pointer}/any", segments, depth)
        case NoneOf(parts):
            yield from _part_problems(parts, f"{pointer}/none", segments, depth)


def _part_problems(
    parts: tuple[Condition, ...], pointer: str, segments: Collection[str], depth: int
) -> Iterator[FieldProblem]:
    for index, part in enumerate(parts):
        yield from condition_problems(part, f"{pointer}/{index}", segments, depth + 1)


def _comparison_problems(comparison: Comparison, pointer: str) -> Iterator[FieldProblem]:
    if not comparison.attribute:
        yield FieldProblem(
            f"{pointer}/attribute", "Name the attribute to compare, or targetingKey."
        )
    if comparison.operator not in operators.OPERATORS:
        known = ", ".join(operators.OPERATORS)
        yield FieldProblem(
            f"{pointer}/operator",
            f"There is no operator {comparison.operator!r}; use one of: {known}.",
            name=comparison.operator,
            known=operators.OPERATORS.keys(),
        )
        return
    try:
        operators.compile(comparison.operator, comparison.value)
    except InvalidCondition as error:
        yield FieldProblem(f"{pointer}/value", f"{comparison.operator}: {error}.")


def misspelled_key_problems(condition: Condition, pointer: str) -> Iterator[FieldProblem]:
    """Yield a problem for each comparison with ``targetingKey`` in another spelling.

    It would never hold. A stored condition may have one, so only new conditions are checked.
    """
    for comparison, place in _comparisons(condition, pointer):
        name = comparison.attribute
        if name != TARGETING_KEY and _plain(name) == _plain(TARGETING_KEY):
            yield FieldProblem(
                f"{place}/attribute",
                f"Contexts have no attribute {name!r}. Did you mean {TARGETING_KEY}?",
                (TARGETING_KEY,),
            )


def key_warnings(condition: Condition, pointer: str) -> Iterator[FieldProblem]:
    """Yield a warning for each comparison with what may be meant for ``targetingKey``."""
    for comparison, place in _comparisons(condition, pointer):
        name = comparison.attribute
        if name != TARGETING_KEY and _plain(name) in (*NAMES_OF_USERS, _plain(TARGETING_KEY)):
            yield FieldProblem(
                f"{place}/attribute",
                f"The id that a context is made with is {TARGETING_KEY}. This holds only if your "
                f"application gives contexts an attribute {name!r}, too.",
            )


def _comparisons(condition: Condition, pointer: str) -> Iterator[tuple[Comparison, str]]:
    match condition:
        case Comparison():
            yield condition, pointer
        case All(parts) | AnyOf(parts) | NoneOf(parts):
            form = {All: "all", AnyOf: "any", NoneOf: "none"}[type(condition)]
            for index, part in enumerate(parts):
                yield from _comparisons(part, f"{pointer}/{form}/{index}")


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "").replace(" ", "")
