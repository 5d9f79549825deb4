"""The decision of one evaluation of a release, with the numbers it rests on."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from tidegate_server.domain.release import Basis, State

LARGEST_LOG = 700.0
"""Evidence is shown as at most e^700, because JSON has no infinity."""


def from_log(log: float) -> float:
    """Return the number whose natural logarithm this is, at most e^700."""
    return math.exp(min(log, LARGEST_LOG))


class Action(StrEnum):
    """What the policy job does to the release."""

    ADVANCE = "advance"
    HOLD = "hold"
    PAUSE = "pause"
    ROLLBACK = "rollback"
    RETREAT = "retreat"
    ASK = "ask"
    COOL_DOWN = "cool_down"
    RETRY = "retry"
    COMPLETE = "complete"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The status of one check at a decision.

    Attributes:
        number: its place in the policy, from 0.
        label: the check in words.
        failed: whether it has failed.
        log_evidence, rollback_at: ln E and the value of E at which a sequential check fails.
        log_advance: ln A of a sequential check.
        overdispersion: phi of version 1 of the statistics.
        value, limit: of a threshold check; None: not known yet.
        breaches: in a row, of a threshold check.
        unreadable: evaluations in a row in which its source could not be read.
        problem: why it could not, the last time.
        wobble: how much the arms wobble against each other from window to window; 0.1 is 10 %.
        detectable_ratio: the smallest ratio of errors to control's that would have been noticed
            by now; None: none, or the check does not compare errors with control.
        epoch: the number of the epoch of its evidence in this attempt, from 1.
        bad_windows: of a check of values, where no control group is left: windows with far more
            values beyond control's last known quantile, less good windows.
    """

    number: int
    label: str
    failed: bool = False
    log_evidence: float = 0.0
    rollback_at: float | None = None
    log_advance: float = 0.0
    overdispersion: float = 1.0
    value: float | None = None
    limit: float | None = None
    breaches: int = 0
    unreadable: int = 0
    problem: str = ""
    wobble: float = 0.0
    detectable_ratio: float | None = None
    epoch: int = 1
    bad_windows: int = 0

    @property
    def evidence(self) -> float:
        """E itself, at most e^700."""
        return from_log(self.log_evidence)

    @property
    def advance(self) -> float:
        """A itself, at most e^700."""
        return from_log(self.log_advance)


def smallest_ratio(checks: Iterable[CheckResult]) -> float | None:
    """Return the smallest ratio of errors that one of the checks would have noticed by now."""
    known = [each.detectable_ratio for each in checks if each.detectable_ratio is not None]
    return min(known, default=None)


@dataclass(frozen=True, slots=True)
class ClientResult:
    """What the reports of clients say at a decision, beside the evidence that decides.

    Attributes:
        checks: the status of the checks for which they may hold or warn.
        failed_checks: the numbers of those that have failed.
        probe, log_imbalance, split_checked: as in ``Decision``, from clients.
    """

    checks: tuple[CheckResult, ...] = ()
    failed_checks: tuple[int, ...] = ()
    probe: float = 0.0
    log_imbalance: float = 0.0
    split_checked: bool = True


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision.

    Attributes:
        action: what is done. ``hold`` changes the state only between running, holding and
            awaiting approval.
        reason: why, in words and numbers.
        state: the state of the release after the decision is carried out.
        at_ms: when it was made (store clock).
        window: the number of the window that it closed, from 1 in a release.
        log_evidence: ln E of the check nearest to its limit: the evidence of harm.
        rollback_at: the value of E at which that check fails; 0: no check compares.
        log_advance: ln A of the check with the least: the evidence of safety.
        advance_at: the value of A that an advance needs.
        overdispersion: phi of version 1, how much more the arms' rates vary than by chance.
        probe: the excess of errors at 100 % over control's last known rate, in logs.
        probe_at: the value at which the probe fires.
        log_imbalance: ln of the evidence that the arms' traffic is not split as designed.
        imbalance_at: the value at which that holds the release.
        split_checked: whether the split can be checked; False: operations end, and no SDK says
            which users they are of.
        failed_checks: the numbers of the checks that have failed, from 0 in the policy's order.
        checks: the status of every check, in the policy's order.
        asks: the keys of the webhooks that must confirm before the release may advance.
        client: what the reports of clients say; None: no client has reported.
        basis: what an advance rests on; of a completion only ``time``, if its stage had not
            shown what it needs. None: neither.
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
    checks: tuple[CheckResult, ...] = ()
    asks: tuple[str, ...] = ()
    client: ClientResult | None = None
    basis: Basis | None = None
    split_checked: bool = True

    @property
    def wobble(self) -> float:
        """How much the arms wobble against each other, by the check that sees most of it."""
        return max((check.wobble for check in self.checks), default=0.0)

    @property
    def detectable_ratio(self) -> float | None:
        """The smallest ratio of errors that a check would have noticed by now; None: none."""
        return smallest_ratio(self.checks)

    @property
    def compares(self) -> bool:
        """Whether any check compares with control; otherwise E, A and their limits say nothing."""
        return self.rollback_at > 0.0

    @property
    def evidence(self) -> float:
        """E itself, at most e^700."""
        return from_log(self.log_evidence)

    @property
    def advance(self) -> float:
        """A itself, at most e^700."""
        return from_log(self.log_advance)
