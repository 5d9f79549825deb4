from __future__ import annotations

import math
import sys
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tidegate.counts import Counts, StratumCounts
from tidegate.harm_evidence import (
    ONSET_PERIOD,
    ONSET_STAGE,
    ONSET_START,
    PERIOD_FAILURES,
    PERIOD_WINDOWS,
    WEIGHTS,
    EarlierWindow,
    HarmEvidence,
    VarianceGuard,
    epoch_false_alarm,
    harm_limit,
    log_sum_exp,
    restart_epoch,
    update_guard,
    update_harm_evidence,
    update_without_control,
)

SHARES = st.floats(0.001, 0.999)
COUNTS = st.integers(0, 200)


def stratum(share: float, e_c: int, e_t: int, n_t: int = 1_000, number: int = 1) -> StratumCounts:
    return StratumCounts(
        number, share, Counts(outcomes=1_000, failing=e_c), Counts(outcomes=n_t, failing=e_t)
    )


STRATA = st.builds(stratum, SHARES, COUNTS, COUNTS)


def log_evidence(*strata: StratumCounts, ratio: float = 1.0, absolute: float = 0.0) -> float:
    return update_harm_evidence(HarmEvidence(), strata, ratio, absolute, new_stage=True).log_value


def after(*windows: StratumCounts, ratio: float = 1.05) -> HarmEvidence:
    """The evidence after windows of one stage."""
    evidence = HarmEvidence()
    for number, window in enumerate(windows):
        evidence = update_harm_evidence(evidence, [window], ratio, new_stage=number == 0)
    return evidence


@given(SHARES, st.floats(1.0, 2.0))
def test_no_failing_users_leave_the_evidence_unchanged(share: float, ratio: float) -> None:
    assert log_evidence(stratum(share, 0, 0), ratio=ratio) == pytest.approx(0.0, abs=1e-12)


@given(COUNTS, COUNTS, st.sampled_from([0.0, 1.0]))
def test_a_stratum_with_one_arm_by_design_is_no_evidence(e_c: int, e_t: int, share: float) -> None:
    assert log_evidence(stratum(share, e_c, e_t)) == pytest.approx(0.0, abs=1e-12)
    assert update_guard(VarianceGuard(), [stratum(share, e_c, e_t)]) == VarianceGuard()


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


def expected_factor(before: HarmEvidence, share: float, failing: int, ratio: float) -> float:
    """The mean factor of E in a window with this many failing users, at the tolerance."""
    treated = share * ratio / (share * ratio + 1.0 - share)
    mean = 0.0
    for e_t in range(failing + 1):
        probability = math.comb(failing, e_t) * treated**e_t * (1.0 - treated) ** (failing - e_t)
        window = stratum(share, failing - e_t, e_t)
        later = update_harm_evidence(before, [window], ratio, new_stage=False)
        mean += probability * math.exp(later.log_value - before.log_value)
    return mean


@given(st.floats(0.02, 0.98), st.integers(1, 40), st.floats(1.0, 1.5))
def test_at_the_tolerance_the_expected_factor_of_the_first_window_is_one(
    share: float, failing: int, ratio: float
) -> None:
    assert expected_factor(HarmEvidence(), share, failing, ratio) == pytest.approx(1.0, rel=1e-9)


@given(
    st.floats(0.02, 0.98),
    st.integers(1, 30),
    st.floats(1.0, 1.5),
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=6),
    st.integers(0, 40),
)
def test_whatever_happened_before_the_expected_factor_of_a_window_is_at_most_one(
    share: float, failing: int, ratio: float, past: list[tuple[int, int]], quiet: int
) -> None:
    """Ville's inequality needs nothing else: neither onsets nor the guard may break it."""
    windows = [stratum(share, *each) for each in past] + [stratum(share, 0, 0)] * quiet
    before = after(*windows, ratio=ratio)

    assert expected_factor(before, share, failing, ratio) <= 1.0 + 1e-9


@given(st.lists(STRATA, min_size=2, max_size=4), st.lists(STRATA, min_size=2, max_size=4))
def test_the_order_of_strata_does_not_matter(
    first: list[StratumCounts], second: list[StratumCounts]
) -> None:
    def numbered(strata: list[StratumCounts]) -> list[StratumCounts]:
        return [
            StratumCounts(number, each.share, each.control, each.treatment)
            for number, each in enumerate(strata)
        ]

    def update_both(order: int) -> HarmEvidence:
        evidence = HarmEvidence()
        for number, strata in enumerate((numbered(first), numbered(second))):
            arranged = list(permutations(strata))[order]
            evidence = update_harm_evidence(evidence, arranged, 1.05, new_stage=number == 0)
        return evidence

    forward, backward = update_both(0), update_both(-1)
    assert forward.log_value == pytest.approx(backward.log_value, rel=1e-9, abs=1e-9)
    assert forward.guard.variance == pytest.approx(backward.guard.variance, rel=1e-9)
    assert forward.guard.earlier == backward.guard.earlier


@given(
    st.lists(st.tuples(COUNTS, COUNTS), min_size=1, max_size=12), SHARES, st.tuples(COUNTS, COUNTS)
)
def test_the_guard_never_makes_a_gain_larger(
    past: list[tuple[int, int]], share: float, window: tuple[int, int]
) -> None:
    guarded = after(*(stratum(share, *each) for each in past))
    free = HarmEvidence(guarded.unbet, guarded.bets, guarded.windows, guarded.failures)
    later = [
        update_harm_evidence(each, [stratum(share, *window)], 1.05, new_stage=False)
        for each in (guarded, free)
    ]
    start = update_harm_evidence(free, [], 1.05, new_stage=False)

    for bet, full, before in zip(later[0].bets, later[1].bets, start.bets, strict=True):
        # A gain shrinks, a loss shrinks too: neither grows beyond the one without a guard.
        assert abs(bet - before) <= abs(full - before) + 1e-9
        assert bet <= max(full, before) + 1e-9


def test_windows_without_failing_users_change_only_the_clock() -> None:
    before = after(stratum(0.25, 30, 12), stratum(0.25, 25, 8))
    later = update_harm_evidence(before, [stratum(0.25, 0, 0)], 1.05, new_stage=False)

    assert (later.bets, later.unbet, later.guard) == (before.bets, before.unbet, before.guard)
    assert (later.windows, later.failures) == (before.windows + 1, before.failures)


def test_a_window_without_strata_is_a_window_without_failing_users() -> None:
    before = after(stratum(0.25, 30, 12))

    assert update_harm_evidence(before, [], 1.05, new_stage=False).log_value == before.log_value


def test_every_epoch_and_stage_and_run_of_the_clock_begins_bets() -> None:
    first = after(stratum(0.25, 3, 1))
    assert math.exp(first.unbet) == pytest.approx(1.0 - ONSET_START)
    stage = update_harm_evidence(first, [stratum(0.5, 3, 1)], 1.05, new_stage=True)
    assert math.exp(stage.unbet) == pytest.approx((1.0 - ONSET_START) * (1.0 - ONSET_STAGE))
    assert (stage.windows, stage.failures) == (1, 4)
    for _ in range(PERIOD_WINDOWS):
        stage = update_harm_evidence(stage, [stratum(0.5, 0, 0)], 1.05, new_stage=False)
    assert stage.windows == PERIOD_WINDOWS + 1
    few = update_harm_evidence(stage, [stratum(0.5, PERIOD_FAILURES, 0)], 1.05, new_stage=False)
    assert few.unbet == stage.unbet
    late = update_harm_evidence(few, [stratum(0.5, 0, 0)], 1.05, new_stage=False)
    assert late.unbet == pytest.approx(few.unbet + math.log1p(-ONSET_PERIOD))
    assert (late.windows, late.failures) == (1, 0)


def test_another_epoch_keeps_the_guard_and_restarts_everything_else() -> None:
    wild = after(stratum(0.25, 30, 2), stratum(0.25, 5, 40), stratum(0.25, 40, 1))

    assert wild.guard.variance > 0.0
    assert restart_epoch(wild) == HarmEvidence(guard=wild.guard)
    assert restart_epoch(wild).log_value == 0.0


def test_arms_that_differ_by_the_same_ratio_all_the_time_do_not_wobble() -> None:
    steady = after(*[stratum(0.5, 20, 60)] * 30)

    assert steady.guard.variance == 0.0


def test_the_first_large_step_is_a_regression_and_the_second_is_a_wobble() -> None:
    calm = [stratum(0.5, 20, 20)] * 10
    begun = after(*calm, *[stratum(0.5, 20, 80)] * 10)
    wild = after(*calm, *[stratum(0.5, 20, 80), stratum(0.5, 20, 20)] * 5)

    assert begun.guard.variance == 0.0
    assert wild.guard.wobble > 0.3


def test_the_guard_compares_no_windows_of_two_stages_and_keeps_what_it_knows() -> None:
    wild = after(*[stratum(0.5, 20, 80), stratum(0.5, 20, 20)] * 5)
    later = update_harm_evidence(wild, [stratum(0.1, 90, 10)], 1.05, new_stage=True)

    assert later.guard.variance == wild.guard.variance
    assert later.guard.earlier == (EarlierWindow(1, 90, 10),)


def test_with_an_absolute_tolerance_the_guard_scales_by_the_window_before() -> None:
    guard = VarianceGuard(variance=0.5)
    window = stratum(0.5, 10, 60)
    unknown = update_harm_evidence(HarmEvidence(guard=guard), [window], 1.0, 0.001, new_stage=False)
    known = update_harm_evidence(
        HarmEvidence(guard=VarianceGuard(variance=0.5, earlier=(EarlierWindow(1, 30, 30),))),
        [window],
        1.0,
        0.001,
        new_stage=False,
    )

    assert known.log_value < unknown.log_value


@given(st.floats(0.0, 0.2), st.integers(1, 300))
def test_without_control_the_expected_factor_at_the_highest_rate_is_at_most_one(
    highest: float, operations: int
) -> None:
    mean = 0.0
    for failing in range(operations + 1):
        probability = (
            math.comb(operations, failing)
            * highest**failing
            * (1.0 - highest) ** (operations - failing)
        )
        treated = Counts(outcomes=operations, failing=failing)
        later = update_without_control(HarmEvidence(), treated, highest, new_stage=True)
        if probability:
            mean += probability * math.exp(min(700.0, later.log_value))

    assert mean <= 1.0 + 1e-9


@given(st.floats(1e-6, 0.5), st.integers(1, 20))
def test_all_epochs_of_all_checks_together_use_the_false_alarms_that_are_allowed(
    false_alarm: float, checks: int
) -> None:
    used = sum(
        checks * epoch_false_alarm(false_alarm, epoch=epoch, checks=checks)
        for epoch in range(1, 2_000)
    )

    assert used <= false_alarm * (1.0 + 1e-12)
    assert used >= 0.999 * false_alarm


def test_the_limits_of_the_first_epochs() -> None:
    limits = [harm_limit(0.01, epoch=epoch) for epoch in (1, 2, 3)]

    assert limits == pytest.approx([1_000 / 9, 2_000, 6_000])
    assert harm_limit(0.01, epoch=2, checks=3) == pytest.approx(6_000)


def test_the_weights_sum_to_one() -> None:
    assert math.fsum(WEIGHTS) == pytest.approx(1.0, abs=1e-15)


@given(st.lists(STRATA, min_size=1, max_size=30))
def test_every_stored_number_is_finite(windows: list[StratumCounts]) -> None:
    evidence = after(*windows)
    numbers = [evidence.unbet, *evidence.bets, evidence.guard.excess, evidence.guard.largest,
               evidence.guard.information, evidence.guard.variance, evidence.log_value]  # fmt: skip

    assert all(math.isfinite(number) for number in numbers)


def test_a_sum_of_nothing_is_minus_infinity_in_logarithms() -> None:
    assert log_sum_exp([-math.inf, -math.inf]) == -math.inf
    assert log_sum_exp([math.log(sys.float_info.max)] * 2) > math.log(sys.float_info.max)
