"""Nothing that a request computes keeps a web process from serving the others."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import urllib3

from tests.cli.conftest import RunningServer
from tests.waiting import until

PROJECT = "/api/v1/projects/default"
STAGES = [{"percentage": 1, "min_duration": "1h"}, {"percentage": 100, "min_duration": "1h"}]
SIMULATION = {
    "traffic": 1e6,
    "base_error": 0.01,
    "runs": 500,
    "days": 90,
    "policy": {"key": "slow", "interval": "1s", "stages": STAGES, "bake": "90d"},
}
LARGE_SEGMENT = {"included": [0] * 10_000, "excluded": ["x" * 40 + str(n) for n in range(10_000)]}
SLOW_YAML = "{" + ", ".join(f"a{number}: b" for number in range(5_900)) + "}"

CHECKS = 40
"""How many health checks are made beside other requests."""


class Caller:
    """Calls a server with its admin token."""

    def __init__(self, server: RunningServer) -> None:
        self._server = server
        self._pool = urllib3.PoolManager(maxsize=20, block=False, retries=False, timeout=60)

    def call(self, method: str, path: str, body: Any = None, content_type: str = "") -> Any:
        headers = {"Authorization": f"Bearer {self._server.token}"}
        data = body if isinstance(body, str | None) else json.dumps(body)
        if data is not None:
            headers["Content-Type"] = content_type or "application/json"
        return self._pool.request(method, self._server.url + path, body=data, headers=headers)


@contextmanager
def repeated(call: Any, threads: int) -> Iterator[list[int]]:
    """Make a call again and again; yields the statuses of the responses, at first of one."""
    statuses: list[int] = []
    ending = threading.Event()

    def repeat() -> None:
        while not ending.is_set():
            statuses.append(call().status)

    workers = [threading.Thread(target=repeat) for _ in range(threads)]
    for worker in workers:
        worker.start()
    try:
        until(lambda: bool(statuses), "the first response")
        yield statuses
    finally:
        ending.set()
        for worker in workers:
            worker.join()


@pytest.mark.parametrize(
    ("method", "path", "body", "content_type"),
    [
        ("POST", f"{PROJECT}/policies/simulate", SIMULATION, ""),
        ("PUT", f"{PROJECT}/segments/large", LARGE_SEGMENT, ""),
        ("POST", f"{PROJECT}/policies", SLOW_YAML, "application/yaml"),
    ],
)
def test_a_web_process_answers_health_checks_before_what_others_compute(
    server: RunningServer, method: str, path: str, body: Any, content_type: str
) -> None:
    caller = Caller(server)
    # The server has one worker, so this is the one that also computes. If it did so itself, each
    # health check would be answered after a computation of each caller.
    with repeated(lambda: caller.call(method, path, body, content_type), 4) as statuses:
        before = computed(statuses)
        check_health(caller)
        meanwhile = computed(statuses) - before
    assert meanwhile < CHECKS, statuses
    if path.endswith("simulate"):
        # The callers that found no place were told so.
        assert set(statuses) == {200, 429}
    else:
        assert set(statuses) <= {400, 422, 429}


def computed(statuses: list[int]) -> int:
    """Return how many responses needed a computation."""
    return sum(status != 429 for status in statuses)


def check_health(caller: Caller) -> None:
    """Ask `/health/live`, again and again."""
    for _ in range(CHECKS):
        assert caller.call("GET", "/health/live").status == 200


@pytest.mark.parametrize(
    ("path", "content_type", "body"),
    [
        (f"{PROJECT}/policies", "application/yaml", "{" + "a: b, " * 170_000 + "}"),
        (f"{PROJECT}/policies", "application/json", " " * 65_537),
        (f"{PROJECT}/segments", "application/json", " " * (1024 * 1024 + 1)),
        ("/ofrep/v1/evaluate/flags", "application/json", " " * 65_537),
    ],
)
def test_a_body_beyond_its_limit_is_refused_unread(
    server: RunningServer, path: str, content_type: str, body: str
) -> None:
    caller = Caller(server)
    if path.startswith("/ofrep"):
        token = {"name": "sdk", "role": "sdk", "project": "default", "environment": "production"}
        secret = caller.call("POST", "/api/v1/tokens", token).json()["secret"]
        caller = Caller(RunningServer(server.url, secret, server.data_dir, server.pid))
    refused = caller.call("POST", path, body, content_type)
    assert refused.status in (400, 413)
    assert "too long: at most" in refused.data.decode()


@pytest.mark.parametrize("path", ["/nowhere", f"{PROJECT}/policies", "/ofrep/v1/evaluate/flags"])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_large_body_that_nobody_reads_ends_its_connection_and_keeps_nobody_waiting(
    server: RunningServer, path: str, chunked: bool
) -> None:
    """A caller without a token sends megabytes, and still gets its answer."""
    body = b"a" * 3_000_000
    connections: list[str | None] = []

    def send() -> Any:
        chunks: Any = iter([body]) if chunked else body
        response = urllib3.request("POST", server.url + path, body=chunks, retries=False)
        connections.append(response.headers.get("Connection"))
        return response

    with repeated(send, 4) as statuses:
        check_health(Caller(server))
    assert set(statuses) == {404 if path == "/nowhere" else 401}
    # To use it again, the rest would have to be read, for which others would wait.
    assert set(connections) == {"close"}


def test_a_connection_is_used_again_after_a_small_body_that_nobody_reads(
    server: RunningServer,
) -> None:
    with urllib3.HTTPConnectionPool("127.0.0.1", urllib3.util.parse_url(server.url).port) as pool:
        for _ in range(5):
            assert pool.request("POST", "/nowhere", body=b"a" * 10_000).status == 404
        assert pool.num_connections == 1
