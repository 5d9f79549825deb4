from __future__ import annotations

from dataclasses import replace

from tidegate_server.decisions.decision import Action, CheckResult, Decision
from tidegate_server.decisions.warnings import newly_warned
from tidegate_server.domain.checks import Check, OnFailure
from tidegate_server.domain.evidence import Trips
from tidegate_server.domain.policy import Policy
from tidegate_server.domain.release import State

from tests.decisions.ramp import policy

POLICY: Policy = replace(
    policy(10, 100), checks=(Check(), replace(Check(), on_failure=OnFailure.WARN))
)


def decided(*failed: int) -> Decision:
    return Decision(
        Action.HOLD,
        "waiting: 2m of 15m",
        State.RUNNING,
        at_ms=1,
        window=1,
        failed_checks=failed,
        checks=tuple(
            CheckResult(number, f"check {number}", number in failed) for number in range(2)
        ),
    )


def test_a_check_that_begins_to_fail_is_told_once() -> None:
    assert newly_warned(POLICY, None, decided()) == ""
    found = newly_warned(POLICY, decided(), decided(1))
    assert found == "check 1 failed, which only warns; waiting: 2m of 15m"
    assert newly_warned(POLICY, None, decided(1)) == found
    assert newly_warned(POLICY, decided(1), decided(1)) == ""


def test_instances_that_closed_the_release_are_told_of_when_they_tell() -> None:
    found = newly_warned(POLICY, decided(), decided(), Trips(3, 95_000))
    assert found == (
        "SDK instances that could not reach the server closed the release for themselves 3 times, "
        "for 95 s in all, because its treatment failed there; waiting: 2m of 15m"
    )
    both = newly_warned(POLICY, decided(), decided(1), Trips(1, 800))
    assert both.startswith("check 1 failed, which only warns; SDK instances that could not reach")
    assert "closed the release for themselves once, for 0.8 s in all" in both


def test_a_check_that_does_more_than_warn_tells_by_what_it_does() -> None:
    assert newly_warned(POLICY, decided(), decided(0)) == ""
