"""A driver that changes flags through a server while its processes are killed, and a checker.

The driver notes what was acknowledged. Afterwards the checker compares it with what is stored:
documents, versions of the environment, and the audit log with its hash chain.
"""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import urllib3
from tidegate_server.domain import audit_chain
from tidegate_server.domain.change import Address
from tidegate_server.domain.kinds import Kind
from tidegate_server.errors import StoreUnavailable
from tidegate_server.store import Store
from tidegate_server.store.embedded import EmbeddedValkey

from examples.shop.processes import Processes, free_port, kill_group
from tests.cli.calls import PROGRAM
from tests.cli.conftest import TOKEN
from tests.end_to_end.deployment import descendants
from tests.topologies import Node
from tests.waiting import until

FLAGS = "/api/v1/projects/default/flags"
RESTART_SECONDS = 180.0
"""How long a busy machine may take until a killed server has started and made some changes."""


@dataclass
class Changer:
    """Numbers its own flag again and again, and notes which numbers were acknowledged."""

    url: str
    key: str
    acknowledged: list[int] = field(default_factory=list)
    unanswered: set[int] = field(default_factory=set)

    def run(self, stop: threading.Event) -> None:
        """Change the flag until told to stop."""
        with urllib3.PoolManager(
            headers={"Authorization": f"Bearer {TOKEN}"}, retries=False, timeout=30
        ) as http:
            number = 0
            while not stop.is_set():
                number += 1
                self._change(http, number)

    def _change(self, http: urllib3.PoolManager, number: int) -> None:
        path = f"{self.url}{FLAGS}/{self.key}"
        try:
            found = http.request("GET", path)
            if found.status == 404:
                body = {"key": self.key, "type": "boolean", "description": f"{number}"}
                self.unanswered.add(number)
                changed = http.request("POST", self.url + FLAGS, json=body)
            elif found.status == 200:
                body = {
                    name: value
                    for name, value in found.json().items()
                    if name not in ("revision", "updated_at")
                } | {"description": f"{number}"}
                self.unanswered.add(number)
                etag = {"If-Match": found.headers["ETag"]}
                changed = http.request("PUT", path, json=body, headers={**http.headers, **etag})
            else:
                return
        except urllib3.exceptions.HTTPError:
            return
        if changed.status in (200, 201):
            self.acknowledged.append(number)
            self.unanswered.discard(number)
        else:
            assert changed.status not in (400, 422), changed.data


class KilledServer:
    """A `tidegate serve` whose processes are killed at random.

    Args:
        folder: for its data and its log.
        store: its store; None: the embedded one.
        seed: of the choice of what is killed.
        kinds: what may be killed: the store, a process of the server, or all of the server.
    """

    def __init__(
        self,
        folder: Path,
        store: Node | None,
        seed: int,
        kinds: Sequence[str] = ("store", "process", "server"),
    ) -> None:
        self._kinds = kinds
        self._folder = folder
        self._store = store
        self._random = random.Random(seed)
        self._port = free_port()
        self._processes = Processes(folder)
        self._lives = 0
        self.url = f"http://127.0.0.1:{self._port}"
        self.kills: list[str] = []

    @property
    def store_url(self) -> str:
        """The address of the store."""
        if self._store is not None:
            return f"valkey://127.0.0.1:{self._store.port}"
        return EmbeddedValkey(self._folder / "data").url

    def start(self) -> None:
        """Start the server."""
        self._lives += 1
        environment = {
            "TIDEGATE_DATA_DIR": str(self._folder / "data"),
            "TIDEGATE_BOOTSTRAP_TOKEN": TOKEN,
            "TIDEGATE_LOG_LEVEL": "error",
        }
        if self._store is not None:
            environment["TIDEGATE_STORE_URL"] = self.store_url
        words = [PROGRAM, "serve", "--port", str(self._port), "--workers", "2"]
        self._processes.start(self._name, words, environment)

    def stop(self) -> None:
        """Stop the server."""
        self._processes.stop()

    def wait_until_ready(self) -> None:
        """Wait until the server and its store answer."""

        def is_ready() -> bool:
            with suppress(urllib3.exceptions.HTTPError):
                health = urllib3.request("GET", f"{self.url}/health/ready", retries=False)
                return health.status == 200
            return False

        until(is_ready, "the server is ready")

    def kill_something(self) -> None:
        """Kill the store, a process of the server, or all of the server."""
        kind = self._random.choice(self._kinds)
        self.kills.append(kind)
        if kind == "store" and self._store is not None:
            self._store.kill()
            self._store.start()
        elif kind == "store":
            with suppress(OSError, ValueError):
                os.kill(int((self._folder / "data" / "store.lock").read_text()), signal.SIGKILL)
        elif kind == "process":
            pids = [pid for pid, _ in descendants(self._processes.pid(self._name))]
            with suppress(OSError, IndexError):
                os.kill(self._random.choice(pids), signal.SIGKILL)
        else:
            # Also its children, except the store, which outlives it as an orphan.
            kill_group(self._processes.pid(self._name))
            self._processes.stop_one(self._name)
            self.start()

    @property
    def _name(self) -> str:
        return f"server-{self._lives}"


def drive(server: KilledServer, rounds: int, changers: int) -> list[Changer]:
    """Change flags while processes are killed in rounds; return what was acknowledged."""
    stop = threading.Event()
    running = [Changer(server.url, f"flag-{number}") for number in range(changers)]
    server.start()
    server.wait_until_ready()
    threads = [threading.Thread(target=each.run, args=(stop,)) for each in running]
    for thread in threads:
        thread.start()
    try:
        for _ in range(rounds):
            seen = sum(len(each.acknowledged) for each in running)
            until(
                lambda seen=seen: sum(len(each.acknowledged) for each in running) > seen + 3,  # type: ignore[misc]
                f"changes after these kills: {server.kills}",
                RESTART_SECONDS,
            )
            server.kill_something()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    server.wait_until_ready()
    return running


def problems(store_url: str, changers: list[Changer]) -> list[str]:
    """Return how what is stored differs from what was acknowledged; empty: it does not."""
    store = connected(store_url)
    found: list[str] = []
    entries, _ = store.logs.audit("default", limit=10**6)
    for changer in changers:
        done = [
            _number(each.documents)
            for each in reversed(entries)
            if each.target == changer.key and _number(each.documents)
        ]
        lost = set(changer.acknowledged) - set(done)
        if lost:
            found.append(f"{changer.key}: the audit log lacks {sorted(lost)}")
        unknown = set(done) - set(changer.acknowledged) - changer.unanswered
        if unknown:
            found.append(f"{changer.key}: nobody asked for {sorted(unknown)}")
        if done != sorted(set(done)):
            found.append(f"{changer.key}: changes are there twice, or in another order")
        stored = store.get("default", Address(Kind.FLAG, changer.key))
        present = int(stored.document.description) if stored is not None else 0
        if done and present != done[-1]:
            found.append(f"{changer.key}: it has {present}, and the audit log ends with {done[-1]}")
        if changer.acknowledged and present < changer.acknowledged[-1]:
            found.append(f"{changer.key}: {changer.acknowledged[-1]} was acknowledged")
    chain = store.logs.audit_chain("default")
    chained = audit_chain.verify(
        (each.chained() for each in reversed(entries)), chain.head, chain.anchor
    )
    if chained.problem:
        found.append(f"the audit chain: {chained.problem}")
    version = store.version("default", "production")
    changes = store.changes("default", "production", max(0, version - 500))
    if version and (not changes or changes[-1][0] != version):
        found.append(f"the changes do not end with version {version}")
    if store.snapshot("default", "production").version != version:
        found.append("the snapshot has another version")
    store.close()
    return found


def connected(store_url: str) -> Store:
    """Return the store, as soon as it answers."""
    opened: list[Store] = []

    def connect() -> bool:
        with suppress(StoreUnavailable):
            opened.append(Store.connect(store_url))
        return bool(opened)

    until(connect, "the store")
    return opened[0]


def _number(documents: Any) -> int:
    for document in documents:
        for change in document.get("changes", ()):
            if change["pointer"] == "/description":
                return int(change.get("after") or 0)
    return 0
