"""What SDK instances tell: reports, and what the store makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tidegate_server.decisions.observations import NO_TRIPS, Histogram, Reading, Trips


@dataclass(frozen=True, slots=True)
class ArmTotals:
    """One arm's totals since the instance began."""

    exposures: int
    outcomes: int
    errors: int
    microseconds: int


@dataclass(frozen=True, slots=True)
class GroupTotals:
    """Both arms of one stratum in one step of a release; one never comes without the other."""

    release: str
    step: int
    stratum: int
    control: ArmTotals
    treatment: ArmTotals


@dataclass(frozen=True, slots=True)
class FailingUsers:
    """Users who failed since the last acknowledged report, as 16 hex digits each.

    ``overflow`` counts, since the instance began, those for whom there was no room.
    """

    release: str
    step: int
    stratum: int
    arm: Literal["control", "treatment"]
    users: tuple[str, ...]
    overflow: int = 0


@dataclass(frozen=True, slots=True)
class GroupValues:
    """How the values of one measure are distributed in both arms of one stratum.

    Histograms are totals since the instance began: (bucket of ``tidegate.histogram``, count).
    """

    release: str
    step: int
    stratum: int
    measure: str
    control: Histogram
    treatment: Histogram


@dataclass(frozen=True, slots=True)
class ReleaseTrips:
    """How often an instance closed a release for itself, and for how long altogether.

    Totals since the instance began; what still goes on counts as far as it went.
    """

    release: str
    count: int
    milliseconds: int


@dataclass(frozen=True, slots=True)
class Report:
    """One report of one SDK instance; all counts are totals since the instance began.

    ``continues``: some report of this instance was acknowledged. ``version`` is the
    snapshot that it serves (0: none), ``interval`` the seconds until its next report.
    ``leaving``: there is none, the instance ends as it should.
    """

    instance: str
    sequence: int
    continues: bool
    version: int
    interval: float
    sdk: str = ""
    host: str = ""
    pid: int = 0
    counts: tuple[GroupTotals, ...] = ()
    failing: tuple[FailingUsers, ...] = ()
    values: tuple[GroupValues, ...] = ()
    trips: tuple[ReleaseTrips, ...] = ()
    leaving: bool = False


@dataclass(frozen=True, slots=True)
class Reported:
    """An acknowledged report; ``version`` is the environment's newest."""

    version: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """A release's counters at one moment."""

    generation: int
    readings: tuple[Reading, ...]
    trips: Trips = NO_TRIPS


@dataclass(frozen=True, slots=True)
class Instance:
    """An SDK instance as its last report told.

    ``live``: it still reports. ``left``: its last report said that it ends.
    """

    id: str
    version: int
    seen_ms: int
    interval: float
    sdk: str
    host: str
    pid: int
    live: bool
    left: bool = False


@dataclass(frozen=True, slots=True)
class KillReceipt:
    """How far a kill has reached.

    Of ``live`` instances ``applied`` serve ``version`` or a later one, ``waiting`` do not
    yet. ``elapsed_ms`` holds, for those live ones that were there before the kill, the time
    from its commit to the arrival of the report that confirmed it, both on the store's clock.
    """

    version: int
    at_ms: int
    live: int
    applied: int
    waiting: tuple[str, ...]
    elapsed_ms: tuple[int, ...]
