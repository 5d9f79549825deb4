"""What the statistics say after a window, whichever version computes them."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CheckReading:
    """What the statistics say of one guarded check.

    Attributes:
        log_evidence: ln E, the evidence of harm.
        rollback_at: the value of E at which the check fails.
        log_advance: ln A, the evidence of safety; 0 of a check without a control group.
        epoch: the number of the epoch in this attempt, from 1.
        wobble: how much the arms wobble against each other; 0.1 is 10 %.
        overdispersion: phi of version 1.
        detectable_ratio: the smallest ratio of errors that would have been noticed by now; None:
            none, or the check does not compare errors with control.
    """

    log_evidence: float = 0.0
    rollback_at: float = math.inf
    log_advance: float = 0.0
    epoch: int = 1
    wobble: float = 0.0
    overdispersion: float = 1.0
    detectable_ratio: float | None = None


@dataclass(frozen=True, slots=True)
class ProbeReading:
    """What the probe says.

    Attributes:
        excess: of the treatment's errors over control's last known rate, in logs.
        fires_at: the excess at which it asks for a control group.
        retreats: how often the release went back by itself in this attempt.
        rate: control's last known error rate.
        seen: whether a rate is known.
        values: the labels of the checks whose values have become too bad.
    """

    excess: float
    fires_at: float
    retreats: int
    rate: float
    seen: bool
    values: tuple[str, ...] = ()

    @property
    def fires(self) -> bool:
        """Whether errors or values have risen too far above what control had."""
        return self.excess >= self.fires_at or bool(self.values)


@dataclass(frozen=True, slots=True)
class SplitReading:
    """What is known of the split of the traffic in this visit of a stage.

    Attributes:
        log_evidence: ln of the evidence that the split is broken.
        limit: the value of the evidence that holds the release.
        treated, both: what was counted, of the treatment and of both arms.
        counted: what that was: ``users`` or, in version 1, ``operations``.
        checked: whether anything was counted while operations ended.
    """

    log_evidence: float
    limit: float
    treated: int
    both: int
    counted: str
    checked: bool

    @property
    def is_broken(self) -> bool:
        """Whether the evidence has reached its limit."""
        return self.log_evidence >= math.log(self.limit)
