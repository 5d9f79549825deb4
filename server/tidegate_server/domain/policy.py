"""What a release policy says. Durations are whole milliseconds, percentages 0 to 100."""

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
    """What silence asks for."""

    HOLD = "hold"
    PAUSE = "pause"
    ROLLBACK = "rollback"


@dataclass(frozen=True, slots=True)
class Stage:
    """Who is opened, and what must be seen before the next stage.

    ``min_samples`` are outcomes in each arm within this stage. After ``max_duration_ms`` a
    stage that could not be left is a person's business. ``approval`` is the last gate.
    """

    name: str
    percentage: float
    segments: tuple[str, ...] = ()
    min_duration_ms: int = 15 * MINUTE
    min_samples: int = 500
    max_duration_ms: int | None = None
    approval: ApprovalGate | None = None


@dataclass(frozen=True, slots=True)
class NoData:
    """After how long a silence what is done."""

    after_ms: int = 10 * MINUTE
    action: NoDataAction = NoDataAction.HOLD


@dataclass(frozen=True, slots=True)
class Policy:
    """The written-down conditions of a release. A release keeps the one it started under.

    Attributes:
        holdback: percent of everyone kept on control in the last stage while it bakes.
        local_breaker: whether an instance that cannot reach the server may fall back to
            control by itself when the treatment fails there far beyond control.
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

    def opened(self, stage: int) -> float:
        """The percentage that a stage (from 1) opens to its people, the holdback kept back."""
        percentage = self.stages[stage - 1].percentage
        if stage == len(self.stages):
            return round(percentage - self.holdback, 3)
        return percentage

    @property
    def segments(self) -> frozenset[str]:
        """The keys of the segments that its stages open."""
        return frozenset(key for stage in self.stages for key in stage.segments)

    @property
    def distributions(self) -> tuple[str, ...]:
        """The values whose distribution some check needs, without repetition."""
        named = (check.distribution for check in self.checks)
        return tuple(dict.fromkeys(name for name in named if name is not None))

    @property
    def breaker_tolerance(self) -> Tolerance | None:
        """What instances that cannot reach the server tolerate; None: they do nothing.

        Of several checks of the error rate against the control group the most tolerant counts.
        """
        compared = [
            check.tolerance
            for check in self.checks
            if check.metric is Metric.ERROR_RATE and check.sequential
        ]
        if not self.local_breaker or not compared:
            return None
        return Tolerance(
            max(each.relative for each in compared), max(each.absolute for each in compared)
        )
