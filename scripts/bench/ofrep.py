"""What remote evaluation costs, over a connection that stays open."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import urllib3
from tidegate_server.admin.bootstrap import bootstrap
from tidegate_server.store import Store

from examples.shop.admin import Admin
from examples.shop.processes import Processes, free_port
from scripts.bench._worker import BARE
from scripts.bench.measure import Batch, Found, benchmark, compare, each
from scripts.bench.places import ROOT, TOKEN, folder, store

FLAGS = 100
TIMES = 20
ROUNDS = 201
WHOLE_LIMIT = 2.5
UNCHANGED_LIMIT = 1.5
SECRET_KEY = "a secret key for benchmarks"
ENVIRONMENT = "/api/v1/projects/default/environments/production"
ALL = "/ofrep/v1/evaluate/flags"
BODY = json.dumps({"context": {"targetingKey": "user-42", "plan": "pro", "country": "DE"}}).encode()


@benchmark
def all_flags() -> Iterator[Found]:
    """A hundred flags at once, and that nothing changed, beside a bare Flask route."""
    with _worker() as (url, token):
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        http = urllib3.PoolManager(retries=False)
        whole = http.request("POST", url + ALL, body=BODY, headers=headers)
        known = {**headers, "If-None-Match": whole.headers["ETag"]}
        for name, sent, status, body, limit in (
            (f"{FLAGS} flags for a context", headers, 200, whole.data, WHOLE_LIMIT),
            ("the same while nothing changed (304)", known, 304, b"", UNCHANGED_LIMIT),
        ):
            http.request("PUT", f"{url}{BARE}/{status}", body=body)
            yield compare(
                name,
                _asking(url, ALL, sent, status, len(body)),
                "a bare Flask route",
                _asking(url, BARE, sent, status, len(body)),
                rounds=ROUNDS,
                limit=limit,
            )


def _asking(url: str, path: str, headers: Mapping[str, str], status: int, length: int) -> Batch:
    """Post the context, again and again, over one connection."""
    to = urlsplit(url)
    connection = socket.create_connection((to.hostname, to.port), 10.0)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    said = {"Host": to.netloc, **headers, "Content-Length": str(len(BODY))}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in said.items())]
    request = "\r\n".join([*lines, "", ""]).encode() + BODY

    def once() -> None:
        connection.sendall(request)
        answer = connection.recv(65_536)
        head, found, rest = answer.partition(b"\r\n\r\n")
        assert found, "headers came in pieces"
        assert head.startswith(b"HTTP/1.1 %d" % status), head
        missing = length - len(rest)
        while missing > 0:
            missing -= len(connection.recv(65_536))

    return each(TIMES, once)


@contextmanager
def _worker() -> Iterator[tuple[str, str]]:
    """One web process with a hundred flags; its address, and a token that may ask for them."""
    with folder() as made, store() as store_url:
        opened = Store.connect(store_url)
        bootstrap(opened, SECRET_KEY.encode(), TOKEN)
        opened.close()
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        processes = Processes(made)
        try:
            processes.start(
                "worker",
                [sys.executable, "-m", "scripts.bench._worker"],
                {
                    "PYTHONPATH": str(ROOT),
                    "TIDEGATE_BIND": f"127.0.0.1:{port}",
                    "TIDEGATE_WORKERS": "1",
                    "TIDEGATE_STORE_URL": store_url,
                    "TIDEGATE_SECRET_KEY": SECRET_KEY,
                    "TIDEGATE_LOG_LEVEL": "info",
                    "TIDEGATE_LOG_FORMAT": "json",
                },
            )
            admin = Admin(url, TOKEN)
            processes.wait_for("the worker is ready", admin.ready)
            _make_flags(url, admin)
            yield url, admin.sdk_token("bench")
        finally:
            processes.stop()


def _make_flags(url: str, admin: Admin) -> None:
    """A half of the flags serves everyone the same, a quarter has a rule, a quarter a split."""
    http = urllib3.PoolManager(headers={"Authorization": f"Bearer {TOKEN}"}, retries=False)
    pro = {"attribute": "plan", "operator": "equals", "value": "pro"}
    ways: list[dict[str, Any]] = [
        {},
        {"rules": [{"id": "pro", "when": pro, "serve": {"variant": "on"}}]},
        {},
        {"default": {"split": [{"variant": "on", "weight": 20}, {"variant": "off", "weight": 80}]}},
    ]
    for number in range(FLAGS):
        key = f"flag-{number:03}"
        admin.create("flags", {"key": key, "type": "boolean"})
        plain = {"enabled": True, "off_variant": "off", "default": {"variant": "off"}}
        answer = http.request(
            "PUT",
            f"{url}{ENVIRONMENT}/flags/{key}",
            json={**plain, **ways[number % len(ways)]},
            headers={**http.headers, "If-Match": "*"},
        )
        assert answer.status == 200, answer.data
