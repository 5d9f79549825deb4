from __future__ import annotations

import math
import random
import statistics

import pytest
from tidegate_server.whatif.sampling import binomial, newly_met, poisson

DRAWS = 20_000


def moments(draws: list[int]) -> tuple[float, float]:
    return statistics.fmean(draws), statistics.variance(draws)


@pytest.mark.parametrize(
    ("trials", "rate"),
    [(10, 0.3), (1, 0.5), (100, 0.02), (1_000, 0.05), (5_000, 0.01), (200, 0.5), (50, 0.93)],
)
def test_binomial_counts_have_their_mean_and_variance(trials: int, rate: float) -> None:
    dice = random.Random(1)
    mean, variance = moments([binomial(dice, trials, rate) for _ in range(DRAWS)])
    true = trials * rate * (1 - rate)

    assert abs(mean - trials * rate) < 5 * math.sqrt(true / DRAWS)
    assert variance == pytest.approx(true, rel=0.08)


def test_binomial_counts_have_their_distribution_where_rejection_draws_them() -> None:
    dice = random.Random(2)
    trials, rate = 40, 0.4
    seen = [0] * (trials + 1)
    for _ in range(DRAWS):
        seen[binomial(dice, trials, rate)] += 1
    expected = [
        DRAWS * math.comb(trials, k) * rate**k * (1 - rate) ** (trials - k)
        for k in range(trials + 1)
    ]
    cells = [k for k in range(trials + 1) if expected[k] >= 5]
    chi_squared = sum((seen[k] - expected[k]) ** 2 / expected[k] for k in cells)

    # Five standard deviations above the mean of a chi-squared with as many degrees.
    assert chi_squared < len(cells) + 5 * math.sqrt(2 * len(cells))


@pytest.mark.parametrize(
    ("trials", "rate", "count"), [(0, 0.5, 0), (10, 0.0, 0), (10, 1.0, 10), (-1, 0.5, 0)]
)
def test_binomial_counts_that_are_no_chance(trials: int, rate: float, count: int) -> None:
    assert binomial(random.Random(3), trials, rate) == count


@pytest.mark.parametrize("mean", [0.0, 0.3, 5.0, 29.0, 400.0])
def test_poisson_counts_have_their_mean_and_variance(mean: float) -> None:
    dice = random.Random(4)
    seen, variance = moments([poisson(dice, mean) for _ in range(DRAWS)])

    assert abs(seen - mean) <= 5 * math.sqrt(mean / DRAWS)
    assert variance == pytest.approx(mean, rel=0.08)


@pytest.mark.parametrize(
    ("meetings", "strangers", "people"), [(30, 50, 100), (41, 60, 60), (900, 500, 1_000)]
)
def test_strangers_are_met_as_when_everybody_is_drawn(
    meetings: int, strangers: int, people: int
) -> None:
    dice = random.Random(5)
    draws = 3_000
    fast = [newly_met(dice, meetings, strangers, people) for _ in range(draws)]
    slow = [
        len({who for who in (dice.randrange(people) for _ in range(meetings)) if who < strangers})
        for _ in range(draws)
    ]
    (mean, variance), (true_mean, true_variance) = moments(fast), moments(slow)

    assert abs(mean - true_mean) < 5 * math.sqrt(2 * true_variance / draws)
    assert variance == pytest.approx(true_variance, rel=0.2)


@pytest.mark.parametrize("meetings", [3, 600])
def test_nobody_is_met_who_is_not_there(meetings: int) -> None:
    dice = random.Random(6)

    assert newly_met(dice, meetings, 0, 10) == 0
    assert newly_met(dice, 0, 10, 10) == 0
    assert newly_met(dice, meetings, 1, 1) == 1
    assert all(newly_met(dice, meetings, 2, 2) <= 2 for _ in range(50))


def test_the_same_generator_gives_the_same_counts() -> None:
    def draws() -> list[int]:
        dice = random.Random(7)
        return [binomial(dice, 1_000, 0.1) + poisson(dice, 50) for _ in range(20)]

    assert draws() == draws()
