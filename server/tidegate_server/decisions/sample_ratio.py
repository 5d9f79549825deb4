"""The sample-ratio check: whether the users are split between the arms as designed.

If they are not, bucketing or reporting is broken and no comparison of the arms is valid.
Users are assigned, so users are counted: distinct ones, in a sample that their hash decides
(``Counts.sampled``). Given that a user is in the sample, the treatment is served with the design
share exactly. A sequential test with two-sided bets on the odds, against odds within a factor
of ``MARGIN`` of the design. It begins afresh at every visit of a stage; the probability that it
ever holds a release with such a split is at most ``FALSE_ALARM``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from tidegate.counts import StratumCounts
from tidegate.harm_evidence import log_sum_exp

FALSE_ALARM = 0.001
"""Over a whole release; visit ``v`` of a stage uses ``FALSE_ALARM / (v (v + 1))``."""

MARGIN = 1.15
"""Odds from 1/MARGIN to MARGIN times the design are no fault."""

FACTORS = (1.3, 2.0, 5.0)
"""How far beyond the margin each bet assumes the odds to be, on either side."""

BETS = len(FACTORS) * 2

HIGHEST_BET = 12.0
"""Bets stop growing here, in logs, so that the check passes soon after the cause is fixed."""


@dataclass(frozen=True, slots=True)
class SampleRatio:
    """The evidence that the split of one visit of a stage is broken.

    Attributes:
        visit: which visit of a stage it is, from 1; 0 before the first window.
        bets: the bets in logarithms; empty before the first window.
    """

    visit: int = 0
    bets: tuple[float, ...] = ()

    @property
    def log_evidence(self) -> float:
        """ln of the evidence that the split is broken."""
        return log_sum_exp(self.bets) - math.log(BETS) if self.bets else 0.0

    @property
    def limit(self) -> float:
        """The value of the evidence that holds the release."""
        visit = max(1, self.visit)
        return visit * (visit + 1) / FALSE_ALARM

    @property
    def is_broken(self) -> bool:
        """Whether the evidence has reached its limit."""
        return self.log_evidence >= math.log(self.limit)


def update_sample_ratio(
    before: SampleRatio, strata: Iterable[StratumCounts], *, new_visit: bool
) -> SampleRatio:
    """Return the check after a window; a stratum without a control group has no split.

    Args:
        before: the check before the window.
        strata: the window's counts.
        new_visit: whether this is the first window of a visit of a stage.
    """
    visit = before.visit + new_visit
    bets = [0.0] * BETS if new_visit or not before.bets else list(before.bets)
    for each in strata:
        treated = each.treatment.sampled
        both = treated + each.control.sampled
        if not each.compared or not both:
            continue
        for j, factor in enumerate(FACTORS):
            bets[2 * j] += _log_factor(each.share, MARGIN, factor, treated, both)
            bets[2 * j + 1] += _log_factor(each.share, 1.0 / MARGIN, 1.0 / factor, treated, both)
    return SampleRatio(visit, tuple(min(bet, HIGHEST_BET) for bet in bets))


def _log_factor(share: float, boundary: float, factor: float, treated: int, both: int) -> float:
    """Return ln of Binomial(treated; both, alternative) / Binomial(treated; both, boundary)."""
    scale = math.log(share * boundary * factor + 1.0 - share) - math.log(
        share * boundary + 1.0 - share
    )
    return treated * math.log(factor) - both * scale
