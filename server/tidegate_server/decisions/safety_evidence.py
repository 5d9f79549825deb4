"""A, the evidence of safety: that the treatment is safe enough for the next stage.

An e-process against "harmful", ``p_t >= 1.25 p_c + d``: a harmful release passes a
stage with a probability of at most beta, whatever the control's rate does. A restarts at
every stage; the control rate that predicts the bets is kept. All numbers are natural
logarithms unless a name says otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from tidegate.counts import StratumCounts
from tidegate.harm_evidence import log_sum_exp

from tidegate_server.domain.policy import Policy

HARMFUL_CHANCE = 0.10
"""beta: the probability that a harmful release advances one stage."""

ADVANCE_AT = 1.0 / HARMFUL_CHANCE
"""The value of A that an advance needs."""

LOG_ADVANCE_AT = math.log(ADVANCE_AT)

HARMLESS_RATIO = 1.25
"""r1: the relative excess of errors that still counts as harmless."""

LARGEST_EXCESS = 0.10
"""The largest excess error rate that is allowed, however small the next stage is."""

POWERS = (1.0, 0.5, 2.0)
"""The boldness of each bet; ``BET_WEIGHTS`` are their prior weights."""

BET_WEIGHTS = (0.5, 0.25, 0.25)

FIRST_STAKE = 0.9
"""Share of the stake that is bet at the first window of a stage."""

LATER_STAKE = 0.2
"""Share of the stake left that is bet every ``STAKE_WINDOWS``: no bet can lose it all."""

STAKE_WINDOWS = 100

MEMORY = 100.0
"""Control's failures after which half of the memory of its rate is gone."""


@dataclass(frozen=True, slots=True)
class SafetyEvidence:
    """The evidence of safety after some windows of a stage.

    Attributes:
        unbet: the part of the stake that is not bet yet.
        bets: the value of each bet; empty before the first window of a stage.
        windows: the windows of this stage.
        operations, failures: of control, faded; they predict its rate and outlive stages.
    """

    unbet: float = 0.0
    bets: tuple[float, ...] = ()
    windows: int = 0
    operations: float = 20.0
    failures: float = 0.2

    @property
    def log_value(self) -> float:
        """ln A; 0 before the first window of a stage."""
        logs = [bet + math.log(weight) for bet, weight in zip(self.bets, BET_WEIGHTS, strict=False)]
        return log_sum_exp((self.unbet, *logs))


def restart_stage(evidence: SafetyEvidence) -> SafetyEvidence:
    """Return the evidence at the start of a stage."""
    return SafetyEvidence(operations=evidence.operations, failures=evidence.failures)


def allowed_excess(policy: Policy, stage: int) -> float:
    """Return d, the excess error rate that is harmless at a stage (from 1).

    It is the policy's harm budget, divided by the share that the next stage opens; in
    the last stage by its own.
    """
    following = policy.opened(min(stage + 1, len(policy.stages))) / 100.0
    return min(LARGEST_EXCESS, policy.harm_budget / following)


def update_safety_evidence(
    before: SafetyEvidence, strata: Iterable[StratumCounts], excess: float
) -> SafetyEvidence:
    """Return the evidence after a window; logs add over the strata that have a control group.

    Failing users that an SDK had no room to name count in the treatment and not in control:
    what is not known exactly may only lower A.

    Args:
        before: the evidence before the window.
        strata: the window's counts.
        excess: ``allowed_excess``.
    """
    rate = 0.9
    if before.operations > 0.0:  # failures reported before their operations fade these to nothing
        rate = min(0.9, max(1e-6, before.failures / before.operations))
    unbet, bets = _place_stake(before)
    gains = [0.0] * len(POWERS)
    operations, failures = 0, 0
    for each in strata:
        if not each.compared:
            continue
        controls, treated = each.control.outcomes, each.treatment.outcomes
        control_failing = each.control.failing
        treated_failing = each.treatment.failing + each.treatment.overflow
        operations += controls
        failures += control_failing
        if controls == 0 or treated == 0:
            continue
        factor = _failure_factor(rate, controls, treated, excess)
        for j, power in enumerate(POWERS):
            by_treated = factor**power
            by_control = 1.0 + (treated / controls) * HARMLESS_RATIO * (1.0 - by_treated)
            gains[j] += (
                treated_failing * math.log(by_treated)
                + control_failing * math.log(by_control)
                + treated * excess * (1.0 - by_treated)
            )
    fading = 0.5 ** (failures / MEMORY)
    return SafetyEvidence(
        unbet,
        tuple(map(float.__add__, bets, gains)),
        before.windows + 1,
        before.operations * fading + operations,
        before.failures * fading + failures,
    )


def _place_stake(before: SafetyEvidence) -> tuple[float, tuple[float, ...]]:
    """Return the stake left and the bets, with what is bet from this window on."""
    if before.windows % STAKE_WINDOWS:
        return before.unbet, before.bets
    share = FIRST_STAKE if before.windows == 0 else LATER_STAKE
    stake = before.unbet + math.log(share)
    bets = tuple(log_sum_exp((bet, stake)) for bet in before.bets) or (stake,) * len(POWERS)
    return before.unbet + math.log1p(-share), bets


def _failure_factor(rate: float, controls: int, treated: int, excess: float) -> float:
    """Return the factor of A for one treated failure, by the growth-optimal bet at this rate."""
    r1 = HARMLESS_RATIO
    a = r1 * (treated * r1 + controls)
    b = treated * r1 * (rate - excess) + controls * (rate * r1 - excess)
    c = controls * rate * excess
    boundary = (b + math.sqrt(b * b + 4.0 * a * c)) / (2.0 * a)
    return min(0.999, max(0.001, rate / (r1 * boundary + excess)))
