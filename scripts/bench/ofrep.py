"""The cost of remote evaluation, over an open connection."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import urllib3

from examples.shop.admin import Admin
from scripts.bench._worker import BASELINE_PATH
from scripts.bench.measure import Batch, Result, benchmark, compare, repeat
from scripts.bench.places import create_boolean_flag, web_process

FLAGS = 100
TIMES = 20
ROUNDS = 201
BULK_LIMIT = 2.5
UNCHANGED_LIMIT = 1.5
BULK_PATH = "/ofrep/v1/evaluate/flags"
BODY = json.dumps({"context": {"targetingKey": "user-42", "plan": "pro", "country": "DE"}}).encode()


@benchmark
def bulk_evaluation() -> Iterator[Result]:
    """A bulk evaluation of a hundred flags, and one without a change; baseline: a Flask route."""
    with _worker() as (url, token):
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        http = urllib3.PoolManager(retries=False)
        bulk = http.request("POST", url + BULK_PATH, body=BODY, headers=headers)
        conditional = {**headers, "If-None-Match": bulk.headers["ETag"]}
        for name, request_headers, status, body, limit in (
            (f"{FLAGS} flags for a context", headers, 200, bulk.data, BULK_LIMIT),
            ("the same, unchanged (304)", conditional, 304, b"", UNCHANGED_LIMIT),
        ):
            http.request("PUT", f"{url}{BASELINE_PATH}/{status}", body=body)
            yield compare(
                name,
                _requests(url, BULK_PATH, request_headers, status, len(body)),
                "a plain Flask route",
                _requests(url, BASELINE_PATH, request_headers, status, len(body)),
                rounds=ROUNDS,
                limit=limit,
            )


def _requests(url: str, path: str, headers: Mapping[str, str], status: int, length: int) -> Batch:
    """Return a batch that posts the context over one connection and checks the response."""
    address = urlsplit(url)
    connection = socket.create_connection((address.hostname, address.port), 10.0)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    fields = {"Host": address.netloc, **headers, "Content-Length": str(len(BODY))}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    request = "\r\n".join([*lines, "", ""]).encode() + BODY

    def send() -> None:
        connection.sendall(request)
        response = connection.recv(65_536)
        head, end_of_head, body = response.partition(b"\r\n\r\n")
        assert end_of_head, "headers came in pieces"
        assert head.startswith(b"HTTP/1.1 %d" % status), head
        missing = length - len(body)
        while missing > 0:
            missing -= len(connection.recv(65_536))

    return repeat(TIMES, send)


@contextmanager
def _worker() -> Iterator[tuple[str, str]]:
    """Run one web process with a hundred flags; yield its URL and an SDK token."""
    with web_process("scripts.bench._worker") as (url, admin, _):
        _create_flags(url, admin)
        yield url, admin.sdk_token("bench")


def _create_flags(url: str, admin: Admin) -> None:
    """Create flags: half have only a default rule, a quarter a rule, a quarter a split."""
    pro = {"attribute": "plan", "operator": "equals", "value": "pro"}
    split = [{"variant": "on", "weight": 20}, {"variant": "off", "weight": 80}]
    targetings: list[dict[str, Any]] = [
        {},
        {"rules": [{"id": "pro", "when": pro, "serve": {"variant": "on"}}]},
        {},
        {"default": {"split": split}},
    ]
    for number in range(FLAGS):
        targeting = targetings[number % len(targetings)]
        create_boolean_flag(url, admin, f"flag-{number:03}", **targeting)
