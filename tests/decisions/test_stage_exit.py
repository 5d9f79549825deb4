"""What stands between a stage and the next, each field by its effect on a release."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tidegate_server.decisions.decision import Action
from tidegate_server.decisions.observations import Answer
from tidegate_server.domain import release_state_machine as machine
from tidegate_server.domain.calendar import closed_because
from tidegate_server.domain.checks import Compare, OnFailure
from tidegate_server.domain.policy import HOUR, MINUTE, NoData, NoDataAction, Policy
from tidegate_server.domain.release import Approval, State
from tidegate_server.domain.release_gates import (
    AdvanceWindow,
    ApprovalGate,
    Confirmation,
    Freeze,
    OnTimeout,
    Rollback,
    RollbackTo,
    Windows,
)
from tidegate_server.domain.release_state_machine import Initiator

from tests.decisions.ramp import Followed, policy

HEALTHY = (900, 2), (100, 0)
BROKEN = (900, 2), (100, 20)
HALF = (500, 2), (500, 1)
FULL = (0, 0), (1_000, 2)
ANA = Approval("ana (1)", "ana", 1)
BOB = Approval("bob (2)", "bob", 2)


def gated(gate: ApprovalGate | None = None, **changes: object) -> Policy:
    """10, 50 and 100 %, with a gate at the first stage."""
    plain = policy(10, 50, 100, bake_ms=60_000)
    first = replace(plain.stages[0], approval=gate)
    return replace(plain, stages=(first, *plain.stages[1:]), **changes)  # type: ignore[arg-type]


class TestApproval:
    def test_is_asked_for_only_when_everything_else_has_passed(self) -> None:
        followed = Followed(gated(ApprovalGate(("ana", "bob"), count=2)))
        assert followed.window(*HEALTHY).state is State.RUNNING
        followed.until(Action.ASK, *HEALTHY)

        assert followed.release.state is State.AWAITING_APPROVAL
        assert (
            "everything else has passed; needs 2 approvals, has 0 (approvers: ana, bob)"
            in followed.last.reason
        )
        assert followed.release.stage == 1

    def test_lets_the_release_on_at_the_evaluation_after_the_last_one(self) -> None:
        followed = Followed(gated(ApprovalGate(count=2)))
        followed.until(Action.ASK, *HEALTHY)
        followed.release = machine.approve(followed.release, ANA)
        assert followed.window(*HEALTHY).action is Action.ASK
        followed.release = machine.approve(followed.release, BOB)
        advance = followed.window(*HEALTHY)

        assert advance.action is Action.ADVANCE
        assert "approved by ana (1), bob (2)" in advance.reason
        assert followed.release.approvals == ()

    def test_does_not_outweigh_a_failed_check(self) -> None:
        followed = Followed(gated(ApprovalGate()))
        followed.until(Action.ASK, *HEALTHY)
        followed.release = machine.approve(followed.release, ANA)

        assert followed.window(*BROKEN).action is Action.ROLLBACK

    def test_waits_again_when_something_no_longer_passes(self) -> None:
        followed = Followed(gated(ApprovalGate()))
        followed.until(Action.ASK, *HEALTHY)
        followed.window((900, 0), (100, 3))

        assert followed.last.action is Action.HOLD
        assert followed.release.state is State.RUNNING
        assert "evidence of safety" in followed.last.reason

    def test_is_not_asked_for_again_after_a_quiet_window_and_does_not_open_in_one(self) -> None:
        followed = Followed(gated(ApprovalGate()))
        followed.until(Action.ASK, *HEALTHY)
        asked = followed.release
        followed.window()
        assert followed.release == asked
        followed.release = machine.approve(followed.release, ANA)
        followed.window()
        assert followed.release.stage == 1
        assert followed.window(*HEALTHY).action is Action.ADVANCE

    def test_that_comes_too_late_holds_or_rolls_back(self) -> None:
        for on_timeout, state in (
            (OnTimeout.HOLD, State.HOLDING),
            (OnTimeout.ROLLBACK, State.ROLLED_BACK),
        ):
            gate = ApprovalGate(timeout_ms=HOUR, on_timeout=on_timeout)
            followed = Followed(gated(gate, no_data=NoData(after_ms=24 * HOUR)))
            followed.until(Action.ASK, *HEALTHY)
            followed.window(*HEALTHY, after_ms=59 * MINUTE)
            assert followed.release.state is State.AWAITING_APPROVAL
            followed.window(*HEALTHY, after_ms=2 * MINUTE)

            assert followed.release.state is state
            assert "timed out after" in followed.last.reason

    def test_that_came_too_late_holds_through_quiet_windows_and_is_not_asked_for_again(
        self,
    ) -> None:
        gate = ApprovalGate(timeout_ms=HOUR)
        followed = Followed(gated(gate, no_data=NoData(after_ms=24 * HOUR)))
        followed.until(Action.ASK, *HEALTHY)
        followed.window(*HEALTHY, after_ms=2 * HOUR)
        held = followed.release
        assert held.state is State.HOLDING
        for counts in ((), HEALTHY, (), ()):
            assert followed.window(*counts).action is Action.HOLD
            assert followed.release == held
            assert "timed out after" in followed.last.reason

    def test_may_still_be_given_after_the_time_is_over(self) -> None:
        gate = ApprovalGate(timeout_ms=HOUR)
        followed = Followed(gated(gate, no_data=NoData(after_ms=24 * HOUR)))
        followed.until(Action.ASK, *HEALTHY)
        followed.window(*HEALTHY, after_ms=2 * HOUR)
        followed.window(*HEALTHY)
        assert followed.release.state is State.HOLDING
        followed.release = machine.approve(followed.release, ANA)
        followed.window(*HEALTHY)
        followed.window(*HEALTHY)

        assert followed.release.stage == 2

    def test_stands_before_completion_too(self) -> None:
        plain = policy(50, 100, bake_ms=60_000)
        last = replace(plain.stages[1], approval=ApprovalGate())
        by = replace(plain, stages=(plain.stages[0], last))
        followed = Followed(by, stage=2, step=2, state=State.BAKING)
        followed.until(Action.ASK, *FULL)

        assert followed.release.resumes_to is State.BAKING
        followed.release = machine.approve(followed.release, ANA)
        assert followed.window(*FULL).action is Action.COMPLETE


class TestWindows:
    def test_a_closed_window_holds_what_is_ready_and_says_until_when(self) -> None:
        windows = Windows("UTC", (AdvanceWindow(opens=60, closes=120),))
        followed = Followed(gated(windows=windows))
        for _ in range(10):
            followed.window(*HEALTHY)

        assert followed.release.stage == 1
        assert "the advance window is closed; it opens" in followed.last.reason
        followed.window(*HEALTHY, after_ms=HOUR)
        assert followed.release.stage == 2

    def test_a_freeze_holds_and_gives_its_reason(self) -> None:
        windows = Windows("UTC", (), (Freeze("1970-01-01", "1970-01-01", "inventory"),))
        followed = Followed(gated(windows=windows))
        for _ in range(10):
            followed.window(*HEALTHY)

        assert followed.release.stage == 1
        assert followed.last.reason == "frozen until Fri 1970-01-02 00:00 UTC: inventory"

    def test_neither_delays_a_rollback(self) -> None:
        windows = Windows("UTC", (), (Freeze("1970-01-01", "1970-12-31"),))
        followed = Followed(gated(windows=windows))

        assert followed.window(*BROKEN).action is Action.ROLLBACK

    def test_a_completion_that_opens_nobody_new_is_not_delayed(self) -> None:
        windows = Windows("UTC", (), (Freeze("1970-01-01", "1970-12-31"),))
        by = replace(policy(50, 100, bake_ms=60_000), windows=windows)
        followed = Followed(by, stage=2, step=2, state=State.BAKING)
        followed.until(Action.COMPLETE, *FULL)

        held_back = replace(by, holdback=10.0)
        kept = Followed(held_back, stage=2, step=2, state=State.BAKING)
        for _ in range(30):
            kept.window((500, 2), (4_500, 18))
        assert kept.release.state is State.BAKING
        assert "frozen" in kept.last.reason


class TestMaxDuration:
    def test_makes_an_undecided_stage_a_person_s_business(self) -> None:
        plain = policy(10, 100, min_samples=10**6)
        first = replace(plain.stages[0], max_duration_ms=5 * MINUTE)
        followed = Followed(replace(plain, stages=(first, plain.stages[1])))
        for _ in range(9):
            assert followed.window(*HEALTHY).state is State.RUNNING
        followed.window(*HEALTHY)

        assert followed.release.state is State.HOLDING
        assert followed.last.reason.startswith("undecided after 5 min in this stage")
        assert "too few samples" in followed.last.reason
        assert followed.window(*HEALTHY).state is State.HOLDING


class TestRetries:
    ONCE = Rollback(RollbackTo.ZERO, cooldown_ms=10 * MINUTE, max_retries=1)

    def test_a_failed_release_closes_cools_down_and_tries_again(self) -> None:
        followed = Followed(gated(rollback=self.ONCE))
        failed = followed.window(*BROKEN)

        assert failed.action is Action.COOL_DOWN
        assert "retry 1 of 1 after 10 min" in failed.reason
        assert (followed.release.state, followed.release.closed) == (State.COOLDOWN, True)
        threshold = failed.rollback_at
        assert "left" in followed.window({0: (1_000, 2)}).reason
        retry = followed.window({0: (1_000, 2)}, after_ms=10 * MINUTE)
        assert retry.action is Action.RETRY
        assert (followed.release.state, followed.release.stage) == (State.RUNNING, 1)
        assert followed.window(*HEALTHY).rollback_at == pytest.approx(3 * threshold)

    def test_after_the_last_retry_it_stays_closed(self) -> None:
        followed = Followed(gated(rollback=self.ONCE))
        followed.window(*BROKEN)
        followed.window({0: (1_000, 2)}, after_ms=10 * MINUTE)
        last = followed.window((900, 2), (100, 30))

        assert (last.action, last.state) == (Action.ROLLBACK, State.ROLLED_BACK)
        assert "no retries left (1 of 1 used)" in last.reason

    def test_the_previous_stage_stays_open_meanwhile_and_is_watched(self) -> None:
        back = Rollback(RollbackTo.PREVIOUS_STAGE, cooldown_ms=10 * MINUTE, max_retries=2)
        followed = Followed(gated(rollback=back), stage=2, step=2)
        followed.window((500, 2), (500, 40))

        assert (followed.release.stage, followed.release.closed) == (1, False)
        assert followed.window(*HEALTHY).action is Action.HOLD
        again = followed.window((900, 2), (100, 40))
        assert again.action is Action.COOL_DOWN
        assert followed.release.retries == 2

    def cooling_without_control(self, retries: int) -> Followed:
        """A release that failed at 10 % of everyone, and cools down at all of a segment."""
        plain = policy(
            100, 100, 10, 100, segments={1: ("team",), 2: ("beta",)}, relative=0.1, bake_ms=60_000
        )
        limit = replace(
            plain.checks[0], compare=Compare.ABSOLUTE, threshold=0.2, on_failure=OnFailure.ROLLBACK
        )
        back = Rollback(RollbackTo.PREVIOUS_STAGE, cooldown_ms=10 * MINUTE, max_retries=retries)
        by = replace(plain, checks=(plain.checks[0], limit), rollback=back)
        followed = Followed(by, stage=3, step=3)
        assert followed.window((9_000, 9), (1_000, 50)).action is Action.COOL_DOWN
        assert (followed.release.stage, followed.release.closed) == (2, False)
        return followed

    def test_errors_that_rise_in_a_cooldown_without_control_close_it_further(self) -> None:
        followed = self.cooling_without_control(retries=3)
        again = followed.window(treatment=(1_000, 50))

        assert (again.action, again.state) == (Action.COOL_DOWN, State.COOLDOWN)
        assert again.reason.startswith("errors rose at 100 %: 50 treated users failed in 1000")
        assert (followed.release.stage, followed.release.closed) == (1, False)
        assert followed.window(treatment=(1_000, 50)).action is Action.COOL_DOWN
        assert followed.release.closed

    def test_errors_that_rise_in_the_last_cooldown_end_the_release(self) -> None:
        followed = self.cooling_without_control(retries=1)
        last = followed.window(treatment=(1_000, 50))

        assert (last.action, followed.release.state) == (Action.ROLLBACK, State.ROLLED_BACK)
        assert "no retries left (1 of 1 used)" in last.reason

    def test_errors_that_rise_in_a_paused_cooldown_do_not_end_it(self) -> None:
        followed = self.cooling_without_control(retries=2)
        followed.release = machine.pause(followed.release, 30_000, "lunch", by=Initiator.PERSON)
        again = followed.window(treatment=(1_000, 50))

        assert (again.action, again.state) == (Action.COOL_DOWN, State.PAUSED)
        followed.release = machine.resume(followed.release, 90_000, "back")
        assert followed.release.state is State.COOLDOWN

    def test_a_person_s_pause_outlasts_the_cooldown(self) -> None:
        followed = Followed(gated(rollback=self.ONCE))
        followed.release = machine.pause(followed.release, 0, "lunch", by=Initiator.PERSON)
        followed.window(*BROKEN)

        assert (followed.release.state, followed.release.closed) == (State.PAUSED, True)
        for _ in range(5):
            assert followed.window({0: (1_000, 2)}, after_ms=HOUR).action is Action.HOLD
        followed.release = machine.resume(followed.release, 10**9, "back")
        assert followed.release.state is State.COOLDOWN
        assert followed.window({0: (1_000, 2)}).action is Action.RETRY

    def test_a_retry_waits_for_the_window_too(self) -> None:
        windows = Windows("UTC", (AdvanceWindow(opens=12 * 60, closes=13 * 60),))
        followed = Followed(gated(rollback=self.ONCE, windows=windows))
        followed.window(*BROKEN)
        waiting = followed.window({0: (1_000, 2)}, after_ms=10 * MINUTE)

        assert waiting.action is Action.HOLD
        assert "cooldown is over; the advance window is closed" in waiting.reason

    def test_silence_may_use_a_retry_as_well(self) -> None:
        silent = NoData(after_ms=MINUTE, action=NoDataAction.ROLLBACK)
        followed = Followed(gated(rollback=self.ONCE, no_data=silent))

        assert followed.window(after_ms=2 * MINUTE).action is Action.COOL_DOWN


class TestHoldback:
    def test_keeps_a_control_group_until_the_release_completes(self) -> None:
        by = replace(policy(50, 100, bake_ms=60_000), holdback=10.0)
        followed = Followed(by)
        followed.until(Action.ADVANCE, *HALF)

        assert followed.release.state is State.BAKING
        (stratum,) = followed.window((100, 1), (900, 9)).checks[:1]
        assert stratum.log_evidence != 0.0
        assert followed.until(Action.ROLLBACK, (100, 0), (900, 200)) <= 3

    def test_a_healthy_one_completes_on_evidence(self) -> None:
        by = replace(policy(50, 100, bake_ms=60_000), holdback=10.0)
        followed = Followed(by, stage=2, step=2, state=State.BAKING)
        followed.until(Action.COMPLETE, (500, 2), (4_500, 18))

        assert "healthy for" in followed.last.reason
        assert "at 90 %" in followed.last.reason


class TestConfirmation:
    ASKED = gated(confirm=(Confirmation("deploy-bot"),))

    def ready(self) -> Followed:
        followed = Followed(self.ASKED)
        for _ in range(30):
            if followed.window(*HEALTHY).asks:
                return followed
        raise AssertionError(followed.last.reason)

    def test_is_asked_for_before_the_advance(self) -> None:
        followed = self.ready()

        assert followed.last.asks == ("deploy-bot",)
        assert followed.release.stage == 1

    def test_lets_the_release_on(self) -> None:
        followed = self.ready()
        yes = followed.window(*HEALTHY, answers=(Answer("deploy-bot", True),))

        assert yes.action is Action.ADVANCE

    def test_holds_it_with_the_reason_of_a_refusal_until_it_is_given(self) -> None:
        followed = self.ready()
        followed.window(*HEALTHY, answers=(Answer("deploy-bot", False, "deploy is running"),))

        assert followed.release.state is State.HOLDING
        assert followed.last.reason == "not confirmed by deploy-bot: deploy is running"
        assert followed.window(*HEALTHY).asks == ("deploy-bot",)
        assert followed.release.state is State.HOLDING
        followed.window(*HEALTHY, answers=(Answer("deploy-bot", True),))
        assert followed.release.stage == 2

    def test_that_was_refused_holds_through_quiet_windows(self) -> None:
        followed = self.ready()
        followed.window(*HEALTHY, answers=(Answer("deploy-bot", False, "deploy is running"),))
        held = followed.release
        for _ in range(3):
            quiet = followed.window()
            assert (quiet.action, quiet.asks) == (Action.HOLD, ())
            assert quiet.reason == "not confirmed by deploy-bot: deploy is running"
            assert followed.release == held
        assert followed.window(*HEALTHY).asks == ("deploy-bot",)
        assert followed.window(*HEALTHY, answers=(Answer("deploy-bot", True),)).action is (
            Action.ADVANCE
        )

    def test_that_was_refused_does_not_hold_when_something_else_is_missing(self) -> None:
        followed = self.ready()
        followed.window(*HEALTHY, answers=(Answer("deploy-bot", False, "deploy is running"),))
        followed.window((900, 0), (100, 3))

        assert followed.last.reason == "the reason to hold has ended"
        assert followed.release.state is State.RUNNING


class TestDraft:
    def test_measures_and_decides_nothing(self) -> None:
        followed = Followed(gated(), state=State.DRAFT, closed=True)
        for _ in range(40):
            decision = followed.window({0: (1_000, 10)}, after_ms=HOUR)

        assert decision.action is Action.HOLD
        assert "40000 operations measured, 400 of them failed" in decision.reason

    def test_what_it_measured_is_no_part_of_the_release(self) -> None:
        followed = Followed(gated(), state=State.DRAFT, closed=True)
        followed.window({0: (1_000, 10)})
        followed.release = machine.begin(followed.release, 60_000, "go")
        followed.window(*HEALTHY)

        assert followed.progress.control.outcomes == 900
        assert followed.progress.before.outcomes == 1_000


def test_a_check_that_pauses_is_left_to_a_person_while_retries_remain() -> None:
    by = gated(rollback=TestRetries.ONCE)
    pausing = replace(by, checks=(replace(by.checks[0], on_failure=OnFailure.PAUSE),))
    followed = Followed(pausing)

    assert followed.window(*BROKEN).action is Action.PAUSE
    assert followed.release.retries == 0


def test_without_windows_a_percentage_may_always_be_raised() -> None:
    assert closed_because(Windows(), 0) is None
