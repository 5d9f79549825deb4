from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st
from tidegate.counts import Counts, StratumCounts
from tidegate_server.decisions.version_1.harm_evidence import Mixture
from tidegate_server.decisions.version_1.sample_ratio import (
    LOG_IMBALANCE_AT,
    MARGIN,
    log_imbalance,
    update_sample_ratio,
)


def update_all(
    share: float, windows: list[tuple[int, int]], mixture: Mixture | None = None
) -> Mixture:
    mixture = mixture or Mixture()
    for age, (controls, treated) in enumerate(windows):
        strata = [StratumCounts(1, share, Counts(outcomes=controls), Counts(outcomes=treated))]
        mixture = update_sample_ratio(mixture, strata, age=age, new_stage=age == 0)
    return mixture


def test_a_split_as_designed_is_no_evidence() -> None:
    assert log_imbalance(update_all(0.1, [(900, 100)] * 500)) < 0.0


def test_a_split_without_treated_operations_is_found() -> None:
    assert log_imbalance(update_all(0.1, [(900, 0)])) >= LOG_IMBALANCE_AT


def test_a_split_with_far_too_many_treated_operations_is_found() -> None:
    assert log_imbalance(update_all(0.05, [(800, 200)])) >= LOG_IMBALANCE_AT


def test_a_split_that_breaks_after_a_long_healthy_time_is_found_soon() -> None:
    healthy = update_all(0.5, [(500, 500)] * 200)
    windows = 0
    while log_imbalance(healthy) < LOG_IMBALANCE_AT:
        healthy = update_sample_ratio(
            healthy,
            [StratumCounts(1, 0.5, Counts(outcomes=900), Counts(outcomes=100))],
            age=201 + windows,
            new_stage=False,
        )
        windows += 1

    assert windows <= 20


def test_the_check_passes_soon_after_the_split_is_fixed() -> None:
    broken = update_all(0.5, [(1_000, 0)] * 100)
    fixed = update_all(0.5, [(500, 500)] * 2, broken)

    assert log_imbalance(broken) >= LOG_IMBALANCE_AT
    assert log_imbalance(fixed) < LOG_IMBALANCE_AT


def test_a_stratum_without_a_control_group_has_no_split() -> None:
    assert log_imbalance(update_all(1.0, [(0, 1_000)] * 50)) < 1e-9


@given(st.integers(0, 10_000), st.floats(0.02, 0.98))
def test_random_splits_within_the_margin_are_almost_never_found(seed: int, share: float) -> None:
    dice = random.Random(seed)
    odds = share / (1.0 - share) * dice.uniform(1 / MARGIN, MARGIN)
    chance = odds / (1.0 + odds)
    windows = []
    for _ in range(20):
        treated = sum(dice.random() < chance for _ in range(40))
        windows.append((40 - treated, treated))

    # If the bound were tight, 100 examples at 0.001 each would fail once in ten runs. It is
    # only reached at the very edge of the margin, so this asks for a thousandth of it.
    assert log_imbalance(update_all(share, windows)) < 2 * LOG_IMBALANCE_AT
