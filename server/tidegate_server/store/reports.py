"""Reports of SDK instances, and what the store makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from tidegate_server.domain.evidence import GroupCounts, GroupValues, Source, Trips

ReleaseId: TypeAlias = str


@dataclass(frozen=True, slots=True)
class FailingUsers:
    """Users of one group and arm who failed since the last acknowledged report.

    ``users`` are 16 hex digits each. ``overflow`` counts, since the instance started, the
    failing users that it had no room to name.
    """

    step: int
    stratum: int
    arm: Literal["control", "treatment"]
    users: tuple[str, ...]
    overflow: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """One report of one SDK instance; all counts are totals since the instance started.

    Attributes:
        instance: the instance's id.
        sequence: the number of the report, from 1.
        continues: whether a report of this instance was acknowledged before.
        version: the version of the snapshot that the instance serves; 0: none.
        interval: seconds until its next report.
        sdk, host, pid: what the instance is and where it runs.
        counts, failing, values, trips: what it counted, by release. In ``counts`` an arm has
            exposures, outcomes, errors and microseconds; failing users come in ``failing``.
        leaving: whether this is the last report, because the instance ends.
        source: who reported. The credential of the request decides, never a field of it.
    """

    instance: str
    sequence: int
    continues: bool
    version: int
    interval: float
    sdk: str = ""
    host: str = ""
    pid: int = 0
    counts: tuple[tuple[ReleaseId, GroupCounts], ...] = ()
    failing: tuple[tuple[ReleaseId, FailingUsers], ...] = ()
    values: tuple[tuple[ReleaseId, GroupValues], ...] = ()
    trips: tuple[tuple[ReleaseId, Trips], ...] = ()
    leaving: bool = False
    source: Source = Source.SERVER


@dataclass(frozen=True, slots=True)
class Reported:
    """What became of a report.

    Attributes:
        version: the environment's latest version.
        ignored: how many entries of ``counts``, ``failing``, ``values`` and ``trips`` were not
            counted, because no evidence can come from them.
    """

    version: int
    ignored: int = 0
