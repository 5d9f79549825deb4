"""Reports of SDK instances, and what the store makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from tidegate_server.domain.evidence import GroupCounts, GroupValues, Source, Trips
from tidegate_server.domain.seen_users import SeenUser

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
class SampledUsers:
    """Users of one group's sample, since the last acknowledged report, by the arm they were in.

    ``control`` and ``treatment`` are the 32-bit hashes that decided the users' arms. They end in
    ``bits`` zero bits: of all users of the group, the sample has one in ``2 ** bits``.
    """

    step: int
    stratum: int
    bits: int
    control: tuple[int, ...]
    treatment: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class FlagEvaluations:
    """How often one flag was evaluated since the instance started.

    Attributes:
        flag: the key that the application asked for; there may be no such flag.
        variants: the evaluations by variant.
        defaults: those that gave the application its own default.
        estimated: whether some are estimated from a part of the time.
    """

    flag: str
    variants: tuple[tuple[str, int], ...]
    defaults: int = 0
    estimated: bool = False


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
        counts, failing, samples, values, trips: what it counted, by release. In ``counts`` an
            arm has exposures, outcomes, errors and microseconds; failing users come in
            ``failing``, and users of the sample in ``samples``.
        evaluations: how often flags were evaluated; those without news are left out.
        has_samples: whether the instance counts users of the sample.
        application: what the application calls itself; anything may be in it.
        token: the name of the token that sent it.
        uptime: for how many seconds the instance has run; None: not known.
        version_age: how many seconds ago it applied ``version``; None: not known.
        seen_users: users of the sample who were seen since the last acknowledged report.
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
    samples: tuple[tuple[ReleaseId, SampledUsers], ...] = ()
    values: tuple[tuple[ReleaseId, GroupValues], ...] = ()
    trips: tuple[tuple[ReleaseId, Trips], ...] = ()
    application: str = ""
    token: str = ""
    uptime: float | None = None
    version_age: float | None = None
    evaluations: tuple[FlagEvaluations, ...] = ()

    seen_users: tuple[SeenUser, ...] = ()
    leaving: bool = False
    has_samples: bool = True
    source: Source = Source.SERVER


@dataclass(frozen=True, slots=True)
class Reported:
    """What became of a report.

    Attributes:
        version: the environment's latest version.
        ignored: how many entries of ``counts``, ``failing``, ``samples``, ``values`` and
            ``trips`` were not counted, because no evidence can come from them.
    """

    version: int
    ignored: int = 0
