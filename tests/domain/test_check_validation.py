"""Checks that could never be answered are refused; those that can be are not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tidegate_server.domain.check_validation import (
    MAX_DISTRIBUTIONS,
    MAX_WINDOW_INTERVALS,
    check_problems,
)
from tidegate_server.domain.checks import Check, Compare, Metric, Operator
from tidegate_server.domain.policy import HOUR, MINUTE, SECOND, Policy

from tests.decisions.ramp import policy

LIMIT = Check(compare=Compare.ABSOLUTE, threshold=0.02)
QUERY = Check(metric=Metric.PROMETHEUS, compare=Compare.ABSOLUTE, query="up")


def under(*checks: Check, interval_ms: int = 30 * SECOND) -> Policy:
    return replace(policy(10, 50, 100), checks=checks, interval_ms=interval_ms)


def refused(by: Policy) -> list[str]:
    return [problem.pointer for problem in check_problems(by)]


@pytest.mark.parametrize(
    ("window_ms", "fine"),
    [
        (29 * SECOND, False),
        (30 * SECOND, True),
        (MAX_WINDOW_INTERVALS * 30 * SECOND, True),
        (MAX_WINDOW_INTERVALS * 30 * SECOND + 1, False),
    ],
)
def test_a_value_is_taken_over_as_many_evaluations_as_are_kept(window_ms: int, fine: bool) -> None:
    found = refused(under(replace(LIMIT, window_ms=window_ms)))
    assert found == ([] if fine else ["/checks/0/window"])


def test_how_far_a_query_looks_back_is_its_own_business() -> None:
    """Its check has no window, which could then neither be set nor be right."""
    assert refused(under(QUERY, interval_ms=5 * MINUTE)) == []
    assert refused(under(QUERY, interval_ms=HOUR)) == []
    assert refused(under(LIMIT, interval_ms=5 * MINUTE)) == ["/checks/0/window"]


@pytest.mark.parametrize(
    ("query", "compare", "fine"),
    [
        ("sum(x{a='{{arm}}'})", Compare.CONTROL, True),
        ("sum(x{f='{{ flag }}'})", Compare.CONTROL, False),
        ("sum(x{f='{{ flag }}'})", Compare.ABSOLUTE, True),
        ("{{ release }} {{environment}}", Compare.BEFORE, True),
        ("{{ stage }}", Compare.ABSOLUTE, False),
        ("  ", Compare.ABSOLUTE, False),
        ("x" * 4_000, Compare.ABSOLUTE, True),
        ("x" * 4_001, Compare.ABSOLUTE, False),
    ],
)
def test_a_query_names_what_there_is(query: str, compare: Compare, fine: bool) -> None:
    found = refused(under(replace(QUERY, query=query, compare=compare)))
    assert found == ([] if fine else ["/checks/0/query"])


def test_a_custom_value_has_a_name_of_its_own() -> None:
    named = Check(metric=Metric.CUSTOM, measure="basket_value", quantile=0.5)
    assert refused(under(named)) == []
    for wrong in ("", "latency", "a b", "x:1", "a|b"):
        assert refused(under(replace(named, measure=wrong))) == ["/checks/0/measure"]


def test_a_latency_has_an_upper_limit() -> None:
    slow = replace(LIMIT, metric=Metric.LATENCY, threshold=0.5, operator=Operator.AT_LEAST)
    assert refused(under(slow)) == ["/checks/0/operator"]
    fewer = replace(slow, metric=Metric.CUSTOM, measure="basket_value")
    assert refused(under(fewer)) == []


def test_an_application_keeps_a_few_values_and_no_more() -> None:
    values = [
        Check(metric=Metric.CUSTOM, measure=f"value-{number}")
        for number in range(MAX_DISTRIBUTIONS)
    ]
    assert refused(under(*values)) == []
    assert refused(under(*values, Check(metric=Metric.LATENCY))) == ["/checks"]


def test_the_same_check_twice_would_only_spend_the_budget() -> None:
    assert refused(under(Check(), Check())) == ["/checks/1"]
    assert refused(under(QUERY, replace(QUERY, query="down"))) == []
