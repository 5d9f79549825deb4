"""Release policies. Durations are whole milliseconds, percentages 0 to 100."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tidegate.model import Tolerance

from tidegate_server.domain.checks import Check, Metric
from tidegate_server.domain.release_gates import (
    ApprovalGate,
    Confirmation,
    Notification,
    Rollback,
    Windows,
)

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR


class NoDataAction(StrEnum):
    """What happens when there is no data."""

    HOLD = "hold"
    PAUSE = "pause"
    ROLLBACK = "rollback"


class ErrorRate(StrEnum):
    """Whether a policy has a check of the error rate against control."""

    ON = "on"
    OFF = "off"


class Undecided(StrEnum):
    """What happens to a stage that has not shown within its ``max_duration`` what it needs."""

    HOLD = "hold"
    ADVANCE = "advance"
    ROLLBACK = "rollback"


@dataclass(frozen=True, slots=True)
class Stage:
    """Who gets the treatment at this point, and what is needed before the next stage.

    Attributes:
        percentage: the share of the users in ``segments`` that is open.
        segments: keys of segments; empty: everyone.
        min_duration_ms: the least time in this stage.
        min_samples: the least number of outcomes in each arm within this stage.
        max_duration_ms: the time after which ``undecided`` applies; None: there is no limit.
        approval: requested when everything else has passed.
        undecided: what happens if the evidence has not decided within ``max_duration_ms``.
    """

    name: str
    percentage: float
    segments: tuple[str, ...] = ()
    min_duration_ms: int = 15 * MINUTE
    min_samples: int = 500
    max_duration_ms: int | None = None
    approval: ApprovalGate | None = None
    undecided: Undecided = Undecided.HOLD


@dataclass(frozen=True, slots=True)
class NoData:
    """What happens after how long without data."""

    after_ms: int = 10 * MINUTE
    action: NoDataAction = NoDataAction.HOLD


@dataclass(frozen=True, slots=True)
class Policy:
    """The written conditions of a release. A release keeps the policy that it started under.

    Attributes:
        holdback: the percentage of everyone that stays on control while the last stage bakes.
        local_breaker: whether an instance that cannot reach the server may return to control
            on its own, if the treatment fails there far more than control.
        error_rate: whether ``error_rate.with_error_rate_check`` adds a check that ``checks``
            leave out.
        harm_budget: the excess errors that an advance may risk at the next stage, as a share of
            all traffic (d* in the statistics), 0 to 1.
    """

    key: str
    stages: tuple[Stage, ...]
    checks: tuple[Check, ...] = (Check(),)
    no_data: NoData = NoData()
    interval_ms: int = 30 * SECOND
    bake_ms: int = HOUR
    name: str = ""
    description: str = ""
    holdback: float = 0.0
    windows: Windows = Windows()
    rollback: Rollback = Rollback()
    notify: tuple[Notification, ...] = ()
    confirm: tuple[Confirmation, ...] = ()
    local_breaker: bool = False
    error_rate: ErrorRate = ErrorRate.ON
    harm_budget: float = 0.002

    def opened(self, stage: int) -> float:
        """Return the percentage that a stage (from 1) opens to its users, less the holdback."""
        percentage = self.stages[stage - 1].percentage
        if stage == len(self.stages):
            return round(percentage - self.holdback, 3)
        return percentage

    @property
    def segments(self) -> frozenset[str]:
        """The keys of the segments that its stages open."""
        return frozenset(key for stage in self.stages for key in stage.segments)

    @property
    def clients_decide(self) -> bool:
        """Whether the outcomes that clients report count as those of servers do.

        The checks of the error rate say so; without any, all checks of reported values.
        """
        reported = [check for check in self.checks if check.metric is not Metric.PROMETHEUS]
        rates = [check for check in reported if check.metric is Metric.ERROR_RATE]
        return bool(reported) and all(check.clients_decide for check in rates or reported)

    @property
    def distributions_of_clients(self) -> frozenset[str]:
        """The distributions in which the values of clients count as those of servers do."""
        return frozenset(
            check.distribution
            for check in self.checks
            if check.distribution is not None and check.clients_decide
        )

    @property
    def distributions(self) -> tuple[str, ...]:
        """The distributions that the checks need, without repetition."""
        named = (check.distribution for check in self.checks)
        return tuple(dict.fromkeys(name for name in named if name is not None))

    @property
    def guarded_checks(self) -> int:
        """The number of checks that share the probability of a false alarm."""
        return sum(check.guarded for check in self.checks)

    @property
    def compares_errors(self) -> bool:
        """Whether a check compares the error rate with control."""
        return any(check.compares_errors for check in self.checks)

    @property
    def breaker_tolerance(self) -> Tolerance | None:
        """The tolerance of the local breaker; None: there is no breaker.

        If there are several checks of the error rate against control, the widest tolerance
        applies.
        """
        compared = [check.tolerance for check in self.checks if check.compares_errors]
        if not self.local_breaker or not compared:
            return None
        return Tolerance(
            max(each.relative for each in compared), max(each.absolute for each in compared)
        )
