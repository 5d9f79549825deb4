from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tidegate.counts import Counts
from tidegate.harm_evidence import EPOCH_WINDOWS, log_value
from tidegate_server.domain import release_state_machine as machine
from tidegate_server.domain.release import State
from tidegate_server.domain.release_state_machine import Initiator

from tests.decisions.ramp import SEGMENT, Followed, policy

RAMP = policy(10, 50, 100, min_samples=10**9)


def evidence(followed: Followed) -> float:
    return log_value(followed.progress.checks[0].evidence)


@given(st.lists(st.tuples(st.integers(0, 900), st.integers(0, 9), st.integers(0, 100))))
def test_windows_without_outcomes_leave_the_evidence_as_it_is(
    counts: list[tuple[int, int, int]],
) -> None:
    followed = Followed(RAMP, state=State.PAUSED, stopped=True)
    for n_c, e, n_t in counts:
        followed.window((n_c, e), (n_t, min(e, n_t)))
    before, phi = evidence(followed), followed.progress.checks[0].guard.phi
    for _ in range(20):
        followed.window(after_ms=10)

    assert evidence(followed) == pytest.approx(before, abs=1e-9)
    assert followed.progress.checks[0].guard.phi == phi


@given(
    st.lists(
        st.tuples(
            *[st.integers(0, 10**6)] * 4, st.booleans(), st.sampled_from([10, 30_000, 10**8])
        ),
        max_size=30,
    )
)
def test_every_number_stays_finite_whatever_is_counted(
    counts: list[tuple[int, int, int, int, bool, int]],
) -> None:
    followed = Followed(RAMP)
    for n_c, e_c, n_t, e_t, advance, after_ms in counts:
        opening = followed.release.state in (State.RUNNING, State.HOLDING)
        if advance and opening and followed.release.stage < 3:
            followed.release = machine.advance(
                followed.release, followed.progress.evaluated_ms, "skip", by=Initiator.PERSON
            )
        decision = followed.window((n_c, e_c), (n_t, e_t), after_ms)
        progress = followed.progress

        assert math.isfinite(decision.evidence)
        assert math.isfinite(decision.advance)
        numbers = [
            decision.log_evidence,
            decision.log_advance,
            decision.log_imbalance,
            decision.probe,
            decision.overdispersion,
            progress.probe.operations,
            *progress.checks[0].advance.logs,
            *(bet for check in progress.checks for bet in check.evidence.bets),
        ]
        assert all(math.isfinite(number) for number in numbers)
        if followed.release.ended_ms is not None:
            break


def test_a_new_stage_goes_on_with_the_evidence_and_begins_the_advance_afresh() -> None:
    followed = Followed(RAMP)
    for _ in range(3):
        followed.window((900, 9), (100, 2))
    before = evidence(followed)
    followed.release = replace(followed.release, stage=2, step=2)
    followed.window((0, 0), (0, 0))

    assert evidence(followed) == pytest.approx(before)
    assert followed.progress.checks[0].advance.logs == (0.0, 0.0, 0.0)
    assert followed.progress.checks[0].advance.operations < 3_000
    assert followed.progress.age == 0
    assert followed.progress.stage_windows == 1
    assert followed.progress.stage_control == Counts()
    assert followed.progress.control.outcomes == 2_700


def test_after_an_epoch_the_failing_users_and_the_evidence_start_afresh() -> None:
    followed = Followed(RAMP)
    for _ in range(EPOCH_WINDOWS - 1):
        followed.window((900, 9), (100, 1))
    first_limit = followed.last.rollback_at
    advance, phi = followed.progress.checks[0].advance, followed.progress.checks[0].guard
    assert followed.progress.generation == 0

    followed.window((900, 9), (100, 1))
    assert followed.progress.generation == 1
    assert followed.progress.spending == 2
    assert evidence(followed) == 0.0

    followed.window((900, 9), (100, 1))
    assert first_limit == pytest.approx(200.0)
    assert followed.last.rollback_at == pytest.approx(600.0)
    assert followed.progress.generation == 1
    assert followed.progress.epoch_windows == 1
    assert followed.progress.checks[0].advance.log_value > advance.log_value
    assert followed.progress.checks[0].guard.pairs > phi.pairs


def test_a_changed_treatment_restarts_everything_but_the_totals_and_control_s_rate() -> None:
    followed = Followed(RAMP)
    for _ in range(5):
        followed.window((900, 9), (100, 3))
    rate = followed.progress.probe.rate
    followed.release = machine.restart_evidence(followed.release, 200_000, "new value")
    followed.window((0, 0), (0, 0))

    assert evidence(followed) == pytest.approx(0.0, abs=1e-12)
    assert followed.progress.checks[0].advance.log_value == pytest.approx(0.0, abs=1e-12)
    assert followed.progress.spending == 2
    assert followed.progress.generation == 1
    assert followed.progress.failing_treated == 0
    assert followed.progress.probe.rate == rate
    assert followed.progress.control.outcomes == 4_500


def test_late_counts_are_in_the_totals_and_in_nothing_else() -> None:
    followed = Followed(RAMP)
    followed.window((900, 9), (100, 1))
    before = followed.progress
    followed.window(
        late_control=Counts(50, 50, 5, 5), late_treatment=Counts(70, 70, 70, 70), after_ms=10
    )

    assert followed.progress.treatment.outcomes == 170
    assert followed.progress.stage_treatment.outcomes == 100
    assert evidence(followed) == pytest.approx(log_value(before.checks[0].evidence))
    assert followed.progress.failing_treated == before.failing_treated


def test_a_stratum_without_control_is_shown_and_not_compared() -> None:
    staff_first = policy(100, 5, 100, segments={1: (SEGMENT,)}, min_samples=10_000)
    followed = Followed(staff_first, stage=2, step=2)
    followed.window({2: (950, 10)}, {1: (400, 300), 2: (50, 1)})

    assert followed.progress.stage_treatment.failing == 301
    assert followed.progress.compared_treatment.failing == 1
    assert followed.last.log_evidence < 1.0


def test_the_guard_divides_by_a_phi_that_was_fixed_before_the_window() -> None:
    followed = Followed(policy(50, 100, min_samples=10_000, relative=0.0))
    followed.window((500, 30), (500, 10))
    wild = replace(followed.progress.checks[0].guard, deviation=40.0)
    wobbling = replace(followed.progress.checks[0], guard=wild)
    followed.progress = replace(followed.progress, checks=(wobbling,))
    before = followed.progress.checks[0].evidence
    followed.window((500, 10), (500, 30))

    gained = followed.progress.checks[0].evidence.bets[0] - before.bets[0]
    full = 30 * math.log(1.5) - 40 * math.log(1.25)
    assert gained <= full / 4.0 + 1e-9


def test_a_release_that_ends_keeps_the_evidence_it_ended_on() -> None:
    followed = Followed(RAMP)
    for _ in range(EPOCH_WINDOWS - 1):
        followed.window((900, 9), (100, 1))
    followed.window((900, 0), (100, 60))

    assert followed.release.state is State.ROLLED_BACK
    assert evidence(followed) == pytest.approx(followed.last.log_evidence)
    assert followed.progress.generation == 0
