"""How many users a release has harmed, and how many its stages have spared.

Both are estimates from the users who failed. Control says how many of the treated would have
failed anyway. What failed beyond that is harm; the same excess, on the users of control, is what
opening the treatment to everyone at once would have done to them. The comparison is made within
each window and stratum, by the share of the treatment there, so neither a change of the shares nor
one of the traffic looks like harm.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from tidegate.counts import StratumCounts

DEVIATIONS = 1.96
"""How many standard deviations a range of 95 % reaches to both sides."""


@dataclass(frozen=True, slots=True)
class UserTally:
    """What a release has counted since it started.

    Attributes:
        failed: treated users who failed where there was a control group.
        expected: how many would have failed with the control's rate.
        variance: of ``expected``, by chance.
        treated, controls: operations of each arm there.
        alone_failed, alone_expected: the same as the first two where there was no control group,
            by control's last known rate.
        alone_error: the relative standard error of that rate.
    """

    failed: int = 0
    expected: float = 0.0
    variance: float = 0.0
    treated: int = 0
    controls: int = 0
    alone_failed: int = 0
    alone_expected: float = 0.0
    alone_error: float = 0.0


@dataclass(frozen=True, slots=True)
class Range:
    """An estimate, at least 0, with a range of 95 %."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class AffectedUsers:
    """The users that a release has harmed and spared up to now.

    Attributes:
        failed: treated users who failed.
        expected: how many of them control's rate explains.
        harmed: those who failed because of the treatment.
        spared: users of control who would have failed, had everyone had the treatment.
    """

    failed: int
    expected: float
    harmed: Range
    spared: Range


NO_USERS = UserTally()


def tally_users(
    tally: UserTally, strata: Iterable[StratumCounts], *, rate: float | None, rate_failures: float
) -> UserTally:
    """Return the tally after a window.

    Args:
        tally: the tally before it.
        strata: the window's counts.
        rate: control's last known rate, failing users per operation; None: it is not known.
        rate_failures: from how many failing users of control that rate is known.
    """
    failed, expected, variance = tally.failed, tally.expected, tally.variance
    treated, controls = tally.treated, tally.controls
    alone_failed, alone_expected = tally.alone_failed, tally.alone_expected
    alone_error = tally.alone_error
    for each in strata:
        if each.compared:
            odds = each.share / (1.0 - each.share)
            failed += each.treatment.failing
            expected += each.control.failing * odds
            variance += each.control.failing * odds * odds
            treated += each.treatment.outcomes
            controls += each.control.outcomes
        elif each.share >= 1.0 and rate is not None and each.treatment.outcomes:
            alone_failed += each.treatment.failing
            alone_expected += each.treatment.outcomes * rate
            alone_error = 1.0 / math.sqrt(max(1.0, rate_failures))
    return UserTally(
        failed,
        expected,
        variance,
        treated,
        controls,
        alone_failed,
        alone_expected,
        alone_error,
    )


def affected_users(tally: UserTally) -> AffectedUsers:
    """Return the users that a release has harmed and spared.

    The ranges rest on the normal approximation of Poisson counts, with one failure added to the
    variance, so that few failures do not look certain (Agresti and Caffo, 2000, for proportions).
    """
    excess = tally.failed - tally.expected
    reach = DEVIATIONS * math.sqrt(tally.failed + tally.variance + 1.0)
    alone = tally.alone_failed - tally.alone_expected
    alone_reach = 0.0
    if tally.alone_expected > 0.0:
        alone_reach = DEVIATIONS * math.hypot(
            math.sqrt(tally.alone_failed + 1.0), tally.alone_expected * tally.alone_error
        )
    return AffectedUsers(
        failed=tally.failed + tally.alone_failed,
        expected=tally.expected + tally.alone_expected,
        harmed=_sum(
            _range(excess, reach, tally.failed), _range(alone, alone_reach, tally.alone_failed)
        ),
        spared=_spared(tally, excess, reach),
    )


def _spared(tally: UserTally, excess: float, reach: float) -> Range:
    if not tally.treated:
        return Range(0.0, 0.0, 0.0)
    scale = tally.controls / tally.treated
    return _range(excess * scale, reach * scale, tally.controls)


def _range(estimate: float, reach: float, most: float) -> Range:
    def within(value: float) -> float:
        return min(max(0.0, value), float(most))

    return Range(within(estimate), within(estimate - reach), within(estimate + reach))


def _sum(first: Range, second: Range) -> Range:
    return Range(first.estimate + second.estimate, first.low + second.low, first.high + second.high)
