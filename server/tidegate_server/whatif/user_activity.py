"""How unequally active the users of a simulation are."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

QUANTILES = ((0.5, -math.inf, 0.0), (0.3, 0.0, 0.8416), (0.15, 0.8416, 1.6449),
             (0.04, 1.6449, 2.3263), (0.01, 2.3263, math.inf))  # fmt: skip
"""Classes of log-normal activity: the users' share, and the bounds in standard deviations."""

RANKS_ALONE = 4
"""The most active users of a Zipf distribution are a class each; then every class doubles."""


class ActivityKind(StrEnum):
    """The distribution of the users' numbers of operations."""

    EQUAL = "equal"
    LOG_NORMAL = "log_normal"
    ZIPF = "zipf"


DEFAULT_SKEW = {ActivityKind.EQUAL: 0.0, ActivityKind.LOG_NORMAL: 1.0, ActivityKind.ZIPF: 1.0}


@dataclass(frozen=True, slots=True)
class Activity:
    """How unequally active users are.

    Attributes:
        kind: the distribution of their numbers of operations.
        skew: of a log-normal distribution, the standard deviation of the logarithm; of a Zipf
            distribution, the exponent: the user with rank r makes operations in proportion to
            ``r ** -skew``.
    """

    kind: ActivityKind = ActivityKind.EQUAL
    skew: float = 0.0

    def classes(self, users: int) -> tuple[tuple[int, float], ...]:
        """Return classes of equally active users: how many, and their share of all operations."""
        if not self.skew:
            return ((users, 1.0),)
        parts = _ranks(users, self.skew) if self.kind is ActivityKind.ZIPF else self._parts(users)
        classes = [(number, weight) for number, weight in parts if number]
        whole = math.fsum(weight for _, weight in classes)
        return tuple((number, weight / whole) for number, weight in classes)

    def _parts(self, users: int) -> Iterator[tuple[int, float]]:
        counted, below = 0, 0.0
        for share, low, high in QUANTILES:
            below += share
            number = round(users * below) - counted
            counted += number
            yield number, number * _mean_activity(self.skew, low, high)


EQUAL = Activity()


def log_normal(skew: float) -> Activity:
    """Return a log-normal activity with this standard deviation of the logarithm."""
    return Activity(ActivityKind.LOG_NORMAL, skew)


def zipf(exponent: float) -> Activity:
    """Return the activity of Zipf's law with this exponent."""
    return Activity(ActivityKind.ZIPF, exponent)


def _ranks(users: int, exponent: float) -> Iterator[tuple[int, float]]:
    """Yield classes of neighbouring ranks, and the sum of their users' activities."""
    first = 1
    while first <= users:
        last = first if first <= RANKS_ALONE else min(users, 2 * (first - 1))
        yield last - first + 1, _sum_of_powers(first, last, exponent)
        first = last + 1


def _sum_of_powers(first: int, last: int, exponent: float) -> float:
    """Return the sum of ``r ** -exponent``; for many ranks by the midpoint rule."""
    if last - first < 64:
        return math.fsum(rank**-exponent for rank in range(first, last + 1))
    low, high = first - 0.5, last + 0.5
    if abs(exponent - 1.0) < 1e-9:
        return math.log(high / low)
    return float((high ** (1.0 - exponent) - low ** (1.0 - exponent)) / (1.0 - exponent))


def _mean_activity(sigma: float, low: float, high: float) -> float:
    """Return the mean of a log-normal activity with the mean 1 between two bounds."""

    def share_below(z: float) -> float:
        return 0.5 * (1.0 + math.erf(z / math.sqrt(2.0)))

    part = share_below(high - sigma) - share_below(low - sigma)
    return part / (share_below(high) - share_below(low))
