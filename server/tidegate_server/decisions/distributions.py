"""Distributions of values, and the cut beyond which an operation counts as a bad one.

A comparison of latencies (or of values that the application reports) with the control
group counts operations beyond a cut. The cut is the control's quantile as it was *before*
the window, so the count is a valid test whatever the window brings: for a treatment that
is as good as control the share beyond any fixed cut is the same in both arms.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tidegate.counts import Counts, StratumCounts
from tidegate.histogram import upper_bound

from tidegate_server.decisions.observations import Distribution
from tidegate_server.domain.checks import Check
from tidegate_server.domain.evidence import Histogram, histogram_size

FADING = 0.5 ** (1 / 30)
"""What a window's weight in the control's distribution becomes with each later window."""

LEAST_WEIGHT = 0.01
"""A bucket that has faded to less than this is forgotten."""

ENOUGH = 100.0
"""Values the control's distribution must hold before a quantile of it is used."""


@dataclass(frozen=True, slots=True)
class Faded:
    """A distribution in which older windows weigh less: (bucket, weight), by bucket."""

    weights: tuple[tuple[int, float], ...] = ()

    @property
    def total(self) -> float:
        """The weight of all its values."""
        return sum(weight for _, weight in self.weights)


def fade_in(faded: Faded, histograms: Iterable[Histogram]) -> Faded:
    """The distribution after a window."""
    weights = {bucket: weight * FADING for bucket, weight in faded.weights}
    for histogram in histograms:
        for bucket, count in histogram:
            weights[bucket] = weights.get(bucket, 0.0) + count
    kept = sorted(each for each in weights.items() if each[1] > LEAST_WEIGHT)
    return Faded(tuple(kept))


def quantile_bucket(weights: Iterable[tuple[int, float]], quantile: float) -> int | None:
    """The bucket in which a quantile lies; None of nothing."""
    ordered = sorted(weights)
    total = sum(weight for _, weight in ordered)
    if total <= 0:
        return None
    reached = 0.0
    for bucket, weight in ordered:
        reached += weight
        if reached >= quantile * total:
            return bucket
    return ordered[-1][0]


def quantile_value(histogram: Iterable[tuple[int, float]], quantile: float) -> float | None:
    """A quantile, at most a bucket's width too large; None of nothing."""
    bucket = quantile_bucket(histogram, quantile)
    return None if bucket is None else upper_bound(bucket)


def cut_of(check: Check, control: Faded) -> int | None:
    """The cut that a check uses for the next window; None while too little is known."""
    if control.total < ENOUGH:
        return None
    return quantile_bucket(control.weights, check.quantile)


def beyond(histogram: Histogram, cut: int, *, large_is_bad: bool) -> int:
    """How many values are worse than the cut's bucket."""
    if large_is_bad:
        return sum(count for bucket, count in histogram if bucket > cut)
    return sum(count for bucket, count in histogram if bucket < cut)


def counted(
    check: Check,
    cut: int | None,
    strata: Iterable[StratumCounts],
    distributions: Mapping[tuple[str, int], Distribution],
) -> tuple[StratumCounts, ...]:
    """The strata as a check of a distribution counts them.

    Operations stand for users here, so the share is the one realised in the window; a
    stratum in which an arm has no values says nothing.
    """
    if cut is None or check.distribution is None:
        return ()
    found = []
    large_is_bad = check.operator.large_is_bad
    for stratum in strata:
        seen = distributions.get((check.distribution, stratum.stratum))
        if seen is None or not stratum.compared:
            continue
        control, treated = histogram_size(seen.control), histogram_size(seen.treatment)
        if control == 0 or treated == 0:
            continue
        found.append(
            StratumCounts(
                stratum.stratum,
                treated / (treated + control),
                _as_counts(control, beyond(seen.control, cut, large_is_bad=large_is_bad)),
                _as_counts(treated, beyond(seen.treatment, cut, large_is_bad=large_is_bad)),
            )
        )
    return tuple(found)


def _as_counts(values: int, bad: int) -> Counts:
    return Counts(exposures=values, outcomes=values, errors=bad, failing=bad)
