"""What both feeds have: subscriptions with a queue each, and one thread that reads for all."""

from __future__ import annotations

import queue
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from typing import Any, Final, Generic, TypeAlias, TypeVar

import structlog
from tidegate.backoff import Backoff

from tidegate_server.errors import StoreUnavailable
from tidegate_server.store.connection import Connection

log = structlog.get_logger("tidegate.feed")

Place: TypeAlias = tuple[str, str]
"""A project and an environment."""

BLOCK_MS = 250
"""How long one read waits. A new subscription gets its first event after at most this time."""

RETRY: Final = Backoff(first_s=0.05, longest_s=2.0)

E = TypeVar("E")
"""What a feed's events are."""
S = TypeVar("S")
"""What names its streams."""
P = TypeVar("P")
"""Up to where they were read."""


class FeedSubscription(ABC, Generic[E]):
    """A queue of what happens in one environment.

    Args:
        feed: reads for it.
        place: the environment.
        size: how many events it keeps.
        receive: takes the events instead of the queue, in the feed's thread and under its lock, so
            it must not wait; None stands for the end of the feed.
    """

    def __init__(
        self,
        feed: Feed[E, Any, Any],
        place: Place,
        size: int,
        receive: Callable[[E | None], None] | None = None,
    ) -> None:
        self._feed = feed
        self._receive = receive
        self._queue: queue.Queue[E | None] = queue.Queue(size)
        self.place = place

    @abstractmethod
    def lost(self, event: E) -> E:
        """Return what says that events were lost, the given one the last of them."""

    def get(self, timeout: float) -> E | None:
        """Return the next event; None after ``timeout`` seconds or if the feed has closed."""
        try:
            return self._queue.get(timeout=timeout)
        except queue.Empty:
            return None

    def close(self) -> None:
        """Unsubscribe."""
        self._feed.unsubscribe(self)

    def put(self, event: E | None) -> None:
        """Add an event; if the queue is full, replace it with one that says so."""
        if self._receive is not None:
            self._receive(event)
            return
        try:
            self._queue.put_nowait(event)
        except queue.Full:
            with self._queue.mutex:
                self._queue.queue.clear()
            self._queue.put_nowait(None if event is None else self.lost(event))


class Feed(ABC, Generic[E, S, P]):
    """Reads streams in a daemon thread (a greenlet under gevent) once there is a subscription.

    One thread reads all streams that one command may name (``Connection.lane``): everything in a
    single server, one project in a Cluster. There it ends with the project's last subscription.
    ``_lock`` guards the subscriptions and threads and is never held during network I/O.

    Args:
        connection: the feed's own connection to the store.
        name: of the feed, in the log.
    """

    def __init__(self, connection: Connection, name: str) -> None:
        self._connection = connection
        self._name = name
        self._positions: dict[S, P] = {}
        self._lock = threading.Lock()
        self._subscriptions: dict[Place, list[FeedSubscription[E]]] = {}
        self._closed = False
        self._threads: dict[Hashable, threading.Thread] = {}

    @abstractmethod
    def _project_of(self, stream: S) -> str:
        """Return the project that a stream belongs to."""

    @abstractmethod
    def _read(self, positions: dict[S, P], resumes: bool) -> None:
        """Publish what is new in streams.

        Args:
            positions: up to where they were read.
            resumes: whether the last read failed, so that anything may have happened since.

        Raises:
            StoreUnavailable: the store cannot be reached.
        """

    @abstractmethod
    def _forget_positions(self) -> None:
        """Forget the positions of streams without subscriptions; called under the lock."""

    def _add(self, subscription: FeedSubscription[E]) -> None:
        """Add a subscription, and start the thread with the first one; call it under the lock."""
        self._subscriptions.setdefault(subscription.place, []).append(subscription)
        lane = self._connection.lane(subscription.place[0])
        if self._closed:
            subscription.put(None)
        elif lane not in self._threads:
            self._threads[lane] = threading.Thread(
                target=self._run, args=(lane,), name=f"tidegate-feed-{self._name}", daemon=True
            )
            self._threads[lane].start()

    def _goes_on(self, lane: Hashable) -> bool:
        """Return whether a lane's thread has more to do; otherwise it is forgotten."""
        with self._lock:
            places = (place[0] for place in self._subscriptions)
            # The thread of a single server stays: subscriptions come and go all the time.
            goes_on = not self._closed and (
                lane == "" or any(self._connection.lane(project) == lane for project in places)
            )
            if not goes_on:
                self._threads.pop(lane, None)
        return goes_on

    def unsubscribe(self, subscription: FeedSubscription[E]) -> None:
        """Remove a subscription."""
        with self._lock:
            others = self._subscriptions.get(subscription.place, [])
            if subscription in others:
                others.remove(subscription)
            if not others:
                self._subscriptions.pop(subscription.place, None)
                self._forget_positions()

    def close(self) -> None:
        """End every subscription, also later ones."""
        with self._lock:
            self._closed = True
            for subscriptions in self._subscriptions.values():
                for subscription in subscriptions:
                    subscription.put(None)
            running = bool(self._threads)
        if not running:
            self._connection.release()  # otherwise the thread does, after its current read

    def _follow(self, lane: Hashable) -> None:
        failures = 0
        while self._goes_on(lane):
            with self._lock:
                positions = {
                    stream: position
                    for stream, position in self._positions.items()
                    if self._connection.lane(self._project_of(stream)) == lane
                }
            if not positions:
                time.sleep(BLOCK_MS / 1000)
                continue
            try:
                self._read(positions, failures > 0)
                if failures:
                    log.info("feed_resumed", feed=self._name)
                failures = 0
            except StoreUnavailable as error:
                if self._closed:
                    return
                if not failures:
                    log.warning("feed_interrupted", feed=self._name, problem=error.message)
                failures += 1
                time.sleep(RETRY.wait_s(failures))

    def _run(self, lane: Hashable) -> None:
        try:
            self._follow(lane)
        finally:
            if self._closed:
                self._connection.release()
