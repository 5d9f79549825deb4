"""E, the evidence of harm: how strongly the counts say that the treatment is worse than tolerated.

E is a test martingale: while a release stays within its tolerance, the probability that E
ever reaches 1/alpha is at most alpha, whatever the traffic, the number of evaluations and the
stage changes (Ville's inequality). Given the failing users of a window, the number of them in
the treatment is binomial; E is a mixture of bets on how much worse the treatment is and since
when. It assumes that failing users are distinct and that both arms meet the same conditions.

The policy job computes E from all traffic of a release, the local breaker from the traffic of
one instance.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tidegate.counts import StratumCounts

RATIOS = (1.5, 3.0, 10.0, 100.0)
"""How many times worse than tolerated each bet assumes the treatment to be."""

WEIGHTS = (0.35, 0.30, 0.20, 0.15)
"""Prior weight of each ratio."""

ONSET_START = 0.75
"""Prior probability of a regression that begins with the release, or with an epoch."""

ONSET_STAGE = 0.20
"""Share of the remaining probability for one that begins with a later stage."""

ONSET_PERIOD = 0.02
"""Share of the remaining probability for one that begins at each ``PERIOD``-th window."""

PERIOD = 15
"""Windows between two possible onsets within a stage."""

PSEUDO_PAIRS = 10.0
"""Pairs of windows of ordinary variance that the variance guard starts with."""

EPOCH_WINDOWS = 240
"""Windows after which failing users count once more and E restarts."""


@dataclass(frozen=True, slots=True)
class Mixture:
    """A mixture of bets that begin at different windows, in natural logarithms.

    Attributes:
        remaining: the prior probability that is not bet yet.
        bets: the value of the bet on each ratio; empty before the first window.
    """

    remaining: float = 0.0
    bets: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class EarlierWindow:
    """The last window of this stage with failing users, in one stratum.

    Attributes:
        stratum: the stratum.
        treatment: failing users of the treatment.
        both: failing users of both arms.
    """

    stratum: int
    treatment: int
    both: int


@dataclass(frozen=True, slots=True)
class VarianceGuard:
    """Measures how much the arms vary against each other from window to window.

    A lasting regression adds no variance; other causes of failures do.

    Attributes:
        deviation: the sum of the squared standardized differences of successive windows.
        pairs: the number of pairs of windows compared.
        earlier: for each stratum, the window that its next one is compared with.
    """

    deviation: float = PSEUDO_PAIRS
    pairs: float = PSEUDO_PAIRS
    earlier: tuple[EarlierWindow, ...] = ()

    @property
    def factor(self) -> float:
        """The over-dispersion: the mean deviation of a pair, at least 1."""
        return max(1.0, self.deviation / self.pairs)


def onset_mass(age: int, *, first: bool, new_stage: bool) -> float:
    """Return the share of the remaining probability that a regression begins at this window.

    Args:
        age: windows since the stage began.
        first: whether this is the first window of the release or of an epoch.
        new_stage: whether this is the first window of a stage.
    """
    if first:
        return ONSET_START
    if new_stage:
        return ONSET_STAGE
    return ONSET_PERIOD if age > 0 and age % PERIOD == 0 else 0.0


def begin_bets(mixture: Mixture, mass: float, ratios: int = len(RATIOS)) -> Mixture:
    """Move the share ``mass`` of the remaining probability into the bets, before a window."""
    if mass <= 0.0:
        return mixture
    stake = mixture.remaining + math.log(mass)
    bets = (
        tuple(log_sum_exp((bet, stake)) for bet in mixture.bets)
        if mixture.bets
        else (stake,) * ratios
    )
    return Mixture(mixture.remaining + math.log1p(-mass), bets)


def add_increments(
    mixture: Mixture, increments: Sequence[float], before: float, after: float
) -> Mixture:
    """Return the mixture after a window: each bet grows by its increment, divided by phi.

    Args:
        mixture: the mixture before the window, with the bets that begin at it.
        increments: the window's log factor for each bet.
        before: phi before the window; dividing by it keeps E valid.
        after: phi after the window; taking the smaller quotient only lowers E, which limits
            the effect of a single unusual window.
    """
    bets = tuple(
        bet + min(increment / before, increment / after)
        for bet, increment in zip(mixture.bets, increments, strict=True)
    )
    return Mixture(mixture.remaining, bets)


def log_value(mixture: Mixture, weights: Sequence[float] = WEIGHTS) -> float:
    """Return the natural logarithm of a mixture's value; 0 before the first window."""
    return log_sum_exp(
        (
            mixture.remaining,
            *(
                bet + math.log(weight)
                for bet, weight in zip(mixture.bets, weights, strict=bool(mixture.bets))
            ),
        )
    )


def increments(strata: Iterable[StratumCounts], ratio: float, absolute: float) -> list[float]:
    """Return a window's log factor for each bet, summed over the strata with a control.

    Args:
        strata: the window's counts.
        ratio: ``r0``, the tolerated multiple of the control's rate; at least 1.
        absolute: ``d0``, the rate tolerated in addition.
    """
    sums = [0.0] * len(RATIOS)
    for counts in strata:
        if not counts.compared:
            continue
        failed = counts.treatment.failing
        both = failed + counts.control.failing
        for j, bet_ratio in enumerate(RATIOS):
            log_ratio = math.log(bet_ratio)
            log_scale = math.log(counts.share * bet_ratio * ratio + 1.0 - counts.share) - math.log(
                counts.share * ratio + 1.0 - counts.share
            )
            sums[j] += failed * log_ratio - both * log_scale
            if absolute > 0.0:
                sums[j] -= counts.treatment.outcomes * absolute * math.expm1(log_ratio - log_scale)
    return sums


def update_guard(
    guard: VarianceGuard, strata: Iterable[StratumCounts], *, new_stage: bool
) -> VarianceGuard:
    """Return the guard after a window, comparing each stratum with its last failing window.

    Windows of two stages are never compared, since the share changes with the stage.
    """
    earlier = {} if new_stage else {window.stratum: window for window in guard.earlier}
    latest = dict(earlier)
    deviation, pairs = guard.deviation, guard.pairs
    for counts in strata:
        if not counts.compared:
            continue
        treated = counts.treatment.failing
        both = treated + counts.control.failing
        if both == 0:
            continue
        last = earlier.get(counts.stratum)
        if last is not None:
            # Hypergeometric: how many of the treatment's failing users are in this window.
            total, failed = both + last.both, treated + last.treatment
            if 0 < failed < total:
                expected = both * failed / total
                variance = (both * last.both * failed * (total - failed)) / (
                    total * total * (total - 1)
                )
                deviation += (treated - expected) ** 2 / variance
                pairs += 1.0
        latest[counts.stratum] = EarlierWindow(counts.stratum, treated, both)
    return VarianceGuard(deviation, pairs, tuple(latest[stratum] for stratum in sorted(latest)))


def threshold(false_alarm: float, *, spending: int, checks: int) -> float:
    """Return the value of E at which a check fails.

    The guarded checks share the probability of a false alarm, alpha. Attempts and epochs spend
    it: the k-th spends ``alpha / (k (k + 1))``, and these sum to alpha.

    Args:
        false_alarm: alpha.
        spending: k, from 1.
        checks: the number of checks that share it.
    """
    return checks * spending * (spending + 1) / false_alarm


def log_sum_exp(logs: Sequence[float]) -> float:
    """Return the logarithm of a sum of exponentials; minus infinity if every term is."""
    highest = max(logs)
    if highest == -math.inf:
        return highest
    return highest + math.log(math.fsum(math.exp(log - highest) for log in logs))
