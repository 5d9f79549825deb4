"""Keeps the compiled flags of one environment up to date, and reports their counts.

A ``FlagSource`` is where the flags come from and where reports go: the server over HTTP
(``tidegate.sync``), or the store itself inside the server.

The keys that were uploaded to a segment are not in a snapshot, which only names their key set. What
needs a key set that is not here yet waits for it (``tidegate.evaluation.held_back``).

Threads: a ``FlagFollower`` has no thread and no lock. One thread at a time updates the flags; the
same or another one sends the reports.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

from tidegate import wire
from tidegate.errors import WireError
from tidegate.evaluation.compiled_snapshot import (
    Broken,
    CompiledSnapshot,
    compile_snapshot,
    updated,
)
from tidegate.evaluation.conditions import key_sets_in
from tidegate.evaluation.held_back import hold_back
from tidegate.evaluation_counts import EvaluationCounts
from tidegate.model import InKeySet, Snapshot, Update
from tidegate.reporting import ReportCounts, Reporter

if TYPE_CHECKING:
    from tidegate.evaluation.key_sets import KeySet

IDLE_REPORT_SECONDS = 10.0
"""Time between two reports while no release asks for a shorter one."""

SHORTEST_REPORT_SECONDS = 0.2

LAST_REPORT_SECONDS = 2.0
"""How long an ending process waits for its last report."""


@dataclass(frozen=True, slots=True)
class Report:
    """One report of an instance.

    Attributes:
        counts: what the instance counted.
        version: the version of its flags; 0: it has none.
        interval: the seconds until its next report.
        leaving: this is its last report.
        version_age: how many seconds ago it applied the version; None: not known.
        key_sets: those in force.
    """

    counts: ReportCounts
    version: int
    interval: float
    leaving: bool
    version_age: float | None = None
    key_sets: Collection[KeySet] = ()


class FlagSource(Protocol):
    """Where the flags of an environment come from, and where reports about them go."""

    def snapshot(self) -> object:
        """Return the whole snapshot: JSON, as ``docs/wire/snapshot.schema.json`` has it."""
        ...

    def key_set(self, wanted: InKeySet, known: KeySet | None) -> KeySet:
        """Return a key set.

        Args:
            wanted: the condition that names it.
            known: an earlier one of the same list: its changes are enough.
        """
        ...

    def report(self, report: Report) -> bool:
        """Send a report; return False if this instance is forgotten and must take a new id."""
        ...


class _State(NamedTuple):
    """What a follower knows.

    Attributes:
        flags: the flags to serve.
        key_sets: the key sets that they use, by digest.
        newest: the newest snapshot, and its parts that cannot be read, while key sets are missing.
        missing: these key sets, by digest.
    """

    flags: CompiledSnapshot | None
    key_sets: Mapping[str, KeySet]
    newest: tuple[Snapshot, Broken] | None = None
    missing: Mapping[str, InKeySet] = MappingProxyType({})


def _state_of(flags: CompiledSnapshot | None) -> _State:
    """Return the state of flags whose snapshot is the newest."""
    key_sets = whole_key_sets(flags)
    if flags is None:
        return _State(None, key_sets)
    missing = _missing(flags.snapshot, key_sets)
    return _State(flags, key_sets, (flags.snapshot, flags.broken) if missing else None, missing)


class FlagFollower:
    """The flags of one environment as last received from their source.

    Args:
        source: where flags come from and reports go.
        reporter: the counts to report.
        flags: the flags to begin with.
        pause: called again and again while flags are parsed and compiled, to let others work.
        parent: the follower of the process that this one was forked from.
    """

    def __init__(
        self,
        source: FlagSource,
        reporter: Reporter,
        flags: CompiledSnapshot | None = None,
        pause: Callable[[], None] = lambda: None,
        parent: FlagFollower | None = None,
    ) -> None:
        self._source = source
        self._pause = pause
        self._reporter = reporter
        self._state = _state_of(flags)
        if parent is not None and parent.flags is not None:
            self._state = parent._state
        self._taken_at: float | None = None

    @property
    def flags(self) -> CompiledSnapshot | None:
        """The flags to serve."""
        return self._state.flags

    @flags.setter
    def flags(self, flags: CompiledSnapshot | None) -> None:
        if flags is not self._state.flags:
            self._state = _state_of(flags)

    @property
    def missing(self) -> Mapping[str, InKeySet]:
        """The key sets that the newest flags need and that are not here, by digest.

        While there are some, ``flags`` has parts of an earlier snapshot.
        """
        return self._state.missing

    def read_snapshot(self) -> CompiledSnapshot:
        """Read the whole snapshot from the source, and return it compiled.

        Raises:
            WireError: it cannot be read.
        """
        return self.take_snapshot(self._source.snapshot())

    def take_snapshot(self, document: object) -> CompiledSnapshot:
        """Replace the flags with a snapshot, whatever its version, and return it compiled.

        The version may be lower than before: the server's store was restored from a backup.

        Raises:
            WireError: the snapshot cannot be read.
        """
        broken: dict[str, WireError] = {}
        snapshot = wire.parse_snapshot(document, broken, self._pause)
        self._taken_at = time.monotonic()
        return self._take(snapshot, broken, self._state.key_sets)

    def take_update(self, document: object) -> CompiledSnapshot | None:
        """Apply an update, or read the whole snapshot if an earlier update was missed.

        Returns:
            The new flags; None if the update was already applied.

        Raises:
            WireError: the update or the snapshot cannot be read.
        """
        broken: dict[str, WireError] = {}
        update = wire.parse_update(document, broken)
        present, newest = self.flags, self._state.newest
        if present is not None and update.version <= present.version:
            return None
        if present is None or update.version != present.version + 1:
            return self.read_snapshot()
        self._taken_at = time.monotonic()
        if newest is None and not _changes_key_sets(update, present.snapshot):
            self._state = self._state._replace(flags=present.apply(update, broken, self._pause))
            return self.flags
        snapshot, unreadable = newest or (present.snapshot, present.broken)
        snapshot, unreadable, _ = updated(snapshot, unreadable, update, broken)
        return self._take(snapshot, unreadable, self._state.key_sets)

    def read_key_set(self, wanted: InKeySet) -> KeySet:
        """Read a missing key set from the source; this changes nothing.

        Raises:
            WireError: what came is not this key set.
        """
        known = [each for each in self._state.key_sets.values() if each.salt == wanted.salt]
        return self._source.key_set(wanted, known[0] if known else None)

    def take_key_set(self, keys: KeySet) -> CompiledSnapshot | None:
        """Add a missing key set.

        Returns:
            The flags with what waited for it; None if nothing waits for it any more.
        """
        newest = self._state.newest
        if newest is None or keys.digest not in self.missing:
            return None
        return self._take(*newest, {**self._state.key_sets, keys.digest: keys})

    def read_key_sets(self) -> CompiledSnapshot | None:
        """Read all missing key sets from the source.

        Returns:
            The flags with what waited for them; None if none was missing.
        """
        flags = None
        for wanted in list(self.missing.values()):
            flags = self.take_key_set(self.read_key_set(wanted))
        return flags

    def _take(
        self, newest: Snapshot, broken: Broken, key_sets: Mapping[str, KeySet]
    ) -> CompiledSnapshot:
        """Replace the flags with the newest snapshot, as far as its key sets are here."""
        present, shown = self.flags, newest
        missing = _missing(newest, key_sets)
        if missing and present is not None:
            shown = hold_back(newest, present.snapshot, missing.keys())
        if key_sets:
            segments = (*newest.segments.values(), *shown.segments.values())
            used = key_sets_in(segments)
            key_sets = {digest: keys for digest, keys in key_sets.items() if digest in used}
        flags = compile_snapshot(shown, broken, present, key_sets)
        # At once: a fork by another thread copies one state, not parts of two.
        self._state = _State(flags, key_sets, (newest, broken) if missing else None, missing)
        return flags

    def _version_age(self) -> float | None:
        taken_at = self._taken_at
        return None if taken_at is None else time.monotonic() - taken_at

    @property
    def evaluations(self) -> EvaluationCounts:
        """What counts how often each flag is asked for."""
        return self._reporter.evaluations

    def report_interval(self) -> float:
        """Return the seconds between two reports."""
        return report_interval(self.flags)

    def send_report(self, leaving: bool = False) -> bool:
        """Report what was counted, under a new instance id if the old one is forgotten.

        Returns:
            Whether the report was acknowledged.
        """
        for _ in range(2):
            flags = self.flags
            counts = self._reporter.next_report(leaving)
            version = 0 if flags is None else flags.version
            report = Report(
                counts,
                version,
                report_interval(flags),
                leaving,
                self._version_age(),
                self._state.key_sets.values(),
            )
            if self._source.report(report):
                releases = () if flags is None else flags.releases.values()
                self._reporter.acknowledge(counts.sequence, releases)
                return True
            self._reporter.renew_instance()
        return False


def whole_key_sets(flags: CompiledSnapshot | None) -> Mapping[str, KeySet]:
    """Return the key sets of flags that a follower, or a client, compiled; by digest."""
    return {} if flags is None else cast("Mapping[str, KeySet]", flags.key_sets)


def _missing(snapshot: Snapshot, key_sets: Mapping[str, KeySet]) -> Mapping[str, InKeySet]:
    needed = key_sets_in(snapshot.segments.values())
    return {digest: each for digest, each in needed.items() if digest not in key_sets}


def _changes_key_sets(update: Update, present: Snapshot) -> bool:
    before = (present.segments.get(key) for key in update.segments)
    return bool(key_sets_in(update.segments.values()) or key_sets_in(before))


def report_interval(flags: CompiledSnapshot | None) -> float:
    """Return the seconds between two reports: the shortest that a release asks for."""
    releases = () if flags is None else flags.releases.values()
    intervals = [release.report_interval for release in releases]
    return max(SHORTEST_REPORT_SECONDS, min([IDLE_REPORT_SECONDS, *intervals]))


def needs_report(before: CompiledSnapshot | None, after: CompiledSnapshot) -> bool:
    """Return whether a change must be reported at once: a kill, or another report interval."""
    return (
        before is None
        or before.killed != after.killed
        or report_interval(before) != report_interval(after)
    )
