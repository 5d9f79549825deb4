from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tidegate.counts import Counts
from tidegate.harm_evidence import VarianceGuard
from tidegate_server.domain import release_state_machine as machine
from tidegate_server.domain.checks import Check, Metric
from tidegate_server.domain.release import State
from tidegate_server.domain.release_state_machine import Initiator

from tests.decisions.simulated_release import SEGMENT, EvaluatedRelease, policy

RAMP = policy(10, 50, 100, min_samples=10**9)


def evidence(evaluated: EvaluatedRelease) -> float:
    return evaluated.progress.checks[0].harm.log_value


@given(st.lists(st.tuples(st.integers(0, 900), st.integers(0, 9), st.integers(0, 100))))
def test_windows_without_outcomes_do_not_change_the_evidence(
    counts: list[tuple[int, int, int]],
) -> None:
    evaluated = EvaluatedRelease(RAMP, state=State.PAUSED, stopped=True)
    for n_c, e, n_t in counts:
        evaluated.window((n_c, e), (n_t, min(e, n_t)))
    before, guard = evidence(evaluated), evaluated.progress.checks[0].harm.guard
    for _ in range(20):
        evaluated.window(after_ms=10)

    assert evidence(evaluated) == pytest.approx(before, abs=1e-9)
    assert evaluated.progress.checks[0].harm.guard == guard


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
            decision.wobble,
            decision.detectable_ratio or 0.0,
            progress.probe.operations,
            progress.checks[0].safety.unbet,
            *progress.checks[0].safety.bets,
            progress.checks[0].harm.unbet,
            *progress.checks[0].harm.bets,
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
    assert evaluated.progress.checks[0].safety.log_value == pytest.approx(0.0, abs=1e-12)
    assert evaluated.progress.checks[0].safety.operations > 2_000
    assert evaluated.progress.checks[0].harm.windows == 1
    assert evaluated.progress.stage_windows == 1
    assert evaluated.progress.stage_control == Counts()
    assert evaluated.progress.control.outcomes == 2_700


def saturate(evaluated: EvaluatedRelease) -> None:
    """Close windows in which nearly everyone who can fail in control has failed."""
    for first in (60, 50, 5):
        evaluated.window((900, first), (100, 5), control_errors=60)


def test_a_new_epoch_restarts_the_failing_users_and_the_evidence_of_harm() -> None:
    evaluated = EvaluatedRelease(RAMP)
    for first in (60, 50):
        evaluated.window((900, first), (100, 5), control_errors=60)
    first_limit = evaluated.last.rollback_at
    before = evaluated.progress.checks[0]
    known = evaluated.last.detectable_ratio
    assert evaluated.progress.generation == 0

    evaluated.window((900, 5), (100, 1), control_errors=60)
    assert evaluated.progress.generation == 1
    assert evaluated.progress.checks[0].epoch == 2
    assert evidence(evaluated) == 0.0
    assert evaluated.progress.control_failures == ()

    evaluated.window((900, 9), (100, 1))
    assert first_limit == pytest.approx(1_000 / 9)
    assert evaluated.last.rollback_at == pytest.approx(2_000.0)
    assert evaluated.last.checks[0].epoch == 2
    assert evaluated.progress.generation == 1
    assert evaluated.progress.checks[0].safety.windows == before.safety.windows + 2
    assert evaluated.progress.checks[0].harm.guard.information > before.harm.guard.information
    assert (evaluated.last.detectable_ratio or math.inf) > (known or math.inf)


def test_no_epoch_ends_with_time() -> None:
    """240 windows ended one in version 1, which discarded the evidence at low traffic."""
    evaluated = EvaluatedRelease(RAMP)
    for _ in range(500):
        evaluated.window((9, 1), (1, 0))

    assert evaluated.progress.generation == 0
    assert evaluated.progress.checks[0].epoch == 1


def test_an_epoch_ends_for_checks_of_errors_only() -> None:
    by = replace(RAMP, checks=(Check(), Check(metric=Metric.LATENCY)))
    evaluated = EvaluatedRelease(by)
    saturate(evaluated)

    assert [check.epoch for check in evaluated.progress.checks] == [2, 1]


def test_the_failures_of_the_treatment_end_no_epoch() -> None:
    """Users of a bad treatment who try again must not discard the evidence against it."""
    evaluated = EvaluatedRelease(RAMP)
    evaluated.window((900, 60), (100, 5), control_errors=60)
    evaluated.window((900, 50), (100, 5), control_errors=60)
    for _ in range(50):
        evaluated.window((900, 0), (100, 0), treatment_errors=90)

    assert evaluated.progress.checks[0].epoch == 1


def test_no_epoch_ends_while_the_probe_watches() -> None:
    evaluated = EvaluatedRelease(replace(RAMP, holdback=5.0), stage=2, step=2)
    for first in (60, 50):
        evaluated.window((500, first), (500, first), control_errors=60)
    evaluated.release = replace(evaluated.release, stage=3, step=3)
    for _ in range(20):
        evaluated.window((50, 0), (950, 0), control_errors=60)

    assert evaluated.progress.generation == 0


def test_a_changed_treatment_restarts_everything_with_the_whole_false_alarm_budget() -> None:
    evaluated = EvaluatedRelease(RAMP)
    saturate(evaluated)
    assert evaluated.progress.checks[0].epoch == 2
    for _ in range(5):
        evaluated.window((900, 9), (100, 3))
    rate = evaluated.progress.probe.rate
    totals = evaluated.progress.control.outcomes
    evaluated.release = machine.restart_evidence(evaluated.release, 200_000, "new value")
    evaluated.window((0, 0), (0, 0))
    check = evaluated.progress.checks[0]

    assert evidence(evaluated) == pytest.approx(0.0, abs=1e-12)
    assert check.safety.log_value == pytest.approx(0.0, abs=1e-12)
    assert check.harm.guard == VarianceGuard()
    assert check.epoch == 1
    assert evaluated.last.rollback_at == pytest.approx(1_000 / 9)
    assert evaluated.progress.generation == 2
    assert evaluated.progress.failing_treated == 0
    assert evaluated.progress.probe.rate == rate
    assert evaluated.progress.control.outcomes == totals


def test_the_evidence_of_harm_is_updated_while_a_person_has_paused_the_release() -> None:
    evaluated = EvaluatedRelease(RAMP, state=State.PAUSED, stopped=True)
    for _ in range(5):
        evaluated.window((900, 9), (100, 4))

    assert evidence(evaluated) > 1.0


def test_going_back_to_a_stage_is_another_visit_with_the_same_evidence_of_harm() -> None:
    evaluated = EvaluatedRelease(RAMP)
    for _ in range(3):
        evaluated.window((900, 9), (100, 2))
    evaluated.release = replace(evaluated.release, stage=2, step=2)
    evaluated.window((500, 5), (500, 6))
    before = evaluated.progress
    evaluated.release = replace(evaluated.release, stage=1, step=3)
    evaluated.window((0, 0), (0, 0))
    check = evaluated.progress.checks[0]

    assert check.harm.log_value == pytest.approx(before.checks[0].harm.log_value)
    assert check.harm.unbet < before.checks[0].harm.unbet
    assert evaluated.progress.split.visit == before.split.visit + 1 == 3
    assert [each.share for each in evaluated.progress.control_failures] == [0.1, 0.5]


def test_the_harm_budget_of_the_policy_sets_what_is_safe_enough() -> None:
    strict, lax = (EvaluatedRelease(replace(RAMP, harm_budget=budget)) for budget in (0.0005, 0.02))
    for evaluated in (strict, lax):
        for _ in range(10):
            evaluated.window((900, 9), (100, 1))

    assert lax.last.log_advance > strict.last.log_advance + 1.0


def test_late_counts_are_only_in_the_totals() -> None:
    evaluated = EvaluatedRelease(RAMP)
    evaluated.window((900, 9), (100, 1))
    before = evaluated.progress
    evaluated.window(
        late_control=Counts(50, 50, 5, 5), late_treatment=Counts(70, 70, 70, 70), after_ms=10
    )

    assert evaluated.progress.treatment.outcomes == 170
    assert evaluated.progress.stage_treatment.outcomes == 100
    assert evidence(evaluated) == pytest.approx(before.checks[0].harm.log_value)
    assert evaluated.progress.failing_treated == before.failing_treated


def test_a_stratum_without_control_is_counted_but_not_compared() -> None:
    staff_first = policy(100, 5, 100, segments={1: (SEGMENT,)}, min_samples=10_000)
    evaluated = EvaluatedRelease(staff_first, stage=2, step=2)
    evaluated.window({2: (950, 10)}, {1: (400, 300), 2: (50, 1)})

    assert evaluated.progress.stage_treatment.failing == 301
    assert evaluated.progress.compared_treatment.failing == 1
    assert evaluated.last.log_evidence < 1.0


def test_an_ended_release_keeps_its_evidence() -> None:
    evaluated = EvaluatedRelease(RAMP)
    for first in (60, 50):
        evaluated.window((900, first), (100, 5), control_errors=60)
    evaluated.window((900, 5), (100, 60), control_errors=60)

    assert evaluated.release.state is State.ROLLED_BACK
    assert evidence(evaluated) == pytest.approx(evaluated.last.log_evidence)
    assert evaluated.progress.generation == 0
