"""The comparison operators: the published vectors, values of any type, hostile patterns."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tidegate.errors import InvalidCondition
from tidegate.evaluation import operators
from tidegate.evaluation.instants import parse_time, seconds_since_1970, utc_text

from tests.sdk import naive_evaluator

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "operators.json").read_text())


def named(row: dict[str, Any]) -> str:
    return f"{row['operator']} {json.dumps(row.get('value'))}"


@pytest.mark.parametrize("row", VECTORS["comparisons"], ids=named)
def test_an_operator_compares_as_its_vectors_say(row: dict[str, Any]) -> None:
    test = operators.compile(row["operator"], row.get("value"))
    for actual in row["holds"]:
        assert test(actual) is True, actual
    for actual in [*row["fails"], None]:
        assert test(actual) is False, actual


@pytest.mark.parametrize("row", VECTORS["refused"], ids=named)
def test_a_value_that_an_operator_cannot_compare_with_is_refused(row: dict[str, Any]) -> None:
    with pytest.raises(InvalidCondition):
        operators.compile(row["operator"], row.get("value"))


@pytest.mark.parametrize(
    "row", [row for row in VECTORS["comparisons"] if row["operator"] != "matches"], ids=named
)
def test_the_naive_evaluator_agrees_with_the_vectors(row: dict[str, Any]) -> None:
    for actual in row["holds"]:
        assert naive_evaluator.compare(row["operator"], actual, row.get("value")), actual
    for actual in row["fails"]:
        assert not naive_evaluator.compare(row["operator"], actual, row.get("value")), actual


NEAR_TIMES = st.from_regex(
    r"(20[0-2][0-9]|0000|9999)-?(0[0-9]|1[0-3])-?([0-2][0-9]|3[0-2])"
    r"([Tt x]([01][0-9]|2[0-5])(:?[0-6][0-9](:[0-6][0-9]([.,][0-9]{0,9})?)?)?"
    r"(Z|z|[+-][0-2][0-9](:?[0-6][0-9])?)?)?",
    fullmatch=True,
)
NEAR_VERSIONS = st.from_regex(
    r"v?(0|[0-9]{1,2})(\.[0-9]{1,2}){0,3}(-[0-9a-]{0,3}(\.[0-9a-]{0,3})?)?(\+[0-9a.]{0,3})?",
    fullmatch=True,
)
NEAR_ADDRESSES = st.ip_addresses().map(str) | st.from_regex(
    r"(::ffff:)?(10|192|010)(\.(0|1|07|168|255)){2,4}(%eth0)?", fullmatch=True
)
NUMBERS = st.integers() | st.floats() | st.integers(-(10**15), 10**15)
COMPARABLE = {
    "before": ("2021-06-01T12:00:00Z", 1_620_000_000, 1_620_000_000_000),
    "after": ("2021-06-01T12:00:00+02:00", "2021-06-01", -5),
    "semver_less": ("1.10.0", "2.0.0-0"),
    "semver_greater_or_equal": ("1.0.0-a.1",),
    "in_cidr": ("10.0.0.0/8", "::ffff:192.168.0.0/112", "::/0", "2001:db8::/32", "0.0.0.0/0"),
    "greater_than": (5, 2**63 - 1, 1e300),
    "less_or_equal": (-5.5, 0),
    "equals": (0, 2**53, "10.0.0.1"),
}


@given(NEAR_TIMES | NEAR_VERSIONS | NEAR_ADDRESSES | NUMBERS | st.text(max_size=20))
def test_odd_values_compare_as_the_naive_evaluator_says(actual: Any) -> None:
    for operator, values in COMPARABLE.items():
        for value in values:
            holds = operators.compile(operator, value)(actual)
            assert holds == naive_evaluator.compare(operator, actual, value), (operator, value)


@given(NEAR_TIMES)
def test_a_text_is_a_time_for_all_functions_or_for_none(text: str) -> None:
    moment, utc = parse_time(text), utc_text(text)
    assert (moment is None) == (seconds_since_1970(text) is None)
    if moment is None:
        assert utc is None
    elif 1 < moment.year < 9999:
        assert utc is not None
    if utc is not None:
        assert utc_text(utc) == utc
        assert seconds_since_1970(utc) == seconds_since_1970(text)


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-05-01T12:00:00.120Z", "2026-05-01T12:00:00.12Z"),
        ("2026-05-01T14:00:00.000+02:00", "2026-05-01T12:00:00Z"),
        ("2026-05-01T12:00:00.123456789z", "2026-05-01T12:00:00.123456789Z"),
        ("2026-05-01", "2026-05-01T00:00:00Z"),
        ("0001-01-01T00:00:00+14:00", None),
        ("today", None),
    ],
)
def test_a_time_has_one_text_in_utc(text: str, utc: str | None) -> None:
    assert utc_text(text) == utc


def test_every_operator_has_vectors() -> None:
    assert {row["operator"] for row in VECTORS["comparisons"]} == set(operators.OPERATORS)


def test_the_error_for_an_unknown_operator_lists_the_operators() -> None:
    with pytest.raises(InvalidCondition, match=r"there is no operator 'like'.*starts_with"):
        operators.compile("like", "x")


class Strange:
    """An attribute's value that no operator knows."""


HUGE = 10**400
UNUSUAL: list[Any] = [
    Strange(), Strange, object(), print, b"bytes", bytearray(b"x"), Decimal("4.5"), 4j, HUGE, -HUGE,
    float("nan"), float("inf"), float("-inf"), "\ud800", "a\ud800b", "x" * 100_000, [Strange()],
    ([],), {1: 2}, {"a"}, frozenset(), range(3), date.min, date.max, datetime.min, datetime.max,
    datetime.max.replace(tzinfo=timezone(timedelta(hours=-23))),
    datetime.min.replace(tzinfo=timezone(timedelta(hours=23))),
    "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "1" * 5_000, "1." * 200,
    "::ffff:10.0.0.1%eth0", "fe80::1%eth0",
]  # fmt: skip

TESTS = [operators.compile(row["operator"], row.get("value")) for row in VECTORS["comparisons"]] + [
    operators.compile("greater_than", HUGE),
    operators.compile("less_or_equal", -HUGE),
    operators.compile("before", 99_999_999_999_999),
    operators.compile("after", -99_999_999_999_999),
    operators.compile("equals", HUGE),
]


@pytest.mark.parametrize("actual", UNUSUAL, ids=lambda actual: type(actual).__name__)
def test_no_attribute_makes_an_operator_raise(actual: Any) -> None:
    assert {test(actual) for test in TESTS} <= {True, False}


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text(st.characters())
        | st.binary()
        | st.datetimes()
        | st.dates()
        | st.ip_addresses().map(str)
        | st.from_regex(r"v?[0-9]{1,3}(\.[0-9]{1,3}){0,3}(-[a-z0-9.]+)?", fullmatch=True),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=4,
    )
)
def test_every_value_gets_a_result(actual: Any) -> None:
    assert {test(actual) for test in TESTS} <= {True, False}


def test_an_attribute_may_be_a_date_or_a_time() -> None:
    before = operators.compile("before", "2026-05-01T12:00:00Z")
    assert before(date(2026, 5, 1))
    assert not before(date(2026, 5, 2))
    assert before(datetime(2026, 5, 1, 11, 59))
    assert before(datetime(2026, 5, 1, 11, 59, tzinfo=UTC))
    assert before(datetime(2026, 5, 1, 13, 59, tzinfo=timezone(timedelta(hours=2))))
    assert not before(datetime(2026, 5, 1, 11, 59, tzinfo=timezone(timedelta(hours=-2))))


def test_a_set_may_contain_an_item_like_a_list() -> None:
    contains = operators.compile("contains", "admin")
    assert contains({"admin", "user"})
    assert contains(("admin",))
    assert not contains(frozenset({"user"}))


def test_a_pattern_runs_in_linear_time() -> None:
    """A backtracking engine would try 2**100 ways."""
    hostile = "a" * 100 + "!"
    for pattern in ("(a+)+$", "(a|aa)+$", "(a|a)*$", "(.*a){25}$", "([a-zA-Z]+)*$"):
        assert operators.compile("matches", "^" + pattern)(hostile) is False
    assert operators.compile("matches", "^(a+)+!$")("a" * 1_000_000 + "!") is True


@pytest.mark.parametrize("pattern", ["(?=a)", "(?!a)", "(?<=a)b", r"(a)\1", "(?>a)", "a{1001}"])
def test_a_pattern_that_needs_backtracking_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidCondition, match="RE2"):
        operators.compile("matches", pattern)


def test_the_error_for_a_wrong_pattern_names_the_reason() -> None:
    with pytest.raises(InvalidCondition, match=r"expression: missing \): \("):
        operators.compile("matches", "(")
    with pytest.raises(InvalidCondition, match="not valid Unicode"):
        operators.compile("matches", "\ud800")


def test_a_wrong_pattern_prints_nothing() -> None:
    program = (
        "from tidegate.evaluation import operators\n"
        "try:\n    operators.compile('matches', '(')\n"
        "except operators.InvalidCondition:\n    pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("", "")


VERSIONS = st.from_regex(
    r"(0|[1-9][0-9]?)\.(0|[1-9][0-9]?)\.(0|[1-9][0-9]?)(-(0|[1-9][0-9]?|[a-z]+)(\.(0|[1-9]|[a-z]+))?)?",
    fullmatch=True,
)


@given(VERSIONS, VERSIONS)
def test_semantic_versions_have_a_total_order(one: str, other: str) -> None:
    less = operators.compile("semver_less", other)(one)
    equal = operators.compile("semver_equal", other)(one)
    greater = operators.compile("semver_greater", other)(one)
    assert [less, equal, greater].count(True) == 1
    assert operators.compile("semver_less_or_equal", other)(one) == (less or equal)
    assert operators.compile("semver_greater_or_equal", other)(one) == (greater or equal)
    assert operators.compile("semver_greater", one)(other) == less


@given(st.integers() | st.floats(), st.integers() | st.floats(allow_nan=False))
def test_numbers_compare_as_numbers(actual: float, limit: float) -> None:
    assert operators.compile("greater_than", limit)(actual) == (actual > limit)
    assert operators.compile("less_or_equal", limit)(actual) == (actual <= limit)
    assert operators.compile("equals", limit)(actual) == (actual == limit)
