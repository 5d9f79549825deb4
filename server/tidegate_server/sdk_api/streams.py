"""The snapshot and updates of environments, as events for SDKs.

Thousands of SDKs stream one environment. What they get is made once for all of them: the event of
each change, and what a client gets first. A client that opens its stream gets what the store had
at that time or later; those who ask at the same time share one look at the store.

Threads: the change feed appends to a chain of changes. Each stream has a thread of its own (a
greenlet under gevent), which parks when it has seen them all, and each environment has one that
writes the next change to the connections of all that are parked. It wakes a stream whose
connection does not take all of it at once, so that a slow client keeps nobody waiting, or that
has to send a keep-alive. Only whoever holds a stream writes to it: the environment's thread while
it is parked, else its own. ``StreamedEnvironments._lock`` guards the table and the counts of
streams, ``StreamedEnvironment._lock`` the parked streams and the last change; neither is held
during network I/O. ``StreamedEnvironment._reading`` is held while the store is read.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from tidegate.random_numbers import RANDOM

from tidegate_server.store import Store
from tidegate_server.store.change_feed import Subscription, Update
from tidegate_server.store.environment_versions import EnvironmentVersion
from tidegate_server.store.feed import Place
from tidegate_server.web.client_connection import DirectConnection
from tidegate_server.web.event_stream import NOTHING_TO_SEND, format_event

LOOK_SECONDS = 0.01
"""The least time between two looks at the store; clients that open their streams wait for it."""

MOST_BEGINNINGS = 100
"""How many versions' first events are kept; clients that reconnect had one of the last few."""

MOST_BYTES = 16 * 1024 * 1024
"""How many bytes of first events are kept, unless one of them alone is longer."""

MOST_BEHIND = 1_000
"""A client that is more versions behind gets a snapshot."""

AT_ONCE = 100
"""To how many connections a change is written before other requests have their turn."""

LOOKS = 10
"""How often the environment's thread looks for silent streams while one may be silent."""


class Change:
    """A change that the feed has brought.

    Args:
        version: its version.
        event: what clients get; None: updates were lost, so they get a snapshot.

    Attributes:
        chunk: the event as a part of a response in chunks.
        next: the change after it; None: there is none yet.
    """

    __slots__ = ("chunk", "event", "next", "version")

    def __init__(self, version: int, event: bytes | None) -> None:
        self.version = version
        self.event = event
        self.chunk = b"" if event is None else b"%x\r\n%b\r\n" % (len(event), event)
        self.next: Change | None = None


@dataclass(frozen=True, slots=True)
class Beginning:
    """What a client gets first: the events, and the version that it has then."""

    version: int
    events: bytes
    is_snapshot: bool = False


class StreamedEnvironment:
    """One environment for all its streams in this process. Use ``StreamedEnvironments``.

    Attributes:
        place: its project and its key.
        last: the last change that the feed has brought.
        streams: how many streams there are.
    """

    def __init__(self, store: Store, place: Place, keep_alive_seconds: float) -> None:
        self._store = store
        self._keep_alive_seconds = keep_alive_seconds
        self._reading = threading.Lock()
        self._looked_at = float("-inf")
        self._version = EnvironmentVersion()
        self._beginnings: dict[int | None, Beginning] = {}
        self._subscription: Subscription | None = None
        self._lock = threading.Lock()
        self._parked: dict[UpdateSource, None] = {}
        self._changed = threading.Event()
        self._closed = False
        self.place = place
        self.last = Change(-1, b"")
        self.streams = 0

    def follow(self) -> Change:
        """Return the last change of the feed; what follows it is complete.

        Raises:
            StoreUnavailable: the store cannot be reached.
        """
        if self._subscription is None:
            with self._reading:
                if self._subscription is None:
                    feed = self._store.change_feed
                    self._subscription = feed.subscribe(*self.place, self._append)
                    name = "streams-" + "/".join(self.place)
                    threading.Thread(target=self._run, name=name, daemon=True).start()
        return self.last

    def park(self, stream: UpdateSource) -> bool:
        """Let the environment's thread write to a stream; False: there are changes to send."""
        stream.keep_alive_at = self._next_keep_alive()
        with self._lock:
            if stream.position is not self.last:
                return False
            self._parked[stream] = None
            return True

    def unpark(self, stream: UpdateSource) -> None:
        """Forget a stream that ends."""
        with self._lock:
            self._parked.pop(stream, None)

    def beginning(self, last_seen: int | None, incarnation: str | None) -> Beginning:
        """Return what a client has missed: the updates since then, or else a snapshot.

        Args:
            last_seen: the version of the last event that the client saw; None: it saw none.
            incarnation: the incarnation of that version; None: the client names none.

        Raises:
            StoreUnavailable: the store cannot be reached.
            NotFound: the environment was deleted.
        """
        asked_at = time.monotonic()
        with self._reading:
            if self._looked_at < asked_at:
                time.sleep(max(0.0, self._looked_at + LOOK_SECONDS - asked_at))
                self._look()
            present = self._version
            is_known = (
                incarnation in (None, present.incarnation) and (last_seen or 0) <= present.number
            )
            after = last_seen if is_known else None
            beginning = self._beginnings.get(after)
            if beginning is None:
                beginning = self._read_beginning(after, present.number)
                self._keep(after, beginning)
            return beginning

    def close(self) -> None:
        """Unsubscribe from the change feed, and end the thread."""
        self._closed = True
        self._changed.set()
        if self._subscription is not None:
            self._subscription.close()

    def _look(self) -> None:
        began = time.monotonic()
        version = self._store.exact_version(*self.place, self._version.number)
        if version != self._version:
            self._version = version
            self._beginnings.clear()
        self._looked_at = began

    def _read_beginning(self, after: int | None, version: int) -> Beginning:
        if after is not None and after == version:
            return Beginning(version, b"")
        changes = None if after is None else self._store.changes(*self.place, after)
        if changes:
            events = (format_event("update", version, data) for version, data in changes)
            return Beginning(changes[-1][0], b"".join(events))
        if after is not None and (kept := self._beginnings.get(None)) is not None:
            return kept
        snapshot = self._store.snapshot(*self.place)
        event = format_event("snapshot", snapshot.version, snapshot.body.decode())
        return Beginning(snapshot.version, event, is_snapshot=True)

    def _keep(self, after: int | None, beginning: Beginning) -> None:
        """Keep what clients get first; who makes up versions costs no more memory than others."""
        kept = {id(each): len(each.events) for each in self._beginnings.values()}
        size = sum(kept.values()) + len(beginning.events) * (id(beginning) not in kept)
        if len(self._beginnings) >= MOST_BEGINNINGS or size > MOST_BYTES:
            self._beginnings.clear()
        self._beginnings[after] = beginning
        if beginning.is_snapshot:
            self._beginnings[None] = beginning

    def _append(self, update: Update | None) -> None:
        """Take an update from the feed; None: the feed has closed."""
        if update is None:
            change = Change(-1, b"")
        elif update.data is None:
            change = Change(update.version, None)
        else:
            change = Change(update.version, format_event("update", update.version, update.data))
        with self._lock:
            self.last.next = change
            self.last = change
        self._changed.set()

    def _run(self) -> None:
        position = self.last
        look_seconds = self._keep_alive_seconds / LOOKS
        look_at = 0.0
        while not self._closed:
            self._changed.wait(look_seconds)
            self._changed.clear()
            while position.next is not None:
                position = position.next
                self._write(position)
            now = time.monotonic()
            if now >= look_at:
                look_at = now + look_seconds
                self._wake([each for each in list(self._parked) if each.keep_alive_at <= now])

    def _write(self, change: Change) -> None:
        """Write a change to all that are parked; wake those who have to see to it themselves."""
        for number, stream in enumerate(list(self._parked)):
            if number % AT_ONCE == AT_ONCE - 1:
                time.sleep(0)  # other requests
            # A change delays no keep-alive: with it a stream checks that its token is valid.
            if stream in self._parked and not stream.take(change):
                self._wake([stream])

    def _wake(self, streams: list[UpdateSource]) -> None:
        with self._lock:
            woken = [each for each in streams if self._parked.pop(each, self) is None]
        for stream in woken:
            stream.wake()

    def _next_keep_alive(self) -> float:
        # Spread, so that they do not all wake at once after a change.
        return time.monotonic() + self._keep_alive_seconds * RANDOM.uniform(0.5, 1.0)


class StreamedEnvironments:
    """The environments that clients of this process stream.

    Args:
        store: the store with the environments.
        keep_alive_seconds: how long a stream may be silent.
    """

    def __init__(self, store: Store, keep_alive_seconds: float) -> None:
        self._store = store
        self._keep_alive_seconds = keep_alive_seconds
        self._lock = threading.Lock()
        self._environments: dict[Place, StreamedEnvironment] = {}

    def enter(self, place: Place) -> StreamedEnvironment:
        """Count a stream of an environment, and return the environment; ``leave`` it later."""
        with self._lock:
            environment = self._environments.get(place)
            if environment is None:
                environment = StreamedEnvironment(self._store, place, self._keep_alive_seconds)
                self._environments[place] = environment
            environment.streams += 1
        return environment

    def leave(self, environment: StreamedEnvironment) -> None:
        """Count the end of a stream; the last one ends the subscription."""
        with self._lock:
            environment.streams -= 1
            if environment.streams == 0:
                del self._environments[environment.place]
                environment.close()


class UpdateSource:
    """Events of one connection: what the client missed, then every update.

    Args:
        environments: where the environment is.
        place: the project and environment of the client's token.
        last_seen, incarnation: what the client has seen, as ``StreamedEnvironment.beginning``
            takes it.
        connection: the client's, if it can be written to directly.

    Attributes:
        position: the last change that the client has got or does not need.
        keep_alive_at: when the client needs a keep-alive, by the monotonic clock.

    Raises:
        StoreUnavailable: the store cannot be reached.
    """

    __slots__ = (
        "_awake",
        "_connection",
        "_environment",
        "_environments",
        "_seen",
        "_version",
        "keep_alive_at",
        "position",
    )

    def __init__(
        self,
        environments: StreamedEnvironments,
        place: Place,
        last_seen: int | None,
        incarnation: str | None = None,
        connection: DirectConnection | None = None,
    ) -> None:
        self._environments = environments
        self._seen = (last_seen, incarnation)
        self._connection = connection
        self._version = -1
        self._awake = threading.Event()
        self.keep_alive_at = 0.0
        self._environment = environments.enter(place)
        try:
            # Before anything is read, so that no change is lost in between.
            self.position = self._environment.follow()
        except BaseException:
            self.close()
            raise

    def missed_events(self) -> Iterator[bytes]:
        """Yield the updates since ``last_seen``, or a snapshot if the store lacks them."""
        yield self._begin(*self._seen)

    def next_event(self, timeout: float) -> bytes | None:
        """Wait for an update; return a snapshot instead if updates were lost.

        Most updates are not returned: they are written to the connection meanwhile.
        """
        if self._environment.park(self):
            self._awake.wait()
            self._awake.clear()
            if self._connection is not None:
                self._connection.finish()
        change = self.position.next
        if change is None:
            return None
        if self._environment.last.version - change.version > MOST_BEHIND:
            change = self._environment.last
        self.position = change
        if change.event is None or change.version > self._version + 1:
            return self._begin(None, None)
        if change.version <= self._version:
            return NOTHING_TO_SEND
        self._version = change.version
        return change.event

    def take(self, change: Change) -> bool:
        """Write a change to the connection while parked; False: the stream has to be woken."""
        connection = self._connection
        # Without an event: a snapshot is needed, or the feed has ended.
        if connection is None or not change.event or change.version > self._version + 1:
            return False
        self.position = change
        if change.version <= self._version:
            return True
        self._version = change.version
        return connection.send_now(change.chunk if connection.is_chunked else change.event)

    def wake(self) -> None:
        """Let the stream's thread go on, which is parked no more."""
        self._awake.set()

    def close(self) -> None:
        """Leave the environment."""
        self._environment.unpark(self)
        self._environments.leave(self._environment)

    def _begin(self, last_seen: int | None, incarnation: str | None) -> bytes:
        beginning = self._environment.beginning(last_seen, incarnation)
        self._version = beginning.version
        return beginning.events
