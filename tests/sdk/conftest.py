"""A flag server for all tests of the SDK, and an environment for each test."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tidegate import Client, flag_follower, local_breaker, operation, sync, transport
from tidegate.backoff import Backoff
from tidegate_server.store import Store
from tidegate_server.store.embedded import EmbeddedValkey

from tests.sdk.bad_proxy import Proxy
from tests.sdk.server import Environment, FlagServer

Connect = Callable[[], Client]


@pytest.fixture(scope="session")
def flag_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlagServer]:
    valkey = EmbeddedValkey(Path(tmp_path_factory.mktemp("valkey")))
    valkey.start()
    store = Store.connect(valkey.url)
    server = FlagServer(store)
    server.start()
    yield server
    server.stop()
    store.close()
    valkey.stop()


@pytest.fixture(autouse=True)
def _nothing_warned_of_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each test see its warnings: a process logs each one once, and a hundred at most."""
    monkeypatch.setattr(operation, "_warnings", set())


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten all timeouts, for tests of what happens after them."""
    monkeypatch.setattr(transport, "RESPONSE_SECONDS", 0.3)
    monkeypatch.setattr(transport, "SILENCE_SECONDS", 0.6)
    monkeypatch.setattr(transport, "WHOLE_SECONDS", 0.5)
    monkeypatch.setattr(sync, "RETRY", Backoff(0.08, 0.2, 0.5))
    monkeypatch.setattr(sync, "RETRY_REFUSED", Backoff(0.08, 0.2, 0.5))
    monkeypatch.setattr(sync, "MAX_RETRY_AFTER", 0.2)
    monkeypatch.setattr(local_breaker, "WINDOW_SECONDS", 0.1)
    monkeypatch.setattr(flag_follower, "IDLE_REPORT_SECONDS", 1.0)


@pytest.fixture
def environment(flag_server: FlagServer) -> Environment:
    """An environment of the flag server that no other test uses."""
    return flag_server.environment()


@pytest.fixture
def connect(environment: Environment) -> Iterator[Connect]:
    """A function that makes a client with flags; its clients are closed at the end."""
    clients: list[Client] = []

    def connect() -> Client:
        client = Client(environment.url, environment.token)
        clients.append(client)
        assert client.wait_until_ready()
        return client

    yield connect
    for client in clients:
        client.close()


@pytest.fixture
def client(connect: Connect) -> Client:
    """A client that has the environment's flags."""
    return connect()


@pytest.fixture
def proxy(environment: Environment) -> Iterator[Proxy]:
    """A proxy in front of the environment's flag server."""
    proxy = Proxy(environment.url)
    yield proxy
    proxy.close()


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[str, str]:
    """A certificate that nobody trusts, and its key, for 127.0.0.1."""
    key, path = str(tmp_path / "key.pem"), str(tmp_path / "certificate.pem")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"),
            *("-subj", "/CN=127.0.0.1", "-keyout", key, "-out", path),
        ],
        check=True,
        capture_output=True,
    )
    return path, key
