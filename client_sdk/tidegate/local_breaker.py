"""The local circuit breaker: closing a release in this process while the server is away.

A release whose policy allows it is watched from the moment the connection is lost. When its
treatment fails here far beyond what is tolerated, everyone gets the control here, and is no
evidence any more, until the server speaks again: what it says then is in force.

One daemon thread for the time of an outage in which there is something to watch. ``_lock`` is
held for swaps of the flags in force alone; no evaluation takes it, and neither does ``stop``,
which the handler of a signal may call in the midst of anything.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from tidegate.details import ClientEvent
from tidegate.evaluation.rule_set import CompiledSnapshot
from tidegate.local_evidence import Outage, Trip, watched
from tidegate.model import Flag, Update
from tidegate.reporting import Reporter
from tidegate.runtime import threads

log: logging.Logger = logging.getLogger("tidegate")

WINDOW_SECONDS = 5.0
"""How often the evidence of an outage is looked at."""


@dataclass(slots=True)
class _Watch:
    """One outage being watched. ``closed``: the keys of flags whose release was closed."""

    outage: Outage
    over: threading.Event = field(default_factory=threading.Event)
    closed: set[str] = field(default_factory=set)


class Breaker:
    """Closes releases of one process, and opens them again.

    Args:
        reporter: what the process counts.
        get: returns the compiled flags in force.
        apply: puts other ones in their place.
        tell: is told when a release is closed.
        closed: the keys of flags whose release the parent of this process has closed.
    """

    def __init__(
        self,
        reporter: Reporter,
        get: Callable[[], CompiledSnapshot | None],
        apply: Callable[[CompiledSnapshot], None],
        tell: Callable[[ClientEvent], None],
        closed: frozenset[str] = frozenset(),
    ) -> None:
        self._reporter = reporter
        self._get = get
        self._apply = apply
        self._tell = tell
        self._inherited = closed
        self._lock = threading.Lock()
        self._watch: _Watch | None = None
        self._stopped = False
        self._spent: dict[str, int] = {}

    @property
    def closed(self) -> frozenset[str]:
        """The keys of flags whose release is closed here at present."""
        watch = self._watch
        return self._inherited if watch is None else self._inherited.union(watch.closed.copy())

    def begin(self) -> None:
        """The server is away: watch the releases that ask for it."""
        with self._lock:
            flags = self._get()
            if self._stopped or self._watch is not None or flags is None:
                return
            releases = watched(flags.releases)
            if not releases:
                return
            # Those that have nothing to watch at present may have again.
            ids = {release.id for release in flags.releases.values()}
            self._spent = {id: spent for id, spent in self._spent.items() if id in ids}
            self._reporter.watch(True)
            ended, _ = self._reporter.look()
            watch = self._watch = _Watch(Outage(releases, ended, self._spent))
        try:
            threads.start("tidegate-breaker", lambda: self._look_on(watch))
        except RuntimeError:
            # There are too many, or (since Python 3.12) the main one has ended. Whoever follows
            # the server must go on all the same; the next failure tries again.
            log.debug("nobody can watch over the releases", exc_info=True)
            with self._lock:
                self._watch = None
            self._reporter.watch(False)

    def end(self, flags: CompiledSnapshot) -> tuple[CompiledSnapshot | None, bool]:
        """The server speaks: put its flags in force.

        Returns:
            The flags that were in force, and whether this process had closed any for itself.
        """
        with self._lock:
            before, closed = self._get(), self.closed
            watch, self._watch, self._inherited = self._watch, None, frozenset()
            if before is not flags:
                self._apply(flags)
            if watch is not None:
                watch.over.set()
                self._reporter.watch(False)
                self._reporter.reopened()
        if closed:
            log.info("as the server says again: %s", ", ".join(sorted(closed)))
        return before, bool(closed)

    def stop(self) -> None:
        """Watch no more; what is closed stays so."""
        self._stopped = True
        watch = self._watch
        if watch is not None:
            watch.over.set()

    def _look_on(self, watch: _Watch) -> None:
        while not (watch.over.wait(WINDOW_SECONDS) or self._stopped):
            try:
                for trip in watch.outage.close_window(*self._reporter.look()):
                    self._close(watch, trip)
            except Exception:
                # Whatever is wrong here, the flags that the server gave stay in force.
                log.debug("the evidence of an outage cannot be drawn", exc_info=True)

    def _close(self, watch: _Watch, trip: Trip) -> None:
        with self._lock:
            flags = self._get()
            if self._watch is not watch or self._stopped or flags is None:
                return
            flag = _closed(flags.snapshot.flags[trip.flag])
            present = flags.apply(Update(flags.version, {trip.flag: flag}))
            self._apply(present)
            watch.closed.add(trip.flag)
            self._reporter.tripped(trip.release)
        log.warning(
            "the release of %s is closed here until the server speaks again: "
            "%d users failed in %d operations of the treatment, %d in %d of the control",
            *(trip.flag, trip.treatment.failing, trip.treatment.outcomes),
            *(trip.control.failing, trip.control.outcomes),
        )
        self._tell(ClientEvent("changed", present.changed_flags(flags)))


def _closed(flag: Flag) -> Flag:
    """A flag whose release has opened nobody: everyone gets the control and is no evidence."""
    return replace(flag, release=flag.release and replace(flag.release, openings=()))
