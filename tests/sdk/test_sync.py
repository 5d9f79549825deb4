"""Updates, reports and the end of a connection; ``test_bad_servers.py`` has the failures."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
import threading
from collections.abc import Generator
from typing import Any

import pytest
from tidegate import Client, Context, causes, flag_follower, wire
from tidegate import transport as transports
from tidegate.connections import Connections
from tidegate.details import ClientEvent
from tidegate.errors import Refused, Unreachable
from tidegate.evaluation.compiled_snapshot import CompiledSnapshot, compile_snapshot
from tidegate.flag_follower import (
    IDLE_REPORT_SECONDS,
    SHORTEST_REPORT_SECONDS,
    report_interval,
)
from tidegate.reporting import Reporter
from tidegate.sync import ServerConnection
from tidegate.transport import KEEP_ALIVE, Event

from tests.sdk.conftest import Connect
from tests.sdk.documents import a_flag, a_release, a_snapshot
from tests.sdk.server import SLOW, Environment
from tests.waiting import soon


class ScriptedTransport:
    """A transport that plays streams and answers from a list."""

    host, pid = "here", 1

    def __init__(self, *streams: list[Event | Exception], snapshots: list[Any] | None = None):
        self.streams = list(streams)
        self.snapshots = snapshots or []
        self.requests: list[tuple[str, int | None]] = []
        self.connections = Connections()

    def events(self, known: tuple[int, str] | None) -> Generator[Event]:
        self.requests.append(("stream", known and known[0]))
        for event in self.streams.pop(0) if self.streams else [Unreachable("nothing left")]:
            if isinstance(event, Exception):
                raise event
            yield event

    def snapshot(self, known: tuple[int, str] | None) -> Any:
        self.requests.append(("snapshot", known and known[0]))
        if not self.snapshots:
            raise Unreachable("no snapshot")
        return self.snapshots.pop(0)


class ManualConnection:
    """A connection without threads, whose stream is read by hand."""

    def __init__(self, transport: ScriptedTransport) -> None:
        self.compiled: CompiledSnapshot | None = None
        self.events: list[ClientEvent] = []
        self.connection = ServerConnection(
            transport,  # type: ignore[arg-type]
            Reporter(),
            lambda: self.compiled,
            self._apply,
            notify=self.events.append,
        )

    def _apply(self, compiled: CompiledSnapshot) -> None:
        self.compiled = compiled

    @property
    def version(self) -> int | None:
        return None if self.compiled is None else self.compiled.version

    def variant(self, key: str = "a") -> str | None:
        assert self.compiled is not None
        return self.compiled.evaluate(key, Context("ann")).variant

    def read(self) -> None:
        self.connection._read_stream()


def snapshot(version: int, *flags: dict[str, Any]) -> dict[str, Any]:
    return {**a_snapshot(*flags), "version": version}


def sent(document: Any, name: str = "snapshot") -> Event:
    return Event(name, document if isinstance(document, str) else json.dumps(document))


def update(version: Any, **flags: Any) -> Event:
    return sent({"version": version, "flags": flags, "segments": {}}, "update")


OFF = a_flag("a", default={"variant": "off"})
ON = a_flag("a")


def test_updates_are_applied_in_order() -> None:
    manual = ManualConnection(
        ScriptedTransport([sent(snapshot(3, OFF)), update(4, a=ON), update(5, b=ON)])
    )
    manual.read()
    assert (manual.version, manual.variant(), manual.variant("b")) == (5, "on", "on")
    assert manual.connection.ready.is_set()
    assert manual.connection.connected


def test_the_next_stream_starts_at_the_last_version() -> None:
    transport = ScriptedTransport([sent(snapshot(3, OFF)), update(4, a=ON)], [KEEP_ALIVE])
    manual = ManualConnection(transport)
    manual.read()
    manual.read()
    assert transport.requests == [("stream", None), ("stream", 4)]


def test_after_a_missed_version_the_whole_snapshot_is_read() -> None:
    transport = ScriptedTransport(
        [sent(snapshot(3, OFF)), update(5, a=ON)], snapshots=[snapshot(6, ON)]
    )
    manual = ManualConnection(transport)
    manual.read()
    assert transport.requests == [("stream", None), ("snapshot", None)]
    assert (manual.version, manual.variant()) == (6, "on")


def test_an_update_before_any_snapshot_reads_the_snapshot() -> None:
    manual = ManualConnection(ScriptedTransport([update(9, a=ON)], snapshots=[snapshot(9, ON)]))
    manual.read()
    assert manual.version == 9


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_known_update_changes_nothing(version: int) -> None:
    manual = ManualConnection(ScriptedTransport([sent(snapshot(3, OFF)), update(version, a=ON)]))
    manual.read()
    assert (manual.version, manual.variant()) == (3, "off")


def test_a_snapshot_is_applied_whatever_its_version() -> None:
    """The version is lower after the server's store is restored from a backup."""
    manual = ManualConnection(
        ScriptedTransport([sent(snapshot(9, ON)), sent(snapshot(2, OFF)), update(3, b=ON)])
    )
    manual.read()
    assert (manual.version, manual.variant(), manual.variant("b")) == (3, "off", "on")


@pytest.mark.parametrize(
    "event",
    [
        sent("{oops", "update"),
        sent("[]", "update"),
        sent("null", "update"),
        sent({"version": 4, "flags": []}, "update"),
        sent({"version": 4, "flags": {}}, "update"),
        update("4", a=ON),
        update(None, a=ON),
        sent({"version": True, "flags": {}, "segments": {}}, "update"),
        sent({**snapshot(4, ON), "schema": 2}),
        sent({**snapshot(4, ON), "segments": 7}),
        sent({"schema": 1}),
    ],
    ids=lambda event: f"{event.name} {event.data[:40]}",
)
def test_an_unreadable_event_changes_nothing(event: Event) -> None:
    manual = ManualConnection(ScriptedTransport([sent(snapshot(3, OFF)), event]))
    with pytest.raises(Unreachable):
        manual.read()
    assert (manual.version, manual.variant()) == (3, "off")


def test_an_unreadable_flag_is_logged_once_and_affects_no_other_flag(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, "tidegate")
    wrong = {**ON, "type": "colour"}
    manual = ManualConnection(
        ScriptedTransport(
            [sent(snapshot(3, ON)), update(4, a=wrong, b=ON), update(5, c=ON), update(6, a=ON)]
        )
    )
    manual.read()
    assert [manual.variant(key) for key in "abc"] == ["on"] * 3
    assert [record.getMessage() for record in caplog.records] == [
        "flags/a cannot be read: /flags/a/type: must be one of boolean, string, number, object"
    ]


def test_listeners_are_notified_of_changed_flags() -> None:
    manual = ManualConnection(
        ScriptedTransport([sent(snapshot(3, OFF)), update(4, a=ON), update(5, b=ON)])
    )
    manual.read()
    assert manual.events == [
        ClientEvent("ready"),
        ClientEvent("changed", frozenset("a")),
        ClientEvent("changed", frozenset("b")),
    ]


def test_unknown_events_are_ignored() -> None:
    manual = ManualConnection(ScriptedTransport([sent(snapshot(3, ON)), sent({"x": 1}, "weather")]))
    manual.read()
    assert manual.version == 3


def test_keep_alives_without_flags_are_no_connection() -> None:
    manual = ManualConnection(ScriptedTransport([KEEP_ALIVE, KEEP_ALIVE]))
    manual.read()
    assert not manual.connection.ready.is_set()


def test_the_wait_is_longer_after_a_refused_token_than_after_a_lost_connection() -> None:
    connection = ManualConnection(ScriptedTransport()).connection
    connection._failures = 50
    assert max(connection._retry_wait(refused=False) for _ in range(100)) <= 30
    assert max(connection._retry_wait(refused=True) for _ in range(100)) > 30


def test_waits_grow_and_are_random() -> None:
    connection = ManualConnection(ScriptedTransport()).connection
    for failures, longest in enumerate([1, 2, 4, 8, 16, 30, 30, 30], 1):
        connection._failures = failures
        waits = [connection._retry_wait(refused=False) for _ in range(100)]
        assert longest / 2 <= min(waits) <= max(waits) <= longest
        assert len(set(waits)) > 50


def test_the_wait_is_as_long_as_the_server_asks_for() -> None:
    connection = ManualConnection(ScriptedTransport()).connection
    connection._failures = 1
    waits = [connection._retry_wait(refused=False, retry_after=20.0) for _ in range(100)]
    assert 20 <= min(waits) <= max(waits) <= 30
    assert len(set(waits)) > 50
    assert max(connection._retry_wait(False, retry_after=86_400.0) for _ in range(100)) <= 90


def test_a_refused_token_is_reported_as_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    manual = ManualConnection(ScriptedTransport([Refused("the token is refused (401)")]))
    monkeypatch.setattr(
        manual.connection._stopping, "wait", lambda _: manual.connection._stopping.set()
    )
    manual.connection._follow_updates()
    assert manual.events == [ClientEvent("refused", message="the token is refused (401)")]


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="a system without masks")
def test_signals_are_blocked_in_the_threads_of_the_sdk() -> None:
    masks: list[set[Any]] = []

    def keep_mask(event: ClientEvent) -> None:
        masks.append(set(signal.pthread_sigmask(signal.SIG_BLOCK, ())))

    manual = ManualConnection(ScriptedTransport([Refused("the token is refused (401)")]))
    manual.connection._notify = keep_mask
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    manual.connection.start()
    soon(lambda: bool(masks), "the updates thread notifies")
    manual.connection.stop()
    assert masks[0] >= {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}
    assert not masks[0] & {signal.SIGSEGV, signal.SIGBUS}
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
    assert not before & {signal.SIGTERM, signal.SIGCHLD}, "no test has left its own blocked"


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="a system without masks")
def test_signals_reach_the_application_under_gevent(environment: Environment) -> None:
    """The SDK's threads are greenlets in the application's thread, which needs its signals."""
    program = """
from gevent import monkey
monkey.patch_all()
import signal
import tidegate
before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
client = tidegate.Client()
assert client.wait_until_ready(60)
after = signal.pthread_sigmask(signal.SIG_BLOCK, ())
assert after == before, after - before
"""
    subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        timeout=60,
        env={"TIDEGATE_URL": environment.url, "TIDEGATE_TOKEN": environment.token},
    )


def test_a_lost_connection_and_a_later_refusal_are_both_reported(
    caplog: pytest.LogCaptureFixture,
) -> None:
    manual = ManualConnection(ScriptedTransport())
    for kind, refused in (("away", False), ("away", False), ("no", True), ("away", False)):
        manual.connection._disconnected(kind, refused=refused)
    assert manual.events == [
        ClientEvent("stale", message="away"),
        ClientEvent("refused", message="no"),
    ]
    assert len(caplog.records) == 2


# When reports are sent


def compiled(*intervals: float) -> CompiledSnapshot:
    flags = [
        a_flag(f"f{number}", release=a_release((50, []), report_interval=interval))
        for number, interval in enumerate(intervals)
    ]
    return compile_snapshot(wire.parse_snapshot(a_snapshot(*flags)))


@pytest.mark.parametrize(
    ("intervals", "expected"),
    [
        ([], IDLE_REPORT_SECONDS),
        ([5.0], 5.0),
        ([5.0, 0.5, 8.0], 0.5),
        ([60.0], IDLE_REPORT_SECONDS),
        ([0.0], SHORTEST_REPORT_SECONDS),
        ([-3.0], SHORTEST_REPORT_SECONDS),
    ],
)
def test_the_shortest_interval_of_a_release_applies(
    intervals: list[float], expected: float
) -> None:
    assert report_interval(compiled(*intervals)) == expected


def test_without_flags_the_idle_interval_applies() -> None:
    assert report_interval(None) == IDLE_REPORT_SECONDS


def test_a_kill_is_reported_at_once(environment: Environment, connect: Connect) -> None:
    environment.flag("checkout")
    connect()
    soon(lambda: len(environment.reports) > 0, "the first report arrives")
    environment.kill("checkout")
    version = environment.version
    soon(lambda: environment.reports[-1]["version"] == version, "the kill is reported")
    # Long before the next report would have been due.
    assert environment.reports[-1]["interval"] == IDLE_REPORT_SECONDS


def test_a_server_that_forgot_the_instance_gets_the_new_counts_under_a_new_id(
    environment: Environment, connect: Connect
) -> None:
    environment.flag("checkout")
    release = environment.release("checkout")
    client = connect()
    for number in range(10):
        with client.operation(Context(f"u{number}")):
            client.boolean("checkout", False)
    soon(lambda: environment.outcomes(release) == 10, "the first counts arrive")
    store = environment.server.store
    first = client.status().instance
    for name in store._connection.client.scan_iter(f"*{environment.project}*instance:*"):
        store._connection.client.delete(name)
    for number in range(5):
        with client.operation(Context(f"u{number}")):
            client.boolean("checkout", False)
    client.close()
    assert environment.outcomes(release) == 15
    assert client.status().instance != first


# The end


def work(client: Client, times: int = 7) -> None:
    for number in range(times):
        with client.operation(Context(f"u{number}")):
            client.boolean("checkout", False)


@pytest.fixture
def release(environment: Environment) -> str:
    environment.flag("checkout")
    return environment.release("checkout", SLOW)


def test_closing_sends_what_was_not_reported(
    environment: Environment, release: str, connect: Connect
) -> None:
    client = connect()
    work(client)
    client.close()
    client.close()
    assert environment.outcomes(release) == 7
    assert environment.reports[-1]["leaving"] is True
    assert client.status().state == "closed"
    details = client.boolean_details("checkout", True, Context("u1"))
    assert (details.value, details.error_code) == (True, "PROVIDER_NOT_READY")
    assert details.error_message == "the client is closed: make another one"


def test_closing_starts_no_thread(
    environment: Environment, release: str, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Since Python 3.12 no thread can be started while the interpreter ends."""
    client = connect()
    work(client)

    real = threading.Thread.start
    clients = ("MainThread", "tidegate-reports", "tidegate-updates")

    def start(thread: threading.Thread) -> None:
        if threading.current_thread().name in clients:
            raise RuntimeError("can't create new thread at interpreter shutdown")
        real(thread)  # the server is in this process, too

    monkeypatch.setattr(threading.Thread, "start", start)
    client.close()
    assert environment.outcomes(release) == 7


def test_a_program_that_ends_without_close_reports(environment: Environment, release: str) -> None:
    program = """
import tidegate
client = tidegate.Client()
assert client.wait_until_ready(60)
for number in range(7):
    with client.operation(tidegate.Context(f"u{number}")):
        client.boolean("checkout", False)
"""
    subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        timeout=60,
        env={"TIDEGATE_URL": environment.url, "TIDEGATE_TOKEN": environment.token},
    )
    assert environment.outcomes(release) == 7


def test_closing_a_client_that_never_connected_does_not_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transports, "CONNECT_SECONDS", 0.1)
    client = Client("http://127.0.0.1:9", "token")
    client.close()
    assert client.status().state == "closed"
    assert client.boolean("checkout", True) is True


def test_the_threads_end(connect: Connect) -> None:
    before = set(threading.enumerate())
    client = connect()
    own = [each for each in threading.enumerate() if each not in before]
    servers = ("tidegate-feed", "tidegate-streams-")  # the server is in this process, too
    mine = [
        each
        for each in own
        if each.name.startswith("tidegate-") and not each.name.startswith(servers)
    ]
    assert {each.name for each in mine} == {"tidegate-updates", "tidegate-reports"}
    client.close()
    assert not [each for each in mine if each.is_alive()]


def test_a_report_that_the_server_does_not_accept_is_one_warning(
    environment: Environment, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(flag_follower, "IDLE_REPORT_SECONDS", 0.2)
    caplog.set_level(logging.WARNING, "tidegate")
    reports = environment.server.reports
    pids = {"pid": -1}
    send = transports.Transport.report

    def report(transport: transports.Transport, document: dict[str, Any]) -> bool:
        # Not what a client of another test may report meanwhile.
        return send(transport, document | pids if transport.application == "odd" else document)

    def wait_for_reports(more: int) -> None:
        before = len(reports.get(environment.token, ()))
        soon(lambda: len(reports.get(environment.token, ())) >= before + more, "reports")

    monkeypatch.setattr(transports.Transport, "report", report)
    client = Client(environment.url, environment.token, application="odd")
    try:
        assert client.wait_until_ready()
        wait_for_reports(4)
        (warning,) = caplog.messages
        assert warning.startswith("the server does not accept reports (the server answers 422): ")
        assert "pid" in warning
        assert client.status().state == "connected"

        pids.clear()
        wait_for_reports(3)
        pids["pid"] = -1
        wait_for_reports(4)
        assert caplog.messages == [warning, warning]
    finally:
        pids.clear()
        client.close()


@pytest.mark.parametrize("status", [401, 403, 409, 429, 500, 503])
def test_other_statuses_are_no_rejection(status: int) -> None:
    assert not transports._is_permanent(status)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"<h1>Bad request</h1>", ""),
        (b"[]", ""),
        (b'{"detail": 3}', ""),
        (b'{"detail": "K\\u00e4se\\n\\u001b[31m is old."}', "K\u00e4se  [31m is old."),
        (b'{"detail": "' + b"x" * 5000 + b'"}', "x" * 1000),
    ],
)
def test_a_reason_is_one_short_line(body: bytes, reason: str) -> None:
    assert causes.explanation(body) == reason
