"""What both feeds have: subscriptions with a queue each, and one thread that reads for all."""

from __future__ import annotations

import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from typing import Generic, TypeAlias, TypeVar

from tidegate_server.store.connection import Connection

Place: TypeAlias = tuple[str, str]
"""A project and an environment."""

E = TypeVar("E")


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
        feed: Feed[E],
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


class Feed(ABC, Generic[E]):
    """Reads streams in a daemon thread (a greenlet under gevent) once there is a subscription.

    One thread reads all streams that one command may name (``Connection.lane``): everything in a
    single server, one project in a Cluster. There it ends with the project's last subscription.
    ``_lock`` guards the subscriptions and threads and is never held during network I/O.

    Args:
        connection: the feed's own connection to the store.
        thread_name: of the thread.
    """

    def __init__(self, connection: Connection, thread_name: str) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._subscriptions: dict[Place, list[FeedSubscription[E]]] = {}
        self._closed = False
        self._thread_name = thread_name
        self._threads: dict[Hashable, threading.Thread] = {}

    @abstractmethod
    def _follow(self, lane: Hashable) -> None:
        """Read the streams of a lane while ``_goes_on``."""

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
                target=self._run, args=(lane,), name=self._thread_name, daemon=True
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

    def _run(self, lane: Hashable) -> None:
        try:
            self._follow(lane)
        finally:
            if self._closed:
                self._connection.release()
