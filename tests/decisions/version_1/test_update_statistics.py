from __future__ import annotations

import math
from dataclasses import replace

import pytest
from tidegate_server.decisions.progress import CheckProgress
from tidegate_server.decisions.version_1.harm_evidence import (
    EPOCH_WINDOWS,
    Mixture,
    VarianceGuard,
    log_value,
)
from tidegate_server.decisions.version_1.safety_evidence import SafetyEvidence
from tidegate_server.domain import release_state_machine as machine
from tidegate_server.domain.policy import Policy

from tests.decisions.simulated_release import EvaluatedRelease, policy

RAMP = policy(10, 50, 100, min_samples=10**9)


def started(by: Policy = RAMP) -> EvaluatedRelease:
    """A release that started under version 1."""
    return EvaluatedRelease(by, statistics=1)


def statistics(evaluated: EvaluatedRelease) -> tuple[Mixture, VarianceGuard, SafetyEvidence]:
    """E, its guard and A of the release's check."""
    check = evaluated.progress.checks[0]
    assert check.evidence is not None
    assert check.guard is not None
    assert check.advance is not None
    return check.evidence, check.guard, check.advance


def test_a_release_that_started_under_version_1_has_no_statistics_of_version_2() -> None:
    evaluated = started()
    evaluated.window((900, 9), (100, 5))
    check = evaluated.progress.checks[0]

    assert evaluated.progress.statistics == 1
    assert (check.harm, check.safety) == (CheckProgress().harm, CheckProgress().safety)
    assert evaluated.last.log_evidence == log_value(statistics(evaluated)[0])


def test_a_new_stage_keeps_the_evidence_of_harm_and_restarts_the_evidence_of_safety() -> None:
    evaluated = started()
    for _ in range(3):
        evaluated.window((900, 9), (100, 2))
    before = log_value(statistics(evaluated)[0])
    evaluated.release = replace(evaluated.release, stage=2, step=2)
    evaluated.window((0, 0), (0, 0))
    evidence, _, advance = statistics(evaluated)

    assert log_value(evidence) == pytest.approx(before)
    assert advance.logs == (0.0, 0.0, 0.0)
    assert advance.operations < 3_000
    assert evaluated.progress.age == 0


def test_a_new_epoch_restarts_the_failing_users_and_the_evidence_of_harm() -> None:
    evaluated = started()
    for _ in range(EPOCH_WINDOWS - 1):
        evaluated.window((900, 9), (100, 1))
    first_limit = evaluated.last.rollback_at
    _, guard, advance = statistics(evaluated)
    assert evaluated.progress.generation == 0

    evaluated.window((900, 9), (100, 1))
    assert evaluated.progress.generation == 1
    assert evaluated.progress.spending == 2
    assert log_value(statistics(evaluated)[0]) == 0.0

    evaluated.window((900, 9), (100, 1))
    assert first_limit == pytest.approx(200.0)
    assert evaluated.last.rollback_at == pytest.approx(600.0)
    assert evaluated.progress.generation == 1
    assert evaluated.progress.epoch_windows == 1
    assert statistics(evaluated)[2].log_value > advance.log_value
    assert statistics(evaluated)[1].pairs > guard.pairs


def test_a_changed_treatment_uses_the_next_part_of_the_budget() -> None:
    evaluated = started()
    for _ in range(5):
        evaluated.window((900, 9), (100, 3))
    rate = evaluated.progress.probe.rate
    evaluated.release = machine.restart_evidence(evaluated.release, 200_000, "new value")
    evaluated.window((0, 0), (0, 0))
    evidence, _, advance = statistics(evaluated)

    assert log_value(evidence) == pytest.approx(0.0, abs=1e-12)
    assert advance.log_value == pytest.approx(0.0, abs=1e-12)
    assert evaluated.progress.spending == 2
    assert evaluated.progress.generation == 1
    assert evaluated.progress.probe.rate == rate


def test_the_guard_divides_by_the_phi_from_before_the_window() -> None:
    evaluated = started(policy(50, 100, min_samples=10_000, relative=0.0))
    evaluated.window((500, 30), (500, 10))
    evidence, guard, _ = statistics(evaluated)
    wild = replace(guard, deviation=40.0)
    wobbling = replace(evaluated.progress.checks[0], guard=wild)
    evaluated.progress = replace(evaluated.progress, checks=(wobbling,))
    evaluated.window((500, 10), (500, 30))

    gained = statistics(evaluated)[0].bets[0] - evidence.bets[0]
    full = 30 * math.log(1.5) - 40 * math.log(1.25)
    assert gained <= full / 4.0 + 1e-9


def test_the_split_is_checked_by_operations() -> None:
    evaluated = started()
    for _ in range(5):
        evaluated.window((500, 1), (500, 1))

    assert evaluated.last.split_checked
    assert (
        "2,500 of 5,000 operations of this stage (50 %) had the treatment; the stage opens 10 %"
        in evaluated.last.reason
    )
