"""What one evaluation of a release came to, with the numbers it rests on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from tidegate_server.domain.release import State

LARGEST_LOG = 700.0
"""Beyond this a logarithm is shown as e^700, since JSON knows no infinity."""


class Action(StrEnum):
    """What is done to the release."""

    ADVANCE = "advance"
    HOLD = "hold"
    PAUSE = "pause"
    ROLLBACK = "rollback"
    RETREAT = "retreat"
    COMPLETE = "complete"


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision.

    Attributes:
        action: what is done. ``hold`` changes the state only between running and holding.
        reason: why, in words, with the numbers.
        state: the state the release is in once the decision is carried out.
        at_ms: when it was made (store clock).
        window: the number of the window it closed, from 1 in a release.
        log_evidence: ln E of the check nearest to its threshold: that the treatment is
            worse than tolerated.
        rollback_at: the value of E at which that check fails.
        log_advance: ln A, that the treatment is harmless enough for the next stage.
        advance_at: the value of A that an advance needs.
        overdispersion: phi, how much the arms wobble against each other; 1 is not at all.
        probe: how far errors at 100 % are above the frozen rate of control, in logs.
        probe_at: where the probe fires.
        log_imbalance: ln of the evidence that the arms' traffic is not split as designed.
        imbalance_at: the value at which that holds the release.
        failed_checks: numbers of the checks, from 0 in the policy's order, that have failed.
    """

    action: Action
    reason: str
    state: State
    at_ms: int
    window: int
    log_evidence: float = 0.0
    rollback_at: float = 100.0
    log_advance: float = 0.0
    advance_at: float = 10.0
    overdispersion: float = 1.0
    probe: float = 0.0
    probe_at: float = 3.0
    log_imbalance: float = 0.0
    imbalance_at: float = 1000.0
    failed_checks: tuple[int, ...] = ()

    @property
    def evidence(self) -> float:
        """E itself, at most e^700."""
        return math.exp(min(self.log_evidence, LARGEST_LOG))

    @property
    def advance(self) -> float:
        """A itself, at most e^700."""
        return math.exp(min(self.log_advance, LARGEST_LOG))
