"""Validation of the checks of a policy."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tidegate.model import Tolerance
from tidegate_server.domain.check_validation import (
    MAX_DISTRIBUTIONS,
    MAX_WINDOW_INTERVALS,
    check_problems,
)
from tidegate_server.domain.checks import Check, ClientEvidence, Compare, Metric, Operator
from tidegate_server.domain.policy import HOUR, MINUTE, SECOND, Policy

from tests.decisions import simulated_release

LIMIT = Check(compare=Compare.ABSOLUTE, threshold=0.02)
QUERY = Check(metric=Metric.PROMETHEUS, compare=Compare.ABSOLUTE, query="up")


def policy_with(*checks: Check, interval_ms: int = 30 * SECOND) -> Policy:
    return replace(simulated_release.policy(10, 50, 100), checks=checks, interval_ms=interval_ms)


def problem_pointers(policy: Policy) -> list[str]:
    return [problem.pointer for problem in check_problems(policy)]


@pytest.mark.parametrize(
    ("window_ms", "fine"),
    [
        (29 * SECOND, False),
        (30 * SECOND, True),
        (MAX_WINDOW_INTERVALS * 30 * SECOND, True),
        (MAX_WINDOW_INTERVALS * 30 * SECOND + 1, False),
    ],
)
def test_a_window_has_a_minimum_and_a_maximum(window_ms: int, fine: bool) -> None:
    pointers = problem_pointers(policy_with(replace(LIMIT, window_ms=window_ms)))
    assert pointers == ([] if fine else ["/checks/0/window"])


def test_a_prometheus_check_has_no_window() -> None:
    assert problem_pointers(policy_with(QUERY, interval_ms=5 * MINUTE)) == []
    assert problem_pointers(policy_with(QUERY, interval_ms=HOUR)) == []
    assert problem_pointers(policy_with(LIMIT, interval_ms=5 * MINUTE)) == ["/checks/0/window"]


@pytest.mark.parametrize(
    ("query", "compare", "fine"),
    [
        ("sum(x{a='{{arm}}'})", Compare.CONTROL, True),
        ("sum(x{f='{{ flag }}'})", Compare.CONTROL, False),
        ("sum(x{f='{{ flag }}'})", Compare.ABSOLUTE, True),
        ("{{ release }} {{environment}}", Compare.BEFORE, True),
        ("{{ stage }}", Compare.ABSOLUTE, False),
        # With a pattern that can match in several ways, these would take minutes.
        ("{{" + " " * 3_998, Compare.ABSOLUTE, False),
        ("{{" * 2_000, Compare.ABSOLUTE, False),
        ("  ", Compare.ABSOLUTE, False),
        ("x" * 4_000, Compare.ABSOLUTE, True),
        ("x" * 4_001, Compare.ABSOLUTE, False),
    ],
)
def test_a_query_uses_known_variables_and_names_the_arm(
    query: str, compare: Compare, fine: bool
) -> None:
    pointers = problem_pointers(policy_with(replace(QUERY, query=query, compare=compare)))
    assert pointers == ([] if fine else ["/checks/0/query"])


def test_a_custom_value_has_a_valid_name_other_than_latency() -> None:
    named = Check(metric=Metric.CUSTOM, measure="basket_value", quantile=0.5)
    assert problem_pointers(policy_with(named)) == []
    for wrong in ("", "latency", "a b", "x:1", "a|b"):
        assert problem_pointers(policy_with(replace(named, measure=wrong))) == ["/checks/0/measure"]


def test_a_latency_has_an_upper_limit() -> None:
    slow = replace(LIMIT, metric=Metric.LATENCY, threshold=0.5, operator=Operator.AT_LEAST)
    assert problem_pointers(policy_with(slow)) == ["/checks/0/operator"]
    fewer = replace(slow, metric=Metric.CUSTOM, measure="basket_value")
    assert problem_pointers(policy_with(fewer)) == []


def test_the_number_of_different_values_is_limited() -> None:
    values = [
        Check(metric=Metric.CUSTOM, measure=f"value-{number}")
        for number in range(MAX_DISTRIBUTIONS)
    ]
    assert problem_pointers(policy_with(*values)) == []
    assert problem_pointers(policy_with(*values, Check(metric=Metric.LATENCY))) == ["/checks"]


def test_a_repeated_check_is_problem_pointers() -> None:
    assert problem_pointers(policy_with(Check(), Check())) == ["/checks/1"]
    assert problem_pointers(policy_with(QUERY, replace(QUERY, query="down"))) == []


def test_checks_of_the_same_counts_let_clients_decide_together() -> None:
    decides = replace(Check(), client_evidence=ClientEvidence.DECIDE)
    limit = Check(metric=Metric.ERROR_RATE, compare=Compare.ABSOLUTE, threshold=0.1)
    latency = Check(metric=Metric.LATENCY)

    (problem,) = check_problems(policy_with(decides, limit, latency))
    assert problem.pointer == "/checks/1/client_evidence"
    assert "in both, or in neither" in problem.detail
    both = replace(limit, client_evidence=ClientEvidence.DECIDE)
    assert not list(check_problems(policy_with(decides, both, latency)))
    values = replace(latency, client_evidence=ClientEvidence.DECIDE)
    assert not list(check_problems(policy_with(Check(), limit, values)))


# Checks that can never fail ------------------------------------------------------------

LATENCY = Check(metric=Metric.LATENCY)
BASKET = Check(metric=Metric.CUSTOM, measure="basket", operator=Operator.AT_LEAST)


@pytest.mark.parametrize(
    ("check", "field"),
    [
        (Check(tolerance=Tolerance(1_000.0)), "tolerance/relative"),
        (Check(tolerance=Tolerance(10.1)), "tolerance/relative"),
        (Check(tolerance=Tolerance(0.1, 0.51)), "tolerance/absolute"),
        (Check(false_alarm=1e-300), "false_alarm"),
        (Check(false_alarm=0.5), "false_alarm"),
        (replace(LATENCY, quantile=0.5, tolerance=Tolerance(1.0)), "tolerance/relative"),
        (replace(LATENCY, quantile=0.6, tolerance=Tolerance(0.5, 0.4)), "tolerance/relative"),
        (replace(LATENCY, quantile=0.9999999), "quantile"),
        (replace(BASKET, quantile=0.5, tolerance=Tolerance(1.0)), "tolerance/relative"),
        (replace(BASKET, compare=Compare.BEFORE, tolerance=Tolerance(1.0)), "tolerance/relative"),
        (replace(LIMIT, threshold=1.0), "threshold"),
        (replace(LIMIT, threshold=0.0), "threshold"),
        (replace(LIMIT, operator=Operator.AT_LEAST), "operator"),
        (replace(LATENCY, compare=Compare.ABSOLUTE, threshold=86_401.0), "threshold"),
        (replace(LATENCY, compare=Compare.ABSOLUTE, threshold=0.0), "threshold"),
        (replace(BASKET, compare=Compare.ABSOLUTE, threshold=-1e13), "threshold"),
        (
            replace(BASKET, compare=Compare.ABSOLUTE, operator=Operator.BELOW, threshold=1e13),
            "threshold",
        ),
        (replace(LIMIT, failure_limit=121), "failure_limit"),
    ],
)
def test_a_check_that_could_never_fail_is_refused(check: Check, field: str) -> None:
    assert problem_pointers(policy_with(check)) == [f"/checks/0/{field}"]


@pytest.mark.parametrize(
    "check",
    [
        Check(tolerance=Tolerance(10.0, 0.5), false_alarm=1e-6),
        replace(LATENCY, quantile=0.5, tolerance=Tolerance(0.9)),
        replace(BASKET, quantile=0.5, tolerance=Tolerance(0.9)),
        replace(BASKET, compare=Compare.BEFORE, tolerance=Tolerance(0.9, 1e6)),
        replace(LIMIT, threshold=0.999, failure_limit=120),
        replace(LATENCY, compare=Compare.ABSOLUTE, threshold=86_400.0),
        replace(BASKET, compare=Compare.ABSOLUTE, threshold=0.0),
        replace(QUERY, threshold=-1e300),
    ],
)
def test_a_wide_check_that_can_fail_is_accepted(check: Check) -> None:
    assert problem_pointers(policy_with(check)) == []


def test_a_long_interval_still_allows_ten_breaches() -> None:
    long = replace(QUERY, failure_limit=10)
    assert problem_pointers(policy_with(long, interval_ms=HOUR)) == []
    assert problem_pointers(policy_with(replace(QUERY, failure_limit=11), interval_ms=HOUR)) == [
        "/checks/0/failure_limit"
    ]
