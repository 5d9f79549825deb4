"""When ``close`` returns, the client's threads, connections and files are gone.

The collector is off: what only it would end has not ended.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import socket
import subprocess
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tidegate import Client, ClientEvent, Context, local_breaker, report_thread, sync
from tidegate.backoff import Backoff

from tests.child_processes import PYTHON_THAT_FORKS
from tests.sdk import bad_proxy
from tests.sdk.bad_proxy import Proxy
from tests.sdk.documents import a_flag, a_release, a_snapshot
from tests.sdk.integrations.treatment_counts import SNAPSHOT
from tests.sdk.server import Environment
from tests.waiting import soon

ROOT = Path(__file__).resolve().parents[2]
ANN = Context("ann")
FILES = Path("/proc/self/fd")
THREADS = {"tidegate-updates", "tidegate-reports", "tidegate-breaker"}

pytestmark = pytest.mark.skipif(not FILES.exists(), reason="a system without a list of open files")


@pytest.fixture(autouse=True)
def without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def threads() -> set[str]:
    """The threads of clients, and of timers."""
    return {
        thread.name
        for thread in threading.enumerate()
        if thread.name in THREADS or isinstance(thread, threading.Timer)
    }


def connections_to(port: int) -> int:
    """The open sockets of this process that are, or were, connected to a port."""
    found = 0
    lines = Path("/proc/self/net/tcp").read_text().splitlines()[1:]
    fields = [line.split() for line in lines]
    connected = {f"socket:[{each[9]}]" for each in fields if each[2].endswith(f":{port:04X}")}
    for name in FILES.iterdir():
        with contextlib.suppress(OSError):  # closed since
            found += str(name.readlink()) in connected
    return found


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


def test_everything_is_gone_when_close_returns(environment: Environment, tmp_path: Path) -> None:
    environment.flag("checkout")
    client = Client(environment.url, environment.token, cache_path=tmp_path / "flags")
    assert client.wait_until_ready(60)
    client.flush()
    assert threads() == {"tidegate-updates", "tidegate-reports"}
    assert connections_to(port_of(environment.url)) > 0
    client.close()
    assert threads() == set()
    assert connections_to(port_of(environment.url)) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["flags"]


HANGING: dict[str, bad_proxy.Mode] = {
    "never answers": bad_proxy.black_hole,
    "sends a head for ever": bad_proxy.trickle_head,
    "sends a body for ever": bad_proxy.trickle_body,
    "keeps a stream silent": bad_proxy.stream_and_stay_silent(
        f"event: snapshot\ndata: {json.dumps(SNAPSHOT)}\n\n".encode()
    ),
}


@pytest.mark.parametrize("how", HANGING)
@pytest.mark.parametrize("started", [False, True])
def test_a_server_that_hangs_is_left_at_once(
    proxy: Proxy, environment: Environment, monkeypatch: pytest.MonkeyPatch, how: str, started: bool
) -> None:
    monkeypatch.setattr(report_thread, "LAST_REPORT_SECONDS", 0.2)
    if not started:
        proxy.switch_to(HANGING[how])
    client = Client(proxy.url, environment.token)
    if started:
        assert client.wait_until_ready(60)
        before = proxy.connections
        proxy.switch_to(HANGING[how])
        soon(lambda: proxy.connections > before, "the client connects again")
    else:
        soon(lambda: proxy.connections > 0, "the client connects")
    client.close()
    assert threads() == set()
    assert connections_to(proxy.port) == 0


@pytest.fixture
def full() -> Iterator[str]:
    """The address of a server whose queue is full: to connect takes until a timeout."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        for each in waiting:
            each.close()


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that accepts connections and says nothing."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        yield f"https://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("server", ["full", "silent"])
def test_a_client_that_still_connects_is_closed(
    server: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for the connection, or for the server's part of the TLS handshake."""
    monkeypatch.setattr("tidegate.transport.CONNECT_SECONDS", 600.0)
    monkeypatch.setattr(sync, "END_SECONDS", 600.0)
    url = request.getfixturevalue(server)
    used = connections_to(port_of(url))
    client = Client(url, "a-token")
    soon(lambda: connections_to(port_of(url)) > used, "the client connects")
    client.close()
    assert threads() == set()
    assert connections_to(port_of(url)) == used


def test_a_client_that_was_just_made_is_closed(environment: Environment) -> None:
    for _ in range(20):
        Client(environment.url, environment.token).close()
        assert threads() == set()
    assert connections_to(port_of(environment.url)) == 0


def test_several_clients_close_independently(environment: Environment) -> None:
    environment.flag("checkout")
    clients = [Client(environment.url, environment.token) for _ in range(5)]
    assert all(client.wait_until_ready(60) for client in clients)
    for number, client in enumerate(clients, 1):
        assert client.boolean("checkout", True, ANN) is False
        client.close()
        mine = [each for each in threading.enumerate() if each.name in THREADS]
        assert len(mine) == 2 * (len(clients) - number)
    assert connections_to(port_of(environment.url)) == 0


def test_the_thread_that_watches_releases_ends_too(
    proxy: Proxy, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync, "RETRY", Backoff(0.05, 0.1, 0.5))
    monkeypatch.setattr(local_breaker, "WINDOW_SECONDS", 600.0)
    breaker = {"relative": 0.1, "absolute": 0.0}
    release = a_release((50, []), local_breaker=breaker)
    document = a_snapshot(a_flag("checkout", release=release))
    text = f"event: snapshot\ndata: {json.dumps(document)}\n\n".encode()
    proxy.switch_to(bad_proxy.stream_and_cut(text, snapshot=document))
    client = Client(proxy.url, environment.token)
    assert client.wait_until_ready(60)
    proxy.switch_to(bad_proxy.refuse)
    soon(lambda: "tidegate-breaker" in threads(), "the outage is watched")
    client.close()
    assert threads() == set()


def test_a_second_close_does_nothing(environment: Environment) -> None:
    environment.flag("checkout")
    client = Client(environment.url, environment.token)
    assert client.wait_until_ready(60)
    client.close()
    reports = len(environment.reports)
    client.close()
    assert len(environment.reports) == reports
    assert client.status().state == "closed"


def test_closing_in_several_threads_at_once(environment: Environment) -> None:
    environment.flag("checkout")
    client = Client(environment.url, environment.token)
    assert client.wait_until_ready(60)
    closing = [threading.Thread(target=client.close) for _ in range(8)]
    for each in closing:
        each.start()
    for each in closing:
        each.join(20)
    assert threads() == set()
    assert sum(report["leaving"] for report in environment.reports) == 1


def test_a_listener_may_close_its_client(environment: Environment) -> None:
    environment.flag("checkout")
    client = Client(environment.url, environment.token)
    closed = threading.Event()

    def close(event: ClientEvent) -> None:
        client.close()
        closed.set()

    client.listen(close)
    environment.target("checkout", default={"variant": "on"})
    assert closed.wait(20)
    soon(lambda: threads() == set(), "the listener's own thread ends as well")
    assert connections_to(port_of(environment.url)) == 0


def test_closing_wakes_who_waits_for_the_client(proxy: Proxy, environment: Environment) -> None:
    proxy.switch_to(bad_proxy.black_hole)
    client = Client(proxy.url, environment.token)
    answers: list[bool] = []
    waiting = threading.Thread(target=lambda: answers.append(client.wait_until_ready(600)))
    waiting.start()
    client.close()
    waiting.join(20)
    assert answers == [False]
    assert client.wait_until_ready(600) is False


@pytest.mark.parametrize("make", ["online", "offline"])
def test_a_closed_client_returns_defaults_with_a_clear_error(
    environment: Environment, make: str
) -> None:
    environment.flag("checkout")
    online = make == "online"
    client = Client(environment.url, environment.token) if online else Client.offline(SNAPSHOT)
    assert client.wait_until_ready(60)
    operation = client.operation(ANN).begin()
    assert client.boolean_details("checkout", True).error_code is None
    client.close()
    for evaluate in (client.boolean, client.boolean_details):
        for default in (True, False):
            answer: Any = evaluate("checkout", default, ANN)
            assert getattr(answer, "value", answer) is default
    details = client.string_details("theme", "plain", ANN)
    assert (details.value, details.reason, details.error_code, details.error_message) == (
        "plain", "ERROR", "PROVIDER_NOT_READY", "the client is closed: make another one",
    )  # fmt: skip
    assert client.status().version is None
    client.measure("basket", 1.0)
    operation.end()
    client.flush()
    assert threads() == set()


def test_operations_that_end_after_the_last_report_are_counted_as_dropped(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment.flag("checkout")
    release = environment.release("checkout")
    client = Client(environment.url, environment.token)
    assert client.wait_until_ready(60)

    def work(times: int) -> None:
        for _ in range(times):
            with client.operation(ANN):
                client.boolean("checkout", False)
            client.boolean("checkout", False, ANN)

    reports = client._lifecycle.connection._reports  # type: ignore[union-attr]
    wait = reports.wait_for_last_report

    def wait_and_work() -> None:
        wait()
        work(150)

    monkeypatch.setattr(reports, "wait_for_last_report", wait_and_work)
    work(7)
    client.close()
    assert environment.outcomes(release) == 7
    assert client.status().dropped == 2 * 150


def test_an_operation_that_ends_after_close_is_counted_as_dropped() -> None:
    client = Client.offline(SNAPSHOT)
    with client.operation(ANN):
        client.boolean("checkout", False)
        client.close()
    assert client.status().dropped == 1


# Other processes

COUNT = """
import gc, os, socket, sys, threading
gc.disable()

def left():
    sockets = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            sockets += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
        except OSError:
            pass
    names = sorted(each.name for each in threading.enumerate())
    return sockets, [name for name in names if "tidegate" in name or "Timer" in name]
"""


@pytest.fixture
def run(environment: Environment) -> Callable[..., list[str]]:
    """A function that runs a program to its end and returns what it prints."""

    def run(program: str, first: str = "", url: str = "") -> list[str]:
        text = "\n".join(textwrap.dedent(part) for part in (first, COUNT, program))
        ended = subprocess.run(
            [*PYTHON_THAT_FORKS, "-c", text],
            check=True,
            capture_output=True,
            timeout=60,
            text=True,
            env={
                **os.environ,
                "TIDEGATE_URL": url or environment.url,
                "TIDEGATE_TOKEN": environment.token,
            },
        )
        assert ended.stderr == ""
        return ended.stdout.splitlines()

    return run


NOTHING = "(0, [])"


def test_at_interpreter_exit(run: Callable[..., list[str]]) -> None:
    """Handlers run in the reverse order: this one after the client's."""
    program = """
        import atexit
        atexit.register(lambda: print(left(), client.status().state))
        import tidegate
        client = tidegate.Client()
        others = [tidegate.Client() for _ in range(3)]
        assert all(each.wait_until_ready(60) for each in (client, *others))
    """
    assert run(program) == [f"{NOTHING} closed"]


def test_at_interpreter_exit_with_a_server_that_hangs(
    run: Callable[..., list[str]], proxy: Proxy
) -> None:
    proxy.switch_to(bad_proxy.black_hole)
    program = """
        import atexit
        atexit.register(lambda: print(left()))
        import tidegate
        clients = [tidegate.Client() for _ in range(3)]
        clients[0].wait_until_ready(0.5)
    """
    assert run(program, url=proxy.url) == [NOTHING]


def test_in_forked_children(run: Callable[..., list[str]]) -> None:
    """A child has no connection of its parent, and does not end the parent's."""
    program = """
        import tidegate
        client = tidegate.Client()
        assert client.wait_until_ready(60)
        client.flush()
        for child in range(3):
            if not os.fork():
                assert client.wait_until_ready(60)
                client.flush()
                client.close()
                print(left(), flush=True)
                os._exit(0)
            os.wait()
            client.flush()
            assert client.status().state == "connected", client.status()
        client.close()
        print(left())
    """
    assert run(program) == [NOTHING] * 4


def test_a_child_of_a_parent_that_connects_drops_the_connection(
    run: Callable[..., list[str]], proxy: Proxy
) -> None:
    proxy.switch_to(bad_proxy.black_hole)
    program = """
        import time
        import tidegate
        from tidegate import connections
        class SlowLine(connections.Line):
            def __init__(self, end):
                time.sleep(0.2)  # there is a socket that the client does not know: the fork waits
                super().__init__(end)
        connections.Line = SlowLine
        client = tidegate.Client()
        while not left()[0]:
            pass
        if not os.fork():
            client.close()
            print(left(), flush=True)
            os._exit(0)
        os.wait()
        client.close()
        print(left())
    """
    assert run(program, url=proxy.url) == [NOTHING] * 2


GEVENT = "from gevent import monkey\nmonkey.patch_all()"


@pytest.mark.parametrize("hangs", [False, True])
def test_under_gevent(run: Callable[..., list[str]], proxy: Proxy, hangs: bool) -> None:
    """The threads are greenlets there."""
    program = f"""
        import gevent, greenlet
        import tidegate
        before = left()
        greenlets = lambda: sum(
            isinstance(each, gevent.Greenlet) and not each.dead for each in gc.get_objects()
        )
        client = tidegate.Client()
        assert client.wait_until_ready(0.5 if {hangs} else 60) is not {hangs}
        assert greenlets() > 0
        client.close()
        client.close()
        print(left() == before, greenlets())
    """
    if hangs:
        proxy.switch_to(bad_proxy.black_hole)
    assert run(program, first=GEVENT, url=proxy.url) == ["True 0"]
