from __future__ import annotations

import math
import random

import pytest
from tidegate_server.whatif.confidence_intervals import Estimate, Z, quantile, share


def test_the_bounds_of_a_share_solve_the_score_equation() -> None:
    estimate = share(10, 100)

    assert estimate is not None
    assert estimate.value == 0.1
    for bound in (estimate.low, estimate.high):
        assert abs(estimate.value - bound) == pytest.approx(
            Z * math.sqrt(bound * (1 - bound) / 100)
        )


def test_an_event_that_never_happened_still_has_an_upper_bound() -> None:
    none, all_of_them = share(0, 200), share(200, 200)

    assert none is not None
    assert all_of_them is not None
    assert (none.value, none.low) == (0.0, 0.0)
    assert none.high == pytest.approx(3.84 / 203.84, rel=1e-3)
    assert (all_of_them.value, all_of_them.high) == (1.0, 1.0)
    assert all_of_them.low == pytest.approx(1 - none.high)


@pytest.mark.parametrize("rate", [0.02, 0.3])
def test_the_bounds_of_a_share_cover_it_in_95_percent_of_cases(rate: float) -> None:
    rng = random.Random(1)
    covered = 0
    for _ in range(500):
        estimate = share(sum(rng.random() < rate for _ in range(200)), 200)
        assert estimate is not None
        covered += estimate.low <= rate <= estimate.high

    assert 0.92 <= covered / 500 <= 0.985


@pytest.mark.parametrize("at", [0.5, 0.9])
def test_the_bounds_of_a_quantile_cover_it_for_any_distribution(at: float) -> None:
    rng = random.Random(2)
    true = at**3  # the quantile of the cube of a uniform number
    covered = 0
    for _ in range(500):
        estimate = quantile([rng.random() ** 3 for _ in range(100)], at)
        assert estimate is not None
        covered += estimate.low <= true <= estimate.high

    assert 0.92 <= covered / 500 <= 0.985


def test_there_is_no_estimate_without_data() -> None:
    assert share(0, 0) is None
    assert quantile([], 0.5) is None


def test_the_quantile_of_one_value_is_that_value() -> None:
    assert quantile([7.0], 0.5) == Estimate(7.0, 7.0, 7.0)
