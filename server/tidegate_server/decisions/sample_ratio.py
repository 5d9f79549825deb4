"""The sample-ratio check: is the traffic split between the arms as the hash says?

It is not when bucketing or reporting is broken, and then no comparison of the arms
means anything. A sequential multinomial test: two-sided bets on the odds of an
operation being a treated one, against odds within a factor of ``MARGIN`` of the design.
The factor is there because operations are counted and users are assigned: a hundred
treated users who happen to be busier than the rest are no fault. The chance that a
split within the margin ever trips it is at most ``FALSE_ALARM``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from tidegate.counts import StratumCounts
from tidegate.harm_evidence import Mixture, add_increments, begin_bets, log_value, onset_mass

FALSE_ALARM = 0.001
IMBALANCE_AT = 1.0 / FALSE_ALARM
LOG_IMBALANCE_AT = math.log(IMBALANCE_AT)

MARGIN = 1.5
"""Odds between 1/MARGIN and MARGIN times the design are within the null hypothesis."""

FACTORS = (1.5, 3.0, 10.0)
"""How far beyond the margin each bet takes the odds to be, on either side."""

BETS = len(FACTORS) * 2
BET_WEIGHTS = (1.0 / BETS,) * BETS

HIGHEST_BET = 12.0
"""Bets stop growing here, in logs, so that the check lets go soon after the cause is mended."""


def watch_split(
    mixture: Mixture, strata: Iterable[StratumCounts], *, age: int, new_stage: bool
) -> Mixture:
    """The check after a window; a stratum without a control group has no split."""
    mass = onset_mass(age, first=not mixture.bets, new_stage=new_stage)
    begun = begin_bets(mixture, mass, BETS)
    grown = add_increments(begun, _increments(strata), 1.0, 1.0)
    return Mixture(grown.remaining, tuple(min(bet, HIGHEST_BET) for bet in grown.bets))


def log_imbalance(mixture: Mixture) -> float:
    """ln of the evidence that the split is broken."""
    return log_value(mixture, BET_WEIGHTS)


def _increments(strata: Iterable[StratumCounts]) -> list[float]:
    sums = [0.0] * BETS
    for each in strata:
        if not each.compared:
            continue
        treated = each.treatment.outcomes
        both = treated + each.control.outcomes
        for j, factor in enumerate(FACTORS):
            sums[2 * j] += _log_factor(each.share, MARGIN, factor, treated, both)
            sums[2 * j + 1] += _log_factor(each.share, 1.0 / MARGIN, 1.0 / factor, treated, both)
    return sums


def _log_factor(share: float, boundary: float, factor: float, treated: int, both: int) -> float:
    """ln of Binomial(treated; both, alternative) over Binomial(treated; both, boundary)."""
    scale = math.log(share * boundary * factor + 1.0 - share) - math.log(
        share * boundary + 1.0 - share
    )
    return treated * math.log(factor) - both * scale
