from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate.counts import Counts, StratumCounts
from tidegate_server.decisions.safety_evidence import (
    FIRST_STAKE,
    HARMLESS_RATIO,
    LATER_STAKE,
    LOG_ADVANCE_AT,
    MEMORY,
    STAKE_WINDOWS,
    SafetyEvidence,
    allowed_excess,
    restart_stage,
    update_safety_evidence,
)

from tests.decisions.simulated_release import policy


def stratum(
    n_c: int, e_c: int, n_t: int, e_t: int, share: float = 0.5, overflow: int = 0
) -> StratumCounts:
    return StratumCounts(
        1,
        share,
        Counts(outcomes=n_c, failing=e_c),
        Counts(outcomes=n_t, failing=e_t, overflow=overflow),
    )


def test_the_excess_allowed_is_that_of_the_next_stage() -> None:
    by = policy(1, 5, 25, 100)

    assert allowed_excess(by, 1) == pytest.approx(0.04)
    assert allowed_excess(by, 2) == pytest.approx(0.008)
    assert allowed_excess(by, 3) == pytest.approx(0.002)
    assert allowed_excess(by, 4) == pytest.approx(0.002)
    assert allowed_excess(replace(by, harm_budget=0.005), 2) == pytest.approx(0.02)
    assert allowed_excess(policy(0.1, 1), 1) == 0.10


@given(st.integers(0, 50), st.integers(1, 5_000), st.integers(0, 50), st.integers(1, 500))
def test_a_treated_failure_lowers_it(e_c: int, n_c: int, e_t: int, n_t: int) -> None:
    now = update_safety_evidence(SafetyEvidence(), [stratum(n_c, e_c, n_t, e_t)], 0.01)
    worse = update_safety_evidence(SafetyEvidence(), [stratum(n_c, e_c, n_t, e_t + 1)], 0.01)

    assert worse.log_value < now.log_value


def test_failing_users_that_could_not_be_named_count_in_the_treatment_only() -> None:
    named = update_safety_evidence(SafetyEvidence(), [stratum(1_000, 10, 1_000, 10)], 0.01)
    unnamed = update_safety_evidence(
        SafetyEvidence(), [stratum(1_000, 10, 1_000, 5, overflow=5)], 0.01
    )

    assert unnamed == named


@given(st.sampled_from([(0, 500), (500, 0), (0, 0)]))
def test_a_window_without_both_arms_adds_nothing(operations: tuple[int, int]) -> None:
    n_c, n_t = operations
    after = update_safety_evidence(SafetyEvidence(), [stratum(n_c, 0, n_t, 0)], 0.01)

    assert after.log_value == pytest.approx(0.0, abs=1e-12)


def test_a_stratum_at_100_percent_is_left_out() -> None:
    after = update_safety_evidence(SafetyEvidence(), [stratum(0, 0, 900, 9, share=1.0)], 0.01)

    assert after.log_value == pytest.approx(0.0, abs=1e-12)


def test_a_new_stage_restarts_the_bets_and_keeps_the_control_rate() -> None:
    before = update_safety_evidence(SafetyEvidence(), [stratum(1_000, 10, 1_000, 10)], 0.01)
    after = restart_stage(before)

    assert after.log_value == 0.0
    assert (after.operations, after.failures) == (before.operations, before.failures)
    assert (after.unbet, after.bets, after.windows) == (0.0, (), 0)


def test_a_part_of_the_stake_is_bet_only_every_hundred_windows() -> None:
    evidence = SafetyEvidence()
    left = []
    for _ in range(2 * STAKE_WINDOWS + 1):
        evidence = update_safety_evidence(evidence, [], 0.01)
        left.append(math.exp(evidence.unbet))

    assert left[:STAKE_WINDOWS] == pytest.approx([1.0 - FIRST_STAKE] * STAKE_WINDOWS)
    assert left[STAKE_WINDOWS] == pytest.approx((1.0 - FIRST_STAKE) * (1.0 - LATER_STAKE))
    assert left[2 * STAKE_WINDOWS] == pytest.approx((1.0 - FIRST_STAKE) * (1.0 - LATER_STAKE) ** 2)


def test_what_an_outage_of_the_treatment_costs_is_bounded_and_made_good() -> None:
    """A healthy release is never stuck for good: version 1 was, at ln A = -2,448."""
    evidence = update_safety_evidence(SafetyEvidence(), [stratum(1_000, 10, 1_000, 990)], 0.002)
    assert evidence.log_value >= math.log(1.0 - FIRST_STAKE) - 1e-9
    for _ in range(300):
        evidence = update_safety_evidence(evidence, [stratum(1_000, 10, 1_000, 10)], 0.002)

    assert evidence.log_value >= LOG_ADVANCE_AT


@pytest.mark.parametrize("operations", [20, 2_000, 200_000])
def test_the_rate_is_remembered_by_failures_and_so_equally_well_at_any_traffic(
    operations: int,
) -> None:
    dice = random.Random(operations)
    evidence = SafetyEvidence()
    failures = 0.0
    while failures < 5 * MEMORY:
        expected = operations * 0.01
        failing = int(expected) + (dice.random() < expected % 1)
        failures += failing
        evidence = update_safety_evidence(evidence, [stratum(operations, failing, 1, 0)], 0.01)

    assert evidence.failures / evidence.operations == pytest.approx(0.01, rel=0.25)


@settings(deadline=None)
@given(
    st.floats(0.0, 0.3),
    st.floats(0.0, 0.1),
    st.integers(1, 25),
    st.integers(1, 25),
    st.floats(0.001, 0.5),
)
def test_the_expected_factor_of_a_harmful_release_is_at_most_one(
    base: float, excess: float, n_c: int, n_t: int, believed: float
) -> None:
    """Whatever the control's rate is, and whatever it was believed to be."""
    harmful = HARMLESS_RATIO * base + excess
    before = SafetyEvidence(operations=1_000.0, failures=1_000.0 * believed)
    mean = 0.0
    for e_c in range(n_c + 1):
        for e_t in range(n_t + 1):
            after = update_safety_evidence(before, [stratum(n_c, e_c, n_t, e_t)], excess)
            mean += (
                binomial(e_c, n_c, base) * binomial(e_t, n_t, harmful) * math.exp(after.log_value)
            )

    assert mean <= 1.0 + 1e-9


def binomial(k: int, n: int, p: float) -> float:
    return math.comb(n, k) * p**k * (1.0 - p) ** (n - k)


def test_without_failures_of_control_everything_is_finite() -> None:
    evidence = SafetyEvidence()
    for _ in range(1_000):
        evidence = update_safety_evidence(evidence, [stratum(10_000, 0, 10_000, 0)], 0.002)

    assert math.isfinite(evidence.log_value)
    assert all(math.isfinite(each) for each in (*evidence.bets, evidence.unbet))


def test_failures_that_are_reported_before_their_operations_leave_it_finite() -> None:
    evidence = update_safety_evidence(SafetyEvidence(), [stratum(0, 10**6, 0, 0)], 0.002)
    evidence = update_safety_evidence(evidence, [stratum(1_000, 10, 1_000, 10)], 0.002)

    assert math.isfinite(evidence.log_value)


def test_a_harmful_release_passes_a_stage_no_more_often_than_promised() -> None:
    dice = random.Random(7)
    base, excess, runs = 0.01, 0.008, 400
    harmful = HARMLESS_RATIO * base + excess
    passed = 0
    for _ in range(runs):
        advance = SafetyEvidence()
        for _ in range(60):
            e_c = sum(dice.random() < base for _ in range(190))
            e_t = sum(dice.random() < harmful for _ in range(10))
            advance = update_safety_evidence(advance, [stratum(190, e_c, 10, e_t, 0.05)], excess)
            if advance.log_value >= LOG_ADVANCE_AT:
                passed += 1
                break

    # 0.1 is the bound; six standard deviations above it would be 0.19.
    assert passed / runs <= 0.1 + 6 * math.sqrt(0.1 * 0.9 / runs)
