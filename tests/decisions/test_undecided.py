"""What happens when a stage's time is over and its evidence has not decided."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tidegate_server.decisions.decision import Action, Decision
from tidegate_server.decisions.observations import Answer
from tidegate_server.domain import release_state_machine as machine
from tidegate_server.domain.checks import Check, Compare
from tidegate_server.domain.policy import DAY, HOUR, MINUTE, NoData, Policy, Undecided
from tidegate_server.domain.release import Approval, Basis, State
from tidegate_server.domain.release_gates import (
    ApprovalGate,
    Confirmation,
    Freeze,
    Rollback,
    RollbackTo,
    Windows,
)

from tests.decisions.simulated_release import EvaluatedRelease, policy, window_of

TRICKLE = (9, 0), (1, 0)
SUSPICIOUS = (9, 0), (5, 2)
NOTHING = (0, 0), (0, 0)
HEALTHY = (9_000, 20), (1_000, 0)


def limited(undecided: Undecided, **changes: object) -> Policy:
    """10 % for at most an hour, then 50 and 100 %, evaluated every ten minutes."""
    plain = policy(10, 50, 100, interval_ms=10 * MINUTE, bake_ms=20 * MINUTE, min_samples=100)
    first = replace(plain.stages[0], max_duration_ms=HOUR, undecided=undecided)
    return replace(
        plain,
        stages=(first, *plain.stages[1:]),
        no_data=NoData(after_ms=DAY),
        **changes,  # type: ignore[arg-type]
    )


def started(by: Policy, **changes: object) -> EvaluatedRelease:
    return EvaluatedRelease(by, statistics=2, **changes)


def after_an_hour(
    by: Policy, counts: tuple[tuple[int, int], tuple[int, int]] = TRICKLE
) -> EvaluatedRelease:
    """A release whose first stage has used up its hour; nothing has happened before."""
    evaluated = started(by)
    for _ in range(5):
        assert evaluated.window(*counts).action is Action.HOLD
        assert evaluated.release.state is State.RUNNING
    evaluated.window(*counts)
    return evaluated


def test_hold_waits_for_a_person_with_everything_that_is_missing() -> None:
    held = after_an_hour(limited(Undecided.HOLD))

    assert (held.last.action, held.release.state) == (Action.HOLD, State.HOLDING)
    assert held.last.reason.startswith("undecided after 1 h in this stage: a person must advance")
    assert "too few samples, 6 of 100 outcomes in the treatment arm" in held.last.reason
    assert "evidence of safety" in held.last.reason
    assert held.last.basis is None


class TestAdvance:
    def test_opens_the_next_stage_and_says_that_it_rests_on_time(self) -> None:
        late = after_an_hour(limited(Undecided.ADVANCE))

        assert (late.last.action, late.last.basis) == (Action.ADVANCE, Basis.TIME)
        assert (late.release.stage, late.release.stage_basis) == (2, Basis.TIME)
        assert late.last.reason.startswith("advanced on time after 1 h, not on evidence: ")
        assert "noticed" in late.last.reason
        assert "missing: too few samples, 6 of 100" in late.last.reason
        assert late.release.reason == late.last.reason

    def test_is_not_needed_where_the_evidence_is_enough(self) -> None:
        evaluated = started(limited(Undecided.ADVANCE))
        evaluated.until(Action.ADVANCE, *HEALTHY, most=5)

        assert (evaluated.last.basis, evaluated.release.stage_basis) == (
            Basis.EVIDENCE,
            Basis.EVIDENCE,
        )
        assert evaluated.last.reason.startswith("advanced on evidence: evidence of safety ")

    def test_rests_on_evidence_if_it_comes_after_the_time(self) -> None:
        by = limited(Undecided.ADVANCE, windows=FROZEN)
        evaluated = after_an_hour(by)
        for _ in range(5):
            evaluated.window(*HEALTHY)
        evaluated.window(*HEALTHY, after_ms=30 * DAY)

        assert (evaluated.last.action, evaluated.last.basis) == (Action.ADVANCE, Basis.EVIDENCE)

    def test_holds_while_the_evidence_of_harm_is_too_high(self) -> None:
        bad = started(limited(Undecided.ADVANCE))
        for _ in range(5):
            bad.window(*TRICKLE)
        bad.window(*SUSPICIOUS)

        assert 5 <= bad.last.evidence < bad.last.rollback_at
        assert (bad.last.action, bad.release.state) == (Action.HOLD, State.HOLDING)
        assert "undecided after 1 h" in bad.last.reason
        assert "is too high to advance" in bad.last.reason
        assert "too few samples" in bad.last.reason

    def test_continues_by_itself_when_the_evidence_of_harm_has_fallen(self) -> None:
        bad = started(limited(Undecided.ADVANCE))
        for _ in range(5):
            bad.window(*TRICKLE)
        bad.window(*SUSPICIOUS)
        for _ in range(30):
            if bad.window((90, 9), (10, 1)).action is Action.ADVANCE:
                break

        assert (bad.release.stage, bad.release.stage_basis) == (2, Basis.TIME)

    def test_waits_for_a_window_with_outcomes(self) -> None:
        evaluated = started(limited(Undecided.ADVANCE))
        for _ in range(5):
            evaluated.window(*TRICKLE)
        for _ in range(3):
            quiet = evaluated.window()
            assert (quiet.action, quiet.state) == (Action.HOLD, State.RUNNING)
            assert quiet.reason == "waiting: no new outcomes since the last evaluation"

        assert evaluated.window(*TRICKLE).basis is Basis.TIME

    def test_needs_two_windows_with_data(self) -> None:
        evaluated = started(limited(Undecided.ADVANCE))
        for _ in range(6):
            evaluated.window()
        evaluated.window(*TRICKLE)
        assert evaluated.last.action is Action.HOLD
        assert "1 of 2 windows with data" in evaluated.last.reason

        until_advanced(evaluated)
        assert evaluated.release.stage_basis is Basis.TIME

    def test_waits_while_the_release_is_without_data(self) -> None:
        silent = started(replace(limited(Undecided.ADVANCE), no_data=NoData(after_ms=30 * MINUTE)))
        for _ in range(3):
            silent.window(*TRICKLE)
        for _ in range(10):
            silent.window()

        assert (silent.release.stage, silent.release.state) == (1, State.HOLDING)
        assert silent.last.reason.startswith("no data")

    def test_waits_for_the_end_of_a_freeze(self) -> None:
        frozen = after_an_hour(limited(Undecided.ADVANCE, windows=FROZEN))
        assert (frozen.last.action, frozen.release.state) == (Action.HOLD, State.RUNNING)
        assert "frozen" in frozen.last.reason

        frozen.window(*TRICKLE, after_ms=30 * DAY)
        assert frozen.last.basis is Basis.TIME

    def test_is_asked_approval_for_as_undecided(self) -> None:
        by = limited(Undecided.ADVANCE)
        first = replace(by.stages[0], approval=ApprovalGate())
        asked = after_an_hour(replace(by, stages=(first, *by.stages[1:])))
        assert asked.release.state is State.AWAITING_APPROVAL
        assert asked.last.reason == (
            "the stage's time is over and the evidence has not decided; needs 1 approval"
        )
        requested = asked.release
        for counts in (NOTHING, TRICKLE, NOTHING):
            asked.window(*counts)
            assert asked.release == requested

        asked.release = machine.approve(asked.release, Approval("ana (1)", "ana", 1))
        asked.window(*TRICKLE)
        assert asked.last.basis is Basis.TIME
        assert asked.last.reason.endswith("approved by ana (1)")

    def test_is_asked_confirmation_for(self) -> None:
        asked = after_an_hour(limited(Undecided.ADVANCE, confirm=(Confirmation("bot"),)))
        assert (asked.last.action, asked.last.asks) == (Action.HOLD, ("bot",))

        refused = asked.window(*TRICKLE, answers=(Answer("bot", False, "not today"),))
        assert refused.state is State.HOLDING
        assert refused.reason == "not confirmed by bot: not today"
        assert asked.window(*TRICKLE, answers=(Answer("bot", True),)).basis is Basis.TIME

    def test_waits_while_clients_report_harm(self) -> None:
        evaluated = started(limited(Undecided.ADVANCE))

        def close(*clients: tuple[int, int]) -> Decision:
            now = evaluated.progress.evaluated_ms + 10 * MINUTE
            known = evaluated.progress.client
            generation = known.generation if known is not None else 1
            reported = window_of(evaluated.release, *clients, generation=generation, closed_ms=now)
            return evaluated.window(*TRICKLE, client=reported)

        for _ in range(5):
            close(*TRICKLE)
        for _ in range(3):
            held = close((900, 2), (100, 30))
            assert (held.action, held.state) == (Action.HOLD, State.HOLDING)
            assert held.reason.startswith("client reports say")

    def test_does_not_ignore_a_value_beyond_its_limit_but_one_that_is_not_known(self) -> None:
        limit = Check(compare=Compare.ABSOLUTE, threshold=0.05, window_ms=10 * MINUTE)
        by = limited(Undecided.ADVANCE)
        by = replace(by, checks=(*by.checks, replace(limit, failure_limit=5)))
        evaluated = started(by)
        for _ in range(5):
            evaluated.window(*TRICKLE)
        evaluated.window((90, 9), (10, 1))
        assert evaluated.last.action is Action.HOLD
        assert "error rate <= 0.05: 0.1, must be <= 0.05" in evaluated.last.reason

        slow = replace(limit, metric=by.checks[0].metric, threshold=0.05, window_ms=MINUTE)
        unknown = after_an_hour(replace(by, checks=(by.checks[0], slow)), ((10, 0), (0, 0)))
        assert "error rate <= 0.05: no value yet" in unknown.last.reason
        assert unknown.last.basis is Basis.TIME

    def test_an_advance_without_a_control_group_rests_on_time(self) -> None:
        by = policy(100, 10, 100, segments={1: ("team",)}, min_samples=10)
        evaluated = started(by)
        evaluated.until(Action.ADVANCE, (0, 0), (30, 0))

        assert evaluated.last.basis is Basis.TIME
        assert "not on evidence: no control group is left to compare with" in (
            evaluated.last.reason
        )


class TestRollback:
    def test_closes_the_release_without_calling_it_harmful(self) -> None:
        ended = after_an_hour(limited(Undecided.ROLLBACK))

        assert (ended.last.action, ended.release.state) == (Action.ROLLBACK, State.ROLLED_BACK)
        assert ended.last.reason.startswith(
            "undecided after 1 h in this stage, so the policy rolls it back; this is no evidence "
            "of harm: too few samples"
        )
        assert ended.last.failed_checks == ()

    def test_is_not_delayed_by_a_freeze(self) -> None:
        ended = after_an_hour(limited(Undecided.ROLLBACK, windows=FROZEN))

        assert ended.last.action is Action.ROLLBACK

    def test_may_use_a_retry(self) -> None:
        once = Rollback(RollbackTo.ZERO, cooldown_ms=HOUR, max_retries=1)
        ended = after_an_hour(limited(Undecided.ROLLBACK, rollback=once))

        assert (ended.last.action, ended.release.state) == (Action.COOL_DOWN, State.COOLDOWN)
        assert "retry 1 of 1 after 1 h" in ended.last.reason

    def test_does_not_happen_while_only_outcomes_of_this_window_are_missing(self) -> None:
        evaluated = started(limited(Undecided.ROLLBACK, windows=FROZEN))
        for _ in range(8):
            evaluated.window(*HEALTHY)
        assert "frozen" in evaluated.last.reason

        assert evaluated.window().action is Action.HOLD
        assert evaluated.release.state is State.RUNNING

    def test_leaves_a_paused_release_alone(self) -> None:
        evaluated = started(limited(Undecided.ROLLBACK))
        evaluated.window(*TRICKLE)
        evaluated.release = machine.pause(
            evaluated.release, 1, "lunch", by=machine.Initiator.PERSON
        )
        for _ in range(10):
            assert evaluated.window(*TRICKLE).action is Action.HOLD


class TestLastStage:
    def baking(self, **changes: object) -> EvaluatedRelease:
        by = policy(50, 100, interval_ms=10 * MINUTE, bake_ms=HOUR, min_samples=100)
        by = replace(by, no_data=NoData(after_ms=DAY))
        return started(replace(by, **changes), stage=2, step=2, state=State.BAKING)  # type: ignore[arg-type]

    def test_completes_without_evidence_of_safety_where_a_holdback_is_compared(self) -> None:
        evaluated = self.baking(holdback=1.0)
        assert evaluated.until(Action.COMPLETE, (1, 0), (20, 1), most=6) == 6

        assert evaluated.last.advance < evaluated.last.advance_at
        assert evaluated.last.basis is None
        assert evaluated.last.reason.startswith(
            "after 1 h at 99 %: no stage follows, so no evidence of safety is needed; evidence of "
            "harm "
        )

    def test_needs_the_samples_of_the_treatment(self) -> None:
        evaluated = self.baking()
        for _ in range(9):
            evaluated.window((0, 0), (10, 0))
        assert "too few samples, 90 of 100 outcomes in the treatment arm" in evaluated.last.reason

        assert evaluated.window((0, 0), (10, 0)).action is Action.COMPLETE

    def test_does_not_complete_while_the_evidence_of_harm_is_high(self) -> None:
        evaluated = started(
            replace(
                policy(50, 100, interval_ms=10 * MINUTE, bake_ms=HOUR),
                no_data=NoData(after_ms=DAY),
            )
        )
        evaluated.window((100, 0), (100, 5))
        assert 5 <= evaluated.last.evidence < evaluated.last.rollback_at
        evaluated.release = machine.advance(
            evaluated.release, 10 * MINUTE, "urgent", by=machine.Initiator.PERSON
        )
        for _ in range(10):
            evaluated.window((0, 0), (100, 0))

        assert evaluated.release.state is State.BAKING
        assert "is too high to advance" in evaluated.last.reason

    @pytest.mark.parametrize(
        ("undecided", "action", "state"),
        [
            (Undecided.HOLD, Action.HOLD, State.HOLDING),
            (Undecided.ADVANCE, Action.COMPLETE, State.COMPLETED),
            (Undecided.ROLLBACK, Action.ROLLBACK, State.ROLLED_BACK),
        ],
    )
    def test_may_be_limited_too(self, undecided: Undecided, action: Action, state: State) -> None:
        by = policy(50, 100, interval_ms=10 * MINUTE, bake_ms=HOUR, min_samples=100)
        last = replace(by.stages[1], max_duration_ms=2 * HOUR, undecided=undecided)
        evaluated = self.baking(stages=(by.stages[0], last))
        for _ in range(12):
            evaluated.window((0, 0), (1, 0))

        assert (evaluated.last.action, evaluated.release.state) == (action, state)
        assert "too few samples, 12 of 100" in evaluated.last.reason
        completes = action is Action.COMPLETE
        assert evaluated.last.basis is (Basis.TIME if completes else None)


FROZEN = Windows("UTC", (), (Freeze("1970-01-01", "1970-01-10", "holidays"),))


def until_advanced(evaluated: EvaluatedRelease) -> None:
    """Repeat a trickle of traffic until the release is in its second stage."""
    for _ in range(10):
        if evaluated.window(*TRICKLE).action is Action.ADVANCE:
            return
    raise AssertionError(evaluated.last.reason)
