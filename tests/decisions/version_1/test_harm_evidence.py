from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tidegate.counts import Counts, StratumCounts
from tidegate_server.decisions.version_1.harm_evidence import (
    ONSET_STAGE,
    ONSET_START,
    RATIOS,
    Mixture,
    VarianceGuard,
    add_increments,
    begin_bets,
    increments,
    log_sum_exp,
    log_value,
    onset_mass,
    threshold,
    update_guard,
)

SHARES = st.floats(0.001, 0.999)
COUNTS = st.integers(0, 200)


def stratum(share: float, e_c: int, e_t: int, n_t: int = 1_000, number: int = 1) -> StratumCounts:
    return StratumCounts(
        number, share, Counts(outcomes=1_000, failing=e_c), Counts(outcomes=n_t, failing=e_t)
    )


def log_evidence(*strata: StratumCounts, ratio: float = 1.0, absolute: float = 0.0) -> float:
    mixture = begin_bets(Mixture(), ONSET_START)
    return log_value(add_increments(mixture, increments(strata, ratio, absolute), 1.0, 1.0))


@given(SHARES, st.floats(1.0, 2.0))
def test_no_failing_users_leave_the_evidence_unchanged(share: float, ratio: float) -> None:
    assert log_evidence(stratum(share, 0, 0), ratio=ratio) == pytest.approx(0.0, abs=1e-12)


@given(COUNTS, COUNTS, st.sampled_from([0.0, 1.0]))
def test_a_stratum_with_one_arm_by_design_is_no_evidence(e_c: int, e_t: int, share: float) -> None:
    assert log_evidence(stratum(share, e_c, e_t)) == pytest.approx(0.0, abs=1e-12)
    assert (
        update_guard(VarianceGuard(), [stratum(share, e_c, e_t)], new_stage=False)
        == VarianceGuard()
    )


@given(SHARES, COUNTS, COUNTS)
def test_a_treated_failure_adds_evidence_and_a_control_failure_reduces_it(
    share: float, e_c: int, e_t: int
) -> None:
    now = log_evidence(stratum(share, e_c, e_t))

    assert log_evidence(stratum(share, e_c, e_t + 1)) >= now
    assert log_evidence(stratum(share, e_c + 1, e_t)) <= now


@given(SHARES, COUNTS, COUNTS, st.floats(0.0, 1.0), st.floats(0.0, 0.05))
def test_more_tolerance_is_less_evidence(
    share: float, e_c: int, e_t: int, relative: float, absolute: float
) -> None:
    strict = log_evidence(stratum(share, e_c, e_t))

    assert log_evidence(stratum(share, e_c, e_t), ratio=1.0 + relative) <= strict + 1e-9
    assert log_evidence(stratum(share, e_c, e_t), absolute=absolute) <= strict + 1e-9


@given(st.floats(0.02, 0.98), st.integers(1, 40), st.floats(1.0, 1.5))
def test_at_the_tolerance_the_expected_factor_of_a_window_is_one(
    share: float, failing: int, ratio: float
) -> None:
    treated = share * ratio / (share * ratio + 1.0 - share)
    means = [0.0] * len(RATIOS)
    for e_t in range(failing + 1):
        chance = math.comb(failing, e_t) * treated**e_t * (1.0 - treated) ** (failing - e_t)
        factors = increments([stratum(share, failing - e_t, e_t)], ratio, 0.0)
        means = [mean + chance * math.exp(log) for mean, log in zip(means, factors, strict=True)]

    assert means == pytest.approx([1.0] * len(RATIOS), rel=1e-9)


@given(SHARES, SHARES, COUNTS, COUNTS)
def test_strata_add_their_own_increments(one: float, other: float, e_c: int, e_t: int) -> None:
    apart = zip(
        increments([stratum(one, e_c, e_t)], 1.1, 0.0),
        increments([stratum(other, e_t, e_c)], 1.1, 0.0),
        strict=True,
    )
    together = increments([stratum(one, e_c, e_t), stratum(other, e_t, e_c, number=2)], 1.1, 0.0)

    assert together == pytest.approx([a + b for a, b in apart])


@given(st.floats(-5, 5), st.floats(0.01, 0.9))
def test_moving_prior_mass_does_not_change_the_evidence(bet: float, mass: float) -> None:
    before = Mixture(math.log(0.25), (bet, bet - 1, bet + 2, 0.0))
    of_bets = log_value(Mixture(-math.inf, before.bets))
    after = begin_bets(before, mass)

    assert after.remaining == pytest.approx(before.remaining + math.log1p(-mass))
    assert math.exp(log_value(after)) - math.exp(of_bets) == pytest.approx(0.25, rel=1e-6)


def test_an_increment_is_divided_by_at_least_the_phi_before_the_window() -> None:
    divided = add_increments(Mixture(0.0, (0.0,)), [4.0], 2.0, 1.0)
    limited = add_increments(Mixture(0.0, (0.0,)), [4.0], 1.0, 2.0)

    assert divided.bets == limited.bets == (2.0,)


def test_a_lasting_regression_does_not_raise_phi_but_varying_arms_do() -> None:
    steady, varying = VarianceGuard(), VarianceGuard()
    for number in range(40):
        steady = update_guard(steady, [stratum(0.5, 10, 40)], new_stage=False)
        swing = 30 if number % 2 else 5
        varying = update_guard(varying, [stratum(0.5, 35 - swing, swing)], new_stage=False)

    assert steady.factor == 1.0
    assert varying.factor > 5.0


def test_windows_are_paired_within_a_stratum_and_never_across_stages() -> None:
    one, other = stratum(0.5, 10, 40), stratum(0.1, 40, 10, number=2)
    guard = update_guard(VarianceGuard(), [one], new_stage=True)

    assert update_guard(guard, [other], new_stage=False).pairs == guard.pairs
    assert update_guard(guard, [other, one], new_stage=False).pairs == guard.pairs + 1
    assert update_guard(guard, [one], new_stage=True).pairs == guard.pairs


def test_a_window_without_failing_users_is_skipped_when_pairing() -> None:
    guard = update_guard(VarianceGuard(), [stratum(0.5, 10, 40)], new_stage=True)
    guard = update_guard(guard, [stratum(0.5, 0, 0)], new_stage=False)

    assert update_guard(guard, [stratum(0.5, 10, 40)], new_stage=False).pairs == 11.0


def test_a_regression_may_begin_with_the_release_with_a_stage_and_every_fifteenth_window() -> None:
    ages = [onset_mass(age, first=False, new_stage=False) for age in range(31)]

    assert [age for age, mass in enumerate(ages) if mass] == [15, 30]
    assert onset_mass(0, first=True, new_stage=True) == ONSET_START
    assert onset_mass(0, first=False, new_stage=True) == ONSET_STAGE


@given(st.integers(1, 5), st.floats(0.001, 0.2))
def test_all_attempts_together_spend_at_most_the_false_alarm_probability(
    checks: int, false_alarm: float
) -> None:
    spent = sum(checks / threshold(false_alarm, spending=k, checks=checks) for k in range(1, 2_000))

    assert spent < false_alarm
    assert spent == pytest.approx(false_alarm, rel=1e-3)


def test_the_log_sum_of_zeros_is_minus_infinity() -> None:
    assert log_sum_exp([-math.inf, -math.inf]) == -math.inf
    assert log_sum_exp([0.0, -math.inf]) == 0.0
