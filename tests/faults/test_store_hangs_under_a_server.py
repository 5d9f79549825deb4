"""A running server whose store hangs, has no memory, or may not be written."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from uuid import uuid4

import pytest
import redis
import urllib3

from examples.shop.admin import Admin
from examples.shop.processes import Processes, free_port
from tests.cli.calls import PROGRAM
from tests.cli.conftest import TOKEN, RunningServer
from tests.event_stream_client import Stream
from tests.waiting import until

ORIGIN = {"Origin": "https://shop.example"}


class Caller:
    """Calls a server with one token."""

    def __init__(self, server: RunningServer, token: str) -> None:
        self._server, self.token = server, token

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        sent = {"Authorization": f"Bearer {self.token}", **headers}
        url = self._server.url + path
        return urllib3.request(method, url, headers=sent, json=body, retries=False, timeout=60)


@pytest.fixture
def admin(server: RunningServer) -> Caller:
    return Caller(server, server.token)


@pytest.fixture
def flag(admin: Caller) -> str:
    key = f"f-{uuid4().hex[:8]}"
    made = admin.call("POST", "/api/v1/projects/default/flags", {"key": key, "type": "boolean"})
    assert made.status == 201, made.data
    return key


@pytest.fixture
def application(server: RunningServer, admin: Caller) -> Caller:
    token = {"name": "shop", "role": "sdk", "project": "default", "environment": "production"}
    return Caller(server, admin.call("POST", "/api/v1/tokens", token).json()["secret"])


@pytest.fixture
def raw(server: RunningServer) -> Iterator[redis.Redis]:
    with redis.Redis(unix_socket_path=str(server.data_dir / "valkey.sock")) as client:
        yield client


@contextmanager
def hung(server: RunningServer) -> Iterator[None]:
    """Stop the store's process meanwhile."""
    pid = int((server.data_dir / "store.lock").read_text())
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def evaluate(application: Caller, flag: str) -> Any:
    context = {"context": {"targetingKey": "dana"}}
    path = f"/ofrep/v1/evaluate/flags/{flag}"
    return application.call("POST", path, context, **ORIGIN)


def metric(admin: Caller, name: str) -> float:
    text = admin.call("GET", "/metrics").data.decode()
    found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
    assert found, text
    return float(found[1])


def project(admin: Caller) -> Any:
    return admin.call("GET", "/api/v1/projects/default/flags")


def test_a_hung_store_costs_one_wait_and_the_next_requests_are_refused_at_once(
    server: RunningServer, admin: Caller, application: Caller, flag: str
) -> None:
    until(lambda: evaluate(application, flag).status == 200, "the flag is evaluated")
    opened = metric(admin, "tidegate_store_breaker_opened_total")
    with hung(server):
        first = project(admin)
        assert first.status == 503
        assert first.headers["Retry-After"] == "1"
        assert "did not answer in time" in first.json()["detail"]
        refused = metric(admin, "tidegate_store_calls_refused_total")
        for _ in range(20):
            assert project(admin).status == 503
            assert evaluate(application, flag).status == 200
        assert metric(admin, "tidegate_store_calls_refused_total") >= refused + 20
        assert metric(admin, "tidegate_store_breaker_open") == 1
        assert metric(admin, "tidegate_store_reachable") == 0
        assert metric(admin, "tidegate_store_breaker_opened_total") >= opened + 1
    until(lambda: project(admin).status == 200, "the server uses the store again")
    until(lambda: metric(admin, "tidegate_store_breaker_open") == 0, "the breaker is closed")
    assert metric(admin, "tidegate_store_reachable") == 1


def test_an_open_stream_survives_a_hung_store_and_gets_the_next_change(
    server: RunningServer, admin: Caller, application: Caller, flag: str
) -> None:
    port = urllib3.util.parse_url(server.url).port
    assert port is not None
    headers = {"Authorization": f"Bearer {application.token}"}
    stream = Stream(port, "/sdk/v1/stream", headers)
    try:
        stream.next("snapshot")
        with hung(server):
            assert project(admin).status == 503
        path = f"/api/v1/projects/default/environments/production/flags/{flag}/kill"
        until(lambda: admin.call("POST", path, {"reason": "test"}).status == 200, "the kill")
        assert flag in stream.next("update").data["flags"]
    finally:
        stream.close()


@pytest.mark.parametrize(
    ("damage", "repair", "reason"),
    [
        (
            ("CONFIG", "SET", "maxmemory", "1"),
            ("CONFIG", "SET", "maxmemory", "0"),
            "no memory left",
        ),
        (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE"), "read-only replica"),
    ],
    ids=["out of memory", "read-only"],
)
def test_a_store_that_takes_no_writes_refuses_changes_and_nothing_else(
    admin: Caller,
    application: Caller,
    flag: str,
    raw: redis.Redis,
    damage: tuple[str, ...],
    repair: tuple[str, ...],
    reason: str,
) -> None:
    body = {"key": f"f-{uuid4().hex[:8]}", "type": "boolean"}
    until(lambda: evaluate(application, flag).status == 200, "the flag is evaluated")
    raw.execute_command(*damage)  # type: ignore[no-untyped-call]
    try:
        refused = admin.call("POST", "/api/v1/projects/default/flags", body)
        assert refused.status == 503
        assert reason in refused.json()["detail"]
        assert project(admin).status == 200
        assert evaluate(application, flag).status == 200
    finally:
        raw.execute_command(*repair)  # type: ignore[no-untyped-call]
    made = admin.call("POST", "/api/v1/projects/default/flags", body)
    assert made.status == 201, made.data


def test_one_address_cannot_take_all_connections(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("few")
    port, processes = free_port(), Processes(folder)
    connections: list[socket.socket] = []
    try:
        processes.start(
            "server",
            [PROGRAM, "serve", "--port", str(port), "--workers", "1", "--log-format", "json"],
            {
                "TIDEGATE_DATA_DIR": str(folder / "data"),
                "TIDEGATE_BOOTSTRAP_TOKEN": TOKEN,
                "TIDEGATE_CONNECTIONS_PER_ADDRESS": "10",
                # So this machine's own address has the limit, too.
                "TIDEGATE_TRUSTED_PROXIES": "192.0.2.1",
            },
        )
        url = f"http://127.0.0.1:{port}"
        processes.wait_for("the server is ready", Admin(url, TOKEN).ready)

        def connect() -> socket.socket:
            connections.append(socket.create_connection(("127.0.0.1", port), timeout=20))
            return connections[-1]

        def answer(connection: socket.socket) -> bytes:
            with suppress(OSError):
                connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
            received = b""
            while not received.endswith((b"}", b"others.\n")):
                received += (part := connection.recv(10_000))
                if not part:
                    break
            return received

        # The check before may still have its connection.
        until(lambda: b"too many connections" in answer(connect()), "a refused connection")
        assert len(connections) <= 11
        for connection in connections[:-1]:
            connection.close()
        until(lambda: b" 200 " in answer(connect()), "a connection that is served again")
        log = processes.log("server").read_text()
        assert "connections_possible" in log
    finally:
        for connection in connections:
            connection.close()
        processes.stop()
