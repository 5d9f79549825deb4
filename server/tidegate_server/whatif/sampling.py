"""Drawing counts from distributions, with a generator that the caller brings.

Nothing in here is random by itself: the same generator in the same state gives the same
counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Protocol

SMALL = 10.0
"""Up to this mean a count is drawn by inversion, which then takes a few steps only."""

ONE_BY_ONE = 500
"""So many meetings are drawn one by one."""


class Chance(Protocol):
    """A generator of random numbers; ``random.Random`` is one."""

    def random(self) -> float:
        """Uniform in [0, 1)."""

    def gauss(self, mu: float, sigma: float) -> float:
        """Normally distributed."""


def poisson(chance: Chance, mean: float) -> int:
    """How many of many rare things happen: by inversion, or for a large mean the rounded
    normal distribution."""
    if mean <= 0.0:
        return 0
    if mean > 3 * SMALL:
        return max(0, round(chance.gauss(mean, math.sqrt(mean))))
    probability = math.exp(-mean)
    rest = chance.random() - probability
    count = 0
    while rest > 0.0 and count < 1_000:
        count += 1
        probability *= mean / count
        rest -= probability
    return count


def binomial(chance: Chance, trials: int, rate: float) -> int:
    """How many of ``trials`` succeed: by inversion, or by transformed rejection."""
    if trials <= 0 or rate <= 0.0:
        return 0
    if rate >= 1.0:
        return trials
    if rate > 0.5:
        return trials - binomial(chance, trials, 1.0 - rate)
    if trials * rate < SMALL:
        return _by_inversion(chance, trials, rate)
    return _by_rejection(chance, trials, rate)


def _by_inversion(chance: Chance, trials: int, rate: float) -> int:
    odds = rate / (1.0 - rate)
    probability = math.exp(trials * math.log1p(-rate))
    rest = chance.random() - probability
    count = 0
    while rest > 0.0 and count < trials:
        count += 1
        probability *= odds * (trials - count + 1) / count
        rest -= probability
    return count


def _by_rejection(chance: Chance, trials: int, rate: float) -> int:
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
        u = chance.random() - 0.5
        v = 1.0 - chance.random()
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


def shared_out(
    chance: Chance, trials: int, weights: Iterable[tuple[int, float]], whole: float
) -> tuple[tuple[int, int], ...]:
    """How many of ``trials`` fall into each bucket that any fall into.

    Args:
        chance: the generator.
        trials: how many there are.
        weights: buckets, each with its part of ``whole``.
        whole: all weights together.
    """
    found = []
    left, rest = trials, whole
    for bucket, weight in weights:
        if not left or rest <= 0:
            break
        count = binomial(chance, left, min(1.0, weight / rest))
        if count:
            found.append((bucket, count))
        left, rest = left - count, rest - weight
    return tuple(found)


def newly_met(chance: Chance, meetings: int, strangers: int, people: int) -> int:
    """How many strangers are met for the first time in some meetings.

    Each meeting is with one of ``people``, all alike, of whom ``strangers`` were never met.
    Meetings are drawn one by one; of very many the rounded normal distribution is taken,
    with the mean and the variance of an occupancy problem.
    """
    if meetings <= 0 or strangers <= 0:
        return 0
    if meetings <= ONE_BY_ONE:
        left = strangers
        random = chance.random
        for _ in range(meetings):
            if random() * people < left:
                left -= 1
        return strangers - left
    one = (1.0 - 1.0 / people) ** meetings
    two = max(0.0, 1.0 - 2.0 / people) ** meetings
    mean = strangers * (1.0 - one)
    variance = strangers * one + strangers * (strangers - 1) * two - (strangers * one) ** 2
    met = round(chance.gauss(mean, math.sqrt(max(0.0, variance))))
    return max(0, min(met, meetings, strangers))
