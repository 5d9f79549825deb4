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
"""The weight of a window in the control's distribution halves in thirty windows."""

MIN_WEIGHT = 0.01
"""Buckets with less weight are removed."""

MIN_VALUES = 100.0
"""The weight that the control's distribution must have before a quantile of it is used."""


@dataclass(frozen=True, slots=True)
class FadingHistogram:
    """A histogram in which older windows weigh less: (bucket, weight), by bucket."""

    weights: tuple[tuple[int, float], ...] = ()

    @property
    def total(self) -> float:
        """The weight of all its values."""
        return sum(weight for _, weight in self.weights)


def fade_in(fading: FadingHistogram, histograms: Iterable[Histogram]) -> FadingHistogram:
    """Return the histogram after a window with these values."""
    weights = {bucket: weight * FADING for bucket, weight in fading.weights}
    for histogram in histograms:
        for bucket, count in histogram:
            weights[bucket] = weights.get(bucket, 0.0) + count
    kept = sorted(each for each in weights.items() if each[1] > MIN_WEIGHT)
    return FadingHistogram(tuple(kept))


def quantile_bucket(weights: Iterable[tuple[int, float]], quantile: float) -> int | None:
    """Return the bucket of a quantile; None without values."""
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
    """Return a quantile, at most a bucket's width too large; None without values."""
    bucket = quantile_bucket(histogram, quantile)
    return None if bucket is None else upper_bound(bucket)


def control_quantile_bucket(check: Check, control: FadingHistogram) -> int | None:
    """Return a check's cut for the next window; None while control has too few values."""
    if control.total < MIN_VALUES:
        return None
    return quantile_bucket(control.weights, check.quantile)


def count_beyond(histogram: Histogram, cut: int, *, large_is_bad: bool) -> int:
    """Return how many values are worse than the cut's bucket."""
    if large_is_bad:
        return sum(count for bucket, count in histogram if bucket > cut)
    return sum(count for bucket, count in histogram if bucket < cut)


def count_bad_operations(
    check: Check,
    cut: int | None,
    strata: Iterable[StratumCounts],
    distributions: Mapping[tuple[str, int], Distribution],
) -> tuple[StratumCounts, ...]:
    """Return the strata as a check of a distribution counts them.

    Operations take the place of users, and those beyond the cut are failures. The share is
    the one realised in the window. A stratum in which an arm has no values is left out.
    """
    if cut is None or check.distribution is None:
        return ()
    counted = []
    large_is_bad = check.operator.large_is_bad
    for stratum in strata:
        values = distributions.get((check.distribution, stratum.stratum))
        if values is None or not stratum.compared:
            continue
        control, treated = histogram_size(values.control), histogram_size(values.treatment)
        if control == 0 or treated == 0:
            continue
        counted.append(
            StratumCounts(
                stratum.stratum,
                treated / (treated + control),
                _counts(control, count_beyond(values.control, cut, large_is_bad=large_is_bad)),
                _counts(treated, count_beyond(values.treatment, cut, large_is_bad=large_is_bad)),
            )
        )
    return tuple(counted)


def _counts(values: int, bad: int) -> Counts:
    return Counts(exposures=values, outcomes=values, errors=bad, failing=bad)
