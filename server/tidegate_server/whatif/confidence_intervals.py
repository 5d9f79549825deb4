"""Confidence intervals of what was simulated, all at 95 %."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Z = 1.959963984540054
"""The 97.5 % quantile of the normal distribution."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with the bounds between which it lies, with a confidence of 95 %."""

    value: float
    low: float
    high: float


def share(events: int, runs: int) -> Estimate | None:
    """A probability by Wilson's score interval (Wilson 1927); None of no runs.

    It keeps its confidence for rare events too: none in n runs still leaves up to 3.8 / n.
    """
    if runs == 0:
        return None
    rate = events / runs
    scale = 1.0 + Z * Z / runs
    middle = (rate + Z * Z / (2 * runs)) / scale
    half = Z * math.sqrt(rate * (1.0 - rate) / runs + Z * Z / (4 * runs * runs)) / scale
    low = 0.0 if events == 0 else max(0.0, middle - half)
    high = 1.0 if events == runs else min(1.0, middle + half)
    return Estimate(rate, low, high)


def quantile(values: Sequence[float], at: float) -> Estimate | None:
    """A quantile with bounds from the order of the values, whatever their distribution.

    How many values lie below the true quantile is binomial; the ranks come from its normal
    approximation (Conover, "Practical Nonparametric Statistics", 3.2). None of no values.
    """
    number = len(values)
    if number == 0:
        return None
    ordered = sorted(values)
    middle = number * at
    half = Z * math.sqrt(number * at * (1.0 - at))

    def ranked(rank: float) -> float:
        return float(ordered[min(number - 1, max(0, math.ceil(rank) - 1))])

    return Estimate(ranked(middle), ranked(middle - half), ranked(middle + half + 1))
