"""The local breaker: closes a release in this process while the server is away.

A release whose policy allows it is watched from the moment the connection is lost. When its
treatment fails here far beyond what is tolerated, all users get the control here, and are no
evidence, until the server answers again: then the server's flags are in force.

Threads: one daemon thread, ``tidegate-breaker``, for the time of an outage with something to
watch. ``_lock`` is held only while the flags in force are replaced. No evaluation takes it, and
neither does ``stop``: a signal handler may call it at any moment.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from tidegate.details import ClientEvent
from tidegate.evaluation.compiled_snapshot import CompiledSnapshot
from tidegate.local_evidence import OutageEvidence, Trip, watched_releases
from tidegate.model import Flag, Update
from tidegate.reporting import Reporter
from tidegate.runtime import threads

log: logging.Logger = logging.getLogger("tidegate")

WINDOW_SECONDS = 5.0
"""The time between two evaluations of an outage's evidence."""


@dataclass(slots=True)
class _Outage:
    """An outage being watched. ``closed``: the keys of flags whose release was closed."""

    evidence: OutageEvidence
    over: threading.Event = field(default_factory=threading.Event)
    closed: set[str] = field(default_factory=set)


class LocalBreaker:
    """Closes releases in one process during an outage, and opens them again after it.

    Args:
        reporter: what the process counts.
        get_flags: returns the flags in force.
        apply_flags: puts other flags in force.
        notify: called when a release is closed.
        closed: the keys of flags whose release the parent of this process has closed.
    """

    def __init__(
        self,
        reporter: Reporter,
        get_flags: Callable[[], CompiledSnapshot | None],
        apply_flags: Callable[[CompiledSnapshot], None],
        notify: Callable[[ClientEvent], None],
        closed: frozenset[str] = frozenset(),
    ) -> None:
        self._reporter = reporter
        self._get_flags = get_flags
        self._apply_flags = apply_flags
        self._notify = notify
        self._inherited = closed
        self._lock = threading.Lock()
        self._outage: _Outage | None = None
        self._thread: threading.Thread | None = None
        self._stopped = False
        self._epochs: dict[str, int] = {}

    @property
    def closed(self) -> frozenset[str]:
        """The keys of flags whose release is closed here at present."""
        outage = self._outage
        return self._inherited if outage is None else self._inherited.union(outage.closed.copy())

    def start_outage(self) -> None:
        """Watch the releases that ask for it; during an outage this does nothing."""
        with self._lock:
            flags = self._get_flags()
            if self._stopped or self._outage is not None or flags is None:
                return
            releases = watched_releases(flags.releases)
            if not releases:
                return
            # A release that cannot be watched at present keeps its number of epochs.
            active = {release.id for release in flags.releases.values()}
            self._epochs = {id: number for id, number in self._epochs.items() if id in active}
            self._reporter.watch_failures(True)
            ended, _ = self._reporter.take_window()
            evidence = OutageEvidence(releases, ended, self._epochs)
            outage = self._outage = _Outage(evidence)
        try:
            self._thread = threads.start("tidegate-breaker", lambda: self._watch(outage))
        except RuntimeError:
            # There are too many threads, or (since Python 3.12) the main one has ended. The
            # updates must go on all the same; the next failure tries again.
            log.debug("no thread can be started to watch the releases", exc_info=True)
            with self._lock:
                self._outage = None
            self._reporter.watch_failures(False)

    def end_outage(self, flags: CompiledSnapshot) -> tuple[CompiledSnapshot | None, bool]:
        """Put the server's flags in force.

        Returns:
            The flags that were in force, and whether this process had closed any of them.
        """
        with self._lock:
            before, closed = self._get_flags(), self.closed
            outage, self._outage, self._inherited = self._outage, None, frozenset()
            if before is not flags:
                self._apply_flags(flags)
            if outage is not None:
                outage.over.set()
                self._reporter.watch_failures(False)
                self._reporter.end_trips()
        if closed:
            log.info("connected again: the server's flags apply to %s", ", ".join(sorted(closed)))
        return before, bool(closed)

    def stop(self) -> None:
        """Stop watching; what is closed stays closed."""
        self._stopped = True
        outage = self._outage
        if outage is not None:
            outage.over.set()

    def join(self, deadline: float) -> bool:
        """Wait for the end of the thread, after ``stop``; return whether it has ended."""
        return threads.join(self._thread, deadline)

    def _watch(self, outage: _Outage) -> None:
        while not (outage.over.wait(WINDOW_SECONDS) or self._stopped):
            try:
                for trip in outage.evidence.add_window(*self._reporter.take_window()):
                    self._close_release(outage, trip)
            except Exception:
                # Whatever is wrong here, the server's flags stay in force.
                log.debug("the evidence of an outage cannot be evaluated", exc_info=True)

    def _close_release(self, outage: _Outage, trip: Trip) -> None:
        with self._lock:
            before = self._get_flags()
            if self._outage is not outage or self._stopped or before is None:
                return
            flag = _without_openings(before.snapshot.flags[trip.flag])
            flags = before.apply(Update(before.version, {trip.flag: flag}))
            self._apply_flags(flags)
            outage.closed.add(trip.flag)
            self._reporter.start_trip(trip.release)
        log.warning(
            "the release of %s is closed here until the server answers again: "
            "%d users failed in %d operations of the treatment, %d in %d of the control",
            *(trip.flag, trip.treatment.failing, trip.treatment.outcomes),
            *(trip.control.failing, trip.control.outcomes),
        )
        self._notify(ClientEvent("changed", flags.changed_flags(before)))


def _without_openings(flag: Flag) -> Flag:
    """Return the flag with a release without openings: all users get the control, uncounted."""
    return replace(flag, release=flag.release and replace(flag.release, openings=()))
