"""Conditions and segments compiled to tests of a context.

A segment that does not exist, that cannot be read or whose conditions form a cycle
contains nobody.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from typing import Any, TypeAlias

from tidegate.context import Context
from tidegate.errors import InvalidCondition
from tidegate.evaluation import operators
from tidegate.model import (
    All,
    AnyOf,
    Comparison,
    Condition,
    InSegment,
    NoneOf,
    Segment,
    nested_conditions,
)

Test: TypeAlias = Callable[[Context], bool]


class ConditionCompiler:
    """Compiles conditions, and segments on their first use; a segment's test is kept.

    Threads may compile at the same time: they compile the same, and one result is kept.

    Args:
        segments: the snapshot's segments by key.
    """

    def __init__(self, segments: Mapping[str, Segment]) -> None:
        self._segments = segments
        self._tests: dict[str, Test] = {}
        self._nested: dict[str, frozenset[str]] = {}
        self._included: dict[str, frozenset[str]] = {}

    def updated(self, segments: Mapping[str, Segment], changed: Set[str]) -> ConditionCompiler:
        """Return a compiler of other segments that keeps what does not use a changed one."""
        other = ConditionCompiler(segments)
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
    return lambda context: test(_nested_attribute(context.attributes, name, path))


def _nested_attribute(attributes: Mapping[str, Any], name: str, path: tuple[str, ...]) -> Any:
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
