"""Exposures and outcomes become cumulative reports.

An instance sends its totals since it began; the server adds the difference to what it
had, so a lost, repeated or overtaken report changes nothing. Failing users are named
until a report that names them is acknowledged. Values are counted in buckets, of those
releases alone that ask for them.

Threads: every method may be called from any thread; ``_lock`` is held for dictionary
work only, never while something is sent.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from tidegate.bucketing import user_hash
from tidegate.evaluation.results import Arm, Exposure
from tidegate.histogram import LATENCY, bucket_of
from tidegate.model import ActiveRelease

ROOM_FOR_USERS = 10_000
"""How many failing users wait for a report; those beyond are counted, not named."""

ROOM_FOR_GROUPS = 1_000
"""How many (release, step, stratum) groups are counted; operations beyond are dropped."""

ROOM_FOR_BUCKETS = 20_000
"""How many buckets of values there are in all; values that need another one are dropped."""

Group: TypeAlias = tuple[str, int, int]
Totals: TypeAlias = list[int]
Buckets: TypeAlias = dict[int, int]
Values: TypeAlias = dict[tuple[Group, str, Arm], Buckets]
Trips: TypeAlias = tuple[int, int]
"""How often a release was closed here without the server, and for how many milliseconds."""

Failing: TypeAlias = dict[tuple[Group, Arm], dict[str, None]]

_MEASURES = ("exposures", "outcomes", "errors", "microseconds")
_NOTHING = (0,) * 8


@dataclass(slots=True)
class ReportCounts:
    """The counts of one report: totals since the instance began, by release, step and stratum.

    ``totals`` holds exposures, outcomes, errors and microseconds of control, then the same of
    treatment. ``continues``: an earlier report of this instance was acknowledged.
    """

    instance: str
    sequence: int
    continues: bool
    totals: dict[Group, Totals]
    overflow: dict[tuple[Group, Arm], int]
    users: Failing
    values: Values
    trips: dict[str, Trips]


class Reporter:
    """The counts of one SDK instance."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._totals: dict[Group, Totals] = {}
        self._failing: Failing = {}
        self._overflow: dict[tuple[Group, Arm], int] = {}
        self._values: Values = {}
        self._buckets = 0
        self._waiting = 0
        self._acknowledged = _nothing_sent()
        self._sent: dict[int, ReportCounts] = {}
        self._sequence = 0
        self._abandoned = False
        self._watched: dict[tuple[Group, Arm], set[str]] | None = None
        self._room_to_watch = ROOM_FOR_USERS
        self._earlier: dict[Group, tuple[int, int]] = {}
        self._trips: dict[str, Trips] = {}
        self._tripped: dict[str, float] = {}
        self.instance: str = uuid.uuid4().hex
        self.dropped: int = 0

    def abandon(self) -> None:
        """Count no more: this is a forked child's copy of what its parent reports."""
        # The lock may have been held by a thread that does not exist here.
        self._lock = threading.Lock()
        self._abandoned = True

    def add(
        self,
        exposures: Mapping[str, Exposure],
        outcome: str | None,
        microseconds: int | None,
        key: str | None,
        others: Mapping[str, str | None] | None = None,
        exposed: bool = True,
        measured: Mapping[str, float] | None = None,
    ) -> None:
        """Count one unit of work.

        Args:
            exposures: what it was exposed to, by release.
            outcome: ``ok``, ``error``, or None when it did not end.
            microseconds: how long it took; None when nobody knows, and then it has no latency.
            key: the targeting key of its context.
            others: keys of releases that were evaluated for somebody else, by release.
            exposed: False when the exposures were counted before, and this is how it ended.
            measured: values that the application reported, by name.
        """
        if self._abandoned:
            return
        with self._lock:
            for release, exposure in exposures.items():
                group = (release, exposure.step, exposure.stratum)
                totals = self._totals.get(group)
                if totals is None:
                    if len(self._totals) >= ROOM_FOR_GROUPS:
                        self.dropped += 1
                        continue
                    totals = self._totals[group] = [0] * 8
                at = 0 if exposure.arm == "control" else 4
                totals[at] += exposed
                if outcome is None:
                    continue
                totals[at + 1] += 1
                totals[at + 3] += microseconds or 0
                if exposure.measures:
                    self._count_values(group, exposure, microseconds, measured or {})
                if outcome == "error":
                    totals[at + 2] += 1
                    user = others[release] if others and release in others else key
                    if isinstance(user, str):
                        self._fail((group, exposure.arm), user)

    def drop(self) -> None:
        """Note that a value could not be counted."""
        with self._lock:
            self.dropped += 1

    def _count_values(
        self,
        group: Group,
        exposure: Exposure,
        microseconds: int | None,
        measured: Mapping[str, float],
    ) -> None:
        seconds = None if microseconds is None else microseconds / 1e6
        for measure in exposure.measures:
            value = seconds if measure == LATENCY else measured.get(measure)
            if value is None:
                continue
            place = (group, measure, exposure.arm)
            buckets = self._values.get(place)
            number = bucket_of(value)
            if buckets is not None and number in buckets:
                buckets[number] += 1
            elif self._buckets < ROOM_FOR_BUCKETS:
                self._values.setdefault(place, {})[number] = 1
                self._buckets += 1
            else:
                self.dropped += 1

    def _fail(self, place: tuple[Group, Arm], user: str) -> None:
        name = user_hash(user)
        if self._watched is not None and self._room_to_watch > 0:
            # One room for all: of two, the control's would be full first, and harmless failures
            # of the treatment alone would go on being counted.
            users = self._watched.setdefault(place, set())
            if name not in users:
                users.add(name)
                self._room_to_watch -= 1
        if name in self._failing.get(place, ()):
            return
        if self._waiting >= ROOM_FOR_USERS:
            self._overflow[place] = self._overflow.get(place, 0) + 1
            return
        self._failing.setdefault(place, {})[name] = None
        self._waiting += 1

    def watch(self, watched: bool) -> None:
        """Begin, or cease, to remember who fails between two calls of ``look``."""
        with self._lock:
            self._watched = {} if watched else None
            self._room_to_watch = ROOM_FOR_USERS
            self._earlier = {}

    def look(self) -> tuple[dict[Group, tuple[int, int]], dict[tuple[Group, Arm], set[str]]]:
        """Return operations that ended, in control and treatment, and who failed since before."""
        with self._lock:
            ended = {
                group: _plus(self._earlier.get(group, (0, 0)), totals)
                for group, totals in self._totals.items()
            }
            failed = self._watched or {}
            if self._watched is not None:
                self._watched, self._room_to_watch = {}, ROOM_FOR_USERS
            return ended, failed

    def tripped(self, release: str) -> None:
        """Count that a release is closed here from now on, without the server."""
        with self._lock:
            count, length = self._trips.get(release, (0, 0))
            if release in self._trips or len(self._trips) < ROOM_FOR_GROUPS:
                self._trips[release] = count + 1, length
                self._tripped[release] = time.monotonic()

    def reopened(self) -> None:
        """Note that what was closed here is closed no more."""
        with self._lock:
            self._lengthen_trips()
            self._tripped = {}

    def _lengthen_trips(self) -> None:
        """Count how long trips have gone on: a report may arrive before they are over."""
        now = time.monotonic()
        for release, since in self._tripped.items():
            count, length = self._trips.get(release, (0, 0))
            passed = int((now - since) * 1000)
            self._trips[release] = count, length + passed
            self._tripped[release] = since + passed / 1000

    def next_report(self) -> ReportCounts:
        """Return the counts of the next report."""
        with self._lock:
            self._sequence += 1
            self._lengthen_trips()
            sent = ReportCounts(
                self.instance,
                self._sequence,
                self._acknowledged.sequence > 0,
                {group: list(totals) for group, totals in self._totals.items()},
                dict(self._overflow),
                {place: dict(users) for place, users in self._failing.items() if users},
                {place: dict(buckets) for place, buckets in self._values.items()},
                dict(self._trips),
            )
            # Reports go out one after the other: what came before this one is in this one.
            self._sent = {sent.sequence: sent}
            return sent

    def compose(self) -> dict[str, Any]:
        """Return the counts of the next report as JSON."""
        return counts_document(self.next_report())

    def acknowledged(self, sequence: int, active: Collection[ActiveRelease] = ()) -> None:
        """Note that a report arrived, and forget what needs no repeating.

        Args:
            sequence: the report's.
            active: the releases that still go on; other ones, and earlier steps, are
                forgotten once their counts have arrived.
        """
        with self._lock:
            sent = self._sent.pop(sequence, None)
            if sent is None:
                return
            self._acknowledged = sent
            for place, users in sent.users.items():
                waiting = self._failing.get(place, {})
                for user in users:
                    if waiting.pop(user, 0) is None:
                        self._waiting -= 1
                if not waiting:
                    self._failing.pop(place, None)
            present = {(release.id, release.step) for release in active}
            for group in [group for group in self._totals if group[:2] not in present]:
                if self._totals[group] == sent.totals.get(group):
                    self._forget(group)
            ids = {release.id for release in active}
            for release in [release for release in self._trips if release not in ids]:
                if self._trips[release] == sent.trips.get(release):
                    del self._trips[release], sent.trips[release]

    def _forget(self, group: Group) -> None:
        arms: tuple[Arm, Arm] = ("control", "treatment")
        if any((group, arm) in self._failing for arm in arms):
            return
        del self._totals[group]
        # Should it be counted again, it begins at nothing: for the server, too.
        self._acknowledged.totals.pop(group, None)
        for place in [place for place in self._values if place[0] == group]:
            self._buckets -= len(self._values.pop(place))
            self._acknowledged.values.pop(place, None)
        for arm in arms:
            self._overflow.pop((group, arm), None)
            self._acknowledged.overflow.pop((group, arm), None)

    def forgotten(self) -> None:
        """Go on under a new instance id, with only what was never acknowledged."""
        with self._lock:
            base = self._acknowledged
            for group, totals in self._totals.items():
                before = base.totals.get(group, _NOTHING)
                if self._watched is not None:
                    # Whoever looks does not care how it is told to the server.
                    self._earlier[group] = _plus(self._earlier.get(group, (0, 0)), before)
                self._totals[group] = [now - then for now, then in zip(totals, before, strict=True)]
            self._overflow = {
                place: count - base.overflow.get(place, 0)
                for place, count in self._overflow.items()
            }
            self._values = {
                place: _without(buckets, base.values.get(place, {}))
                for place, buckets in self._values.items()
            }
            self._buckets = sum(map(len, self._values.values()))
            for release, (count, length) in base.trips.items():
                now = self._trips.get(release, (0, 0))
                self._trips[release] = now[0] - count, now[1] - length
            self._acknowledged = _nothing_sent()
            self._sent = {}
            self._sequence = 0
            self.instance = uuid.uuid4().hex


def counts_document(report: ReportCounts) -> dict[str, Any]:
    """Return a report's counts as ``docs/wire/report.schema.json`` has them."""
    places = dict.fromkeys([*report.users, *report.overflow])
    return {
        "schema": 1,
        "instance": report.instance,
        "sequence": report.sequence,
        "continues": report.continues,
        "counts": [
            {
                "release": release, "step": step, "stratum": stratum,
                "control": dict(zip(_MEASURES, totals[:4], strict=True)),
                "treatment": dict(zip(_MEASURES, totals[4:], strict=True)),
            }
            for (release, step, stratum), totals in report.totals.items()
        ],
        "failing": [
            {
                "release": group[0], "step": group[1], "stratum": group[2], "arm": arm,
                "users": list(report.users.get((group, arm), ())),
                "overflow": report.overflow.get((group, arm), 0),
            }
            for group, arm in places
        ],
        "values": [
            {
                "release": group[0], "step": group[1], "stratum": group[2],
                "measure": measure,
                "control": _named(report.values.get((group, measure, "control"))),
                "treatment": _named(report.values.get((group, measure, "treatment"))),
            }
            for group, measure in dict.fromkeys(place[:2] for place in report.values)
        ],
        **_told(report.trips),
    }  # fmt: skip


def _nothing_sent() -> ReportCounts:
    return ReportCounts("", 0, False, {}, {}, {}, {}, {})


def _plus(ended: tuple[int, int], totals: Sequence[int]) -> tuple[int, int]:
    """Operations that ended, in control and treatment, with those of more totals."""
    return ended[0] + totals[1], ended[1] + totals[5]


def _told(trips: Mapping[str, Trips]) -> dict[str, Any]:
    """A report's trips; only where there are any does a server have to know of them."""
    listed = [
        {"release": release, "count": count, "milliseconds": length}
        for release, (count, length) in trips.items()
        if count or length
    ]
    return {"trips": listed} if listed else {}


def _named(buckets: Mapping[int, int] | None) -> dict[str, int]:
    """A histogram as JSON has it: counts by the number of their bucket."""
    return {str(number): count for number, count in (buckets or {}).items()}


def _without(buckets: Buckets, earlier: Buckets) -> Buckets:
    """What a histogram has beyond an earlier one of the same values."""
    return {
        number: count - earlier.get(number, 0)
        for number, count in buckets.items()
        if count > earlier.get(number, 0)
    }
