"""E, the evidence that the treatment is worse than tolerated.

A test martingale: for a release within its tolerance in every window the probability
that E ever reaches 1/alpha is at most alpha, whatever the traffic, the number of looks
and the stage changes (Ville's inequality). Given the failing users of a window, those
of the treatment are binomial; a mixture of ratios and of onset times bets against the
tolerance. It rests on distinct failing users and on arms that see the same world.

The policy job weighs a release's whole traffic with it, and an SDK instance that cannot
reach the server what it saw itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tidegate.counts import StratumCounts

RATIOS = (1.5, 3.0, 10.0, 100.0)
"""How many times worse than tolerated each bet takes the treatment to be."""

WEIGHTS = (0.35, 0.30, 0.20, 0.15)
"""Prior weight of each ratio."""

ONSET_START = 0.75
"""Prior mass on a regression that begins with the release (or with an epoch)."""

ONSET_STAGE = 0.20
"""Prior mass, of what is left, on one that begins with a later stage."""

ONSET_PERIOD = 0.02
"""Prior mass, of what is left, on one that begins at every ``PERIOD``-th window."""

PERIOD = 15
"""Windows between the onsets within a stage."""

PSEUDO_PAIRS = 10.0
"""Pairs of ordinary windows that the guard starts with."""

EPOCH_WINDOWS = 240
"""Windows after which the failing users are collected anew and E starts afresh."""


@dataclass(frozen=True, slots=True)
class Mixture:
    """A mixture of bets that begin at different windows, in logarithms.

    Attributes:
        remaining: prior mass not yet bet.
        bets: one bet per ratio; empty before the first window.
    """

    remaining: float = 0.0
    bets: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Earlier:
    """Failing users of the last window of this stage that had any, in one stratum."""

    stratum: int
    treatment: int
    both: int


@dataclass(frozen=True, slots=True)
class Guard:
    """The variance guard: ``phi = max(1, deviation / pairs)`` of successive windows.

    It measures how much the arms wobble against each other between windows, which a
    lasting regression does not.
    """

    deviation: float = PSEUDO_PAIRS
    pairs: float = PSEUDO_PAIRS
    earlier: tuple[Earlier, ...] = ()

    @property
    def phi(self) -> float:
        """The over-dispersion, at least 1."""
        return max(1.0, self.deviation / self.pairs)


def onset_mass(age: int, *, first: bool, new_stage: bool) -> float:
    """Prior mass put on "it begins now", at a window this old in its stage."""
    if first:
        return ONSET_START
    if new_stage:
        return ONSET_STAGE
    return ONSET_PERIOD if age > 0 and age % PERIOD == 0 else 0.0


def begin_bets(mixture: Mixture, mass: float, ratios: int = len(RATIOS)) -> Mixture:
    """Move ``mass`` of what is not yet bet into the bets, before the window is counted."""
    if mass <= 0.0:
        return mixture
    stake = mixture.remaining + math.log(mass)
    bets = (
        tuple(log_sum((bet, stake)) for bet in mixture.bets) if mixture.bets else (stake,) * ratios
    )
    return Mixture(mixture.remaining + math.log1p(-mass), bets)


def add_increments(
    mixture: Mixture, increments: Sequence[float], before: float, after: float
) -> Mixture:
    """Count a window: each bet gains its increment, damped by the guard.

    Dividing by phi ``before`` the window keeps E valid; the minimum with phi ``after``
    it only lowers E, and brakes a single wild window.
    """
    bets = tuple(
        bet + min(increment / before, increment / after)
        for bet, increment in zip(mixture.bets, increments, strict=True)
    )
    return Mixture(mixture.remaining, bets)


def log_value(mixture: Mixture, weights: Sequence[float] = WEIGHTS) -> float:
    """ln of the mixture; 0 before the first window."""
    return log_sum(
        (
            mixture.remaining,
            *(
                bet + math.log(weight)
                for bet, weight in zip(mixture.bets, weights, strict=bool(mixture.bets))
            ),
        )
    )


def increments(strata: Iterable[StratumCounts], ratio: float, absolute: float) -> list[float]:
    """Log factor of a window for each bet, summed over the strata that have a control.

    Args:
        strata: the window's strata.
        ratio: ``r0``, how many times the control's rate is tolerated; at least 1.
        absolute: ``d0``, what is tolerated on top of it, as a rate.
    """
    sums = [0.0] * len(RATIOS)
    for each in strata:
        if not each.compared:
            continue
        failed = each.treatment.failing
        both = failed + each.control.failing
        for j, grid in enumerate(RATIOS):
            log_ratio = math.log(grid)
            log_scale = math.log(each.share * grid * ratio + 1.0 - each.share) - math.log(
                each.share * ratio + 1.0 - each.share
            )
            sums[j] += failed * log_ratio - both * log_scale
            if absolute > 0.0:
                sums[j] -= each.treatment.outcomes * absolute * math.expm1(log_ratio - log_scale)
    return sums


def watch_dispersion(guard: Guard, strata: Iterable[StratumCounts], *, new_stage: bool) -> Guard:
    """The guard after a window: each stratum's failures against its last failing window.

    Pairs never cross a stage change, since the share changes there.
    """
    earlier: Mapping[int, Earlier] = (
        {} if new_stage else {each.stratum: each for each in guard.earlier}
    )
    kept = dict(earlier)
    deviation, pairs = guard.deviation, guard.pairs
    for each in strata:
        if not each.compared:
            continue
        treated = each.treatment.failing
        both = treated + each.control.failing
        if both == 0:
            continue
        last = earlier.get(each.stratum)
        if last is not None:
            everyone, failed = both + last.both, treated + last.treatment
            if 0 < failed < everyone:
                expected = both * failed / everyone
                variance = (both * last.both * failed * (everyone - failed)) / (
                    everyone * everyone * (everyone - 1)
                )
                deviation += (treated - expected) ** 2 / variance
                pairs += 1.0
        kept[each.stratum] = Earlier(each.stratum, treated, both)
    return Guard(deviation, pairs, tuple(kept[stratum] for stratum in sorted(kept)))


def threshold(false_alarm: float, *, spending: int, checks: int) -> float:
    """The value of E at which a check fails.

    The budget is shared by the guarded checks and spent over attempts and epochs: the
    k-th takes ``alpha / (k (k + 1))``, which sums to alpha.
    """
    return checks * spending * (spending + 1) / false_alarm


def log_sum(logs: Sequence[float]) -> float:
    """ln of a sum of exponentials; minus infinity for a sum of nothing."""
    highest = max(logs)
    if highest == -math.inf:
        return highest
    return highest + math.log(math.fsum(math.exp(each - highest) for each in logs))
