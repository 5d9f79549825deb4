"""What a release policy says. Durations are whole milliseconds, percentages 0 to 100."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR


class OnFailure(StrEnum):
    """What a failed check asks for."""

    ROLLBACK = "rollback"
    PAUSE = "pause"
    WARN = "warn"


class NoDataAction(StrEnum):
    """What silence asks for."""

    HOLD = "hold"
    PAUSE = "pause"
    ROLLBACK = "rollback"


@dataclass(frozen=True, slots=True)
class Stage:
    """Who is opened, and what must be seen before the next stage.

    ``min_samples`` are outcomes in each arm within this stage.
    """

    name: str
    percentage: float
    segments: tuple[str, ...] = ()
    min_duration_ms: int = 15 * MINUTE
    min_samples: int = 500


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How much worse the treatment may be: ``p_t <= (1 + relative) * p_c + absolute``."""

    relative: float = 0.1
    absolute: float = 0.0


@dataclass(frozen=True, slots=True)
class ErrorRateCheck:
    """The treatment's error rate against the concurrent control's.

    ``false_alarm`` is the probability, over the whole release, of stopping a harmless one.
    """

    tolerance: Tolerance = Tolerance()
    false_alarm: float = 0.01
    on_failure: OnFailure = OnFailure.ROLLBACK


@dataclass(frozen=True, slots=True)
class NoData:
    """After how long a silence what is done."""

    after_ms: int = 10 * MINUTE
    action: NoDataAction = NoDataAction.HOLD


@dataclass(frozen=True, slots=True)
class Policy:
    """The written-down conditions of a release. A release keeps the one it started under."""

    key: str
    stages: tuple[Stage, ...]
    checks: tuple[ErrorRateCheck, ...] = (ErrorRateCheck(),)
    no_data: NoData = NoData()
    interval_ms: int = 30 * SECOND
    bake_ms: int = HOUR
    name: str = ""
    description: str = ""
