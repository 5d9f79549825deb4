from __future__ import annotations

import math
import random

import pytest
from tidegate_server.whatif.confidence_intervals import Estimate, Z, quantile, share


def test_a_share_s_bounds_solve_the_score_equation() -> None:
    found = share(10, 100)

    assert found is not None
    assert found.value == 0.1
    for bound in (found.low, found.high):
        assert abs(found.value - bound) == pytest.approx(Z * math.sqrt(bound * (1 - bound) / 100))


def test_what_never_happened_may_still_happen() -> None:
    none, all_of_them = share(0, 200), share(200, 200)

    assert none is not None
    assert all_of_them is not None
    assert (none.value, none.low) == (0.0, 0.0)
    assert none.high == pytest.approx(3.84 / 203.84, rel=1e-3)
    assert (all_of_them.value, all_of_them.high) == (1.0, 1.0)
    assert all_of_them.low == pytest.approx(1 - none.high)


@pytest.mark.parametrize("rate", [0.02, 0.3])
def test_a_share_s_bounds_hold_about_as_often_as_they_say(rate: float) -> None:
    dice = random.Random(1)
    held = 0
    for _ in range(500):
        found = share(sum(dice.random() < rate for _ in range(200)), 200)
        assert found is not None
        held += found.low <= rate <= found.high

    assert 0.92 <= held / 500 <= 0.985


@pytest.mark.parametrize("at", [0.5, 0.9])
def test_a_quantile_s_bounds_hold_whatever_the_distribution(at: float) -> None:
    dice = random.Random(2)
    true = at**3  # the quantile of the cube of a uniform number
    held = 0
    for _ in range(500):
        found = quantile([dice.random() ** 3 for _ in range(100)], at)
        assert found is not None
        held += found.low <= true <= found.high

    assert 0.92 <= held / 500 <= 0.985


def test_of_nothing_nothing_is_known() -> None:
    assert share(0, 0) is None
    assert quantile([], 0.5) is None


def test_of_one_value_a_quantile_knows_only_that() -> None:
    assert quantile([7.0], 0.5) == Estimate(7.0, 7.0, 7.0)
