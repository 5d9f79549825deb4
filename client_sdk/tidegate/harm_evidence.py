"""E, the evidence of harm: how strongly the counts say that the treatment is worse than tolerated.

E is a test martingale: while a release stays within its tolerance, the probability that E
ever reaches 1/alpha is at most alpha, whatever the traffic, the number of evaluations and the
stage changes (Ville's inequality). Given the failing users of a window, the number of them in
the treatment is binomial; E is a mixture of bets on how much worse the treatment is and since
when. It assumes that failing users are distinct and that both arms meet the same conditions.

The policy job computes E from all traffic of a release, the local breaker from the traffic of
one process. All numbers are natural logarithms unless a name says otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from tidegate.counts import Counts, StratumCounts

RATIOS = (1.4, 2.0, 3.2, 7.0, 25.0, 150.0)
"""How many times worse than tolerated each bet assumes the treatment to be."""

WEIGHTS = (0.38, 0.27, 0.17, 0.09, 0.06, 0.03)
"""Prior weight of each ratio; they sum to 1."""

LOG_WEIGHTS = tuple(math.log(weight) for weight in WEIGHTS)

ONSET_START = 0.90
"""Share of the stake that is bet on a regression that begins with the epoch."""

ONSET_STAGE = 0.30
"""Share of the stake left that is bet on a regression that begins with a later stage."""

ONSET_PERIOD = 0.02
"""Share of the stake left that is bet each time the onset clock runs out."""

PERIOD_WINDOWS = 15
PERIOD_FAILURES = 20
"""The onset clock: so many windows, and so many failing users, since the last onset."""

GUARD_PRIOR = 50.0
"""Information with which the variance guard starts: it believes at first in arms that agree."""

GUARD_DAMPING = 0.02
"""How much less a pair of windows weighs in the variance guard the more it can tell."""

FIRST_EPOCH_SHARE = 0.9
LATER_EPOCHS_SHARE = 0.1
"""The parts of alpha for the first epoch of an attempt, and for all later ones together."""

HOLD_AT = 5.0
"""The value of E at which a release is suspicious: it does not advance, and E may finish."""

LOG_HOLD_AT = math.log(HOLD_AT)


@dataclass(frozen=True, slots=True)
class EarlierWindow:
    """The last window of this stage with failing users, in one stratum."""

    stratum: int
    control: int
    treatment: int


@dataclass(frozen=True, slots=True)
class VarianceGuard:
    """Measures how much the arms wobble against each other from window to window.

    A lasting regression adds no variance; other causes of failures do. The largest single
    excess is left out of the variance, since a regression that begins makes one.

    Attributes:
        excess: sum, over pairs of successive windows, of the squared standardized difference
            beyond 1, weighted.
        largest: the largest of its terms.
        information: sum of what one unit of variance would have added, weighted.
        variance: of the logarithm of the ratio of the arms' rates between windows.
        earlier: for each stratum, the window that its next one is compared with.
    """

    excess: float = 0.0
    largest: float = 0.0
    information: float = 0.0
    variance: float = 0.0
    earlier: tuple[EarlierWindow, ...] = ()

    @property
    def wobble(self) -> float:
        """The standard deviation of that logarithm; 0.1 means that the arms wobble by 10 %."""
        return math.sqrt(self.variance)


@dataclass(frozen=True, slots=True)
class HarmEvidence:
    """The evidence of harm after some windows of an epoch.

    Attributes:
        unbet: the part of the stake that is not bet yet.
        bets: the value of the bet on each ratio; empty before the first window of an epoch.
        windows, failures: since the last onset, for the onset clock.
        guard: the variance guard, which outlives stages and epochs.
    """

    unbet: float = 0.0
    bets: tuple[float, ...] = ()
    windows: int = 0
    failures: int = 0
    guard: VarianceGuard = VarianceGuard()

    @property
    def log_value(self) -> float:
        """ln E; 0 before the first window."""
        return log_sum_exp((self.unbet, *map(float.__add__, self.bets, LOG_WEIGHTS)))


def restart_epoch(evidence: HarmEvidence) -> HarmEvidence:
    """Return the evidence at the start of another epoch of the same attempt."""
    return HarmEvidence(guard=evidence.guard)


def update_harm_evidence(
    before: HarmEvidence,
    strata: Iterable[StratumCounts],
    ratio: float,
    absolute: float = 0.0,
    *,
    new_stage: bool,
) -> HarmEvidence:
    """Return the evidence after a window; only strata with a control group count.

    Args:
        before: the evidence before the window.
        strata: the window's counts. Order does not matter.
        ratio: ``r0``, the tolerated multiple of the control's rate; at least 1.
        absolute: ``d0``, the rate that is tolerated in addition.
        new_stage: whether this is the first window of a stage.
    """
    compared = [counts for counts in strata if counts.compared]
    old = replace(before.guard, earlier=()) if new_stage else before.guard
    guard = update_guard(old, compared)
    gains = [0.0] * len(RATIOS)
    failures = 0
    for counts in compared:
        failed = counts.treatment.failing
        both = failed + counts.control.failing
        failures += both
        if both == 0 and absolute == 0.0:
            continue
        bets = bets_of_share(counts.share, ratio)
        # What scales the bets must be known before the window, or follow from `both`, which a
        # test of d0 = 0 conditions on.
        known = both if absolute == 0.0 else earlier_failures(old, counts.stratum)
        treated_share = counts.share * ratio / (counts.share * ratio + 1.0 - counts.share)
        variation = known * treated_share * (1.0 - treated_share)
        past, present = 1.0 + old.variance * variation, 1.0 + guard.variance * variation
        for j, (log_ratio, scale) in enumerate(bets):
            gain = failed * log_ratio - both * scale
            if absolute > 0.0:
                gain -= counts.treatment.outcomes * absolute * math.expm1(log_ratio - scale)
            gains[j] += min(gain / past, gain / present)
    return _after_window(before, gains, failures, guard, new_stage=new_stage)


def update_without_control(
    before: HarmEvidence, treated: Counts, highest: float, *, new_stage: bool
) -> HarmEvidence:
    """Return the evidence, after a window, that the treatment fails more often than allowed.

    For a release that never had a control group.

    Args:
        before: the evidence before the window.
        treated: the treatment's counts.
        highest: the highest failure rate that is allowed, 0 to 1.
        new_stage: whether this is the first window of a stage.
    """
    gains = [
        treated.failing * math.log(ratio) - treated.outcomes * highest * (ratio - 1.0)
        for ratio in RATIOS
    ]
    return _after_window(before, gains, treated.failing, before.guard, new_stage=new_stage)


def _after_window(
    before: HarmEvidence,
    gains: Sequence[float],
    failures: int,
    guard: VarianceGuard,
    *,
    new_stage: bool,
) -> HarmEvidence:
    """Move stake into the bets that begin at this window, then add its gains to every bet."""
    share = onset_share(before, new_stage=new_stage)
    unbet, bets = before.unbet, before.bets
    if share > 0.0:
        stake = unbet + math.log(share)
        bets = tuple(log_sum_exp((bet, stake)) for bet in bets) or (stake,) * len(RATIOS)
        unbet += math.log1p(-share)
        before = HarmEvidence()
    return HarmEvidence(
        unbet,
        tuple(map(float.__add__, bets, gains)),
        before.windows + 1,
        before.failures + failures,
        guard,
    )


def onset_share(before: HarmEvidence, *, new_stage: bool) -> float:
    """Return the share of the stake left that is bet on a regression that begins now."""
    if not before.bets:
        return ONSET_START
    if new_stage:
        return ONSET_STAGE
    over = before.windows >= PERIOD_WINDOWS and before.failures >= PERIOD_FAILURES
    return ONSET_PERIOD if over else 0.0


@lru_cache(maxsize=4096)
def bets_of_share(share: float, ratio: float) -> tuple[tuple[float, float], ...]:
    """Return, for each bet, what a treated failure gains and what a failure of any arm costs.

    Args:
        share: the design share of the treatment, between 0 and 1.
        ratio: ``r0``, as in ``update_harm_evidence``.
    """
    tolerated = math.log(share * ratio + 1.0 - share)
    return tuple(
        (math.log(bet), math.log(share * bet * ratio + 1.0 - share) - tolerated) for bet in RATIOS
    )


def update_guard(guard: VarianceGuard, strata: Iterable[StratumCounts]) -> VarianceGuard:
    """Return the guard after a window, comparing each stratum with its last failing window.

    The windows must belong to one stage, since the share changes with the stage.
    """
    earlier = {window.stratum: window for window in guard.earlier}
    excess, largest, information = guard.excess, guard.largest, guard.information
    for counts in strata:
        treated = counts.treatment.failing
        here = treated + counts.control.failing
        if not counts.compared or here == 0:
            continue
        last = earlier.get(counts.stratum)
        if last is not None:
            there = last.control + last.treatment
            failed, both = treated + last.treatment, here + there
            if 0 < failed < both:
                # Hypergeometric: how many of the treatment's failing users are in this window.
                spread = failed * (both - failed) / (both * both)
                deviation = (treated - here * failed / both) ** 2
                squared = deviation / (here * there * spread / (both - 1))
                sensitivity = 2.0 * there * here / both * spread
                weight = sensitivity / (1.0 + GUARD_DAMPING * sensitivity)
                excess += weight * (squared - 1.0)
                largest = max(largest, weight * (squared - 1.0))
                information += weight * sensitivity
        earlier[counts.stratum] = EarlierWindow(counts.stratum, counts.control.failing, treated)
    variance = max(0.0, (excess - largest) / (information + GUARD_PRIOR))
    windows = tuple(earlier[stratum] for stratum in sorted(earlier))
    return VarianceGuard(excess, largest, information, variance, windows)


def earlier_failures(guard: VarianceGuard, stratum: int) -> int:
    """Return the failing users of both arms in the window that the next one is compared with."""
    return next(
        (each.control + each.treatment for each in guard.earlier if each.stratum == stratum), 0
    )


def epoch_false_alarm(false_alarm: float, *, epoch: int, checks: int = 1) -> float:
    """Return the probability of a false alarm that one epoch of one check may use.

    The probabilities of all epochs of an attempt sum to ``false_alarm / checks``.

    Args:
        false_alarm: alpha, of a whole attempt.
        epoch: its number, from 1.
        checks: the number of checks that share alpha.
    """
    if epoch == 1:
        return false_alarm * FIRST_EPOCH_SHARE / checks
    return false_alarm * LATER_EPOCHS_SHARE / (epoch * (epoch - 1)) / checks


def harm_limit(false_alarm: float, *, epoch: int, checks: int = 1) -> float:
    """Return the value of E at which a check fails; arguments as ``epoch_false_alarm``."""
    return 1.0 / epoch_false_alarm(false_alarm, epoch=epoch, checks=checks)


def log_sum_exp(logs: Sequence[float]) -> float:
    """Return the logarithm of a sum of exponentials; minus infinity if every term is."""
    highest = max(logs)
    if highest == -math.inf:
        return highest
    return highest + math.log(math.fsum([math.exp(log - highest) for log in logs]))
