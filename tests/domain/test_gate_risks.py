"""The gates of a policy: what is refused, and what is accepted with a warning."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tidegate_server.domain.checks import Check, Compare, Metric
from tidegate_server.domain.policy import DAY, SECOND, ErrorRate, NoData, Policy, Stage
from tidegate_server.domain.policy_risks import policy_risks
from tidegate_server.domain.policy_validation import check_policy
from tidegate_server.domain.release_gates import (
    AdvanceWindow,
    ApprovalGate,
    Day,
    Freeze,
    Rollback,
    Windows,
)
from tidegate_server.errors import Invalid

from tests.domain.builders import make_policy, pointers

LATENCY_LIMIT = Check(metric=Metric.LATENCY, compare=Compare.ABSOLUTE, threshold=1.0)
NOW_MS = 1_790_000_000_000  # September 2026


def freeze(begins: str, ends: str, timezone: str = "UTC") -> Windows:
    return Windows(timezone=timezone, freeze=(Freeze(begins, ends),))


def approved(gate: ApprovalGate) -> Policy:
    return make_policy(Stage("few", 5, approval=gate), Stage("all", 100))


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"holdback": 50.001}, "/holdback"),
        ({"windows": freeze("2026-12-24", "2026-12-23")}, "/windows/freeze/0/to"),
        ({"windows": freeze("2026-12-24", "2072-01-02")}, "/windows/freeze/0/to"),
        # Clocks skip 02:00 to 03:00 on this day.
        (
            {"windows": freeze("2026-03-29T02:10", "2026-03-29T02:50", "Europe/Berlin")},
            "/windows/freeze/0/to",
        ),
        ({"windows": Windows(advance=(AdvanceWindow((), 60, 120),))}, "/windows/advance/0/days"),
        (
            {"windows": Windows(advance=(AdvanceWindow(opens=540, closes=540),))},
            "/windows/advance/0/to",
        ),
        ({"rollback": Rollback(cooldown_ms=0, max_retries=1)}, "/rollback/cooldown"),
        ({"rollback": Rollback(max_retries=21)}, "/rollback/max_retries"),
        ({"checks": ()}, "/checks"),
        ({"local_breaker": True, "checks": (LATENCY_LIMIT,)}, "/local_breaker"),
    ],
)
def test_a_gate_that_stops_nothing_is_refused(changes: dict[str, Any], pointer: str) -> None:
    stages = (Stage("few", 5), Stage("half", 30), Stage("all", 100))
    policy = make_policy(*stages, **{"error_rate": ErrorRate.OFF, "checks": (LATENCY_LIMIT,)})
    with pytest.raises(Invalid) as caught:
        check_policy(replace(policy, **changes), ())
    assert pointers(caught.value) == [pointer]


@pytest.mark.parametrize("count", [0, -1, 51])
def test_an_approval_asks_at_least_one_person(count: int) -> None:
    with pytest.raises(Invalid) as caught:
        check_policy(approved(ApprovalGate(count=count)), ())
    assert pointers(caught.value) == ["/stages/0/approval/count"]


def test_an_approval_asks_no_more_people_than_it_names() -> None:
    with pytest.raises(Invalid) as caught:
        check_policy(approved(ApprovalGate(approvers=("ana",), count=2)), ())
    assert pointers(caught.value) == ["/stages/0/approval/count"]


@pytest.mark.parametrize(
    ("gate", "warned"),
    [
        (ApprovalGate(), True),
        (ApprovalGate(approvers=("ana",)), True),
        (ApprovalGate(not_the_starter=True), False),
        (ApprovalGate(count=2), False),
    ],
)
def test_an_approval_that_the_starter_can_give_alone_is_a_risk(
    gate: ApprovalGate, warned: bool
) -> None:
    expected = ["/stages/0/approval"] if warned else []
    assert [each.pointer for each in policy_risks(approved(gate))] == expected


def test_a_freeze_that_is_over_is_a_risk() -> None:
    policy = make_policy(windows=freeze("2025-12-20", "2026-01-02"))
    assert [each.pointer for each in policy_risks(policy, NOW_MS)] == ["/windows/freeze/0"]
    assert not policy_risks(policy)
    assert not policy_risks(make_policy(windows=freeze("2026-12-20", "2027-01-02")), NOW_MS)


def test_no_samples_are_a_risk_only_without_a_comparison() -> None:
    stages = (Stage("few", 5, min_samples=0), Stage("all", 100))
    assert not policy_risks(make_policy(*stages))
    limited = make_policy(*stages, checks=(LATENCY_LIMIT,), error_rate=ErrorRate.OFF)
    risks = [each.pointer for each in policy_risks(limited)]
    assert risks == ["/error_rate", "/stages/0/min_samples"]


def test_no_bake_is_a_risk() -> None:
    assert [each.pointer for each in policy_risks(make_policy(bake_ms=0))] == ["/bake"]
    assert not policy_risks(make_policy(bake_ms=SECOND))


@pytest.mark.parametrize(
    "changes",
    [
        {"no_data": NoData(after_ms=365 * DAY)},
        {
            "windows": Windows(
                advance=(AdvanceWindow(days=(Day.MON,)),),
                freeze=(Freeze("2026-01-01", "2026-12-31"), Freeze("2026-12-31", "2027-12-31")),
            )
        },
    ],
)
def test_what_opens_nothing_is_accepted(changes: dict[str, Any]) -> None:
    check_policy(make_policy(**changes), ())
    check_policy(approved(ApprovalGate(approvers=("nobody",), not_the_starter=True)), ())
