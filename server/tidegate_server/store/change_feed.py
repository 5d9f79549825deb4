"""One reader of change streams a process, however many wait for changes.

Threads: ``Feed`` owns one daemon thread (a greenlet under gevent), which alone reads from
the store. ``_lock`` guards the subscriptions and the positions; nobody waits for the
network under it. A subscription's queue is the only thing shared with its owner.
"""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass
from typing import Any, Final

import structlog
from redis.exceptions import RedisError
from tidegate.backoff import Backoff

from tidegate_server.errors import StoreUnavailable
from tidegate_server.store import connection, keys

log = structlog.get_logger("tidegate.feed")

BLOCK_MS = 250
"""How long one read waits; a new subscription is heard of after that time at the latest."""

QUEUE_ROOM = 1_000
CHECK_SECONDS = 5.0
RETRY: Final = Backoff(first_s=0.05, longest_s=2.0)

Place = tuple[str, str]


@dataclass(frozen=True, slots=True)
class FeedUpdate:
    """A change of an environment. ``data`` None: something was missed, take a snapshot."""

    version: int
    data: str | None


class Subscription:
    """One waiter's queue of changes, from the version after ``position``."""

    def __init__(self, feed: Feed, place: Place, position: int) -> None:
        self._feed = feed
        self._queue: queue.Queue[FeedUpdate | None] = queue.Queue(QUEUE_ROOM)
        self.place = place
        self.position = position

    def get(self, timeout: float) -> FeedUpdate | None:
        """Return the next change; None after ``timeout`` seconds, or when the feed closed."""
        try:
            return self._queue.get(timeout=timeout)
        except queue.Empty:
            return None

    def close(self) -> None:
        """Want no more."""
        self._feed.forget(self)

    def put(self, update: FeedUpdate | None) -> None:
        """Add a change; who does not keep up loses the queue and is told to take a snapshot."""
        try:
            self._queue.put_nowait(update)
        except queue.Full:
            with self._queue.mutex:
                self._queue.queue.clear()
            self._queue.put_nowait(update and FeedUpdate(update.version, None))


class Feed:
    """Reads the change streams that somebody waits for. Use ``Store.feed``."""

    def __init__(self, url: str) -> None:
        self._client = connection.open_client(url)
        self._lock = threading.Lock()
        self._subscriptions: dict[Place, list[Subscription]] = {}
        self._positions: dict[Place, int] = {}
        self._closed = False
        self._thread: threading.Thread | None = None

    def subscribe(self, project: str, environment: str) -> Subscription:
        """Wait for an environment's changes from its present version on.

        Raises:
            StoreUnavailable: the present version cannot be read.
        """
        place = (project, environment)
        version = self._versions([place])[0]
        with self._lock:
            # A place that is read already may be behind ``version``: its subscribers get
            # what is between once more, which a version tells them.
            position = self._positions.setdefault(place, version)
            subscription = Subscription(self, place, position)
            self._subscriptions.setdefault(place, []).append(subscription)
            if self._closed:
                subscription.put(None)
            elif self._thread is None:
                self._thread = threading.Thread(target=self._run, name="tidegate-feed", daemon=True)
                self._thread.start()
        return subscription

    def forget(self, subscription: Subscription) -> None:
        """Stop serving a subscription."""
        with self._lock:
            waiting = self._subscriptions.get(subscription.place, [])
            if subscription in waiting:
                waiting.remove(subscription)
            if not waiting:
                self._subscriptions.pop(subscription.place, None)
                self._positions.pop(subscription.place, None)

    def close(self) -> None:
        """Wake everyone who waits, for good."""
        with self._lock:
            self._closed = True
            for waiting in self._subscriptions.values():
                for subscription in waiting:
                    subscription.put(None)
            running = self._thread is not None
        if not running:
            self._let_go()  # else the thread does, which may be reading just now

    def _run(self) -> None:
        try:
            self._follow()
        finally:
            self._let_go()

    def _let_go(self) -> None:
        # What somebody reads from just now, a subscriber's first version, is left alone.
        self._client.connection_pool.disconnect(inuse_connections=False)

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
                    self._notice_older_store(positions)
                    checked = time.monotonic()
                self._read(positions)
                if failures:
                    log.info("feed_resumed")
                failures = 0
            except (RedisError, StoreUnavailable) as error:
                if self._closed:
                    return
                if not failures:
                    log.warning("feed_interrupted", error=type(error).__name__)
                failures += 1
                time.sleep(RETRY.wait_s(failures))

    def _read(self, positions: dict[Place, int]) -> None:
        places = {keys.changes(*place).encode(): place for place in positions}
        found: Any = self._client.xread(
            {key: f"{positions[place]}-0" for key, place in places.items()},
            block=BLOCK_MS,
        )
        for key, entries in found or ():
            place = places[key]
            for id, fields in entries:
                version = int(id.partition(b"-")[0])
                complete = version == positions[place] + 1
                data = fields[b"update"].decode() if complete else None
                positions[place] = version
                self._give(place, FeedUpdate(version, data))

    def _notice_older_store(self, positions: dict[Place, int]) -> None:
        """After a restore from an older copy versions are lower: nothing would ever come."""
        places = list(positions)
        for place, version in zip(places, self._versions(places), strict=True):
            if version < positions[place]:
                positions[place] = version
                self._give(place, FeedUpdate(version, None))

    def _give(self, place: Place, update: FeedUpdate) -> None:
        with self._lock:
            if place in self._positions:
                self._positions[place] = update.version
            for subscription in self._subscriptions.get(place, ()):
                subscription.put(update)

    def _versions(self, places: list[Place]) -> list[int]:
        names = [keys.version(*place) for place in places]
        values = connection.read(lambda: [self._client.get(name) for name in names])
        return [int(value or 0) for value in values]
