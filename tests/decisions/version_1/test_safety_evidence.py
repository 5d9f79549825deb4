from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tidegate.counts import Counts, StratumCounts
from tidegate_server.decisions.version_1.safety_evidence import (
    HARMLESS_RATIO,
    LOG_ADVANCE_AT,
    SafetyEvidence,
    allowed_excess,
    restart_bets,
    update_safety_evidence,
)


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
    shares = [0.01, 0.05, 0.25, 1.0]

    assert allowed_excess(shares, 1) == pytest.approx(0.04)
    assert allowed_excess(shares, 2) == pytest.approx(0.008)
    assert allowed_excess(shares, 3) == pytest.approx(0.002)
    assert allowed_excess(shares, 4) == pytest.approx(0.002)
    assert allowed_excess([0.001, 0.01], 1) == 0.10


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
    after = restart_bets(before)

    assert after.log_value == pytest.approx(0.0, abs=1e-12)
    assert (after.operations, after.errors) == (before.operations, before.errors)


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
