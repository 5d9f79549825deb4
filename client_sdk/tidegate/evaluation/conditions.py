"""Conditions and segments compiled to tests of a context.

A segment that does not exist, that cannot be read or whose conditions form a cycle
contains nobody. A key set that is not here makes what uses it an invalid flag: nobody knows whom it
contains.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from tidegate.context import Context
from tidegate.errors import InvalidCondition, InvalidFlag
from tidegate.evaluation import operators
from tidegate.model import (
    All,
    AnyOf,
    Comparison,
    Condition,
    InKeySet,
    InSegment,
    NoneOf,
    Segment,
    nested_conditions,
)
from tidegate.runtime.late_imports import load

if TYPE_CHECKING:
    from tidegate.evaluation.key_sets import Hashes

Test: TypeAlias = Callable[[Context], bool]

KeySets: TypeAlias = "Mapping[str, Hashes]"
"""Key sets by digest."""

NO_KEY_SETS: Final[KeySets] = MappingProxyType({})


class ConditionCompiler:
    """Compiles conditions, and segments on their first use; a segment's test is kept.

    Threads may compile at the same time: they compile the same, and one result is kept.

    Args:
        segments: the snapshot's segments by key.
        key_sets: the key sets that are here.
    """

    def __init__(self, segments: Mapping[str, Segment], key_sets: KeySets = NO_KEY_SETS) -> None:
        self._segments = segments
        self.key_sets: KeySets = key_sets
        self._tests: dict[str, Test] = {}
        self._nested: dict[str, frozenset[str]] = {}
        self._included: dict[str, frozenset[str]] = {}

    def updated(
        self, segments: Mapping[str, Segment], changed: Set[str], key_sets: KeySets
    ) -> ConditionCompiler:
        """Return a compiler of other segments that keeps what does not use a changed one."""
        other = ConditionCompiler(segments, key_sets)
        for key, test in self._tests.copy().items():
            nested = self.nested_segments(key)
            if nested.isdisjoint(changed):
                other._tests[key] = test
                other._nested[key] = nested
        for key, included in self._included.copy().items():
            if key not in changed:
                other._included[key] = included
        return other

    def test(self, condition: Condition) -> Test:
        """Return the test of a condition.

        Raises:
            InvalidCondition: an unknown operator, or a value that it cannot compare with.
            InvalidFlag: a key set is not here.
        """
        if isinstance(condition, Comparison):
            return _comparison_test(condition)
        if isinstance(condition, InSegment):
            return self.segment_test(condition.segment)
        if isinstance(condition, All):
            return _all_test([self.test(part) for part in condition.all])
        if isinstance(condition, AnyOf):
            return _any_test([self.test(part) for part in condition.any])
        if isinstance(condition, NoneOf):
            return _none_test([self.test(part) for part in condition.none])
        if isinstance(condition, InKeySet):
            return self._key_set_test(condition)
        raise InvalidCondition(f"not a condition: {condition!r}")

    def segment_test(self, key: str) -> Test:
        """Return the test of whether a context is in a segment."""
        test = self._tests.get(key)
        if test is None:
            segment = self._segments.get(key)
            nested = reachable(key, self._segments_in)
            if segment is None or key in nested:
                test = _never
            else:
                for other in reversed(nested):
                    self.segment_test(other)  # the farthest first: no deep recursion
                test = self._membership_test(segment)
            self._tests[key] = test
        return test

    def _key_set_test(self, condition: InKeySet) -> Test:
        hashes = self.key_sets.get(condition.key_set)
        if hashes is None:
            raise InvalidFlag(
                f"the {condition.count:,} uploaded keys of a segment that it uses have not come "
                "from the server yet"
            )
        test: Test = load("tidegate.evaluation.key_sets").key_test(hashes, condition.salt)
        return test

    def segment_members(self, key: str) -> frozenset[str] | None:
        """Return the keys of a segment that is only a list of keys; None for any other."""
        segment = self._segments.get(key)
        if segment is None or segment.when is not None or segment.excluded:
            return None
        return self._included_keys(segment)

    def nested_segments(self, key: str) -> frozenset[str]:
        """Return a segment's key and those that its condition uses, directly or not."""
        nested = self._nested.get(key)
        if nested is None:
            nested = self._nested[key] = frozenset((key, *reachable(key, self._segments_in)))
        return nested

    def _segments_in(self, key: str) -> Iterable[str]:
        segment = self._segments.get(key)
        return () if segment is None else segments_in(segment.when)

    def _included_keys(self, segment: Segment) -> frozenset[str]:
        included = self._included.get(segment.key)
        if included is None:
            included = self._included[segment.key] = frozenset(segment.included)
        return included

    def _membership_test(self, segment: Segment) -> Test:
        try:
            when = _never if segment.when is None else self.test(segment.when)
        except InvalidCondition:
            return _never
        included, excluded = self._included_keys(segment), frozenset(segment.excluded)
        if not included and not excluded:
            return when

        def is_member(context: Context) -> bool:
            key = context.targeting_key
            if key in excluded:
                return False
            return key in included or when(context)

        return is_member


def key_sets_in(segments: Iterable[Segment | None]) -> dict[str, InKeySet]:
    """Return the key sets that segments name, by digest."""
    return {
        condition.key_set: condition
        for segment in segments
        if segment is not None and segment.when is not None
        for condition in nested_conditions(segment.when)
        if isinstance(condition, InKeySet)
    }


def segments_in(condition: Condition | None) -> Iterator[str]:
    """Yield the segments that a condition names, in order."""
    if condition is None:
        return
    for nested in nested_conditions(condition):
        if isinstance(nested, InSegment):
            yield nested.segment


def reachable(key: str, names: Callable[[str], Iterable[str]]) -> dict[str, None]:
    """Return the keys that ``key`` leads to, the nearest first.

    ``key`` itself is among them only if it leads back to itself.

    Args:
        key: where to start.
        names: the keys that a key names.
    """
    found: dict[str, None] = {}
    waiting = deque([key])
    while waiting:
        for other in names(waiting.popleft()):
            if other not in found:
                found[other] = None
                waiting.append(other)
    return found


def _never(_: Context) -> bool:
    return False


def _comparison_test(comparison: Comparison) -> Test:
    test = operators.compile(comparison.operator, comparison.value)
    name = comparison.attribute
    if name == "targetingKey":
        return lambda context: test(context.targeting_key)
    if "." not in name:
        return lambda context: test(context.attributes.get(name))
    path = tuple(name.split("."))
    return lambda context: test(nested_attribute(context.attributes, name, path))


def nested_attribute(attributes: Mapping[str, Any], name: str, path: Iterable[str]) -> Any:
    """Return the attribute that a condition names; None if there is none.

    Args:
        attributes: of a context.
        name: the name, with a dot before each nested part.
        path: its parts.
    """
    if name in attributes:
        return attributes[name]
    value: Any = attributes
    for part in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(part)
    return value


# Loops, not all() and any(): a generator costs more than the tests.


def _all_test(tests: list[Test]) -> Test:
    if len(tests) == 1:
        return tests[0]

    def test(context: Context) -> bool:
        for part in tests:
            if not part(context):
                return False
        return True

    return test


def _any_test(tests: list[Test]) -> Test:
    if len(tests) == 1:
        return tests[0]

    def test(context: Context) -> bool:
        for part in tests:
            if part(context):
                return True
        return False

    return test


def _none_test(tests: list[Test]) -> Test:
    any_test = _any_test(tests)
    return lambda context: not any_test(context)
