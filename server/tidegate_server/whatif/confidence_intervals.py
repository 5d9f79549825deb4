"""Confidence intervals of simulated quantities, all at 95 %."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass

Z = 1.959963984540054
"""The 97.5 % quantile of the normal distribution."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """An estimated value with the bounds of its 95 % confidence interval."""

    value: float
    low: float
    high: float


def share(events: int, runs: int) -> Estimate | None:
    """Estimate a probability by Wilson's score interval (Wilson 1927); None without runs.

    The interval also holds for rare events: none in n runs leaves an upper bound of 3.8 / n.
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


def share_texts(estimate: Estimate) -> tuple[str, str]:
    """Return the share in a sample of users in words, and its bounds for all users."""
    value, low, high = (part * 100 for part in astuple(estimate))
    return f"{value:.1f} %", f"of all users, {low:.1f} % to {high:.1f} % (95 % confidence)"


def quantile(values: Sequence[float], at: float) -> Estimate | None:
    """Estimate a quantile of any distribution from the order of its values; None without values.

    The number of values below the true quantile is binomial; the ranks of the bounds come from
    its normal approximation (Conover, "Practical Nonparametric Statistics", 3.2).
    """
    number = len(values)
    if number == 0:
        return None
    ordered = sorted(values)
    middle = number * at
    half = Z * math.sqrt(number * at * (1.0 - at))

    def value_at(rank: float) -> float:
        return float(ordered[min(number - 1, max(0, math.ceil(rank) - 1))])

    return Estimate(value_at(middle), value_at(middle - half), value_at(middle + half + 1))
