"""What a recorded window would have counted with another share of users treated.

Buckets nest shares: a smaller share is part of a larger one. Users who would have been in the
same arm keep what was recorded of them, thinned at random to the users who remain. Users who
would have been in the other arm have the same operations, with outcomes drawn from that arm's
rate. With the recorded share nothing is drawn at all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from tidegate.counts import Counts

from tidegate_server.decisions.observations import Distribution
from tidegate_server.domain.evidence import (
    Histogram,
    add_histograms,
    histogram_size,
    subtract_histogram,
)
from tidegate_server.whatif.recording import SegmentCounts, TrafficEstimate
from tidegate_server.whatif.sampling import RandomGenerator, binomial, multinomial, poisson

PRIOR_FAILURES = 0.5
"""The weight of the prior of a rate, as a number of failures. Its mean is the control's rate, or
the arm's own rate if that is higher, so that a bad arm never looks better than it was."""

PRIOR_OPERATIONS = 50.0
"""The number of operations in which the control is assumed to have had as many failures."""


@dataclass(slots=True)
class DrawnCounts:
    """How many of the counted operations are recorded, and how many are drawn.

    Attributes:
        recorded, drawn: operations.
        random: whether anything depends on the random generator.
    """

    recorded: int = 0
    drawn: int = 0
    random: bool = False


class Counterfactual:
    """The recorded windows of one group of users with other shares, for one run.

    Args:
        estimate: the group's traffic.
        rng: the random generator.
    """

    def __init__(self, estimate: TrafficEstimate, rng: RandomGenerator) -> None:
        self._estimate = estimate
        self._rng = rng
        self._rate_deviations = (rng.gauss(0.0, 1.0), rng.gauss(0.0, 1.0))
        self.drawn = DrawnCounts()

    def window(
        self, number: int, recorded: SegmentCounts | None, span_ms: int, share: float
    ) -> SegmentCounts:
        """Return the counts of a window with another share.

        Args:
            number: the window's place in the record.
            recorded: what was recorded; None: the group was not counted.
            span_ms: how long the window was.
            share: the treatment's share, 0 to 1.
        """
        if recorded is None:
            return self._draw_window(number, span_ms, share)
        if recorded.share == share:
            self.drawn.recorded += recorded.operations
            return recorded
        self.drawn.random = True
        if share < recorded.share:
            stay = share / recorded.share
            treatment, moved = self._split_counts(recorded.treatment, stay)
            control = recorded.control + self._with_outcomes_of(0, moved, number)
        else:
            stay = (1.0 - share) / (1.0 - recorded.share)
            control, moved = self._split_counts(recorded.control, stay)
            treatment = recorded.treatment + self._with_outcomes_of(1, moved, number)
        self.drawn.recorded += recorded.operations - moved.outcomes
        self.drawn.drawn += moved.outcomes
        values = tuple(
            self._move_values(each, recorded.share, share) for each in recorded.distributions
        )
        return SegmentCounts(share, control, treatment, values)

    def split(self, counts: SegmentCounts, part: float) -> tuple[SegmentCounts, SegmentCounts]:
        """Divide a window's users at random into a part of them and the rest."""
        control, other_control = self._split_counts(counts.control, part)
        treatment, other_treatment = self._split_counts(counts.treatment, part)
        values, others = [], []
        for each in counts.distributions:
            in_control = self._thin(each.control, part)
            in_treatment = self._thin(each.treatment, part)
            values.append(replace(each, control=in_control, treatment=in_treatment))
            others.append(
                replace(
                    each,
                    control=subtract_histogram(each.control, in_control),
                    treatment=subtract_histogram(each.treatment, in_treatment),
                )
            )
        self.drawn.random = True
        return (
            SegmentCounts(counts.share, control, treatment, tuple(values)),
            SegmentCounts(counts.share, other_control, other_treatment, tuple(others)),
        )

    def excess_rate(self, number: int) -> float:
        """Return the treatment's error rate minus the control's, near a window."""
        return self._rate(1, number) - self._rate(0, number)

    def _draw_window(self, number: int, span_ms: int, share: float) -> SegmentCounts:
        self.drawn.random = True
        operations = poisson(self._rng, self._estimate.pace[number] * span_ms)
        treated = binomial(self._rng, operations, share)
        self.drawn.drawn += operations
        control, treatment = (
            self._with_outcomes_of(arm, Counts(exposures=count, outcomes=count), number)
            for arm, count in enumerate((operations - treated, treated))
        )
        values = tuple(
            Distribution(
                0,
                measure,
                self._draw_values(pooled[0] or pooled[1], operations - treated),
                self._draw_values(pooled[1] or pooled[0], treated),
            )
            for measure, pooled in self._estimate.values.items()
        )
        return SegmentCounts(share, control, treatment, values)

    def _split_counts(self, counts: Counts, part: float) -> tuple[Counts, Counts]:
        """Divide counts: each user is in the first part with this probability."""
        rng = self._rng
        failing = binomial(rng, counts.failing, part)
        errors = failing + binomial(rng, counts.errors - counts.failing, part)
        outcomes = errors + binomial(rng, counts.outcomes - counts.errors, part)
        exposures = outcomes + binomial(rng, counts.exposures - counts.outcomes, part)
        overflow = binomial(rng, counts.overflow, part)
        taken = Counts(
            exposures,
            outcomes,
            errors,
            failing,
            round(counts.microseconds * part),
            overflow,
            sampled=binomial(rng, counts.sampled, part),
        )
        return taken, counts.since(taken)

    def _with_outcomes_of(self, arm: int, counts: Counts, number: int) -> Counts:
        """Return the same operations with outcomes drawn from an arm's rate."""
        if not counts.outcomes:
            return replace(counts, errors=0, failing=0, overflow=0)
        errors = binomial(self._rng, counts.outcomes, self._rate(arm, number))
        failing = binomial(self._rng, errors, self._estimate.first_failures[arm])
        return replace(counts, errors=errors, failing=failing, overflow=0)

    def _rate(self, arm: int, number: int) -> float:
        """Return this run's error rate of an arm near a window."""
        errors, operations = self._estimate.control[number]
        control_rate = (errors + PRIOR_FAILURES) / (operations + PRIOR_OPERATIONS)
        if arm:
            errors, operations = self._estimate.treatment[number]
        mean = max(control_rate, errors / operations) if operations else control_rate
        drawn = gamma_quantile(errors + PRIOR_FAILURES, self._rate_deviations[arm])
        return min(0.999, drawn / (operations + PRIOR_FAILURES / mean))

    def _move_values(
        self, recorded: Distribution, recorded_share: float, share: float
    ) -> Distribution:
        """Return the values of both arms with another share."""
        control, treatment = self._estimate.values[recorded.measure]
        if share < recorded_share:
            kept = self._thin(recorded.treatment, share / recorded_share)
            moved = histogram_size(recorded.treatment) - histogram_size(kept)
            drawn = self._draw_values(control or treatment, moved)
            return replace(
                recorded, control=add_histograms((recorded.control, drawn)), treatment=kept
            )
        kept = self._thin(recorded.control, (1.0 - share) / (1.0 - recorded_share))
        moved = histogram_size(recorded.control) - histogram_size(kept)
        drawn = self._draw_values(treatment or control, moved)
        return replace(
            recorded, control=kept, treatment=add_histograms((recorded.treatment, drawn))
        )

    def _thin(self, histogram: Histogram, part: float) -> Histogram:
        kept = ((bucket, binomial(self._rng, count, part)) for bucket, count in histogram)
        return tuple((bucket, count) for bucket, count in kept if count)

    def _draw_values(self, pooled: Histogram, count: int) -> Histogram:
        return multinomial(self._rng, count, pooled, histogram_size(pooled))


def gamma_quantile(shape: float, deviations: float) -> float:
    """Return a quantile of the gamma distribution with scale 1.

    The approximation of Wilson and Hilferty (1931): its cube root is nearly normal.

    Args:
        shape: the shape of the distribution.
        deviations: the same quantile of the standard normal distribution.
    """
    spread = 1.0 / (9.0 * shape)
    return shape * max(0.0, 1.0 - spread + deviations * math.sqrt(spread)) ** 3
