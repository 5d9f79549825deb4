"""Keeping a client's flags fresh and its reports sent, in the background.

Two daemon threads a process: one follows the stream, one reports. Neither is ever waited
for by an evaluation. They share with the client only ``apply``, which swaps the compiled
flags, and the events below. A third one watches over releases while the server is away
(``tidegate.local_breaker``).
"""

from __future__ import annotations

import json
import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Any

from tidegate import wire
from tidegate.details import ClientEvent
from tidegate.errors import Refused, Unreachable, WireError
from tidegate.evaluation.rule_set import CompiledSnapshot
from tidegate.flag_follower import LAST_REPORT_SECONDS, FlagFollower, Report, needs_report
from tidegate.local_breaker import Breaker
from tidegate.persistence import SnapshotFile
from tidegate.reporting import Reporter, counts_document
from tidegate.runtime import threads
from tidegate.transport import SDK, Transport

log: logging.Logger = logging.getLogger("tidegate")

FIRST_PAUSE = 0.25
LONGEST_PAUSE = 30.0
REFUSED_PAUSE = 60.0
STEADY_SECONDS = 5.0
"""A stream that lived this long was a good one: the next is tried without a long pause."""

POLLING_AFTER = 2
"""A stream that fails this often in a row is helped out by polling."""

POLL_SECONDS = 5.0
"""How often at least, while polling is all that works."""


class HttpSource:
    """The flag server, as a source of flags."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def snapshot(self) -> Any:
        """Return the whole snapshot."""
        return self._transport.snapshot(None)

    def report(self, report: Report) -> bool:
        """Send a report; return False if the server does not know this instance any more."""
        return self._transport.report(
            counts_document(report.counts)
            | {
                "version": report.version,
                "interval": report.interval,
                "leaving": report.leaving,
                "sdk": SDK,
                "host": self._transport.host,
                "pid": self._transport.pid,
            }
        )


class Link:
    """What ties a client to the server in one process: two threads and their state.

    Args:
        transport: the requests.
        reporter: the counts to report.
        get: returns the compiled flags in force, None before the first.
        apply: puts other ones in their place.
        given: what the server said last, where other flags are in force because a release was
            closed here.
        closed: the keys of flags whose release the parent of this process has closed.
        file: where the flags are kept for the next start; None: nowhere.
        tell: is told of changes of state.
        heard: whether anybody listens to what ``tell`` is told.
    """

    def __init__(
        self,
        transport: Transport,
        reporter: Reporter,
        get: Callable[[], CompiledSnapshot | None],
        apply: Callable[[CompiledSnapshot], None],
        file: SnapshotFile | None = None,
        tell: Callable[[ClientEvent], None] = lambda event: None,
        heard: Callable[[], bool] = lambda: True,
        given: CompiledSnapshot | None = None,
        closed: frozenset[str] = frozenset(),
    ) -> None:
        self._transport = transport
        self._follower = FlagFollower(HttpSource(transport), reporter, given or get())
        self._breaker = Breaker(reporter, get, apply, tell, closed)
        self._file = file
        self._tell = tell
        self._heard = heard
        self._saved: CompiledSnapshot | None = self.given
        self._stopping = threading.Event()
        self._flushing = False
        self._flushed = threading.Event()
        self._parting: threading.Event | None = None
        self._report_now = threading.Event()
        self._failures = 0
        self.trouble: ClientEvent | None = None
        self.ready: threading.Event = threading.Event()
        self.connected: bool = False
        self.fresh_at: float | None = None

    @property
    def given(self) -> CompiledSnapshot | None:
        """The flags that the server sent last."""
        return self._follower.flags

    @property
    def closed(self) -> frozenset[str]:
        """The keys of flags whose release this process closed for itself."""
        return self._breaker.closed

    def start(self) -> None:
        """Start both threads."""
        threads.start("tidegate-updates", self._follow)
        threads.start("tidegate-reports", self._keep_reporting)

    def stop(self, flush: bool = True) -> None:
        """Stop both threads, sending what has not been reported yet."""
        if self._stopping.is_set():
            return
        self._flushing = flush and self.ready.is_set()
        self._stopping.set()
        self._breaker.stop()
        self._report_now.set()
        if self._flushing:
            # The thread that reports does it: since Python 3.12 no other can be started while
            # the interpreter ends. A dead server must not keep an application from ending.
            self._flushed.wait(LAST_REPORT_SECONDS)
        self._save()
        self._transport.close()

    def part(self) -> None:
        """Send a report now that may be the last one; if there is another, it was not."""
        if not self.ready.is_set() or self._stopping.is_set():
            return
        parted = self._parting = threading.Event()
        self._report_now.set()
        parted.wait(LAST_REPORT_SECONDS)

    def _follow(self) -> None:
        while not self._stopping.is_set():
            began = time.monotonic()
            refused = False
            asked = 0.0
            try:
                self._read_stream()
                trouble = "the stream ended"
            except Unreachable as error:
                refused = isinstance(error, Refused)
                trouble = error.kind
                asked = error.wait
            except Exception as error:
                # A fault of ours must not leave the application with old flags for ever.
                trouble = f"an unexpected {type(error).__name__}"
                log.debug("update failed", exc_info=True)
            # A stream that is cut as soon as it is there is no better than none.
            steady = time.monotonic() - began >= STEADY_SECONDS
            self._failures = 1 if steady else self._failures + 1
            pause = self._pause(refused, asked)
            if self._failures >= POLLING_AFTER and self._poll():
                pause = min(pause, POLL_SECONDS)
            else:
                self._lost(trouble, refused=refused)
            self._stopping.wait(pause)

    def _pause(self, refused: bool, asked: float = 0.0) -> float:
        """Return how long to wait: exponential, with full jitter above a half.

        What the server asked for is waited for, up to a minute, and spread beyond it.
        """
        longest = REFUSED_PAUSE if refused else LONGEST_PAUSE
        ceiling = min(longest, FIRST_PAUSE * 2 ** min(self._failures + 1, 10))
        pause = _between(ceiling / 2, ceiling)
        return max(pause, min(asked, REFUSED_PAUSE) * _between(1.0, 1.5))

    def _read_stream(self) -> None:
        present = self.given
        for event in self._transport.events(present.version if present else None):
            if self._stopping.is_set():
                return
            if event.name == "snapshot":
                self._take_snapshot(_load(event.data))
            elif event.name == "update":
                self._take_update(_load(event.data))
            elif self.given is None:
                continue
            self._found()

    def _poll(self) -> bool:
        """Ask for the flags once; return whether the server answered."""
        present = self.given
        try:
            document = self._transport.snapshot(present.version if present else None)
            if document is not None:
                self._take_snapshot(document)
        except Unreachable:
            return False
        except Exception:
            log.debug("poll failed", exc_info=True)
            return False
        self._found()
        return True

    def _take_snapshot(self, document: Any) -> None:
        try:
            self._put(self._follower.take_snapshot(document))
        except WireError as error:
            raise Unreachable(f"the snapshot cannot be read: {error}") from None

    def _take_update(self, document: Any) -> None:
        try:
            flags = self._follower.take_update(document)
        except WireError as error:
            raise Unreachable(f"an update cannot be read: {error}") from None
        if flags is not None:
            self._put(flags)

    def _put(self, compiled: CompiledSnapshot) -> None:
        before = self._put_in_force(compiled)
        for place, error in compiled.broken.items():
            if before is None or place not in before.broken:
                log.warning("%s cannot be read: %s", place, error)
        if needs_report(before, compiled):
            self._report_now.set()

    def _put_in_force(self, flags: CompiledSnapshot) -> CompiledSnapshot | None:
        """Do as the server says, also where this process did otherwise for a while.

        Returns:
            The flags that were in force until now.
        """
        before, reopened = self._breaker.end(flags)
        if reopened:
            # What happened meanwhile is of interest now.
            self._report_now.set()
        news = before is not flags and self._heard()
        if news and before is not None and (changed := flags.changed_flags(before)):
            self._tell(ClientEvent("changed", changed))
        return before

    def _found(self) -> None:
        self.fresh_at = time.monotonic()
        self.connected = True
        if self.given is not None:
            self._put_in_force(self.given)
        if self.trouble is not None or not self.ready.is_set():
            self.trouble = None
            present = self.given
            log.info("connected, at version %d", present.version if present else 0)
            self.ready.set()
            self._tell(ClientEvent("ready"))

    def _lost(self, kind: str, *, refused: bool = False) -> None:
        self.connected = False
        if not self._stopping.is_set():
            self._breaker.begin()
        known = self.trouble
        if self._stopping.is_set() or (known and (known.kind == "refused" or not refused)):
            return
        # Also when the server was away at first and then refuses: somebody has to act.
        self.trouble = ClientEvent("refused" if refused else "stale", message=kind)
        kept = "the last known flags stay in force" if self.given else "defaults are in force"
        log.warning("not connected (%s): %s", kind, kept)
        self._tell(self.trouble)

    def _keep_reporting(self) -> None:
        while not self._stopping.is_set():
            interval = self._follower.report_interval()
            self._report_now.wait(interval * _between(0.9, 1.0))
            if self._stopping.is_set():
                break
            self._report_now.clear()
            self._save()
            parted, self._parting = self._parting, None
            reported = not self.ready.is_set() or self._report(leaving=parted is not None)
            if parted is not None:
                parted.set()
            if not reported:
                # Nothing is lost by waiting: the next report says it all again.
                self._report_now.wait(min(interval, LONGEST_PAUSE))
        if self._flushing:
            self._report(leaving=True)
            self._flushed.set()

    def _save(self) -> None:
        """Keep the flags in force for the next start, when they are others than those kept."""
        present = self.given
        if self._file is None or present is None or present is self._saved:
            return
        self._saved = present
        self._file.save(wire.to_wire(present.snapshot))

    def _report(self, leaving: bool = False) -> bool:
        try:
            return self._follower.send_report(leaving)
        except Unreachable:
            return False
        except Exception:
            log.debug("report failed", exc_info=True)
            return False


def _between(least: float, most: float) -> float:
    return random.uniform(least, most)  # noqa: S311 - only spreads load


def _load(data: str) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        raise Unreachable("an event is not JSON") from None
