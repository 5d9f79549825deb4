"""The counts of one SDK instance, from which its reports are made.

An instance sends totals since it started; the server adds the difference to the totals it has.
So a lost, repeated or overtaken report changes nothing. Failing users, and users of the sample, are
named until a report that names them is acknowledged. Values are counted in buckets, only for
releases that ask for them.

Threads: every method may be called from any thread. What an application counts takes no lock:
exposures are counted in cells (``tidegate.exposure_cells``), and an operation that ends becomes one
entry of a list or a ``deque``, whose ``append`` and ``popleft`` are atomic. ``_lock`` guards the
totals. It is held for work on dictionaries only, never while a report is sent. The application's
threads take it only if it is free: whoever ends every ``BATCH``-th operation adds the entries to
the totals, unless another thread is doing that. So a signal handler never waits for the code that
it has interrupted, except for ``LONGEST_WAIT`` where something is dropped.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

import mmh3
import msgspec

from tidegate.bucketing import user_hash
from tidegate.evaluation.results import ARMS, Arm, Exposure, cell_name
from tidegate.evaluation_counts import EvaluationCounts, FlagTotals, evaluations_document
from tidegate.exposure_cells import ExposureCells
from tidegate.histogram import LATENCY, bucket_of
from tidegate.model import ActiveRelease
from tidegate.seen_users import SeenUsers
from tidegate.user_sample import GroupSample, SampledUsers, UserSamples

MAX_USERS = 10_000
"""How many failing users are named in the next report; more are counted, not named."""

MAX_GROUPS = 1_000
"""How many (release, step, stratum) groups are counted; operations of more are dropped."""

BATCH = 100
"""How many operations wait before they are added to the totals."""

MAX_WAITING = 20_000
"""How many operations wait at most; more are dropped."""

LONGEST_WAIT = 0.05
"""How long, in seconds, an operation waits for the totals when ``MAX_WAITING`` is reached."""

MAX_BUCKETS = 20_000
"""How many buckets of values are kept; values that need another one are dropped."""

Group: TypeAlias = tuple[str, int, int]
"""A release, a step and a stratum."""

ArmGroup: TypeAlias = tuple[Group, Arm]

PlainOperation: TypeAlias = tuple[int, float]
"""An operation that ended well, with one exposure, of a percentage, and without values: the
hash that decided it, and the seconds that it took. Most operations are plain."""

EndedOperation: TypeAlias = tuple[
    tuple[Exposure, ...], bool, int | None, str | None, Mapping[str, float], bool
]
"""Any operation with an outcome, for one user: its exposures, whether it failed, its microseconds,
the user's targeting key, the measured values, and whether the exposures are to be counted, too."""

Totals: TypeAlias = list[int]
"""Exposures, outcomes, errors and microseconds of control, then the same of treatment."""

Buckets: TypeAlias = dict[int, int]
"""A histogram: counts by the number of their bucket."""

Values: TypeAlias = dict[tuple[Group, str, Arm], Buckets]
Trips: TypeAlias = tuple[int, int]
"""How often the local breaker closed a release, and for how many milliseconds in all."""

Failing: TypeAlias = dict[ArmGroup, dict[str, None]]
"""Hashes of failing users, in the order in which they failed."""

LARGEST_TOTAL = 2**53
"""A report's totals stay at this value, up to which JSON numbers are exact everywhere."""

_hash = mmh3.hash
_MEASURES = ("exposures", "outcomes", "errors", "microseconds")
_ZERO_TOTALS = (0,) * 8


class _Arm:
    """Where the operations of one group and arm count.

    Attributes:
        totals: of the group; those of the arm begin at ``at``.
        prefix: what the targeting key is hashed with, before it.
        sample: of the group; None: all users of the group are in one arm.
        exposure: what is counted.
        operations, seconds: how many plain operations are to be added to the totals, and how long
            they took.
    """

    __slots__ = ("at", "exposure", "operations", "prefix", "sample", "seconds", "totals")

    def __init__(self, exposure: Exposure, totals: Totals, sample: GroupSample | None) -> None:
        self.exposure = exposure
        self.totals = totals
        self.at = 0 if exposure.arm == "control" else 4
        self.prefix = exposure.hash_prefix or ""
        self.sample = sample
        self.operations = 0
        self.seconds = 0.0

    def add_to_totals(self) -> None:
        """Add the plain operations to the totals."""
        totals, at = self.totals, self.at
        totals[at] += self.operations
        totals[at + 1] += self.operations
        self.operations = 0
        microseconds = round(self.seconds * 1e6)
        totals[at + 3] += microseconds
        self.seconds -= microseconds / 1e6


class ReportCounts(msgspec.Struct):
    """The counts of one report: totals since the instance started.

    ``continues``: an earlier report of this instance was acknowledged.
    """

    instance: str
    sequence: int
    continues: bool
    totals: dict[Group, Totals]
    overflow: dict[ArmGroup, int]
    users: Failing
    sampled: dict[Group, SampledUsers]
    values: Values
    trips: dict[str, Trips]
    evaluations: dict[str, FlagTotals] = {}


class Reporter:
    """The counts of one SDK instance.

    Attributes:
        evaluations: how often each flag was asked for.
        seen_users: the users of operations, if the server wants to know them.
        cells: the exposures outside of operations.
        plain: the plain operations that wait to be added to the totals, by ``Exposure.cell``.
            Another list replaces one that is added. So find the list and append to it without a
            call in between, where Python would let another thread run.
        ended: the other operations that wait, and those whose cell is not in ``plain``.
        batch: how many of one of these there are when ``collect`` is to be called.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.batch: int = BATCH
        self.evaluations: EvaluationCounts = EvaluationCounts()
        self.seen_users: SeenUsers = SeenUsers()
        self.cells: ExposureCells = ExposureCells()
        self.plain: dict[str, list[PlainOperation]] = {}
        self.ended: deque[EndedOperation] = deque()
        self._totals: dict[Group, Totals] = {}
        self._arms: dict[str, _Arm] = {}
        self._failing: Failing = {}
        self._overflow: dict[ArmGroup, int] = {}
        self._samples = UserSamples()
        self._values: Values = {}
        self._bucket_count = 0
        self._failing_count = 0
        self._acknowledged = _empty_report()
        self._sent: dict[int, ReportCounts] = {}
        self._sequence = 0
        self._abandoned = False
        self._window_failing: dict[ArmGroup, set[str]] | None = None
        self._window_room = MAX_USERS
        self._ended_before: dict[Group, tuple[int, int]] = {}
        self._trips: dict[str, Trips] = {}
        self._open_trips: dict[str, float] = {}
        self.instance: str = uuid.uuid4().hex
        self._closed = False
        self._dropped = 0
        self.invalid_contexts: int = 0

    @property
    def dropped(self) -> int:
        """How many values and exposures were dropped; after ``close``, those never reported too."""
        lock = self._take_lock(LONGEST_WAIT)
        if lock is None:
            return self._dropped
        try:
            self._collect()
            return self._dropped + (self._unacknowledged() if self._closed else 0)
        finally:
            lock.release()

    def close(self) -> None:
        """Count no more operations: what no report has brought to the server is dropped."""
        self._closed = self._abandoned = True

    def abandon(self) -> None:
        """Count only what is dropped from now on: nobody reports the counts any more.

        The client is closed; or this is a forked child's copy of what its parent reports.
        """
        # The lock may be held by a thread that does not exist in this process.
        self._lock = threading.Lock()
        self._abandoned = True
        self.cells = ExposureCells()
        self.plain.clear()
        self.ended.clear()

    def add(
        self,
        exposures: Iterable[Exposure],
        outcome: str | None,
        microseconds: int | None,
        key: str | None,
        exposed: bool = True,
        measured: Mapping[str, float] | None = None,
    ) -> None:
        """Count one operation for one user.

        Args:
            exposures: the user's exposures, one of each release.
            outcome: ``ok``, ``error``, or None without an outcome.
            microseconds: its duration; None if it is unknown and does not count as latency.
            key: the user's targeting key.
            exposed: False if the exposures were counted before, and this adds the outcome.
            measured: values that the application reported, by name.
        """
        if outcome is None:
            for exposure in exposures:
                self.expose(exposure)
            return
        failed = outcome == "error"
        self.ended.append((tuple(exposures), failed, microseconds, key, measured or {}, exposed))
        if len(self.ended) >= self.batch:
            self.collect()

    def expose(self, exposure: Exposure) -> None:
        """Count an exposure that has no outcome."""
        if self._abandoned or not self.cells.step(exposure):
            self.count_dropped()

    def collect(self, cell: str = "") -> None:
        """Add operations that have ended to the totals, unless another thread does that.

        Args:
            cell: adds the plain operations of this exposure, too.
        """
        full = max(len(self.plain.get(cell, ())), len(self.ended)) >= MAX_WAITING
        lock = self._take_lock(LONGEST_WAIT if full else 0.0)
        if lock is not None:
            try:
                self._collect_plain(cell)
                self._collect_others()
            finally:
                lock.release()
        elif full:
            self._make_room(cell)

    def _make_room(self, cell: str) -> None:
        """Drop operations that wait while too many do."""
        with suppress(IndexError, KeyError):  # there is room again
            if len(self.plain.get(cell, ())) >= MAX_WAITING:
                self.plain[cell].pop()  # of the present list, which may be another one by now
                self._dropped += 1
        with suppress(IndexError):
            if len(self.ended) >= MAX_WAITING:
                self._dropped += len(self.ended.pop()[0])

    def _collect(self) -> None:
        """Add to the totals what was counted; the caller holds the lock."""
        for exposure, more in self.cells.added():
            totals = self._totals_of(exposure.group, more)
            if totals is not None:
                totals[0 if exposure.arm == "control" else 4] += more
        for cell in list(self.plain):
            self._collect_plain(cell)
        self._collect_others()
        for arm in self._arms.values():
            arm.add_to_totals()

    def _collect_plain(self, cell: str) -> None:
        """Add the plain operations of an exposure to what its arm adds to the totals."""
        waiting = self.plain.get(cell)
        if not waiting:
            return
        fresh: list[PlainOperation] = []
        waiting, self.plain[cell] = self.plain[cell], fresh
        self._add_plain(cell, waiting)

    def _add_plain(self, cell: str, operations: list[PlainOperation]) -> None:
        if self._abandoned:
            self._dropped += len(operations)
            return
        arm = self._arms[cell]
        # All of them at once: for each, Python takes several times as long.
        hashes, seconds = zip(*operations, strict=True)
        arm.operations += len(operations)
        arm.seconds += sum(seconds)
        if arm.exposure.measures:
            for each in seconds:
                self._count_values(arm.exposure, each, {})
        sample = arm.sample
        if sample is not None:
            for user in set(hashes).difference(sample.users):
                if not user & sample.mask:
                    self._samples.add(sample, user, arm.exposure.arm)

    def _collect_others(self) -> None:
        # What others append meanwhile waits for the next time. There may be less than at first:
        # another thread may have dropped one, or closed the client.
        with suppress(IndexError):
            self._add_others(len(self.ended))

    def _add_others(self, count: int) -> None:
        arms, take = self._arms, self.ended.popleft
        for _ in range(count):
            exposures, failed, microseconds, key, measured, exposed = take()
            if self._abandoned:
                self._dropped += len(exposures)
                continue
            for exposure in exposures:
                try:
                    arm = arms[exposure.cell]
                except KeyError:
                    if not self._add_arm(exposure):
                        continue
                    arm = arms[exposure.cell]
                totals, at, sample = arm.totals, arm.at, arm.sample
                totals[at] += exposed
                totals[at + 1] += 1
                if microseconds is not None:
                    totals[at + 3] += microseconds
                if exposure.measures:
                    seconds = None if microseconds is None else microseconds / 1e6
                    self._count_values(exposure, seconds, measured)
                if sample is not None and isinstance(key, str):
                    user = _hash(arm.prefix + key, 0, False)
                    if not (user & sample.mask or user in sample.users):
                        self._samples.add(sample, user, exposure.arm)
                if failed:
                    totals[at + 2] += 1
                    if isinstance(key, str):
                        self._add_failing((exposure.group, exposure.arm), key)

    def _add_arm(self, exposure: Exposure) -> bool:
        """Make where an exposure counts; return False, and count it as dropped, without room."""
        totals = self._totals_of(exposure.group, 1)
        if totals is None:
            return False
        of_percentage = exposure.hash_prefix is not None
        sample = self._samples.of_group(exposure.group) if of_percentage else None
        self._arms[exposure.cell] = _Arm(exposure, totals, sample)
        if of_percentage and not self._abandoned:
            self.plain[exposure.cell] = []
        return True

    def _totals_of(self, group: Group, exposures: int) -> Totals | None:
        """Return a group's totals; None, and count the exposures as dropped, without room."""
        totals = self._totals.get(group)
        if totals is None:
            if len(self._totals) >= MAX_GROUPS:
                self._dropped += exposures
                return None
            totals = self._totals[group] = [0] * 8
        return totals

    def _unacknowledged(self) -> int:
        """Return how many exposures no acknowledged report contains."""
        known = self._acknowledged.totals
        return sum(
            totals[at] - known.get(group, _ZERO_TOTALS)[at]
            for group, totals in self._totals.items()
            for at in (0, 4)
        )

    def count_dropped(self) -> None:
        """Count a value that was dropped."""
        lock = self._take_lock(LONGEST_WAIT)
        self._dropped += 1
        if lock is not None:
            lock.release()

    def count_invalid_context(self) -> None:
        """Count a context that cannot be used."""
        lock = self._take_lock(LONGEST_WAIT)
        self.invalid_contexts += 1
        if lock is not None:
            lock.release()

    def _take_lock(self, longest_s: float) -> threading.Lock | None:
        """Take the lock if it becomes free; a signal handler may have interrupted its holder.

        Returns:
            The lock that the caller releases: ``abandon`` may replace it meanwhile. None: it
            did not become free.
        """
        lock = self._lock
        return lock if lock.acquire(timeout=longest_s) else None

    def _count_values(
        self,
        exposure: Exposure,
        seconds: float | None,
        measured: Mapping[str, float],
    ) -> None:
        for measure in exposure.measures:
            value = seconds if measure == LATENCY else measured.get(measure)
            if value is None:
                continue
            place = (exposure.group, measure, exposure.arm)
            buckets = self._values.get(place)
            number = bucket_of(value)
            if buckets is not None and number in buckets:
                buckets[number] += 1
            elif self._bucket_count < MAX_BUCKETS:
                self._values.setdefault(place, {})[number] = 1
                self._bucket_count += 1
            else:
                self._dropped += 1

    def _add_failing(self, place: ArmGroup, key: str) -> None:
        user = user_hash(key)
        if self._window_failing is not None and self._window_room > 0:
            # Both arms share the room. If each had its own, the control's would be full first,
            # and harmless failures of the treatment alone would go on being counted.
            users = self._window_failing.setdefault(place, set())
            if user not in users:
                users.add(user)
                self._window_room -= 1
        if user in self._failing.get(place, ()):
            return
        if self._failing_count >= MAX_USERS:
            self._overflow[place] = self._overflow.get(place, 0) + 1
            return
        self._failing.setdefault(place, {})[user] = None
        self._failing_count += 1

    def watch_failures(self, watching: bool) -> None:
        """Start, or stop, to remember who fails between two calls of ``take_window``."""
        with self._lock:
            self._collect()
            self._window_failing = {} if watching else None
            self._window_room = MAX_USERS
            self._ended_before = {}

    def take_window(self) -> tuple[dict[Group, tuple[int, int]], dict[ArmGroup, set[str]]]:
        """Return the counts that the local breaker evaluates.

        Returns:
            How many operations ended since the watch began or before, in control and treatment,
            and hashes of the users who failed since the last call.
        """
        with self._lock:
            self._collect()
            ended = {
                group: _add_ended(self._ended_before.get(group, (0, 0)), totals)
                for group, totals in self._totals.items()
            }
            failed = self._window_failing or {}
            if self._window_failing is not None:
                self._window_failing, self._window_room = {}, MAX_USERS
            return ended, failed

    def start_trip(self, release: str) -> None:
        """Count that the local breaker closes a release now."""
        with self._lock:
            count, milliseconds = self._trips.get(release, (0, 0))
            if release in self._trips or len(self._trips) < MAX_GROUPS:
                self._trips[release] = count + 1, milliseconds
                self._open_trips[release] = time.monotonic()

    def end_trips(self) -> None:
        """Count that all releases closed by the local breaker are open again."""
        with self._lock:
            self._update_trip_lengths()
            self._open_trips = {}

    def _update_trip_lengths(self) -> None:
        """Add the time since the last call: a report may be sent before a trip is over."""
        now = time.monotonic()
        for release, since in self._open_trips.items():
            count, milliseconds = self._trips.get(release, (0, 0))
            passed = int((now - since) * 1000)
            self._trips[release] = count, milliseconds + passed
            self._open_trips[release] = since + passed / 1000

    def next_report(self, last: bool = False) -> ReportCounts:
        """Return the counts of the next report; ``last``: no other may follow."""
        with self._lock:
            self._collect()
            self._sequence += 1
            self._update_trip_lengths()
            sent = ReportCounts(
                self.instance,
                self._sequence,
                self._acknowledged.sequence > 0,
                {group: list(totals) for group, totals in self._totals.items()},
                dict(self._overflow),
                {place: dict(users) for place, users in self._failing.items() if users},
                self._samples.unreported(),
                {place: dict(buckets) for place, buckets in self._values.items()},
                dict(self._trips),
                self.evaluations.changed(last),
            )
            # Reports are sent one after the other, and each contains the ones before it.
            self._sent = {sent.sequence: sent}
            return sent

    def acknowledge(self, sequence: int, active: Collection[ActiveRelease] = ()) -> None:
        """Note that a report arrived, and forget what need not be repeated.

        Args:
            sequence: the number of the report.
            active: the active releases. Counts of other releases, and of earlier steps, are
                forgotten once they have arrived.
        """
        with self._lock:
            self._collect()
            sent = self._sent.pop(sequence, None)
            if sent is None:
                return
            self._acknowledged = sent
            self.evaluations.acknowledge(sent.evaluations)
            for place, users in sent.users.items():
                unreported = self._failing.get(place, {})
                for user in users:
                    if unreported.pop(user, 0) is None:
                        self._failing_count -= 1
                if not unreported:
                    self._failing.pop(place, None)
            self._samples.acknowledge(sent.sampled)
            present = {(release.id, release.step) for release in active}
            for group in [group for group in self._totals if group[:2] not in present]:
                if self._totals[group] == sent.totals.get(group):
                    self._forget(group)
            ids = {release.id for release in active}
            for release in [release for release in self._trips if release not in ids]:
                if self._trips[release] == sent.trips.get(release):
                    del self._trips[release], sent.trips[release]

    def _forget(self, group: Group) -> None:
        if any((group, arm) in self._failing for arm in ARMS):
            return
        if self._samples.has_unreported(group):
            return
        for arm in ARMS:
            # Operations that end from now on are ``ended``; these ended since the totals were made.
            late = self.plain.pop(cell_name(group, arm), None)
            if late:
                self._add_plain(cell_name(group, arm), late)
                return
        del self._totals[group]
        self.cells.forget(group)
        self._samples.forget(group)
        # If it is counted again it starts at zero, in the acknowledged totals too.
        self._acknowledged.totals.pop(group, None)
        for place in [place for place in self._values if place[0] == group]:
            self._bucket_count -= len(self._values.pop(place))
            self._acknowledged.values.pop(place, None)
        for arm in ARMS:
            self._arms.pop(cell_name(group, arm), None)
            self._overflow.pop((group, arm), None)
            self._acknowledged.overflow.pop((group, arm), None)

    def renew_instance(self) -> None:
        """Take a new instance id, and keep only what was never acknowledged."""
        with self._lock:
            self._collect()
            base = self._acknowledged
            self.evaluations.start_again()
            for group, totals in self._totals.items():
                before = base.totals.get(group, _ZERO_TOTALS)
                if self._window_failing is not None:
                    # For the local breaker nothing changes.
                    ended = self._ended_before.get(group, (0, 0))
                    self._ended_before[group] = _add_ended(ended, before)
                totals[:] = [now - then for now, then in zip(totals, before, strict=True)]
            self._overflow = {
                place: count - base.overflow.get(place, 0)
                for place, count in self._overflow.items()
            }
            self._values = {
                place: _subtract(buckets, base.values.get(place, {}))
                for place, buckets in self._values.items()
            }
            self._bucket_count = sum(map(len, self._values.values()))
            for release, (count, milliseconds) in base.trips.items():
                now = self._trips.get(release, (0, 0))
                self._trips[release] = now[0] - count, now[1] - milliseconds
            self._acknowledged = _empty_report()
            self._sent = {}
            self._sequence = 0
            self.instance = uuid.uuid4().hex


def counts_document(report: ReportCounts) -> dict[str, Any]:
    """Return a report's counts as ``docs/wire/report.schema.json`` has them."""
    places = dict.fromkeys([*report.users, *report.overflow])
    return {
        "schema": 2,
        "instance": report.instance,
        "sequence": report.sequence,
        "continues": report.continues,
        "counts": [
            {
                "release": release, "step": step, "stratum": stratum,
                "control": _arm_totals(totals[:4]),
                "treatment": _arm_totals(totals[4:]),
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
        "samples": [
            {
                "release": release, "step": step, "stratum": stratum,
                "bits": users.bits, "control": users.control, "treatment": users.treatment,
            }
            for (release, step, stratum), users in report.sampled.items()
        ],
        "values": [
            {
                "release": group[0], "step": group[1], "stratum": group[2],
                "measure": measure,
                "control": _histogram(report.values.get((group, measure, "control"))),
                "treatment": _histogram(report.values.get((group, measure, "treatment"))),
            }
            for group, measure in dict.fromkeys(place[:2] for place in report.values)
        ],
        **_trips(report.trips),
        **evaluations_document(report.evaluations),
    }  # fmt: skip


def _arm_totals(totals: Sequence[int]) -> dict[str, int]:
    return {name: min(total, LARGEST_TOTAL) for name, total in zip(_MEASURES, totals, strict=True)}


def _empty_report() -> ReportCounts:
    return ReportCounts("", 0, False, {}, {}, {}, {}, {}, {})


def _add_ended(ended: tuple[int, int], totals: Sequence[int]) -> tuple[int, int]:
    """Return operations that ended, in control and treatment, plus those in the totals."""
    return ended[0] + totals[1], ended[1] + totals[5]


def _trips(trips: Mapping[str, Trips]) -> dict[str, Any]:
    """Return a report's trips; no field without any, for servers that do not know the field."""
    entries = [
        {"release": release, "count": count, "milliseconds": milliseconds}
        for release, (count, milliseconds) in trips.items()
        if count or milliseconds
    ]
    return {"trips": entries} if entries else {}


def _histogram(buckets: Buckets | None) -> dict[str, int]:
    """Return a histogram for JSON, whose keys are strings."""
    return {str(number): count for number, count in (buckets or {}).items()}


def _subtract(buckets: Buckets, earlier: Buckets) -> Buckets:
    """Return what a histogram has in addition to an earlier one of the same values."""
    return {
        number: count - earlier.get(number, 0)
        for number, count in buckets.items()
        if count > earlier.get(number, 0)
    }
