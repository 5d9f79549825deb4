from __future__ import annotations

from dataclasses import replace

from tidegate_server.decisions.decision import Action, CheckResult, Decision
from tidegate_server.decisions.warnings import new_warning
from tidegate_server.domain.checks import Check, OnFailure
from tidegate_server.domain.evidence import Trips
from tidegate_server.domain.policy import Policy
from tidegate_server.domain.release import State

from tests.decisions.simulated_release import policy

POLICY: Policy = replace(
    policy(10, 100), checks=(Check(), replace(Check(), on_failure=OnFailure.WARN))
)


def a_decision(*failed: int) -> Decision:
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


def test_a_check_that_begins_to_fail_is_warned_of_once() -> None:
    assert new_warning(POLICY, None, a_decision()) == ""
    warning = new_warning(POLICY, a_decision(), a_decision(1))
    assert warning == "check 1 failed, which only warns; waiting: 2m of 15m"
    assert new_warning(POLICY, None, a_decision(1)) == warning
    assert new_warning(POLICY, a_decision(1), a_decision(1)) == ""


def test_trips_of_local_breakers_are_warned_of_when_they_are_reported() -> None:
    warning = new_warning(POLICY, a_decision(), a_decision(), Trips(3, 95_000))
    assert warning == (
        "local breakers closed the release 3 times, for 95 s in total: their SDK instances could "
        "not reach the server, and the treatment failed there; waiting: 2m of 15m"
    )
    both = new_warning(POLICY, a_decision(), a_decision(1), Trips(1, 800))
    assert both.startswith("check 1 failed, which only warns; local breakers closed the release")
    assert "local breakers closed the release once, for 0.8 s in total" in both


def test_a_check_that_does_more_than_warn_gives_no_warning() -> None:
    assert new_warning(POLICY, a_decision(), a_decision(0)) == ""
