"""Keeps the compiled flags of one environment up to date, and reports their counts.

A ``FlagSource`` is where the flags come from and where reports go: the server over HTTP
(``tidegate.sync``), or the store itself inside the server.

Threads: a ``FlagFollower`` has no thread and no lock. One thread updates the flags; the same or
another one sends the reports.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from tidegate import wire
from tidegate.errors import WireError
from tidegate.evaluation.compiled_snapshot import CompiledSnapshot, compile_snapshot
from tidegate.reporting import ReportCounts, Reporter

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
    """

    counts: ReportCounts
    version: int
    interval: float
    leaving: bool


class FlagSource(Protocol):
    """Where the flags of an environment come from, and where reports about them go."""

    def snapshot(self) -> object:
        """Return the whole snapshot: JSON, as ``docs/wire/snapshot.schema.json`` has it."""
        ...

    def report(self, report: Report) -> bool:
        """Send a report; return False if this instance is forgotten and must take a new id."""
        ...


class FlagFollower:
    """The flags of one environment as last received from their source.

    Args:
        source: where flags come from and reports go.
        reporter: the counts to report.
        flags: the flags to begin with.
        pause: called again and again while a large snapshot is parsed, to let others work.
    """

    def __init__(
        self,
        source: FlagSource,
        reporter: Reporter,
        flags: CompiledSnapshot | None = None,
        pause: Callable[[], None] = lambda: None,
    ) -> None:
        self._source = source
        self._pause = pause
        self._reporter = reporter
        self.flags: CompiledSnapshot | None = flags

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
        self.flags = compile_snapshot(snapshot, broken, self.flags)
        return self.flags

    def take_update(self, document: object) -> CompiledSnapshot | None:
        """Apply an update, or read the whole snapshot if an earlier update was missed.

        Returns:
            The new flags; None if the update was already applied.

        Raises:
            WireError: the update or the snapshot cannot be read.
        """
        broken: dict[str, WireError] = {}
        update = wire.parse_update(document, broken)
        present = self.flags
        if present is not None and update.version <= present.version:
            return None
        if present is None or update.version != present.version + 1:
            return self.read_snapshot()
        self.flags = present.apply(update, broken)
        return self.flags

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
            counts = self._reporter.next_report()
            version = 0 if flags is None else flags.version
            if self._source.report(Report(counts, version, report_interval(flags), leaving)):
                releases = () if flags is None else flags.releases.values()
                self._reporter.acknowledge(counts.sequence, releases)
                return True
            self._reporter.renew_instance()
        return False


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
