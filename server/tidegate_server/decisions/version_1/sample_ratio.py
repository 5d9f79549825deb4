"""The sample-ratio check: whether the traffic is split between the arms as designed.

If it is not, bucketing or reporting is broken and no comparison of the arms is valid.
A sequential multinomial test: two-sided bets on the odds that an operation is a treated
one, against odds within a factor of ``MARGIN`` of the design. The margin is needed because
operations are counted but users are assigned: a hundred treated users who are busier than
the others are no fault. For a split within the margin, the probability that the check ever
holds a release is at most ``FALSE_ALARM``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from tidegate.counts import StratumCounts

from tidegate_server.decisions.version_1.harm_evidence import (
    Mixture,
    add_increments,
    begin_bets,
    log_value,
    onset_mass,
)

FALSE_ALARM = 0.001
IMBALANCE_AT = 1.0 / FALSE_ALARM
LOG_IMBALANCE_AT = math.log(IMBALANCE_AT)

MARGIN = 1.5
"""Odds from 1/MARGIN to MARGIN times the design belong to the null hypothesis."""

FACTORS = (1.5, 3.0, 10.0)
"""How far beyond the margin each bet assumes the odds to be, on either side."""

BETS = len(FACTORS) * 2
BET_WEIGHTS = (1.0 / BETS,) * BETS

HIGHEST_BET = 12.0
"""Bets stop growing here, in logs, so that the check passes soon after the cause is fixed."""


def update_sample_ratio(
    mixture: Mixture, strata: Iterable[StratumCounts], *, age: int, new_stage: bool
) -> Mixture:
    """Return the check's bets after a window; a stratum without a control group has no split."""
    mass = onset_mass(age, first=not mixture.bets, new_stage=new_stage)
    begun = begin_bets(mixture, mass, BETS)
    grown = add_increments(begun, _increments(strata), 1.0, 1.0)
    return Mixture(grown.remaining, tuple(min(bet, HIGHEST_BET) for bet in grown.bets))


def log_imbalance(mixture: Mixture) -> float:
    """Return ln of the evidence that the split is broken."""
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
    """Return ln of Binomial(treated; both, alternative) / Binomial(treated; both, boundary)."""
    scale = math.log(share * boundary * factor + 1.0 - share) - math.log(
        share * boundary + 1.0 - share
    )
    return treated * math.log(factor) - both * scale
