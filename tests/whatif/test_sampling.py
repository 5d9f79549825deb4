from __future__ import annotations

import math
import random
import statistics

import pytest
from tidegate_server.whatif.sampling import binomial, first_failures, poisson

DRAWS = 20_000


def moments(draws: list[int]) -> tuple[float, float]:
    return statistics.fmean(draws), statistics.variance(draws)


@pytest.mark.parametrize(
    ("trials", "rate"),
    [(10, 0.3), (1, 0.5), (100, 0.02), (1_000, 0.05), (5_000, 0.01), (200, 0.5), (50, 0.93)],
)
def test_binomial_counts_have_their_mean_and_variance(trials: int, rate: float) -> None:
    rng = random.Random(1)
    mean, variance = moments([binomial(rng, trials, rate) for _ in range(DRAWS)])
    true = trials * rate * (1 - rate)

    assert abs(mean - trials * rate) < 5 * math.sqrt(true / DRAWS)
    assert variance == pytest.approx(true, rel=0.08)


def test_binomial_counts_drawn_by_rejection_have_their_distribution() -> None:
    rng = random.Random(2)
    trials, rate = 40, 0.4
    seen = [0] * (trials + 1)
    for _ in range(DRAWS):
        seen[binomial(rng, trials, rate)] += 1
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
def test_certain_binomial_counts_are_not_drawn(trials: int, rate: float, count: int) -> None:
    assert binomial(random.Random(3), trials, rate) == count


@pytest.mark.parametrize("mean", [0.0, 0.3, 5.0, 29.0, 400.0])
def test_poisson_counts_have_their_mean_and_variance(mean: float) -> None:
    rng = random.Random(4)
    seen, variance = moments([poisson(rng, mean) for _ in range(DRAWS)])

    assert abs(seen - mean) <= 5 * math.sqrt(mean / DRAWS)
    assert variance == pytest.approx(mean, rel=0.08)


@pytest.mark.parametrize(
    ("failures", "unfailed", "users"), [(30, 50, 100), (41, 60, 60), (900, 500, 1_000)]
)
def test_first_failures_are_as_many_as_when_each_user_is_drawn(
    failures: int, unfailed: int, users: int
) -> None:
    rng = random.Random(5)
    draws = 3_000
    fast = [first_failures(rng, failures, unfailed, users) for _ in range(draws)]
    slow = [
        len({user for user in (rng.randrange(users) for _ in range(failures)) if user < unfailed})
        for _ in range(draws)
    ]
    (mean, variance), (true_mean, true_variance) = moments(fast), moments(slow)

    assert abs(mean - true_mean) < 5 * math.sqrt(2 * true_variance / draws)
    assert variance == pytest.approx(true_variance, rel=0.2)


@pytest.mark.parametrize("failures", [3, 600])
def test_first_failures_never_exceed_the_failures_or_the_unfailed_users(failures: int) -> None:
    rng = random.Random(6)

    assert first_failures(rng, failures, 0, 10) == 0
    assert first_failures(rng, 0, 10, 10) == 0
    assert first_failures(rng, failures, 1, 1) == 1
    assert all(first_failures(rng, failures, 2, 2) <= 2 for _ in range(50))


def test_the_same_generator_gives_the_same_counts() -> None:
    def draws() -> list[int]:
        rng = random.Random(7)
        return [binomial(rng, 1_000, 0.1) + poisson(rng, 50) for _ in range(20)]

    assert draws() == draws()
