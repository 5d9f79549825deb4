"""What watches the checks of a policy after the last advance."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tidegate_server.domain.checks import Check, Compare, Metric, OnFailure, Operator
from tidegate_server.domain.last_stage import Watcher, unwatched_problems, watched_checks
from tidegate_server.domain.policy import Policy, Stage
from tidegate_server.domain.policy_validation import check_policy
from tidegate_server.errors import Invalid

from tests.domain.builders import make_policy, pointers

ERRORS = Check()
LATENCY = Check(metric=Metric.LATENCY)
BASKET = Check(metric=Metric.CUSTOM, measure="basket", quantile=0.05, operator=Operator.AT_LEAST)
MEDIAN = replace(BASKET, quantile=0.5)
QUERY = Check(metric=Metric.PROMETHEUS, query="sum(x{a='{{ arm }}'})")
BY_HOLDBACK, BY_PROBE = (Watcher.HOLDBACK,), (Watcher.PROBE,)
BY_VALUES, BY_LIMIT = (Watcher.VALUE_PROBE,), (Watcher.LIMIT,)


def limit(check: Check) -> Check:
    return replace(check, compare=Compare.ABSOLUTE, threshold=0.5)


def watched(*checks: Check, **changes: object) -> list[tuple[Watcher, ...]]:
    policy = make_policy(checks=checks, **changes)
    return [each.watchers for each in watched_checks(policy)]


def test_probes_watch_where_no_control_is_left() -> None:
    assert watched(ERRORS, LATENCY, BASKET) == [BY_PROBE, BY_VALUES, BY_VALUES]


@pytest.mark.parametrize("check", [ERRORS, LATENCY, BASKET, MEDIAN, QUERY])
def test_a_holdback_of_a_tenth_keeps_every_comparison(check: Check) -> None:
    assert watched(check, holdback=10.0) == [BY_HOLDBACK]


def test_the_probes_watch_beside_a_holdback_of_less_than_a_tenth() -> None:
    assert watched(ERRORS, LATENCY, MEDIAN, QUERY, holdback=9.999) == [
        (Watcher.HOLDBACK, Watcher.PROBE),
        (Watcher.HOLDBACK, Watcher.VALUE_PROBE),
        BY_HOLDBACK,
        BY_HOLDBACK,
    ]


def test_a_check_that_compares_with_no_control_group_has_its_own_limit() -> None:
    before = replace(LATENCY, compare=Compare.BEFORE)
    assert watched(limit(ERRORS), before, limit(QUERY)) == [BY_LIMIT, BY_LIMIT, BY_LIMIT]


@pytest.mark.parametrize(
    ("check", "watchers"),
    [
        (replace(LATENCY, quantile=0.67), BY_VALUES),
        (replace(LATENCY, quantile=0.66), ()),
        (replace(BASKET, quantile=0.33), BY_VALUES),
        (MEDIAN, ()),
        (replace(MEDIAN, operator=Operator.AT_MOST), ()),
    ],
)
def test_the_probe_of_values_needs_a_quantile_that_three_times_as_many_can_exceed(
    check: Check, watchers: tuple[Watcher, ...]
) -> None:
    assert watched(check) == [watchers]


def test_a_limit_of_the_same_value_watches_instead() -> None:
    assert watched(MEDIAN, limit(MEDIAN)) == [BY_LIMIT, BY_LIMIT]
    other = limit(replace(MEDIAN, measure="items"))
    assert watched(MEDIAN, other) == [(), BY_LIMIT]


def test_probes_learn_only_where_a_tenth_is_on_control() -> None:
    def watched_after(*percentages: float) -> list[tuple[Watcher, ...]]:
        stages = tuple(Stage(f"s{each}", each) for each in (*percentages, 100))
        return [each.watchers for each in watched_checks(Policy("p", stages))]

    assert watched_after(5, 90) == [BY_PROBE]
    assert watched_after(90) == [BY_PROBE]
    assert watched_after(90.001) == [()]


@pytest.mark.parametrize(
    ("checks", "words"),
    [
        ((MEDIAN,), "Choose a quantile nearer to the bad end (for example 0.05)"),
        ((replace(LATENCY, quantile=0.5),), "add a check of latency with compare: absolute"),
        ((QUERY,), "finds nothing at 100 %, so the release would hold for ever"),
    ],
)
def test_a_check_that_nothing_watches_is_refused(checks: tuple[Check, ...], words: str) -> None:
    policy = make_policy(checks=(*checks, ERRORS))
    with pytest.raises(Invalid) as caught:
        check_policy(policy, ())
    assert pointers(caught.value) == ["/checks/0"]
    assert "after the last advance" in caught.value.fields[0].detail
    assert words in caught.value.fields[0].detail
    check_policy(replace(policy, holdback=5.0), ())


def test_a_check_of_errors_that_no_stage_has_taught_the_probe_is_refused() -> None:
    policy = make_policy(Stage("most", 95), Stage("all", 100))
    (problem,) = unwatched_problems(policy)
    assert "Add a stage of 90 % or less" in problem.detail
    assert not list(unwatched_problems(replace(policy, checks=(ERRORS, limit(ERRORS)))))


def test_values_that_only_warn_are_not_watched_and_not_refused() -> None:
    warns = replace(LATENCY, on_failure=OnFailure.WARN)
    (latency, _) = watched_checks(make_policy(checks=(warns, ERRORS)))
    assert (latency.watchers, latency.text) == ((), "nothing, as it only warns")
    check_policy(make_policy(checks=(warns, ERRORS)), ())
    assert watched(warns, holdback=5.0) == [BY_HOLDBACK]
