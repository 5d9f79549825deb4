"""The change feed: one reader of change streams per process, for any number of subscriptions.

Threads: ``ChangeFeed`` owns one daemon thread (a greenlet under gevent), the only one that reads
change streams. ``_lock`` guards the subscriptions and positions and is never held during network
I/O. A subscription shares only its queue with its owner.
"""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass
from typing import Final, TypeAlias

import structlog
from tidegate.backoff import Backoff

from tidegate_server.errors import StoreUnavailable
from tidegate_server.store import keys
from tidegate_server.store.connection import Connection, open_client

log = structlog.get_logger("tidegate.feed")

BLOCK_MS = 250
"""How long one read waits. A new subscription gets its first update after at most this time."""

QUEUE_SIZE = 1_000
CHECK_SECONDS = 5.0
RETRY: Final = Backoff(first_s=0.05, longest_s=2.0)

ProjectEnvironment: TypeAlias = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Update:
    """A change of an environment. If ``data`` is None, updates were missed: read a snapshot."""

    version: int
    data: str | None


class Subscription:
    """A queue of one environment's updates, starting after the version ``position``."""

    def __init__(self, feed: ChangeFeed, environment: ProjectEnvironment, position: int) -> None:
        self._feed = feed
        self._queue: queue.Queue[Update | None] = queue.Queue(QUEUE_SIZE)
        self.environment = environment
        self.position = position

    def get(self, timeout: float) -> Update | None:
        """Return the next update; None after ``timeout`` seconds or if the feed has closed."""
        try:
            return self._queue.get(timeout=timeout)
        except queue.Empty:
            return None

    def close(self) -> None:
        """Unsubscribe."""
        self._feed.unsubscribe(self)

    def put(self, update: Update | None) -> None:
        """Add an update; if the queue is full, replace it with a request to read a snapshot."""
        try:
            self._queue.put_nowait(update)
        except queue.Full:
            with self._queue.mutex:
                self._queue.queue.clear()
            self._queue.put_nowait(update and Update(update.version, None))


class ChangeFeed:
    """Reads the change streams that have subscriptions. Use ``Store.change_feed``."""

    def __init__(self, url: str) -> None:
        self._connection = Connection(open_client(url))
        self._lock = threading.Lock()
        self._subscriptions: dict[ProjectEnvironment, list[Subscription]] = {}
        self._positions: dict[ProjectEnvironment, int] = {}
        self._closed = False
        self._thread: threading.Thread | None = None

    def subscribe(self, project: str, environment: str) -> Subscription:
        """Subscribe to an environment's changes after its current version.

        Raises:
            StoreUnavailable: the current version cannot be read.
        """
        key = (project, environment)
        (version,) = self._versions([key])
        with self._lock:
            # An environment that is already being read may be behind ``version``. Then the new
            # subscription also gets older updates, which the owner knows by their versions.
            position = self._positions.setdefault(key, version)
            subscription = Subscription(self, key, position)
            self._subscriptions.setdefault(key, []).append(subscription)
            if self._closed:
                subscription.put(None)
            elif self._thread is None:
                self._thread = threading.Thread(target=self._run, name="tidegate-feed", daemon=True)
                self._thread.start()
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Remove a subscription."""
        with self._lock:
            others = self._subscriptions.get(subscription.environment, [])
            if subscription in others:
                others.remove(subscription)
            if not others:
                self._subscriptions.pop(subscription.environment, None)
                self._positions.pop(subscription.environment, None)

    def close(self) -> None:
        """End every subscription, also later ones."""
        with self._lock:
            self._closed = True
            for subscriptions in self._subscriptions.values():
                for subscription in subscriptions:
                    subscription.put(None)
            running = self._thread is not None
        if not running:
            self._disconnect()  # otherwise the thread does, after its current read

    def _run(self) -> None:
        try:
            self._follow()
        finally:
            self._disconnect()

    def _disconnect(self) -> None:
        # A connection in use, for the version of a new subscription, stays open.
        self._connection.client.connection_pool.disconnect(inuse_connections=False)

    def _follow(self) -> None:
        failures = 0
        checked = 0.0
        while not self._closed:
            with self._lock:
                positions = dict(self._positions)
            if not positions:
                time.sleep(BLOCK_MS / 1000)
                continue
            try:
                if failures or time.monotonic() - checked > CHECK_SECONDS:
                    self._reset_after_restore(positions)
                    checked = time.monotonic()
                self._read(positions)
                if failures:
                    log.info("change_feed_resumed")
                failures = 0
            except StoreUnavailable as error:
                if self._closed:
                    return
                if not failures:
                    log.warning("change_feed_interrupted", error=error.message)
                failures += 1
                time.sleep(RETRY.wait_s(failures))

    def _read(self, positions: dict[ProjectEnvironment, int]) -> None:
        environments = {keys.changes(*each).encode(): each for each in positions}
        after = [f"{version}-0" for version in positions.values()]
        streams = self._connection.read(
            "XREAD", "BLOCK", BLOCK_MS, "STREAMS", *environments, *after
        )
        for key, entries in streams or ():
            environment = environments[key]
            for id, fields in entries:
                version = int(id.partition(b"-")[0])
                complete = version == positions[environment] + 1
                data = fields[b"update"].decode() if complete else None
                positions[environment] = version
                self._publish(environment, Update(version, data))

    def _reset_after_restore(self, positions: dict[ProjectEnvironment, int]) -> None:
        """Request snapshots after a restore from a backup.

        Its versions are lower than the positions, so reads would find nothing.
        """
        environments = list(positions)
        for environment, version in zip(environments, self._versions(environments), strict=True):
            if version < positions[environment]:
                positions[environment] = version
                self._publish(environment, Update(version, None))

    def _publish(self, environment: ProjectEnvironment, update: Update) -> None:
        with self._lock:
            if environment in self._positions:
                self._positions[environment] = update.version
            for subscription in self._subscriptions.get(environment, ()):
                subscription.put(update)

    def _versions(self, environments: list[ProjectEnvironment]) -> list[int]:
        values = self._connection.read_many(("GET", keys.version(*each)) for each in environments)
        return [int(value or 0) for value in values]
