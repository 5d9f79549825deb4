"""The detectable ratio: the smallest ratio of errors that would have been noticed by now.

Noticed means: the evidence of harm would have reached its limit with a probability of about
80 %, had the ratio been there since the epoch began. It assumes arms that do not wobble.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from tidegate.harm_evidence import ONSET_START, WEIGHTS, bets_of_share

QUANTILE = 0.8416
"""Standard deviations below the mean that the evidence exceeds with a probability of 80 %."""

LARGEST_RATIO = 1000.0


@dataclass(frozen=True, slots=True)
class ControlFailures:
    """What control counted in an epoch, where the treatment's design share was ``share``.

    Attributes:
        share: 0 to 1.
        failures: users who failed for the first time.
        operations: operations that ended; only a tolerance with an absolute part needs them.
    """

    share: float
    failures: int
    operations: int = 0


def detectable_ratio(
    control: Iterable[ControlFailures], false_alarm: float, ratio: float, absolute: float = 0.0
) -> float | None:
    """Return the detectable ratio; None if not even ``LARGEST_RATIO`` would have been noticed.

    The mean of a bet grows in proportion to the ratio, its variance too. So the ratio at which
    the mean is ``QUANTILE`` standard deviations above what the bet needs is the larger root of
    a quadratic equation.

    Args:
        control: what control counted in this epoch, for every share.
        false_alarm: what this epoch of the check may use (``epoch_false_alarm``).
        ratio: ``r0``, the tolerated multiple of the control's rate; at least 1.
        absolute: ``d0``, the rate that is tolerated in addition.
    """
    known = [each for each in control if 0.0 < each.share < 1.0]
    if not any(each.failures for each in known):
        return None
    smallest = math.inf
    for j, weight in enumerate(WEIGHTS):
        needed = -math.log(false_alarm * ONSET_START * weight)
        # The bet's mean is `slope * r - needed`, its variance `variance_slope * r + variance`.
        slope = variance_slope = variance = 0.0
        for each in known:
            log_ratio, scale = bets_of_share(each.share, ratio)[j]
            odds = each.share / (1.0 - each.share)
            gain = log_ratio - scale
            slope += each.failures * odds * gain
            needed += each.failures * scale
            needed += each.operations * odds * absolute * math.expm1(gain)
            variance_slope += each.failures * odds * gain * gain
            variance += each.failures * scale * scale
        smallest = min(smallest, _noticed_from(slope, needed, variance_slope, variance))
    return max(ratio, smallest) if smallest <= LARGEST_RATIO else None


def _noticed_from(slope: float, needed: float, variance_slope: float, variance: float) -> float:
    """Return the root r of ``slope r - needed = QUANTILE sqrt(variance_slope r + variance)``."""
    spread = QUANTILE * QUANTILE
    half = needed * slope + 0.5 * spread * variance_slope
    under_root = half * half - slope * slope * (needed * needed - spread * variance)
    return (half + math.sqrt(max(0.0, under_root))) / (slope * slope)
