"""Draws the durations and reported values of simulated operations."""

from __future__ import annotations

import math

from tidegate.counts import StratumCounts
from tidegate.histogram import bucket_of, upper_bound

from tidegate_server.decisions.observations import Distribution
from tidegate_server.domain.checks import LATENCY
from tidegate_server.domain.evidence import Histogram
from tidegate_server.whatif.sampling import RandomGenerator, multinomial

MEDIAN_SECONDS = 0.1
SPREAD = 0.5
"""Durations are log-normal: their median, and the standard deviation of their logarithm."""


class LatencyModel:
    """The values of a simulated release's operations.

    The treatment multiplies durations by ``latency_ratio``. Values that an application
    reports itself have the same distribution in both arms.

    Args:
        measures: the measures of the policy's checks.
        latency_ratio: how many times as long operations take with the treatment.
        rng: the random generator.
    """

    def __init__(
        self, measures: tuple[str, ...], latency_ratio: float, rng: RandomGenerator
    ) -> None:
        self._measures = measures
        self._rng = rng
        self._control = _log_normal(MEDIAN_SECONDS)
        self._treatment = _log_normal(MEDIAN_SECONDS * latency_ratio)

    def distributions(self, strata: tuple[StratumCounts, ...]) -> tuple[Distribution, ...]:
        """Draw the values of a window's operations."""
        return tuple(
            Distribution(
                each.stratum,
                measure,
                self.control_values(each.control.outcomes),
                self._draw(
                    each.treatment.outcomes,
                    self._treatment if measure == LATENCY else self._control,
                ),
            )
            for measure in self._measures
            for each in strata
        )

    def control_values(self, count: int) -> Histogram:
        """Draw this many values of the control."""
        return self._draw(count, self._control)

    def _draw(self, count: int, shares: list[tuple[int, float]]) -> Histogram:
        return multinomial(self._rng, count, shares, 1.0)


def _log_normal(median: float) -> list[tuple[int, float]]:
    """Return the buckets of a log-normal distribution with their shares."""

    def share_below(seconds: float) -> float:
        return 0.5 * (1.0 + math.erf(math.log(seconds / median) / (SPREAD * math.sqrt(2.0))))

    first = bucket_of(median * math.exp(-4 * SPREAD))
    last = bucket_of(median * math.exp(4 * SPREAD))
    bounds = [share_below(upper_bound(bucket)) for bucket in range(first, last + 1)]
    bounds[-1] = 1.0
    return [
        (first + number, high - low)
        for number, (low, high) in enumerate(zip([0.0, *bounds], bounds, strict=False))
    ]
