"""The comparison operators: one function each.

``compile(operator, value)`` returns a test of an attribute's value. A test accepts a value of
any type and returns False if it cannot compare it. It never raises, and it never treats a
string of digits as a number or a boolean as 1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from operator import eq, ge, gt, le, lt
from typing import Any, Final, TypeAlias

from tidegate.errors import InvalidCondition
from tidegate.evaluation.instants import seconds_since_1970
from tidegate.runtime.late_imports import load

Test: TypeAlias = Callable[[Any], bool]
MakeTest: TypeAlias = Callable[[object], Test]
Compare: TypeAlias = Callable[[Any, Any], bool]


def compile(operator: str, value: object) -> Test:
    """Return the test of whether an attribute's value compares so with ``value``.

    Args:
        operator: one of ``OPERATORS``.
        value: a scalar or a sequence of scalars, as the operator needs.

    Raises:
        InvalidCondition: the operator does not exist, or it cannot compare with the value.
    """
    make = OPERATORS.get(operator)
    if make is None:
        known = ", ".join(OPERATORS)
        raise InvalidCondition(f"there is no operator {operator!r}; use one of: {known}")
    return make(value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def identity(value: object) -> object:
    """Return a key that equal scalars share: True is not 1, but 1 is 1.0; None for no scalar."""
    if isinstance(value, bool):
        return bool, value
    return value if isinstance(value, str | int | float) else None


def constants(operator: str, value: object) -> frozenset[object]:
    """Return the identities of the scalars that ``equals`` or ``in`` compares with.

    Raises:
        InvalidCondition: the operator cannot compare with the value.
    """
    items = (_scalar(value),) if operator == "equals" else _items(value)
    return frozenset(identity(item) for item in items) - {None}


def _scalar(value: object) -> object:
    if not isinstance(value, (str, int, float)) and (
        value is None or isinstance(value, (list, tuple, Mapping))
    ):
        raise InvalidCondition("the value must be a string, a number or a boolean")
    return value


def _items(value: object) -> tuple[object, ...]:
    if not isinstance(value, list | tuple):
        raise InvalidCondition("the value must be a list")
    return tuple(_scalar(item) for item in value)


def _strings(value: object) -> tuple[str, ...]:
    items = value if isinstance(value, list | tuple) else (value,)
    strings = tuple(item for item in items if isinstance(item, str))
    if len(strings) != len(items) or not strings:
        raise InvalidCondition("the value must be a string or a list of strings")
    return strings


def _equals(value: object) -> Test:
    expected = _scalar(value)
    if isinstance(expected, str):
        return lambda actual: isinstance(actual, str) and actual == expected
    return _one_of(constants("equals", value))


def _in(value: object) -> Test:
    items = constants("in", value)
    if all(isinstance(item, str) for item in items):
        return lambda actual: isinstance(actual, str) and actual in items
    return _one_of(items)


def _one_of(identities: frozenset[object]) -> Test:
    return lambda actual: identity(actual) in identities


def _contains(value: object) -> Test:
    parts = _strings(value)

    def test(actual: Any) -> bool:
        if isinstance(actual, str):
            return any(part in actual for part in parts)
        return isinstance(actual, list | tuple | set | frozenset) and any(
            part in actual for part in parts
        )

    return test


def _starts_with(value: object) -> Test:
    prefixes = _strings(value)
    return lambda actual: isinstance(actual, str) and actual.startswith(prefixes)


def _ends_with(value: object) -> Test:
    suffixes = _strings(value)
    return lambda actual: isinstance(actual, str) and actual.endswith(suffixes)


_INVALID_UNICODE: Final = (
    "the value contains an unpaired surrogate (U+D800 to U+DFFF), which is not valid Unicode"
)


def _matches(value: object) -> Test:
    if not isinstance(value, str):
        raise InvalidCondition("the value must be a regular expression, as a string")
    # RE2 works in linear time, so no pattern can hang an evaluation. Importing it takes longer
    # than importing the rest of the SDK, so it is imported with the first pattern.
    re2 = load("re2")
    options = re2.Options()
    options.log_errors = False  # else RE2 writes them to the application's stderr
    try:
        search = re2.compile(value, options).search
    except re2.error as error:
        reason = error.args[0].decode("utf-8", "replace")
        raise InvalidCondition(
            f"not a valid RE2 regular expression: {reason} "
            "(RE2 has no look-around and no back-references)"
        ) from None
    except UnicodeEncodeError:
        raise InvalidCondition(_INVALID_UNICODE) from None

    def test(actual: Any) -> bool:
        try:
            return isinstance(actual, str) and search(actual) is not None
        except UnicodeEncodeError:
            return False

    return test


def _number(value: object) -> float:
    if not _is_number(value):
        raise InvalidCondition("the value must be a number")
    return value  # type: ignore[return-value]


def _greater_than(value: object) -> Test:
    limit = _number(value)
    return lambda actual: _is_number(actual) and actual > limit


def _greater_or_equal(value: object) -> Test:
    limit = _number(value)
    return lambda actual: _is_number(actual) and actual >= limit


def _less_than(value: object) -> Test:
    limit = _number(value)
    return lambda actual: _is_number(actual) and actual < limit


def _less_or_equal(value: object) -> Test:
    limit = _number(value)
    return lambda actual: _is_number(actual) and actual <= limit


def _limit_instant(value: object) -> float:
    limit = seconds_since_1970(value)
    if limit is None:
        raise InvalidCondition(
            "the value must be a date (2026-05-01), an RFC 3339 time (2026-05-01T12:00:00Z) "
            "or seconds or milliseconds since 1970"
        )
    return limit


def _time_test(compare: Compare) -> MakeTest:
    def make(value: object) -> Test:
        limit = _limit_instant(value)

        def test(actual: Any) -> bool:
            instant = seconds_since_1970(actual)
            return instant is not None and compare(instant, limit)

        return test

    return make


_PRERELEASE: Final = "(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
"""One part of a pre-release: a number has no leading zeros (semver.org, item 9)."""

Version: TypeAlias = tuple[int, int, int, bool, tuple[tuple[bool, int, str], ...]]


@cache
def _semver() -> re.Pattern[str]:
    # Not compiled by an import: most processes compare no versions.
    return re.compile(
        r"v?(0|[1-9][0-9]*)(?:\.(0|[1-9][0-9]*))?(?:\.(0|[1-9][0-9]*))?"
        rf"(?:-({_PRERELEASE}(?:\.{_PRERELEASE})*))?"
        r"(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
    )


def _version(value: object) -> Version | None:
    """Return a sortable form of a semantic version (semver.org 2.0.0, section 11), else None.

    A leading ``v`` is allowed, and minor and patch are 0 when missing. More than 256 characters
    are not a version.
    """
    if not isinstance(value, str) or len(value) > 256:
        return None
    match = _semver().fullmatch(value)
    if match is None:
        return None
    major, minor, patch, prerelease = match.groups()
    parts = tuple(
        # Numbers sort before words, numbers by size and words by their characters.
        (False, int(part), "") if part.isdigit() else (True, 0, part)
        for part in (prerelease.split(".") if prerelease else ())
    )
    return int(major), int(minor or 0), int(patch or 0), not parts, parts


def _limit_version(value: object) -> Version:
    version = _version(value)
    if version is None:
        raise InvalidCondition("the value must be a semantic version, such as 2.10.0")
    return version


def _semver_test(compare: Compare) -> MakeTest:
    def make(value: object) -> Test:
        limit = _limit_version(value)
        return lambda actual: (version := _version(actual)) is not None and compare(version, limit)

    return make


def _in_cidr(value: object) -> Test:
    texts = _strings(value)
    # Imported with the first network: it takes long.
    networks = load("tidegate.evaluation.networks")
    try:
        test: Test = networks.in_networks([networks.parse_network(text) for text in texts])
    except ValueError as error:
        raise InvalidCondition(f"not a network in CIDR form: {error}") from None
    return test


def _exists(value: object) -> Test:
    if value is not None:
        raise InvalidCondition("takes no value; to test for absence, put it inside none")
    return lambda actual: actual is not None


OPERATORS: Final[Mapping[str, MakeTest]] = {
    "equals": _equals,
    "in": _in,
    "contains": _contains,
    "starts_with": _starts_with,
    "ends_with": _ends_with,
    "matches": _matches,
    "greater_than": _greater_than,
    "greater_or_equal": _greater_or_equal,
    "less_than": _less_than,
    "less_or_equal": _less_or_equal,
    "before": _time_test(lt),
    "after": _time_test(gt),
    "semver_equal": _semver_test(eq),
    "semver_greater": _semver_test(gt),
    "semver_greater_or_equal": _semver_test(ge),
    "semver_less": _semver_test(lt),
    "semver_less_or_equal": _semver_test(le),
    "in_cidr": _in_cidr,
    "exists": _exists,
}
