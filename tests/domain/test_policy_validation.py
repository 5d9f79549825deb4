from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tidegate.model import Opening, Tolerance
from tidegate_server.domain.checks import Check, Compare, Metric, OnFailure
from tidegate_server.domain.policy import HOUR, SECOND, NoData, Policy, Stage, Undecided
from tidegate_server.domain.policy_validation import check_policy, with_stage_names
from tidegate_server.domain.snapshot import openings
from tidegate_server.errors import Invalid

from tests.domain.builders import make_policy, pointers, problems

SEGMENTS = ("staff", "testers", "logged-out")
ALL = Stage("all", 100)


def policy_problems(policy: Policy) -> dict[str, str]:
    with pytest.raises(Invalid) as caught:
        check_policy(policy, SEGMENTS)
    return problems(caught.value)


def staff(percentage: float, name: str = "staff") -> Stage:
    return Stage(name, percentage, ("staff",))


@pytest.mark.parametrize(
    "stages",
    [
        (Stage("few", 0.001), ALL),
        (Stage("few", 5), Stage("still-few", 5), ALL),
        (staff(10), staff(50, "more"), Stage("few", 5), ALL),
        (staff(10), Stage("both", 10, ("testers", "staff")), Stage("few", 1), ALL),
        (Stage("few", 5), staff(20), Stage("half", 50), ALL),
        (staff(50), Stage("testers", 10, ("testers",)), ALL),
    ],
)
def test_valid_stages_are_accepted(stages: tuple[Stage, ...]) -> None:
    check_policy(make_policy(*stages), SEGMENTS)


@pytest.mark.parametrize(
    ("stages", "pointer", "words"),
    [
        ((), "/stages", "1 to 50 stages; this one has 0"),
        ((Stage("few", 5),), "/stages/0/percentage", "must open 100 %, not 5 %"),
        ((Stage("few", 5), staff(100)), "/stages/1/segments", "must open to everyone"),
        ((ALL,), "/stages/0/percentage", "has no control group"),
        ((staff(100), ALL), "/stages/0/percentage", "has no control group"),
        ((Stage("a", 50), Stage("b", 20), ALL), "/stages/1/percentage", "stages cannot shrink"),
        ((staff(50), staff(20, "b"), ALL), "/stages/1/percentage", "stages cannot shrink"),
        (
            (Stage("a", 20), staff(50), Stage("c", 10), ALL),
            "/stages/2/percentage",
            "less than the 20 % that stage a opened",
        ),
        ((Stage("a", 20), staff(20), ALL), "/stages/1/percentage", "opens to no new users"),
        (
            (Stage("a", 20, ("staff", "testers")), staff(20, "b"), ALL),
            "/stages/1/percentage",
            "opens to no new users",
        ),
        ((Stage("a", 5), Stage("a", 10), ALL), "/stages/1/name", "two stages 'a'"),
        ((Stage("a b", 5), ALL), "/stages/0/name", "is not a valid name"),
        ((Stage("a", 5, ("gone",)), ALL), "/stages/0/segments/0", "create it first"),
        ((Stage("a", 5, ("staff", "staff")), ALL), "/stages/0/segments/1", "two entries"),
        ((Stage("a", 0), ALL), "/stages/0/percentage", "above 0"),
        ((Stage("a", 100.001), ALL), "/stages/0/percentage", "up to 100"),
        ((Stage("a", 0.0005), ALL), "/stages/0/percentage", "three decimals"),
        ((Stage("a", float("nan")), ALL), "/stages/0/percentage", "not a percentage"),
        ((Stage("a", 5, (), -1), ALL), "/stages/0/min_duration", "between 0s and 365d"),
        ((Stage("a", 5, (), 1), ALL), "/stages/0/min_duration", "shorter than the interval"),
        ((Stage("a", 5, (), 0, -1), ALL), "/stages/0/min_samples", "between 0"),
        (
            (Stage("a", 5, undecided=Undecided.ADVANCE), ALL),
            "/stages/0/undecided",
            "Give a max_duration",
        ),
        (
            (Stage("a", 5), replace(ALL, max_duration_ms=HOUR)),
            "/stages/1/max_duration",
            "longer than the bake",
        ),
    ],
)
def test_invalid_stages_are_refused(stages: tuple[Stage, ...], pointer: str, words: str) -> None:
    invalid = policy_problems(replace(make_policy(), stages=stages))
    assert list(invalid) == [pointer]
    assert words in invalid[pointer]


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"key": "A policy"}, "/key"),
        ({"interval_ms": 499}, "/interval"),
        ({"bake_ms": -1}, "/bake"),
        ({"no_data": NoData(after_ms=29 * SECOND)}, "/no_data/after"),
        ({"no_data": NoData(after_ms=-1)}, "/no_data/after"),
        ({"harm_budget": 0.0}, "/harm_budget"),
        ({"harm_budget": 0.1001}, "/harm_budget"),
        ({"harm_budget": float("nan")}, "/harm_budget"),
        ({"checks": ()}, "/checks"),
        ({"checks": (Check(), Check())}, "/checks/1"),
        (
            {"checks": (Check(tolerance=Tolerance(relative=-0.1)),)},
            "/checks/0/tolerance/relative",
        ),
        (
            {"checks": (Check(tolerance=Tolerance(absolute=1)),)},
            "/checks/0/tolerance/absolute",
        ),
        ({"checks": (Check(false_alarm=0),)}, "/checks/0/false_alarm"),
        ({"checks": (Check(false_alarm=0.5),)}, "/checks/0/false_alarm"),
        ({"checks": (Check(false_alarm=float("nan")),)}, "/checks/0/false_alarm"),
    ],
)
def test_invalid_numbers_are_refused(changes: dict[str, Any], pointer: str) -> None:
    assert list(policy_problems(make_policy(**changes))) == [pointer]


def test_an_interval_longer_than_a_duration_is_refused() -> None:
    hourly = make_policy(interval_ms=HOUR + 1)
    with pytest.raises(Invalid) as caught:
        check_policy(hourly, SEGMENTS)
    assert pointers(caught.value) == [
        "/stages/0/min_duration",
        "/stages/1/min_duration",
        "/stages/2/min_duration",
        "/interval",
        "/no_data/after",
    ]


def test_a_breaker_uses_the_error_rate_against_control() -> None:
    errors = Check(tolerance=Tolerance(0.2, 0.0))
    slower = Check(metric=Metric.LATENCY, tolerance=Tolerance(3.0, 0.0))
    alone = Check(compare=Compare.ABSOLUTE, threshold=0.5, tolerance=Tolerance(4.0, 0.0))
    laxer = Check(tolerance=Tolerance(0.1, 0.01), on_failure=OnFailure.WARN)

    def tolerated(*checks: Check) -> Tolerance | None:
        return replace(make_policy(), local_breaker=True, checks=checks).breaker_tolerance

    assert tolerated(slower, errors, alone) == Tolerance(0.2, 0.0)
    assert tolerated(errors, laxer) == Tolerance(0.2, 0.01)
    assert tolerated(slower, alone) is None
    assert replace(make_policy(), checks=(errors,)).breaker_tolerance is None


def test_a_stage_without_a_name_is_named_by_its_number() -> None:
    named = with_stage_names(make_policy(Stage("", 5), Stage("half", 50), Stage("", 100)))
    assert [stage.name for stage in named.stages] == ["stage-1", "half", "stage-3"]


STAGES = st.builds(
    Stage,
    name=st.integers(0, 10**9).map(lambda number: f"s{number}"),
    percentage=st.sampled_from([1, 5, 20, 50, 99.999, 100]),
    segments=st.sampled_from([(), ("staff",), ("testers",), ("staff", "testers")]),
)


def open_to(policy: Policy, stage: int, memberships: frozenset[str]) -> float:
    """The percentage open to those who are in exactly these segments."""

    def matches(opening: Opening) -> bool:
        return not opening.segments or not memberships.isdisjoint(opening.segments)

    shown = openings(policy, stage)
    return max((each.percentage for each in shown if matches(each)), default=0)


@given(st.lists(STAGES, min_size=1, max_size=5))
def test_a_valid_policy_never_opens_less_to_anyone(stages: list[Stage]) -> None:
    policy = make_policy(*stages, ALL)
    try:
        check_policy(policy, SEGMENTS)
    except Invalid:
        return
    for memberships in (frozenset[str](), frozenset({"staff"}), frozenset({"testers"})):
        shares = [open_to(policy, number, memberships) for number in range(1, len(policy.stages))]
        assert shares == sorted(shares)
    assert openings(policy, len(policy.stages)) == (Opening(len(policy.stages), 100),)
    assert openings(policy, 1)[0].percentage < 100
