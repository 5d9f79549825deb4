from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tidegate.counts import Counts
from tidegate_server.decisions.version_1.harm_evidence import EPOCH_WINDOWS, log_value
from tidegate_server.domain import release_state_machine as machine
from tidegate_server.domain.release import State
from tidegate_server.domain.release_state_machine import Initiator

from tests.decisions.simulated_release import SEGMENT, EvaluatedRelease, policy

RAMP = policy(10, 50, 100, min_samples=10**9)


def evidence(evaluated: EvaluatedRelease) -> float:
    return log_value(evaluated.progress.checks[0].evidence)


@given(st.lists(st.tuples(st.integers(0, 900), st.integers(0, 9), st.integers(0, 100))))
def test_windows_without_outcomes_do_not_change_the_evidence(
    counts: list[tuple[int, int, int]],
) -> None:
    evaluated = EvaluatedRelease(RAMP, state=State.PAUSED, stopped=True)
    for n_c, e, n_t in counts:
        evaluated.window((n_c, e), (n_t, min(e, n_t)))
    before, phi = evidence(evaluated), evaluated.progress.checks[0].guard.factor
    for _ in range(20):
        evaluated.window(after_ms=10)

    assert evidence(evaluated) == pytest.approx(before, abs=1e-9)
    assert evaluated.progress.checks[0].guard.factor == phi


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
    evaluated = EvaluatedRelease(RAMP)
    for n_c, e_c, n_t, e_t, advance, after_ms in counts:
        opening = evaluated.release.state in (State.RUNNING, State.HOLDING)
        if advance and opening and evaluated.release.stage < 3:
            evaluated.release = machine.advance(
                evaluated.release, evaluated.progress.evaluated_ms, "skip", by=Initiator.PERSON
            )
        decision = evaluated.window((n_c, e_c), (n_t, e_t), after_ms)
        progress = evaluated.progress

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
        if evaluated.release.ended_ms is not None:
            break


def test_a_new_stage_keeps_the_evidence_of_harm_and_restarts_the_evidence_of_safety() -> None:
    evaluated = EvaluatedRelease(RAMP)
    for _ in range(3):
        evaluated.window((900, 9), (100, 2))
    before = evidence(evaluated)
    evaluated.release = replace(evaluated.release, stage=2, step=2)
    evaluated.window((0, 0), (0, 0))

    assert evidence(evaluated) == pytest.approx(before)
    assert evaluated.progress.checks[0].advance.logs == (0.0, 0.0, 0.0)
    assert evaluated.progress.checks[0].advance.operations < 3_000
    assert evaluated.progress.age == 0
    assert evaluated.progress.stage_windows == 1
    assert evaluated.progress.stage_control == Counts()
    assert evaluated.progress.control.outcomes == 2_700


def test_a_new_epoch_restarts_the_failing_users_and_the_evidence_of_harm() -> None:
    evaluated = EvaluatedRelease(RAMP)
    for _ in range(EPOCH_WINDOWS - 1):
        evaluated.window((900, 9), (100, 1))
    first_limit = evaluated.last.rollback_at
    advance, phi = evaluated.progress.checks[0].advance, evaluated.progress.checks[0].guard
    assert evaluated.progress.generation == 0

    evaluated.window((900, 9), (100, 1))
    assert evaluated.progress.generation == 1
    assert evaluated.progress.spending == 2
    assert evidence(evaluated) == 0.0

    evaluated.window((900, 9), (100, 1))
    assert first_limit == pytest.approx(200.0)
    assert evaluated.last.rollback_at == pytest.approx(600.0)
    assert evaluated.progress.generation == 1
    assert evaluated.progress.epoch_windows == 1
    assert evaluated.progress.checks[0].advance.log_value > advance.log_value
    assert evaluated.progress.checks[0].guard.pairs > phi.pairs


def test_a_changed_treatment_restarts_everything_except_the_totals_and_control_s_rate() -> None:
    evaluated = EvaluatedRelease(RAMP)
    for _ in range(5):
        evaluated.window((900, 9), (100, 3))
    rate = evaluated.progress.probe.rate
    evaluated.release = machine.restart_evidence(evaluated.release, 200_000, "new value")
    evaluated.window((0, 0), (0, 0))

    assert evidence(evaluated) == pytest.approx(0.0, abs=1e-12)
    assert evaluated.progress.checks[0].advance.log_value == pytest.approx(0.0, abs=1e-12)
    assert evaluated.progress.spending == 2
    assert evaluated.progress.generation == 1
    assert evaluated.progress.failing_treated == 0
    assert evaluated.progress.probe.rate == rate
    assert evaluated.progress.control.outcomes == 4_500


def test_late_counts_are_only_in_the_totals() -> None:
    evaluated = EvaluatedRelease(RAMP)
    evaluated.window((900, 9), (100, 1))
    before = evaluated.progress
    evaluated.window(
        late_control=Counts(50, 50, 5, 5), late_treatment=Counts(70, 70, 70, 70), after_ms=10
    )

    assert evaluated.progress.treatment.outcomes == 170
    assert evaluated.progress.stage_treatment.outcomes == 100
    assert evidence(evaluated) == pytest.approx(log_value(before.checks[0].evidence))
    assert evaluated.progress.failing_treated == before.failing_treated


def test_a_stratum_without_control_is_counted_but_not_compared() -> None:
    staff_first = policy(100, 5, 100, segments={1: (SEGMENT,)}, min_samples=10_000)
    evaluated = EvaluatedRelease(staff_first, stage=2, step=2)
    evaluated.window({2: (950, 10)}, {1: (400, 300), 2: (50, 1)})

    assert evaluated.progress.stage_treatment.failing == 301
    assert evaluated.progress.compared_treatment.failing == 1
    assert evaluated.last.log_evidence < 1.0


def test_the_guard_divides_by_the_phi_from_before_the_window() -> None:
    evaluated = EvaluatedRelease(policy(50, 100, min_samples=10_000, relative=0.0))
    evaluated.window((500, 30), (500, 10))
    wild = replace(evaluated.progress.checks[0].guard, deviation=40.0)
    wobbling = replace(evaluated.progress.checks[0], guard=wild)
    evaluated.progress = replace(evaluated.progress, checks=(wobbling,))
    before = evaluated.progress.checks[0].evidence
    evaluated.window((500, 10), (500, 30))

    gained = evaluated.progress.checks[0].evidence.bets[0] - before.bets[0]
    full = 30 * math.log(1.5) - 40 * math.log(1.25)
    assert gained <= full / 4.0 + 1e-9


def test_an_ended_release_keeps_its_evidence() -> None:
    evaluated = EvaluatedRelease(RAMP)
    for _ in range(EPOCH_WINDOWS - 1):
        evaluated.window((900, 9), (100, 1))
    evaluated.window((900, 0), (100, 60))

    assert evaluated.release.state is State.ROLLED_BACK
    assert evidence(evaluated) == pytest.approx(evaluated.last.log_evidence)
    assert evaluated.progress.generation == 0
