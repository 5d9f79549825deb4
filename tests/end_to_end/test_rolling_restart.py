"""Two servers on one store are restarted one after the other: no client misses a version."""

from __future__ import annotations

import http.client
import threading
import time
from contextlib import suppress
from itertools import count, cycle
from pathlib import Path
from typing import Protocol

import pytest
import urllib3
from tidegate_server.admin.bootstrap import bootstrap
from tidegate_server.application import create_app, install_services
from tidegate_server.store import Store
from tidegate_server.web.settings import ApiSettings
from werkzeug.serving import BaseWSGIServer, make_server

from examples.shop.admin import Admin
from examples.shop.plan import boolean_flag
from tests.end_to_end.server_processes import ServerProcesses
from tests.event_stream_client import Stream
from tests.http_application import ADMIN_TOKEN, SECRET_KEY
from tests.stores import raw, store, valkey
from tests.waiting import until

__all__ = ["raw", "store", "valkey"]

PLACE = ("default", "production")
FLAG = "/api/v1/projects/default/environments/production/flags/checkout"
CLIENTS = 6
NO_ANSWER = (OSError, http.client.HTTPException, urllib3.exceptions.HTTPError)


class Servers(Protocol):
    """Two servers on one store, which run."""

    ports: list[int]

    def restart(self, number: int) -> None:
        """End one of them, and start it again."""

    def stop(self) -> None:
        """End both."""


class ServerThreads:
    """Servers in threads of this process."""

    def __init__(self, store_url: str) -> None:
        self._store_url = store_url
        settings = ApiSettings(SECRET_KEY, keep_alive_seconds=0.5)
        self._settings = settings
        self._apps = [create_app(Store.connect(store_url), settings) for _ in range(2)]
        self._servers = [make_server("127.0.0.1", 0, app, threaded=True) for app in self._apps]
        self.ports = [server.server_port for server in self._servers]
        self._threads = [self._start(server) for server in self._servers]

    def restart(self, number: int) -> None:
        app = self._apps[number]
        self._end(number)
        install_services(app, Store.connect(self._store_url), self._settings)
        server = make_server("127.0.0.1", self.ports[number], app, threaded=True)
        self._servers[number], self._threads[number] = server, self._start(server)

    def stop(self) -> None:
        for number in range(2):
            self._end(number)

    def _start(self, server: BaseWSGIServer) -> threading.Thread:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        return thread

    def _end(self, number: int) -> None:
        # As a web process does: no new connections, and then the end of the streams.
        server, backend = self._servers[number], self._apps[number].extensions["tidegate"]
        server.shutdown()
        backend.close()
        server.server_close()
        self._threads[number].join()
        backend.store.close()


class Client:
    """Follows one of the servers, and after the end of its stream the other one."""

    def __init__(self, ports: list[int], token: str, first: int) -> None:
        self.versions: list[int] = []
        self.connections = 0
        self.ending = False
        self._ports = cycle(ports[first:] + ports[:first])
        self._headers = {"Authorization": f"Bearer {token}"}
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        while not self.ending:
            seen = {"Last-Event-ID": str(self.versions[-1])} if self.versions else {}
            with suppress(*NO_ANSWER):
                self._read(Stream(next(self._ports), "/sdk/v1/stream", self._headers | seen))
            time.sleep(0.02)

    def _read(self, stream: Stream) -> None:
        self.connections += stream.response.status == 200
        for event in stream.events() if stream.response.status == 200 else ():
            if event.name != ":":
                self.versions.append(event.version)
            if self.ending:
                break
        stream.close()


class Changes:
    """Changes a flag all the time, with whichever server answers."""

    def __init__(self, ports: list[int]) -> None:
        self.made = 0
        self._ports = cycle(ports)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        http = urllib3.PoolManager(headers=headers, retries=False, timeout=10.0)
        port = next(self._ports)
        for number in count():
            if self._ending.wait(0.01):
                return
            url = f"http://127.0.0.1:{port}{FLAG}/{('kill', 'restore')[number % 2]}"
            try:
                self.made += http.request("POST", url, json={"reason": "a test"}).status == 200
            except NO_ANSWER:
                port = next(self._ports)


def check_that_no_client_misses_a_version(servers: Servers, store: Store, rounds: int) -> None:
    admin = Admin(f"http://127.0.0.1:{servers.ports[0]}", ADMIN_TOKEN)
    admin.create("flags", boolean_flag("checkout", ""))
    token = admin.sdk_token("shop")
    clients = [Client(servers.ports, token, number % 2) for number in range(CLIENTS)]
    until(lambda: all(client.versions for client in clients), "every client has flags")
    changes = Changes(servers.ports)
    try:
        for _ in range(rounds):
            for number in range(2):
                made = changes.made
                until(lambda made=made: changes.made > made + 5, "changes go on")  # type: ignore[misc]
                servers.restart(number)
    finally:
        changes.stop()

    last = store.version(*PLACE)
    until(lambda: all(client.versions[-1] == last for client in clients), "all have the last one")
    for client in clients:
        client.ending = True
        assert client.versions == list(range(client.versions[0], last + 1))
        assert client.connections > rounds


def test_no_client_misses_a_version(store: Store) -> None:
    bootstrap(store, SECRET_KEY, ADMIN_TOKEN)
    servers = ServerThreads(store.url)
    try:
        check_that_no_client_misses_a_version(servers, store, rounds=2)
    finally:
        servers.stop()


@pytest.mark.long
def test_no_client_of_processes_misses_a_version(store: Store, tmp_path: Path) -> None:
    bootstrap(store, SECRET_KEY, ADMIN_TOKEN)
    servers = ServerProcesses(tmp_path, store.url, 2, 1)
    try:
        check_that_no_client_misses_a_version(servers, store, rounds=5)
    finally:
        servers.stop()
