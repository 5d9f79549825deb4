"""What a recorded window would have counted, had another share of the people been treated.

The hash nests shares: a smaller one is a part of a larger one. So whoever would have been in
the arm in which they were keeps what was recorded of them, thinned at random to the people
that remain; whoever would have been in the other arm has the same operations with outcomes
drawn from that arm's rate. With the recorded share nothing is drawn at all.
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
from tidegate_server.whatif.recording import Fitted, Seen
from tidegate_server.whatif.sampling import Chance, binomial, poisson, shared_out

PRIOR_FAILURES = 0.5
"""How many failures the prior of a rate is worth. Its mean is the control's rate, or the arm's
own where that is higher: a bad arm is not made out to be better than it was seen."""

PRIOR_OPERATIONS = 50.0
"""In how many operations the control is taken to have had as many failures beforehand."""


@dataclass(slots=True)
class Drawn:
    """How much of what was counted is recorded, and how much was drawn."""

    recorded: int = 0
    drawn: int = 0
    thinned: bool = False


class Elsewise:
    """Recorded windows of some people under other shares, for one run.

    Args:
        fitted: estimates of these people.
        chance: the generator of randomness.
    """

    def __init__(self, fitted: Fitted, chance: Chance) -> None:
        self._fitted = fitted
        self._chance = chance
        self._luck = (chance.gauss(0.0, 1.0), chance.gauss(0.0, 1.0))
        self.drawn = Drawn()

    def window(self, number: int, seen: Seen | None, span_ms: int, share: float) -> Seen:
        """A window under another share.

        Args:
            number: its place in the record.
            seen: what was recorded; None: these people were not counted.
            span_ms: how long it was.
            share: the treatment's, 0 to 1.
        """
        if seen is None:
            return self._unseen(number, span_ms, share)
        if seen.share == share:
            self.drawn.recorded += seen.control.outcomes + seen.treatment.outcomes
            return seen
        self.drawn.thinned = True
        if share < seen.share:
            stays = share / seen.share
            treatment, moved = self._divided(seen.treatment, stays)
            control = seen.control + self._as_if(moved, number, 0)
        else:
            stays = (1.0 - share) / (1.0 - seen.share)
            control, moved = self._divided(seen.control, stays)
            treatment = seen.treatment + self._as_if(moved, number, 1)
        self.drawn.recorded += seen.control.outcomes + seen.treatment.outcomes - moved.outcomes
        self.drawn.drawn += moved.outcomes
        values = tuple(self._values(each, seen, share) for each in seen.distributions)
        return Seen(share, control, treatment, values)

    def part(self, seen: Seen, part: float) -> tuple[Seen, Seen]:
        """Some of the people of a window, and the rest of them."""
        control, other_control = self._divided(seen.control, part)
        treatment, other_treatment = self._divided(seen.treatment, part)
        values, others = [], []
        for each in seen.distributions:
            in_control = self._thinned(each.control, part)
            in_treatment = self._thinned(each.treatment, part)
            values.append(replace(each, control=in_control, treatment=in_treatment))
            others.append(
                replace(
                    each,
                    control=subtract_histogram(each.control, in_control),
                    treatment=subtract_histogram(each.treatment, in_treatment),
                )
            )
        self.drawn.thinned = True
        return (
            Seen(seen.share, control, treatment, tuple(values)),
            Seen(seen.share, other_control, other_treatment, tuple(others)),
        )

    def excess(self, number: int) -> float:
        """How much more often the treatment fails than the control near a window."""
        return self._rate(number, 1) - self._rate(number, 0)

    def _unseen(self, number: int, span_ms: int, share: float) -> Seen:
        self.drawn.thinned = True
        operations = poisson(self._chance, self._fitted.pace[number] * span_ms)
        treated = binomial(self._chance, operations, share)
        self.drawn.drawn += operations
        arms = [
            self._as_if(Counts(exposures=count, outcomes=count), number, arm)
            for arm, count in enumerate((operations - treated, treated))
        ]
        values = tuple(
            Distribution(
                0,
                measure,
                self._picked(pooled[0] or pooled[1], operations - treated),
                self._picked(pooled[1] or pooled[0], treated),
            )
            for measure, pooled in self._fitted.values.items()
        )
        return Seen(share, arms[0], arms[1], values)

    def _divided(self, counts: Counts, part: float) -> tuple[Counts, Counts]:
        """Counts of some of the people, each with this probability, and of the others."""
        pick = self._chance
        failing = binomial(pick, counts.failing, part)
        errors = failing + binomial(pick, counts.errors - counts.failing, part)
        outcomes = errors + binomial(pick, counts.outcomes - counts.errors, part)
        exposures = outcomes + binomial(pick, counts.exposures - counts.outcomes, part)
        overflow = binomial(pick, counts.overflow, part)
        taken = Counts(
            exposures, outcomes, errors, failing, round(counts.microseconds * part), overflow
        )
        return taken, counts.since(taken)

    def _as_if(self, counts: Counts, number: int, arm: int) -> Counts:
        """The same operations with outcomes of an arm."""
        if not counts.outcomes:
            return replace(counts, errors=0, failing=0, overflow=0)
        errors = binomial(self._chance, counts.outcomes, self._rate(number, arm))
        failing = binomial(self._chance, errors, self._fitted.first[arm])
        return replace(counts, errors=errors, failing=failing, overflow=0)

    def _rate(self, number: int, arm: int) -> float:
        """An arm's rate near a window, as this run has it."""
        failed, ended = self._fitted.control[number]
        usual = (failed + PRIOR_FAILURES) / (ended + PRIOR_OPERATIONS)
        if arm:
            failed, ended = self._fitted.treatment[number]
        centre = max(usual, failed / ended) if ended else usual
        shape = failed + PRIOR_FAILURES
        return min(0.999, gamma(shape, self._luck[arm]) / (ended + PRIOR_FAILURES / centre))

    def _values(self, recorded: Distribution, seen: Seen, share: float) -> Distribution:
        """The values of both arms under another share."""
        pooled = self._fitted.values[recorded.measure]
        if share < seen.share:
            kept = self._thinned(recorded.treatment, share / seen.share)
            moved = histogram_size(recorded.treatment) - histogram_size(kept)
            drawn = self._picked(pooled[0] or pooled[1], moved)
            return replace(
                recorded, control=add_histograms((recorded.control, drawn)), treatment=kept
            )
        kept = self._thinned(recorded.control, (1.0 - share) / (1.0 - seen.share))
        moved = histogram_size(recorded.control) - histogram_size(kept)
        drawn = self._picked(pooled[1] or pooled[0], moved)
        return replace(
            recorded, control=kept, treatment=add_histograms((recorded.treatment, drawn))
        )

    def _thinned(self, histogram: Histogram, part: float) -> Histogram:
        found = ((bucket, binomial(self._chance, count, part)) for bucket, count in histogram)
        return tuple((bucket, count) for bucket, count in found if count)

    def _picked(self, pooled: Histogram, values: int) -> Histogram:
        """So many values of those that there are."""
        return shared_out(self._chance, values, pooled, histogram_size(pooled))


def gamma(shape: float, deviations: float) -> float:
    """A quantile of a gamma distribution with scale 1, given as one of the normal's.

    The approximation of Wilson and Hilferty (1931): its cube root is nearly normal.
    """
    spread = 1.0 / (9.0 * shape)
    return shape * max(0.0, 1.0 - spread + deviations * math.sqrt(spread)) ** 3
