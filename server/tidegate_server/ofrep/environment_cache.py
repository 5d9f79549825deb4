"""Environments that this process evaluates flags of: their compiled flags, kept up to date.

A cached environment holds the snapshot in memory, follows the change feed, and reports its
counts as an SDK instance does. It is loaded at the first request and dropped when nobody has
used it for ``IDLE_SECONDS``.

Threads: each environment has one thread (a greenlet under gevent), which alone applies changes
and sends reports. ``EnvironmentCache._lock`` guards the table. ``CachedEnvironment._loading`` is
held while the first snapshot is read: other requests wait for it. ``CachedEnvironment._changed``
guards the listeners and wakes requests that wait for a version. Evaluations take no lock: they
read one reference, which a change replaces as a whole.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from weakref import WeakValueDictionary

import structlog
from tidegate.evaluation.compiled_snapshot import CompiledSnapshot
from tidegate.evaluation.key_sets import KeySet
from tidegate.flag_follower import LAST_REPORT_SECONDS, FlagFollower, Report, needs_report
from tidegate.model import InKeySet
from tidegate.version import VERSION

from tidegate_server.domain.evidence import Source
from tidegate_server.errors import InstanceForgotten, NotKept, RateLimited, StoreUnavailable
from tidegate_server.ofrep.exposures import ExposureCounts
from tidegate_server.ofrep.flag_views import Audience, FlagView
from tidegate_server.ofrep.report_contents import stored_report
from tidegate_server.store import Store
from tidegate_server.store.change_feed import Subscription, Update

log = structlog.get_logger("tidegate.environment_cache")

EnvironmentKey = tuple[str, str]
"""The keys of a project and of one of its environments."""

SDK = f"tidegate-server/{VERSION}"
IDLE_SECONDS = 900.0
RETRY_SECONDS = 1.0
CATCH_UP_SECONDS = 2.0
"""How long a request that names a newer version waits for it."""


_key_sets: WeakValueDictionary[str, KeySet] = WeakValueDictionary()
"""The key sets in use in this process, by digest."""


class StoreSource:
    """The store, as a source of one environment's flags.

    Args:
        store: the store.
        key: the environment.
        source: whose counts the reports have.
    """

    def __init__(self, store: Store, key: EnvironmentKey, source: Source) -> None:
        self._store = store
        self._key = key
        self._source = source

    def snapshot(self) -> bytes:
        """Return the whole snapshot as JSON."""
        return self._store.snapshot(*self._key).body

    def key_set(self, wanted: InKeySet, known: KeySet | None) -> KeySet:
        """Return a key set; environments of one project share it."""
        found = _key_sets.get(wanted.key_set)
        if found is None:
            content = self._store.key_sets.content(self._key[0], wanted.key_set)
            found = KeySet.of_content(wanted.key_set, wanted.salt, content)
            _key_sets[wanted.key_set] = found
        return found

    def report(self, report: Report) -> bool:
        """Count a report; return False if the store does not know this instance any more."""
        host = socket.gethostname()[:100]
        sent = stored_report(report, self._source, SDK, host, os.getpid())
        try:
            self._store.evidence.add_report(*self._key, sent)
        except InstanceForgotten:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Change:
    """A change of the flags: its version, and the time at which this process applied it."""

    version: int
    time: float


@dataclass(frozen=True, slots=True)
class CachedFlags:
    """The flags of an environment at one version.

    Attributes:
        views: what each audience may know of the flags.
        last_changes: the last change that each audience could notice.
    """

    views: Mapping[Audience, FlagView]
    last_changes: Mapping[Audience, Change]

    @property
    def compiled(self) -> CompiledSnapshot:
        """The compiled snapshot."""
        return self.views[Audience.APPLICATIONS].compiled


class ChangeListener:
    """Waits for changes; several changes at once wake it once."""

    def __init__(self, environment: CachedEnvironment) -> None:
        self._environment = environment
        self._changed = threading.Event()

    def wait(self, timeout: float) -> bool:
        """Wait for a change; return False if there was none within ``timeout`` seconds."""
        if self._changed.wait(timeout):
            self._changed.clear()
            return True
        return False

    def notify(self) -> None:
        """Wake the listener."""
        self._changed.set()

    def close(self) -> None:
        """Stop listening."""
        self._environment.remove_listener(self)


class CachedEnvironment:
    """One environment in this process. Use ``EnvironmentCache.get``."""

    def __init__(self, store: Store, key: EnvironmentKey) -> None:
        self._store = store
        self._key = key
        self._loading = threading.Lock()
        self._changed = threading.Condition()
        self._listeners: set[ChangeListener] = set()
        self._flags: CachedFlags | None = None
        self._subscription: Subscription | None = None
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._report_at = 0.0
        self.exposures = {source: ExposureCounts() for source in Source}
        self._followers = {
            source: FlagFollower(StoreSource(store, key, source), counts.reporter)
            for source, counts in self.exposures.items()
        }
        self._follower = self._followers[Source.SERVER]
        self.used_at = time.monotonic()

    def current(self) -> CachedFlags:
        """Return the current flags.

        Raises:
            StoreUnavailable: nothing was read yet, and the store cannot be reached.
        """
        flags = self._flags
        if flags is None:
            with self._loading:
                if self._flags is None:
                    self._load()
                flags = self._flags
        assert flags is not None
        return flags

    def current_at_least(self, version: int) -> CachedFlags:
        """Return the current flags; wait up to ``CATCH_UP_SECONDS`` for a version in the store.

        Raises:
            StoreUnavailable: nothing was read yet, and the store cannot be reached.
        """
        flags = self.current()
        if flags.compiled.version >= version:
            return flags
        try:
            newest = self._store.version(*self._key)
        except StoreUnavailable:
            return flags
        with self._changed:
            self._changed.wait_for(
                lambda: self._stopping or self._version() >= min(version, newest),
                CATCH_UP_SECONDS,
            )
        return self.current()

    def listen(self) -> ChangeListener:
        """Return a listener for changes from now on; close it when done."""
        listener = ChangeListener(self)
        with self._changed:
            self._listeners.add(listener)
        return listener

    def remove_listener(self, listener: ChangeListener) -> None:
        """Notify a listener no more."""
        with self._changed:
            self._listeners.discard(listener)
        self.used_at = time.monotonic()

    def is_idle(self, now: float) -> bool:
        """Return whether nobody listens and nobody has used it for ``IDLE_SECONDS``."""
        return not self._listeners and now - self.used_at > IDLE_SECONDS

    def stop(self) -> None:
        """Tell the thread to send a last report and end. Idempotent."""
        self._stopping = True
        if self._subscription is not None:
            self._subscription.put(None)
        self._notify_listeners()

    def join(self, timeout: float) -> None:
        """Wait for the thread to end."""
        if self._thread is not None:
            self._thread.join(timeout)

    def _version(self) -> int:
        return -1 if self._flags is None else self._flags.compiled.version

    def _load(self) -> None:
        # Subscribe first, so that no change is lost between the snapshot and its updates.
        subscription = self._store.change_feed.subscribe(*self._key)
        try:
            self._replace_flags(self._read_snapshot())
        except StoreUnavailable:
            subscription.close()
            raise
        self._subscription = subscription
        name = "tidegate-environment-" + "/".join(self._key)
        self._thread = threading.Thread(
            target=self._run, args=(subscription,), name=name, daemon=True
        )
        self._thread.start()

    def _run(self, subscription: Subscription) -> None:
        out_of_date = False
        while not self._stopping:
            try:
                until_report = max(0.0, self._report_at - time.monotonic())
                update = subscription.get(RETRY_SECONDS if out_of_date else until_report)
                if out_of_date:
                    self._replace_flags(self._read_snapshot())
                elif update is not None:
                    self._apply(update)
                out_of_date = False
                if time.monotonic() >= self._report_at:
                    self._report()
            except StoreUnavailable:
                out_of_date = True  # the next snapshot has the changes of the outage
            except Exception:
                # A bug here must not leave old flags in force for ever.
                log.exception("environment_update_failed", environment=self._key)
                out_of_date = True
        try:
            self._report(leaving=True)
        finally:
            subscription.close()

    def _apply(self, update: Update) -> None:
        if update.data is None:
            self._replace_flags(self._read_snapshot())
        elif (flags := self._follower.take_update(update.data)) is not None:
            self._replace_flags(self._with_key_sets(flags))

    def _read_snapshot(self) -> CompiledSnapshot:
        return self._with_key_sets(self._follower.read_snapshot())

    def _with_key_sets(self, flags: CompiledSnapshot) -> CompiledSnapshot:
        """Return flags with the key sets that they need; what needs others stays as it was."""
        try:
            return self._follower.read_key_sets() or flags
        except NotKept:
            # Already replaced by a newer one, whose update comes next.
            log.warning("key_set_missing", environment=self._key)
            return flags

    def _replace_flags(self, compiled: CompiledSnapshot) -> None:
        before, now = self._flags, time.time()
        views, changes = {}, {}
        for audience in Audience:
            old = None if before is None else before.views[audience]
            view = views[audience] = FlagView(compiled, audience, old)
            if before is None or old is None or view.differs(old):
                changes[audience] = Change(compiled.version, now)
            else:
                changes[audience] = before.last_changes[audience]
        self._flags = CachedFlags(views, changes)
        for follower in self._followers.values():
            follower.flags = compiled
        if needs_report(None if before is None else before.compiled, compiled):
            self._report_at = 0.0
        self._notify_listeners()

    def _notify_listeners(self) -> None:
        with self._changed:
            self._changed.notify_all()
            for listener in self._listeners:
                listener.notify()

    def _report(self, leaving: bool = False) -> None:
        self._report_at = time.monotonic() + self._follower.report_interval()
        # Nothing is lost while the store is away or takes no new instances: the next report
        # repeats all totals.
        with suppress(StoreUnavailable, RateLimited):
            for source, counts in self.exposures.items():
                if counts.asked_for_all:
                    now_ms = self._store.now_ms()
                    self._store.evaluations.note_bulk(*self._key, source, now_ms)
                    counts.asked_for_all = False
            self._follower.send_report(leaving)
            if self.exposures[Source.CLIENT].used:
                self._followers[Source.CLIENT].send_report(leaving)


class EnvironmentCache:
    """The environments that this process evaluates flags of.

    Args:
        store: the store with the environments.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._environments: dict[EnvironmentKey, CachedEnvironment] = {}
        self._evicted_at = time.monotonic()

    def get(self, key: EnvironmentKey) -> CachedEnvironment:
        """Return an environment; it reads its flags when they are used first."""
        environment = self._environments.get(key)
        now = time.monotonic()
        if environment is None:
            with self._lock:
                environment = self._environments.setdefault(
                    key, CachedEnvironment(self._store, key)
                )
        environment.used_at = now
        if now - self._evicted_at > IDLE_SECONDS:
            self._evicted_at = now
            self._evict_idle(now)
        return environment

    def close(self) -> None:
        """Stop every environment after a last report. Idempotent."""
        with self._lock:
            environments, self._environments = list(self._environments.values()), {}
        for environment in environments:
            environment.stop()
        deadline = time.monotonic() + LAST_REPORT_SECONDS
        for environment in environments:
            environment.join(max(0.0, deadline - time.monotonic()))

    def _evict_idle(self, now: float) -> None:
        with self._lock:
            idle = [key for key, each in self._environments.items() if each.is_idle(now)]
            evicted = [self._environments.pop(key) for key in idle]
        for environment in evicted:
            environment.stop()
