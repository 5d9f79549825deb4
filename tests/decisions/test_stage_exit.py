"""What a release needs to leave a stage, field by field of its policy."""

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

from tests.decisions.simulated_release import EvaluatedRelease, policy

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
        evaluated = EvaluatedRelease(gated(ApprovalGate(("ana", "bob"), count=2)))
        assert evaluated.window(*HEALTHY).state is State.RUNNING
        evaluated.until(Action.ASK, *HEALTHY)

        assert evaluated.release.state is State.AWAITING_APPROVAL
        assert (
            "everything else has passed; needs 2 approvals (approvers: ana, bob)"
            in evaluated.last.reason
        )
        assert evaluated.release.stage == 1

    def test_advances_the_release_at_the_evaluation_after_the_last_approval(self) -> None:
        evaluated = EvaluatedRelease(gated(ApprovalGate(count=2)))
        evaluated.until(Action.ASK, *HEALTHY)
        evaluated.release = machine.approve(evaluated.release, ANA)
        assert evaluated.window(*HEALTHY).action is Action.ASK
        evaluated.release = machine.approve(evaluated.release, BOB)
        advance = evaluated.window(*HEALTHY)

        assert advance.action is Action.ADVANCE
        assert "approved by ana (1), bob (2)" in advance.reason
        assert evaluated.release.approvals == ()

    def test_does_not_override_a_failed_check(self) -> None:
        evaluated = EvaluatedRelease(gated(ApprovalGate()))
        evaluated.until(Action.ASK, *HEALTHY)
        evaluated.release = machine.approve(evaluated.release, ANA)

        assert evaluated.window(*BROKEN).action is Action.ROLLBACK

    def test_is_withdrawn_from_waiting_when_something_no_longer_passes(self) -> None:
        evaluated = EvaluatedRelease(gated(ApprovalGate()))
        evaluated.until(Action.ASK, *HEALTHY)
        evaluated.window((900, 0), (100, 3))

        assert evaluated.last.action is Action.HOLD
        assert evaluated.release.state is State.RUNNING
        assert "evidence of safety" in evaluated.last.reason

    def test_in_a_window_without_data_is_not_asked_for_again_and_does_not_advance(self) -> None:
        evaluated = EvaluatedRelease(gated(ApprovalGate()))
        evaluated.until(Action.ASK, *HEALTHY)
        asked = evaluated.release
        evaluated.window()
        assert evaluated.release == asked
        evaluated.release = machine.approve(evaluated.release, ANA)
        evaluated.window()
        assert evaluated.release.stage == 1
        assert evaluated.window(*HEALTHY).action is Action.ADVANCE

    def test_that_times_out_holds_or_rolls_back(self) -> None:
        for on_timeout, state in (
            (OnTimeout.HOLD, State.HOLDING),
            (OnTimeout.ROLLBACK, State.ROLLED_BACK),
        ):
            gate = ApprovalGate(timeout_ms=HOUR, on_timeout=on_timeout)
            evaluated = EvaluatedRelease(gated(gate, no_data=NoData(after_ms=24 * HOUR)))
            evaluated.until(Action.ASK, *HEALTHY)
            evaluated.window(*HEALTHY, after_ms=59 * MINUTE)
            assert evaluated.release.state is State.AWAITING_APPROVAL
            evaluated.window(*HEALTHY, after_ms=2 * MINUTE)

            assert evaluated.release.state is state
            assert "timed out after" in evaluated.last.reason

    def test_that_timed_out_holds_in_windows_without_data_and_is_not_asked_for_again(
        self,
    ) -> None:
        gate = ApprovalGate(timeout_ms=HOUR)
        evaluated = EvaluatedRelease(gated(gate, no_data=NoData(after_ms=24 * HOUR)))
        evaluated.until(Action.ASK, *HEALTHY)
        evaluated.window(*HEALTHY, after_ms=2 * HOUR)
        held = evaluated.release
        assert held.state is State.HOLDING
        for counts in ((), HEALTHY, (), ()):
            assert evaluated.window(*counts).action is Action.HOLD
            assert evaluated.release == held
            assert "timed out after" in evaluated.last.reason

    def test_may_still_be_given_after_the_timeout(self) -> None:
        gate = ApprovalGate(timeout_ms=HOUR)
        evaluated = EvaluatedRelease(gated(gate, no_data=NoData(after_ms=24 * HOUR)))
        evaluated.until(Action.ASK, *HEALTHY)
        evaluated.window(*HEALTHY, after_ms=2 * HOUR)
        evaluated.window(*HEALTHY)
        assert evaluated.release.state is State.HOLDING
        evaluated.release = machine.approve(evaluated.release, ANA)
        evaluated.window(*HEALTHY)
        evaluated.window(*HEALTHY)

        assert evaluated.release.stage == 2

    def test_is_needed_before_completion_too(self) -> None:
        plain = policy(50, 100, bake_ms=60_000)
        last = replace(plain.stages[1], approval=ApprovalGate())
        by = replace(plain, stages=(plain.stages[0], last))
        evaluated = EvaluatedRelease(by, stage=2, step=2, state=State.BAKING)
        evaluated.until(Action.ASK, *FULL)

        assert evaluated.release.resumes_to is State.BAKING
        evaluated.release = machine.approve(evaluated.release, ANA)
        assert evaluated.window(*FULL).action is Action.COMPLETE


class TestWindows:
    def test_a_closed_window_delays_the_advance_and_gives_the_next_opening(self) -> None:
        windows = Windows("UTC", (AdvanceWindow(opens=60, closes=120),))
        evaluated = EvaluatedRelease(gated(windows=windows))
        for _ in range(10):
            evaluated.window(*HEALTHY)

        assert evaluated.release.stage == 1
        assert "the advance window is closed; it opens" in evaluated.last.reason
        evaluated.window(*HEALTHY, after_ms=HOUR)
        assert evaluated.release.stage == 2

    def test_a_freeze_delays_the_advance_and_gives_its_reason(self) -> None:
        windows = Windows("UTC", (), (Freeze("1970-01-01", "1970-01-01", "inventory"),))
        evaluated = EvaluatedRelease(gated(windows=windows))
        for _ in range(10):
            evaluated.window(*HEALTHY)

        assert evaluated.release.stage == 1
        assert evaluated.last.reason == "frozen until Fri 1970-01-02 00:00 UTC: inventory"

    def test_neither_delays_a_rollback(self) -> None:
        windows = Windows("UTC", (), (Freeze("1970-01-01", "1970-12-31"),))
        evaluated = EvaluatedRelease(gated(windows=windows))

        assert evaluated.window(*BROKEN).action is Action.ROLLBACK

    def test_a_completion_that_opens_to_no_new_users_is_not_delayed(self) -> None:
        windows = Windows("UTC", (), (Freeze("1970-01-01", "1970-12-31"),))
        by = replace(policy(50, 100, bake_ms=60_000), windows=windows)
        evaluated = EvaluatedRelease(by, stage=2, step=2, state=State.BAKING)
        evaluated.until(Action.COMPLETE, *FULL)

        held_back = replace(by, holdback=10.0)
        kept = EvaluatedRelease(held_back, stage=2, step=2, state=State.BAKING)
        for _ in range(30):
            kept.window((500, 2), (4_500, 18))
        assert kept.release.state is State.BAKING
        assert "frozen" in kept.last.reason


class TestMaxDuration:
    def test_holds_an_undecided_stage_for_a_person(self) -> None:
        plain = policy(10, 100, min_samples=10**6)
        first = replace(plain.stages[0], max_duration_ms=5 * MINUTE)
        evaluated = EvaluatedRelease(replace(plain, stages=(first, plain.stages[1])))
        for _ in range(9):
            assert evaluated.window(*HEALTHY).state is State.RUNNING
        evaluated.window(*HEALTHY)

        assert evaluated.release.state is State.HOLDING
        assert evaluated.last.reason.startswith("undecided after 5 min in this stage")
        assert "too few samples" in evaluated.last.reason
        assert evaluated.window(*HEALTHY).state is State.HOLDING


class TestRetries:
    ONCE = Rollback(RollbackTo.ZERO, cooldown_ms=10 * MINUTE, max_retries=1)

    def test_a_failed_release_closes_cools_down_and_is_retried(self) -> None:
        evaluated = EvaluatedRelease(gated(rollback=self.ONCE))
        failed = evaluated.window(*BROKEN)

        assert failed.action is Action.COOL_DOWN
        assert "retry 1 of 1 after 10 min" in failed.reason
        assert (evaluated.release.state, evaluated.release.closed) == (State.COOLDOWN, True)
        threshold = failed.rollback_at
        assert "left" in evaluated.window({0: (1_000, 2)}).reason
        retry = evaluated.window({0: (1_000, 2)}, after_ms=10 * MINUTE)
        assert retry.action is Action.RETRY
        assert (evaluated.release.state, evaluated.release.stage) == (State.RUNNING, 1)
        assert evaluated.window(*HEALTHY).rollback_at == pytest.approx(threshold)

    def test_after_the_last_retry_it_stays_closed(self) -> None:
        evaluated = EvaluatedRelease(gated(rollback=self.ONCE))
        evaluated.window(*BROKEN)
        evaluated.window({0: (1_000, 2)}, after_ms=10 * MINUTE)
        last = evaluated.window((900, 2), (100, 30))

        assert (last.action, last.state) == (Action.ROLLBACK, State.ROLLED_BACK)
        assert "no retries left (1 of 1 used)" in last.reason

    def test_the_previous_stage_stays_open_and_is_checked_in_the_cooldown(self) -> None:
        back = Rollback(RollbackTo.PREVIOUS_STAGE, cooldown_ms=10 * MINUTE, max_retries=2)
        evaluated = EvaluatedRelease(gated(rollback=back), stage=2, step=2)
        evaluated.window((500, 2), (500, 40))

        assert (evaluated.release.stage, evaluated.release.closed) == (1, False)
        assert evaluated.window(*HEALTHY).action is Action.HOLD
        again = evaluated.window((900, 2), (100, 40))
        assert again.action is Action.COOL_DOWN
        assert evaluated.release.retries == 2

    def cooling_without_control(self, retries: int) -> EvaluatedRelease:
        """A release that failed at 10 % of everyone and cools down at 100 % of a segment."""
        plain = policy(
            100, 100, 10, 100, segments={1: ("team",), 2: ("beta",)}, relative=0.1, bake_ms=60_000
        )
        limit = replace(
            plain.checks[0], compare=Compare.ABSOLUTE, threshold=0.2, on_failure=OnFailure.ROLLBACK
        )
        back = Rollback(RollbackTo.PREVIOUS_STAGE, cooldown_ms=10 * MINUTE, max_retries=retries)
        by = replace(plain, checks=(plain.checks[0], limit), rollback=back)
        evaluated = EvaluatedRelease(by, stage=3, step=3)
        assert evaluated.window((9_000, 9), (1_000, 50)).action is Action.COOL_DOWN
        assert (evaluated.release.stage, evaluated.release.closed) == (2, False)
        return evaluated

    def test_errors_that_rise_in_a_cooldown_without_control_close_it_further(self) -> None:
        evaluated = self.cooling_without_control(retries=3)
        again = evaluated.window(treatment=(1_000, 50))

        assert (again.action, again.state) == (Action.COOL_DOWN, State.COOLDOWN)
        assert again.reason.startswith("errors rose where no control group is left (treatment: 50 ")
        assert (evaluated.release.stage, evaluated.release.closed) == (1, False)
        assert evaluated.window(treatment=(1_000, 50)).action is Action.COOL_DOWN
        assert evaluated.release.closed

    def test_errors_that_rise_in_the_last_cooldown_end_the_release(self) -> None:
        evaluated = self.cooling_without_control(retries=1)
        last = evaluated.window(treatment=(1_000, 50))

        assert (last.action, evaluated.release.state) == (Action.ROLLBACK, State.ROLLED_BACK)
        assert "no retries left (1 of 1 used)" in last.reason

    def test_errors_that_rise_in_a_paused_cooldown_do_not_end_it(self) -> None:
        evaluated = self.cooling_without_control(retries=2)
        evaluated.release = machine.pause(evaluated.release, 30_000, "lunch", by=Initiator.PERSON)
        again = evaluated.window(treatment=(1_000, 50))

        assert (again.action, again.state) == (Action.COOL_DOWN, State.PAUSED)
        evaluated.release = machine.resume(evaluated.release, 90_000, "back")
        assert evaluated.release.state is State.COOLDOWN

    def test_a_person_s_pause_outlasts_the_cooldown(self) -> None:
        evaluated = EvaluatedRelease(gated(rollback=self.ONCE))
        evaluated.release = machine.pause(evaluated.release, 0, "lunch", by=Initiator.PERSON)
        evaluated.window(*BROKEN)

        assert (evaluated.release.state, evaluated.release.closed) == (State.PAUSED, True)
        for _ in range(5):
            assert evaluated.window({0: (1_000, 2)}, after_ms=HOUR).action is Action.HOLD
        evaluated.release = machine.resume(evaluated.release, 10**9, "back")
        assert evaluated.release.state is State.COOLDOWN
        assert evaluated.window({0: (1_000, 2)}).action is Action.RETRY

    def test_a_retry_waits_for_the_window_too(self) -> None:
        windows = Windows("UTC", (AdvanceWindow(opens=12 * 60, closes=13 * 60),))
        evaluated = EvaluatedRelease(gated(rollback=self.ONCE, windows=windows))
        evaluated.window(*BROKEN)
        waiting = evaluated.window({0: (1_000, 2)}, after_ms=10 * MINUTE)

        assert waiting.action is Action.HOLD
        assert "cooldown is over; the advance window is closed" in waiting.reason

    def test_a_rollback_without_data_may_use_a_retry(self) -> None:
        silent = NoData(after_ms=MINUTE, action=NoDataAction.ROLLBACK)
        evaluated = EvaluatedRelease(gated(rollback=self.ONCE, no_data=silent))

        assert evaluated.window(after_ms=2 * MINUTE).action is Action.COOL_DOWN


class TestHoldback:
    def test_keeps_a_control_group_until_the_release_completes(self) -> None:
        by = replace(policy(50, 100, bake_ms=60_000), holdback=10.0)
        evaluated = EvaluatedRelease(by)
        evaluated.until(Action.ADVANCE, *HALF)

        assert evaluated.release.state is State.BAKING
        (stratum,) = evaluated.window((100, 1), (900, 9)).checks[:1]
        assert stratum.log_evidence != 0.0
        assert evaluated.until(Action.ROLLBACK, (100, 0), (900, 200)) <= 3

    def test_a_healthy_release_completes_on_evidence(self) -> None:
        by = replace(policy(50, 100, bake_ms=60_000), holdback=10.0)
        evaluated = EvaluatedRelease(by, stage=2, step=2, state=State.BAKING)
        evaluated.until(Action.COMPLETE, (500, 2), (4_500, 18))

        assert "after " in evaluated.last.reason
        assert "at 90 %" in evaluated.last.reason


class TestConfirmation:
    ASKED = gated(confirm=(Confirmation("deploy-bot"),))

    def ready(self) -> EvaluatedRelease:
        evaluated = EvaluatedRelease(self.ASKED)
        for _ in range(30):
            if evaluated.window(*HEALTHY).asks:
                return evaluated
        raise AssertionError(evaluated.last.reason)

    def test_is_asked_for_before_the_advance(self) -> None:
        evaluated = self.ready()

        assert evaluated.last.asks == ("deploy-bot",)
        assert evaluated.release.stage == 1

    def test_advances_the_release(self) -> None:
        evaluated = self.ready()
        yes = evaluated.window(*HEALTHY, answers=(Answer("deploy-bot", True),))

        assert yes.action is Action.ADVANCE

    def test_holds_the_release_with_the_reason_of_a_refusal_until_it_is_given(self) -> None:
        evaluated = self.ready()
        evaluated.window(*HEALTHY, answers=(Answer("deploy-bot", False, "deploy is running"),))

        assert evaluated.release.state is State.HOLDING
        assert evaluated.last.reason == "not confirmed by deploy-bot: deploy is running"
        assert evaluated.window(*HEALTHY).asks == ("deploy-bot",)
        assert evaluated.release.state is State.HOLDING
        evaluated.window(*HEALTHY, answers=(Answer("deploy-bot", True),))
        assert evaluated.release.stage == 2

    def test_that_was_refused_holds_in_windows_without_data(self) -> None:
        evaluated = self.ready()
        evaluated.window(*HEALTHY, answers=(Answer("deploy-bot", False, "deploy is running"),))
        held = evaluated.release
        for _ in range(3):
            quiet = evaluated.window()
            assert (quiet.action, quiet.asks) == (Action.HOLD, ())
            assert quiet.reason == "not confirmed by deploy-bot: deploy is running"
            assert evaluated.release == held
        assert evaluated.window(*HEALTHY).asks == ("deploy-bot",)
        assert evaluated.window(*HEALTHY, answers=(Answer("deploy-bot", True),)).action is (
            Action.ADVANCE
        )

    def test_that_was_refused_does_not_hold_when_something_else_is_missing(self) -> None:
        evaluated = self.ready()
        evaluated.window(*HEALTHY, answers=(Answer("deploy-bot", False, "deploy is running"),))
        evaluated.window((900, 0), (100, 3))

        assert evaluated.last.reason == "the reason to hold has ended"
        assert evaluated.release.state is State.RUNNING


class TestDraft:
    def test_measures_and_decides_nothing(self) -> None:
        evaluated = EvaluatedRelease(gated(), state=State.DRAFT, closed=True)
        for _ in range(40):
            decision = evaluated.window({0: (1_000, 10)}, after_ms=HOUR)

        assert decision.action is Action.HOLD
        assert "40000 operations measured, 400 of them failed" in decision.reason

    def test_what_it_measured_is_not_in_the_totals_of_the_release(self) -> None:
        evaluated = EvaluatedRelease(gated(), state=State.DRAFT, closed=True)
        evaluated.window({0: (1_000, 10)})
        evaluated.release = machine.begin(evaluated.release, 60_000, "go")
        evaluated.window(*HEALTHY)

        assert evaluated.progress.control.outcomes == 900
        assert evaluated.progress.before.outcomes == 1_000


def test_a_check_that_pauses_uses_no_retry() -> None:
    by = gated(rollback=TestRetries.ONCE)
    pausing = replace(by, checks=(replace(by.checks[0], on_failure=OnFailure.PAUSE),))
    evaluated = EvaluatedRelease(pausing)

    assert evaluated.window(*BROKEN).action is Action.PAUSE
    assert evaluated.release.retries == 0


def test_without_windows_a_percentage_may_always_be_raised() -> None:
    assert closed_because(Windows(), 0) is None
