"""Updates that are written to the connections of many streams at once, and slow clients."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from tidegate_server.processes import timed_socket
from tidegate_server.processes.timed_socket import TimedSocket
from tidegate_server.sdk_api import streams
from tidegate_server.sdk_api.streams import StreamedEnvironments, UpdateSource
from tidegate_server.store import Store

from tests.http_calls import PRODUCTION, Caller
from tests.waiting import PATIENCE_SECONDS, until

PLACE = ("default", "production")
FLAG = f"{PRODUCTION}/flags/checkout"
KEEP_ALIVE = b": keep-alive\n\n"


class Stream:
    """A stream over a pair of sockets, served by a thread as a web process serves it."""

    def __init__(self, environments: StreamedEnvironments, last_seen: int | None = None) -> None:
        server, self.client = socket.socketpair()
        server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
        self.client.settimeout(PATIENCE_SECONDS)
        self._connection = TimedSocket(server)
        self.source = UpdateSource(environments, PLACE, last_seen, None, self._connection)
        self.returned: list[bytes | None] = []
        self.error: OSError | None = None
        self._ending = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def parked(self) -> bool:
        return self.source in self.source._environment._parked

    def received(self, end: bytes) -> bytes:
        """Return what the client receives until these bytes."""
        text = b""
        while end not in text:
            data = self.client.recv(65_536)
            assert data, text
            text += data
        return text

    def end(self) -> None:
        self._ending = True
        self.client.close()
        self.source.wake()
        self._thread.join(PATIENCE_SECONDS)
        self._connection.connection.close()

    def _serve(self) -> None:
        try:
            self._connection.sendall(b"".join(self.source.missed_events()))
            while not self._ending:
                event = self.source.next_event(1.0)
                self.returned.append(event)
                self._connection.sendall(KEEP_ALIVE if event is None else event)
        except OSError as error:
            self.error = error
        finally:
            self.source.close()


@pytest.fixture
def environments(checkout: Caller, store: Store) -> StreamedEnvironments:
    return StreamedEnvironments(store, keep_alive_seconds=3_600.0)


@pytest.fixture
def opened(environments: StreamedEnvironments) -> Iterator[Callable[[], Stream]]:
    streams: list[Stream] = []

    def open() -> Stream:
        stream = Stream(environments)
        streams.append(stream)
        return stream

    yield open
    for stream in streams:
        stream.end()


def set_value(admin: Caller, size: int) -> None:
    """Change what the flag serves to nobody, to an event of some size."""
    when = {"attribute": "plan", "operator": "in", "value": ["x" * 200] * (size // 200)}
    rules = [{"id": "none", "when": when, "serve": {"variant": "off"}}]
    admin.post_ok(f"{FLAG}/kill", {})
    admin.put(
        FLAG,
        {"enabled": True, "off_variant": "off", "default": {"variant": "off"}, "rules": rules},
        match="*",
    )
    admin.post_ok(f"{FLAG}/restore", {})


def test_a_change_is_written_to_every_stream_without_waking_it(
    opened: Callable[[], Stream], checkout: Caller
) -> None:
    several = [opened() for _ in range(5)]
    for stream in several:
        stream.received(b"\n\n")
        until(stream.parked)
    checkout.post_ok(f"{FLAG}/kill", {})
    events = {stream.received(b"\n\n") for stream in several}
    assert len(events) == 1
    assert b"event: update" in events.pop()
    assert not any(stream.returned for stream in several)


def test_a_silent_stream_gets_a_keep_alive(checkout: Caller, store: Store) -> None:
    stream = Stream(StreamedEnvironments(store, keep_alive_seconds=0.01))
    try:
        assert stream.received(KEEP_ALIVE)
    finally:
        stream.end()


def test_a_busy_stream_gets_its_signs_of_life_too(checkout: Caller, store: Store) -> None:
    """With each of them a stream checks that its token is still valid."""
    stream = Stream(StreamedEnvironments(store, keep_alive_seconds=1.0))
    try:
        stream.received(b"\n\n")
        until(stream.parked)
        actions = itertools.cycle(("kill", "restore"))

        def is_woken_by_another_change() -> bool:
            checkout.post_ok(f"{FLAG}/{next(actions)}", {})
            # Its client takes all of it at once, so it is no slow one, which is woken for that.
            stream.received(b"id: %d\n" % store.version(*PLACE))
            return bool(stream.returned)

        # What it sends then may be the next change, which came before it could send a sign.
        until(is_woken_by_another_change)
    finally:
        stream.end()


def test_a_stream_is_woken_when_the_feed_ends(opened: Callable[[], Stream], store: Store) -> None:
    stream = opened()
    stream.received(b"\n\n")
    until(stream.parked)
    store.change_feed.close()
    until(lambda: bool(stream.returned))
    assert stream.returned == [b""]


def test_a_slow_client_keeps_nobody_waiting_and_gets_every_version(
    opened: Callable[[], Stream], checkout: Caller, store: Store
) -> None:
    slow, quick = opened(), opened()
    for stream in (slow, quick):
        stream.received(b"\n\n")
        until(stream.parked)
    first = store.version(*PLACE)
    for _ in range(4):
        set_value(checkout, 10_000)
    last = store.version(*PLACE)
    end = b"id: %d\n" % last
    quick.received(end)
    until(lambda: not slow.parked(), "the slow client has a thread of its own to wait for it")
    text = slow.received(end)
    positions = [text.index(b"id: %d\n" % version) for version in range(first + 1, last + 1)]
    assert positions == sorted(positions)
    until(slow.parked)


def test_a_client_that_is_far_behind_gets_a_snapshot(
    opened: Callable[[], Stream],
    checkout: Caller,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(streams, "MOST_BEHIND", 3)
    slow, quick = opened(), opened()
    for stream in (slow, quick):
        stream.received(b"\n\n")
        until(stream.parked)
    for _ in range(4):
        set_value(checkout, 10_000)
    quick.received(b"id: %d\n" % store.version(*PLACE))
    assert b"event: snapshot" in slow.received(b"id: %d\n" % store.version(*PLACE))


def test_a_client_that_takes_nothing_any_more_is_cut(
    opened: Callable[[], Stream], checkout: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = opened()
    stream.received(b"\n\n")
    until(stream.parked)
    monkeypatch.setattr(timed_socket, "ANSWER_SECONDS", 0.0)
    monkeypatch.setattr(timed_socket, "BYTES_PER_SECOND", 10**9)
    for _ in range(4):
        set_value(checkout, 10_000)
    until(lambda: stream.error is not None)
    assert isinstance(stream.error, BrokenPipeError)


def test_clients_that_reconnect_share_what_was_read(
    environments: StreamedEnvironments,
    checkout: Caller,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = store.version(*PLACE)
    checkout.post_ok(f"{FLAG}/kill", {})
    reads: list[str] = []
    for name in ("snapshot", "changes"):
        read = getattr(store, name)

        def counted(*arguments: object, name: str = name, read: object = read) -> object:
            reads.append(name)
            return read(*arguments)  # type: ignore[operator]

        monkeypatch.setattr(store, name, counted)
    environment = environments.enter(PLACE)
    for _ in range(3):
        assert environment.beginning(None, None).version == seen + 1
        assert environment.beginning(seen, None).events.startswith(b"id: %d\n" % (seen + 1))
        assert environment.beginning(seen + 1, None).events == b""
    assert sorted(reads) == ["changes", "snapshot"]
    # Versions that are no longer kept, or were made up, cost no snapshot of their own.
    monkeypatch.setattr(store, "changes", lambda *_: None)
    snapshot = environment.beginning(None, None)
    assert all(environment.beginning(old, None) is snapshot for old in range(seen))
    checkout.post_ok(f"{FLAG}/restore", {})
    assert environment.beginning(None, None).version == seen + 2
    environments.leave(environment)


def test_first_events_are_kept_up_to_a_size(
    environments: StreamedEnvironments,
    checkout: Caller,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checkout.post_ok(f"{FLAG}/kill", {})
    seen = store.version(*PLACE)
    environment = environments.enter(PLACE)
    first = environment.beginning(seen - 1, None)
    assert environment.beginning(seen - 1, None) is first
    monkeypatch.setattr(streams, "MOST_BYTES", len(first.events))
    environment.beginning(seen - 2, None)
    assert environment.beginning(seen - 1, None) is not first
    environments.leave(environment)
