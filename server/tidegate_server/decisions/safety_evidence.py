"""A, the evidence that the treatment is harmless enough for the next stage.

An e-process against "harmful", ``p_t >= 1.25 p_c + d``: a harmful release passes a
stage with a probability of at most beta, whatever the control's rate does. It starts
afresh at every stage; the predictable control rate goes on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tidegate.counts import StratumCounts
from tidegate.harm_evidence import log_sum

HARMFUL_CHANCE = 0.10
"""beta: the probability of advancing a stage although the release is harmful."""

ADVANCE_AT = 1.0 / HARMFUL_CHANCE
"""The value of A that an advance needs."""

LOG_ADVANCE_AT = math.log(ADVANCE_AT)

HARMLESS_RATIO = 1.25
"""r1: the relative excess of errors that still counts as harmless."""

HARM_BUDGET = 0.002
"""d*: excess errors allowed, as a share of all traffic at the next stage."""

LARGEST_EXCESS = 0.10
"""The excess that is allowed at most, however small the next stage is."""

POWERS = (1.0, 0.5, 2.0)
"""How boldly each bet goes; ``BET_WEIGHTS`` are their prior weights."""

BET_WEIGHTS = (0.5, 0.25, 0.25)

FADING = 0.5 ** (1 / 30)
"""The control rate's memory per window: half is gone after thirty."""


@dataclass(frozen=True, slots=True)
class Advance:
    """The bets in logarithms, and the faded control group that predicts its rate."""

    logs: tuple[float, ...] = (0.0, 0.0, 0.0)
    operations: float = 20.0
    errors: float = 0.2

    @property
    def log_value(self) -> float:
        """ln A."""
        return log_sum(
            [log + math.log(weight) for log, weight in zip(self.logs, BET_WEIGHTS, strict=True)]
        )


def allowed_excess(shares: Sequence[float], stage: int) -> float:
    """d: the excess error rate that is harmless at a stage (from 1).

    Args:
        shares: the share that each stage opens, 0 to 1.
        stage: the present stage; the next one's share counts, the last one's its own.
    """
    following = shares[min(stage, len(shares) - 1)]
    return min(LARGEST_EXCESS, HARM_BUDGET / following)


def restart_bets(advance: Advance) -> Advance:
    """A at the first window of a stage."""
    return Advance(operations=advance.operations, errors=advance.errors)


def watch_harmlessness(advance: Advance, strata: Iterable[StratumCounts], excess: float) -> Advance:
    """A after a window; logs add over the strata that have a control group.

    Failing users whose names an SDK had no room for count against the treatment and not
    against the control: A may only be lowered by what is not known exactly.
    """
    rate = min(0.9, max(1e-6, advance.errors / advance.operations))
    logs = list(advance.logs)
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
    return Advance(
        tuple(logs),
        advance.operations * FADING + operations,
        advance.errors * FADING + errors,
    )


def _failure_factor(rate: float, controls: int, treated: int, excess: float) -> float:
    """What one treated failure multiplies A by, for the growth-optimal bet at this rate."""
    r1 = HARMLESS_RATIO
    a = r1 * (treated * r1 + controls)
    b = treated * r1 * (rate - excess) + controls * (rate * r1 - excess)
    c = controls * rate * excess
    boundary = (b + math.sqrt(b * b + 4.0 * a * c)) / (2.0 * a)
    return min(0.999, max(0.001, rate / (r1 * boundary + excess)))
