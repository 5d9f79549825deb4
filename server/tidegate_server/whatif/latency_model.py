"""Durations and reported values for simulated operations."""

from __future__ import annotations

import math

from tidegate.counts import StratumCounts
from tidegate.histogram import bucket_of, upper_bound

from tidegate_server.decisions.observations import Distribution
from tidegate_server.domain.checks import LATENCY
from tidegate_server.domain.evidence import Histogram
from tidegate_server.whatif.sampling import Chance, shared_out

TYPICAL_SECONDS = 0.1
SPREAD = 0.5
"""Durations are log-normal, with this median and this standard deviation of the logarithm."""


class Durations:
    """The values of a simulated release's operations.

    Durations grow with the treatment by the factor that is given; the values that an
    application reports of its own are alike in both arms.

    Args:
        measures: the values that a policy's checks look at.
        slower: how many times as long operations take with the treatment.
        chance: the generator of randomness.
    """

    def __init__(self, measures: tuple[str, ...], slower: float, chance: Chance) -> None:
        self._measures = measures
        self._chance = chance
        self._usual = _log_normal(1.0)
        self._slow = _log_normal(slower)

    def of(self, strata: tuple[StratumCounts, ...]) -> tuple[Distribution, ...]:
        """The values of a window's operations."""
        return tuple(
            Distribution(
                each.stratum,
                measure,
                self.usual(each.control.outcomes),
                self._drawn(
                    each.treatment.outcomes, self._slow if measure == LATENCY else self._usual
                ),
            )
            for measure in self._measures
            for each in strata
        )

    def usual(self, values: int) -> Histogram:
        """So many values as the control has them."""
        return self._drawn(values, self._usual)

    def _drawn(self, values: int, shares: list[tuple[int, float]]) -> Histogram:
        return shared_out(self._chance, values, shares, 1.0)


def _log_normal(times: float) -> list[tuple[int, float]]:
    """The buckets of such durations, each with its share."""
    middle = TYPICAL_SECONDS * times

    def below(seconds: float) -> float:
        return 0.5 * (1.0 + math.erf(math.log(seconds / middle) / (SPREAD * math.sqrt(2.0))))

    first = bucket_of(middle * math.exp(-4 * SPREAD))
    last = bucket_of(middle * math.exp(4 * SPREAD))
    bounds = [below(upper_bound(bucket)) for bucket in range(first, last + 1)]
    bounds[-1] = 1.0
    return [
        (first + number, high - low)
        for number, (low, high) in enumerate(zip([0.0, *bounds], bounds, strict=False))
    ]
