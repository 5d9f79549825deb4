"""Draws counts from distributions.

The caller passes the random generator; the same generator state gives the same counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Protocol

SMALL = 10.0
"""Counts with at most this mean are drawn by inversion, which takes few steps then."""

MAX_DRAWN_ONE_BY_ONE = 500
"""Up to this number of failures each is drawn by itself."""

MAX_SEEN_ONE_BY_ONE = 40
"""Up to this number of operations each one's user is drawn by itself."""


class RandomGenerator(Protocol):
    """A generator of random numbers, such as ``random.Random``."""

    def random(self) -> float:
        """Return a number that is uniform in [0, 1)."""

    def gauss(self, mu: float, sigma: float) -> float:
        """Return a normally distributed number."""


def poisson(rng: RandomGenerator, mean: float) -> int:
    """Return a Poisson count: by inversion, or for a large mean a rounded normal number."""
    if mean <= 0.0:
        return 0
    if mean > 3 * SMALL:
        return max(0, round(rng.gauss(mean, math.sqrt(mean))))
    probability = math.exp(-mean)
    rest = rng.random() - probability
    count = 0
    while rest > 0.0 and count < 1_000:
        count += 1
        probability *= mean / count
        rest -= probability
    return count


def binomial(rng: RandomGenerator, trials: int, rate: float) -> int:
    """Return how many of ``trials`` succeed: by inversion, or by transformed rejection."""
    if trials <= 0 or rate <= 0.0:
        return 0
    if rate >= 1.0:
        return trials
    if rate > 0.5:
        return trials - binomial(rng, trials, 1.0 - rate)
    if trials * rate < SMALL:
        return _by_inversion(rng, trials, rate)
    return _by_rejection(rng, trials, rate)


def _by_inversion(rng: RandomGenerator, trials: int, rate: float) -> int:
    odds = rate / (1.0 - rate)
    probability = math.exp(trials * math.log1p(-rate))
    rest = rng.random() - probability
    count = 0
    while rest > 0.0 and count < trials:
        count += 1
        probability *= odds * (trials - count + 1) / count
        rest -= probability
    return count


def _by_rejection(rng: RandomGenerator, trials: int, rate: float) -> int:
    """Algorithm BTRS of Hörmann, "The generation of binomial random variates" (1993)."""
    spread = math.sqrt(trials * rate * (1.0 - rate))
    b = 1.15 + 2.53 * spread
    a = -0.0873 + 0.0248 * b + 0.01 * rate
    centre = trials * rate + 0.5
    v_r = 0.92 - 4.2 / b
    alpha = (2.83 + 5.1 / b) * spread
    log_odds = math.log(rate / (1.0 - rate))
    mode = math.floor((trials + 1) * rate)
    height = math.lgamma(mode + 1) + math.lgamma(trials - mode + 1)
    while True:
        u = rng.random() - 0.5
        v = 1.0 - rng.random()
        us = 0.5 - abs(u)
        if us <= 0.0:
            continue
        count = math.floor((2.0 * a / us + b) * u + centre)
        if not 0 <= count <= trials:
            continue
        if us >= 0.07 and v <= v_r:
            return count
        accepted = math.log(v * alpha / (a / (us * us) + b))
        bound = (
            height
            - math.lgamma(count + 1)
            - math.lgamma(trials - count + 1)
            + (count - mode) * log_odds
        )
        if accepted <= bound:
            return count


def multinomial(
    rng: RandomGenerator, trials: int, weights: Iterable[tuple[int, float]], total: float
) -> tuple[tuple[int, int], ...]:
    """Return how many of ``trials`` fall into each bucket, without the empty buckets.

    Args:
        rng: the random generator.
        trials: how many there are.
        weights: the buckets with their weights.
        total: the sum of the weights.
    """
    counts = []
    trials_left, weight_left = trials, total
    for bucket, weight in weights:
        if not trials_left or weight_left <= 0:
            break
        count = binomial(rng, trials_left, min(1.0, weight / weight_left))
        if count:
            counts.append((bucket, count))
        trials_left, weight_left = trials_left - count, weight_left - weight
    return tuple(counts)


def distinct_users(rng: RandomGenerator, operations: int, unseen: int, users: int) -> int:
    """Return how many users of ``unseen`` make at least one of some operations.

    Each operation is made by one of ``users`` at random. With many operations, those that a
    user makes after the first are drawn together: as a Poisson count while they are rare, else
    as a rounded normal number.
    """
    if operations <= MAX_SEEN_ONE_BY_ONE:
        return _occupied_one_by_one(rng, operations, unseen, users)
    hits = binomial(rng, operations, unseen / users)
    if hits <= MAX_SEEN_ONE_BY_ONE:
        return _occupied_one_by_one(rng, hits, unseen, unseen)
    if unseen < 10 * hits:
        return _occupied_at_once(rng, hits, unseen, unseen)
    again = hits + unseen * math.expm1(hits * math.log1p(-1.0 / unseen))
    return max(1, hits - poisson(rng, again))


def first_failures(rng: RandomGenerator, failures: int, unfailed: int, users: int) -> int:
    """Return how many of some failures are the first failure of their user.

    Each failure hits one of ``users`` at random; ``unfailed`` of them have not failed before.
    A large number of failures is drawn as a rounded normal number.
    """
    if failures <= 0 or unfailed <= 0:
        return 0
    if failures <= MAX_DRAWN_ONE_BY_ONE:
        return _occupied_one_by_one(rng, failures, unfailed, users)
    return _occupied_at_once(rng, failures, unfailed, users)


def _occupied_one_by_one(rng: RandomGenerator, balls: int, empty: int, bins: int) -> int:
    """Return how many of the empty bins get at least one of the balls."""
    left = empty
    random = rng.random
    for _ in range(balls):
        if random() * bins < left:
            left -= 1
    return empty - left


def _occupied_at_once(rng: RandomGenerator, balls: int, empty: int, bins: int) -> int:
    """Return the same as a rounded normal number, with the occupancy problem's moments."""
    one = (1.0 - 1.0 / bins) ** balls
    two = max(0.0, 1.0 - 2.0 / bins) ** balls
    mean = empty * (1.0 - one)
    variance = empty * one + empty * (empty - 1) * two - (empty * one) ** 2
    drawn = round(rng.gauss(mean, math.sqrt(max(0.0, variance))))
    return max(0, min(drawn, balls, empty))
