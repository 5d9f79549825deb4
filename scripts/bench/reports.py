"""What a report of an SDK costs the server; baseline: a bare Flask route that runs one script."""

from __future__ import annotations

import json
import random
import secrets
import selectors
import socket
from collections.abc import Iterator
from itertools import count
from typing import Any

import urllib3

from examples.shop.admin import Admin
from scripts.bench._worker import REPORT_BASELINE_PATH
from scripts.bench.measure import Batch, Result, benchmark, compare, repeat
from scripts.bench.places import create_boolean_flag, web_process

INSTANCES = 32
"""How many reports are sent at once: about as many as wait in each of two web processes when 25,000
instances report."""

TIMES = 5
ROUNDS = 41
LIMIT = 1.1
"""A report takes about as long as the bare route, which runs a script for each, or less."""

SEEN_LIMIT = 1.3
SEEN_USERS = 20
"""How many recently seen users a report names. An instance names each of the thousand of the sample
every ten minutes: in sixty reports, seventeen each."""

RELEASES = 2
FLAGS = 10
EVALUATIONS_EVERY = 3
"""SDKs send evaluations every thirty seconds: with each third report of one every ten seconds."""

SAMPLE = [
    {"user": f"{number:08x}{number:08x}", "attributes": {"plan": "pro", "country": "DE"}}
    for number in range(1_000)
]
"""The users of an environment's sample."""

PATIENCE_SECONDS = 30.0
POLICY = {
    "key": "slow",
    "stages": [{"percentage": 50, "min_duration": "7d"}, {"percentage": 100}],
}
CHUNK = 65_536


@benchmark
def of_instances() -> Iterator[Result]:
    """A report of one of many instances with two releases and ten flags, all at once."""
    yield _measure(f"a report, {INSTANCES} at once", 0, LIMIT)


@benchmark
def that_name_users() -> Iterator[Result]:
    """Such a report that also names twenty recently seen users, whom other reports have named."""
    says = f"a report with {SEEN_USERS} seen users, {INSTANCES} at once"
    yield _measure(says, SEEN_USERS, SEEN_LIMIT)


def _measure(what: str, seen_users: int, limit: float) -> Result:
    with web_process("scripts.bench._worker") as (url, admin, _):
        releases = start_releases(url, admin)
        token = admin.sdk_token("bench")
        port = urllib3.util.parse_url(url).port or 0
        return compare(
            what,
            batch_of_reports(port, "/sdk/v1/reports", token, releases, seen_users),
            "a plain Flask route with a script",
            batch_of_reports(port, REPORT_BASELINE_PATH, token, releases),
            rounds=ROUNDS,
            limit=limit,
        )


def start_releases(url: str, admin: Admin) -> list[str]:
    """Create the flags, and start releases of the first of them; return their ids."""
    for number in range(FLAGS):
        create_boolean_flag(url, admin, f"flag-{number}")
    plan = {"attribute": "plan", "operator": "equals", "value": "pro"}
    admin.create("segments", {"key": "paying", "when": plan})
    admin.create("policies", POLICY)
    return [
        admin.start_release(f"flag-{number}", "on", "slow", "a benchmark").id
        for number in range(RELEASES)
    ]


class _Instance:
    """An instance that reports over a connection of its own."""

    def __init__(
        self, port: int, path: str, token: str, releases: list[str], seen_users: int
    ) -> None:
        self.connection = socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS)
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
            "Accept-Encoding: identity\r\nUser-Agent: tidegate-python\r\n"
            "Content-Type: application/json\r\nContent-Length: "
        )
        self._id = secrets.token_hex(16)
        self._releases = releases
        self._seen_users = seen_users
        self._sequences = count(1)

    def send(self) -> None:
        """Send the next report."""
        body = json.dumps(self._report(next(self._sequences)), separators=(",", ":"))
        self.connection.sendall(f"{self._head}{len(body)}\r\n\r\n{body}".encode())

    def receive(self) -> None:
        """Read the answer."""
        answer = self.connection.recv(CHUNK)
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(answer.decode(errors="replace"))
        head, _, body = answer.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        while len(body) < length:
            body += self.connection.recv(CHUNK)

    def _report(self, sequence: int) -> dict[str, Any]:
        operations = 40 * sequence
        arm = {
            "exposures": operations,
            "outcomes": operations,
            "errors": sequence,
            "microseconds": 900 * operations,
        }
        group = {"step": 1, "stratum": 1}
        return {
            "schema": 2,
            "instance": self._id,
            "sequence": sequence,
            "continues": sequence > 1,
            "counts": [
                {"release": release, **group, "control": arm, "treatment": arm}
                for release in self._releases
            ],
            "failing": [
                {
                    "release": release,
                    **group,
                    "arm": "treatment",
                    "users": [secrets.token_hex(8)],
                    "overflow": 0,
                }
                for release in self._releases
            ],
            "samples": [],
            "evaluations": [] if sequence % EVALUATIONS_EVERY else self._evaluations(operations),
            "seen_users": random.sample(SAMPLE, self._seen_users),
            "version": 1,
            "interval": 10.0,
            "leaving": False,
            "sdk": "tidegate-python/0.1.0",
            "host": "web-1",
            "pid": 42,
            "application": "shop",
            "uptime": 10.0 * sequence,
            "version_age": 10.0,
        }

    def _evaluations(self, operations: int) -> list[dict[str, Any]]:
        return [
            {
                "flag": f"flag-{number}",
                "variants": {"on": operations, "off": operations},
                "defaults": 0,
                "estimated": False,
            }
            for number in range(FLAGS)
        ]


def batch_of_reports(
    port: int, path: str, token: str, releases: list[str], seen_users: int = 0
) -> Batch:
    """Return a batch in which every instance sends reports, each one after the last's answer."""
    waiting = selectors.DefaultSelector()
    instances = [_Instance(port, path, token, releases, seen_users) for _ in range(INSTANCES)]
    for instance in instances:
        waiting.register(instance.connection, selectors.EVENT_READ, instance)

    def one_each() -> None:
        for instance in instances:
            instance.send()
        answered = 0
        while answered < INSTANCES:
            ready = waiting.select(PATIENCE_SECONDS)
            if not ready:
                raise TimeoutError("a report has no answer")
            for key, _ in ready:
                key.data.receive()
                answered += 1

    whole = repeat(TIMES, one_each)
    return lambda: whole() / INSTANCES
