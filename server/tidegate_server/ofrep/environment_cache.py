"""Environments that this process evaluates for others: compiled, fresh, and counted.

A resident holds one environment's snapshot in memory, follows its changes, and reports what
was counted as an SDK instance of its own would. It moves in with the first question and out
when nobody has asked for a while.

Threads: each resident has one thread (a greenlet under gevent), which alone applies changes
and sends reports. ``Residents._lock`` guards the table. ``Resident._loading`` is held while
the first snapshot is read, since whoever asks then has to wait for it. ``Resident._changed``
guards the listeners and wakes those who wait for a version. Questions take no lock: they read
one reference, which a change replaces as a whole.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import structlog
from tidegate.evaluation.rule_set import CompiledSnapshot
from tidegate.flag_follower import LAST_REPORT_SECONDS, FlagFollower, Report, needs_report
from tidegate.version import VERSION

from tidegate_server.errors import Forgotten, StoreUnavailable
from tidegate_server.ofrep.exposures import Exposures
from tidegate_server.ofrep.flag_views import Audience, View
from tidegate_server.ofrep.report_contents import stored_report
from tidegate_server.store import Store
from tidegate_server.store.change_feed import FeedUpdate, Subscription

log = structlog.get_logger("tidegate.residents")

Place = tuple[str, str]

SDK = f"tidegate-server/{VERSION}"
IDLE_SECONDS = 900.0
RETRY_SECONDS = 1.0
CATCH_UP_SECONDS = 2.0
"""How long a question that names a newer version waits for it."""


class StoreSource:
    """The store, as a source of one environment's flags."""

    def __init__(self, store: Store, place: Place) -> None:
        self._store = store
        self._place = place

    def snapshot(self) -> Any:
        """Return the whole snapshot."""
        return json.loads(self._store.snapshot(*self._place).body)

    def report(self, report: Report) -> bool:
        """Count a report; return False if the store does not know this instance any more."""
        sent = stored_report(report, SDK, socket.gethostname()[:100], os.getpid())
        try:
            self._store.report(*self._place, sent)
        except Forgotten:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Notice:
    """The last change that an audience could notice: its version, and when it came here."""

    version: int
    at: float


@dataclass(frozen=True, slots=True)
class Served:
    """What questions are answered from at one moment."""

    views: Mapping[Audience, View]
    notices: Mapping[Audience, Notice]

    @property
    def compiled(self) -> CompiledSnapshot:
        """The snapshot itself."""
        return self.views[Audience.APPLICATIONS].compiled


class Listener:
    """Somebody who wants to hear of changes; several at once are one."""

    def __init__(self, resident: Resident) -> None:
        self._resident = resident
        self._bell = threading.Event()

    def wait(self, timeout: float) -> bool:
        """Wait for a change; False when none came within ``timeout`` seconds."""
        if self._bell.wait(timeout):
            self._bell.clear()
            return True
        return False

    def ring(self) -> None:
        """Say that something changed."""
        self._bell.set()

    def close(self) -> None:
        """Want to hear no more."""
        self._resident.forget(self)


class Resident:
    """One environment in this process. Made by ``Residents.of``."""

    def __init__(self, store: Store, place: Place) -> None:
        self._store = store
        self._place = place
        self._loading = threading.Lock()
        self._changed = threading.Condition()
        self._listeners: set[Listener] = set()
        self._served: Served | None = None
        self._subscription: Subscription | None = None
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._report_at = 0.0
        self.exposures = Exposures()
        self._follower = FlagFollower(StoreSource(store, place), self.exposures.reporter)
        self.used_at = time.monotonic()

    def served(self) -> Served:
        """What questions are answered from now.

        Raises:
            StoreUnavailable: nothing was read yet, and the store cannot be reached.
        """
        served = self._served
        if served is None:
            with self._loading:
                if self._served is None:
                    self._move_in()
                served = self._served
        assert served is not None
        return served

    def served_since(self, version: int) -> Served:
        """As ``served``, of this version or a later one if it comes within a moment."""
        served = self.served()
        if served.compiled.version >= version:
            return served
        try:
            there_is = self._store.version(*self._place)
        except StoreUnavailable:
            return served
        with self._changed:
            self._changed.wait_for(
                lambda: self._stopping or self._version() >= min(version, there_is),
                CATCH_UP_SECONDS,
            )
        return self.served()

    def listen(self) -> Listener:
        """Hear of changes from now on."""
        listener = Listener(self)
        with self._changed:
            self._listeners.add(listener)
        return listener

    def forget(self, listener: Listener) -> None:
        """Tell a listener no more."""
        with self._changed:
            self._listeners.discard(listener)
        self.used_at = time.monotonic()

    def idle(self, now: float) -> bool:
        """Whether nobody has asked for a while, and nobody listens."""
        return not self._listeners and now - self.used_at > IDLE_SECONDS

    def stop(self) -> None:
        """Report a last time and follow no more, soon; a second call does nothing."""
        self._stopping = True
        if self._subscription is not None:
            self._subscription.put(None)
        with self._changed:
            self._changed.notify_all()
            for listener in self._listeners:
                listener.ring()

    def join(self, timeout: float) -> None:
        """Wait until a stopped resident has reported a last time."""
        if self._thread is not None:
            self._thread.join(timeout)

    def _version(self) -> int:
        return -1 if self._served is None else self._served.compiled.version

    def _move_in(self) -> None:
        # Subscribed first, so that nothing falls between the snapshot and its changes.
        subscription = self._store.feed().subscribe(*self._place)
        try:
            self._put(self._follower.read_snapshot())
        except StoreUnavailable:
            subscription.close()
            raise
        self._subscription = subscription
        name = "tidegate-resident-" + "/".join(self._place)
        self._thread = threading.Thread(
            target=self._live, args=(subscription,), name=name, daemon=True
        )
        self._thread.start()

    def _live(self, subscription: Subscription) -> None:
        behind = False
        while not self._stopping:
            try:
                wait = RETRY_SECONDS if behind else max(0.0, self._report_at - time.monotonic())
                update = subscription.get(wait)
                if behind:
                    self._put(self._follower.read_snapshot())
                elif update is not None:
                    self._take(update)
                behind = False
                if time.monotonic() >= self._report_at:
                    self._report()
            except StoreUnavailable:
                behind = True  # what is missed meanwhile comes with the next snapshot
            except Exception:
                # A fault of ours must not leave old flags in force for ever.
                log.exception("resident_failed", place=self._place)
                behind = True
        try:
            self._report(leaving=True)
        finally:
            subscription.close()

    def _take(self, update: FeedUpdate) -> None:
        if update.data is None:
            flags: CompiledSnapshot | None = self._follower.read_snapshot()
        else:
            flags = self._follower.take_update(json.loads(update.data))
        if flags is not None:
            self._put(flags)

    def _put(self, compiled: CompiledSnapshot) -> None:
        before, now = self._served, time.time()
        views, notices = {}, {}
        for audience in Audience:
            old = None if before is None else before.views[audience]
            view = views[audience] = View(compiled, audience, old)
            if before is None or old is None or view.differs(old):
                notices[audience] = Notice(compiled.version, now)
            else:
                notices[audience] = before.notices[audience]
        self._served = Served(views, notices)
        if needs_report(None if before is None else before.compiled, compiled):
            self._report_at = 0.0
        with self._changed:
            self._changed.notify_all()
            for listener in self._listeners:
                listener.ring()

    def _report(self, leaving: bool = False) -> None:
        self._report_at = time.monotonic() + self._follower.report_interval()
        # While the store is away nothing is lost: the next report repeats all totals.
        with suppress(StoreUnavailable):
            self._follower.send_report(leaving)


class Residents:
    """The residents of this process.

    Args:
        store: where their environments are.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._residents: dict[Place, Resident] = {}
        self._looked_at = time.monotonic()

    def of(self, place: Place) -> Resident:
        """The resident of an environment; it has its flags when it is asked for them."""
        resident = self._residents.get(place)
        now = time.monotonic()
        if resident is None:
            with self._lock:
                resident = self._residents.setdefault(place, Resident(self._store, place))
        resident.used_at = now
        if now - self._looked_at > IDLE_SECONDS:
            self._looked_at = now
            self._move_out(now)
        return resident

    def close(self) -> None:
        """Let every resident report a last time, and stop. Idempotent."""
        with self._lock:
            residents, self._residents = list(self._residents.values()), {}
        for resident in residents:
            resident.stop()
        patience = time.monotonic() + LAST_REPORT_SECONDS
        for resident in residents:
            resident.join(max(0.0, patience - time.monotonic()))

    def _move_out(self, now: float) -> None:
        with self._lock:
            idle = [place for place, each in self._residents.items() if each.idle(now)]
            gone = [self._residents.pop(place) for place in idle]
        for resident in gone:
            resident.stop()
