"""A, the evidence of safety: that the treatment is safe enough for the next stage.

An e-process against "harmful", ``p_t >= 1.25 p_c + d``: a harmful release passes a
stage with a probability of at most beta, whatever the control's rate does. A restarts at
every stage; the control rate that predicts the bets is kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tidegate.counts import StratumCounts

from tidegate_server.decisions.version_1.harm_evidence import log_sum_exp

HARMFUL_CHANCE = 0.10
"""beta: the probability that a harmful release advances one stage."""

ADVANCE_AT = 1.0 / HARMFUL_CHANCE
"""The value of A that an advance needs."""

LOG_ADVANCE_AT = math.log(ADVANCE_AT)

HARMLESS_RATIO = 1.25
"""r1: the relative excess of errors that still counts as harmless."""

HARM_BUDGET = 0.002
"""d*: the excess errors allowed at the next stage, as a share of all traffic."""

LARGEST_EXCESS = 0.10
"""The largest excess error rate that is allowed, however small the next stage is."""

POWERS = (1.0, 0.5, 2.0)
"""The boldness of each bet; ``BET_WEIGHTS`` are their prior weights."""

BET_WEIGHTS = (0.5, 0.25, 0.25)

FADING = 0.5 ** (1 / 30)
"""The weight of a window in the control rate halves in thirty windows."""


@dataclass(frozen=True, slots=True)
class SafetyEvidence:
    """The bets in logarithms, and control's faded counts that predict its rate."""

    logs: tuple[float, ...] = (0.0, 0.0, 0.0)
    operations: float = 20.0
    errors: float = 0.2

    @property
    def log_value(self) -> float:
        """ln A."""
        return log_sum_exp(
            [log + math.log(weight) for log, weight in zip(self.logs, BET_WEIGHTS, strict=True)]
        )


def allowed_excess(shares: Sequence[float], stage: int) -> float:
    """Return d, the excess error rate that is harmless at a stage (from 1).

    Args:
        shares: the share that each stage opens, 0 to 1.
        stage: the present stage. The share of the next one counts, in the last stage its own.
    """
    following = shares[min(stage, len(shares) - 1)]
    return min(LARGEST_EXCESS, HARM_BUDGET / following)


def restart_bets(evidence: SafetyEvidence) -> SafetyEvidence:
    """Return the evidence at the start of a stage."""
    return SafetyEvidence(operations=evidence.operations, errors=evidence.errors)


def update_safety_evidence(
    evidence: SafetyEvidence, strata: Iterable[StratumCounts], excess: float
) -> SafetyEvidence:
    """Return the evidence after a window; logs add over the strata that have a control group.

    Failing users that an SDK had no room to name count in the treatment and not in control:
    what is not known exactly may only lower A.
    """
    rate = min(0.9, max(1e-6, evidence.errors / evidence.operations))
    logs = list(evidence.logs)
    operations, errors = 0, 0
    for each in strata:
        if not each.compared:
            continue
        controls, treated = each.control.outcomes, each.treatment.outcomes
        control_failing = each.control.failing
        treated_failing = each.treatment.failing + each.treatment.overflow
        operations += controls
        errors += control_failing
        if controls == 0 or treated == 0:
            continue
        shrink = _failure_factor(rate, controls, treated, excess)
        for j, power in enumerate(POWERS):
            by_treated = shrink**power
            by_control = 1.0 + (treated / controls) * HARMLESS_RATIO * (1.0 - by_treated)
            logs[j] += (
                treated_failing * math.log(by_treated)
                + control_failing * math.log(by_control)
                + treated * excess * (1.0 - by_treated)
            )
    return SafetyEvidence(
        tuple(logs),
        evidence.operations * FADING + operations,
        evidence.errors * FADING + errors,
    )


def _failure_factor(rate: float, controls: int, treated: int, excess: float) -> float:
    """Return the factor of A for one treated failure, by the growth-optimal bet at this rate."""
    r1 = HARMLESS_RATIO
    a = r1 * (treated * r1 + controls)
    b = treated * r1 * (rate - excess) + controls * (rate * r1 - excess)
    c = controls * rate * excess
    boundary = (b + math.sqrt(b * b + 4.0 * a * c)) / (2.0 * a)
    return min(0.999, max(0.001, rate / (r1 * boundary + excess)))
