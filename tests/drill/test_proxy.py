"""The drill's proxy passes bytes on, and can be cut like a network."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest
from tidegate_server.drill.proxy import Proxy


class Echo:
    """A server that sends back what it gets."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    @staticmethod
    def _serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while part := connection.recv(100):
                connection.sendall(part)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    server = Echo()
    made = Proxy(server.port)
    yield made
    made.close()
    server.close()


def connect(proxy: Proxy, seconds: float = 20.0) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(proxy.url.rpartition(":")[2])), seconds)


def is_cut(connection: socket.socket) -> bool:
    """Return whether the other side has closed a connection; waits for that."""
    try:
        return connection.recv(100) == b""
    except ConnectionError:
        return True


def test_bytes_pass_in_both_directions(proxy: Proxy) -> None:
    with connect(proxy) as connection:
        connection.sendall(b"one")
        assert connection.recv(100) == b"one"


def test_a_dropped_network_closes_open_connections_and_new_ones(proxy: Proxy) -> None:
    with connect(proxy) as open_before:
        open_before.sendall(b"one")
        assert open_before.recv(100) == b"one"
        proxy.drop()
        assert is_cut(open_before)
        with connect(proxy) as new:
            assert is_cut(new)
    proxy.mend()
    with connect(proxy) as connection:
        connection.sendall(b"two")
        assert connection.recv(100) == b"two"


def test_a_hung_network_passes_nothing_on_until_it_is_mended(proxy: Proxy) -> None:
    with connect(proxy) as connection:
        connection.sendall(b"one")
        assert connection.recv(100) == b"one"
        proxy.hang()
        connection.sendall(b"two")
        connection.settimeout(0.05)
        with pytest.raises(TimeoutError):
            connection.recv(100)
        connection.settimeout(20.0)
        proxy.mend()
        assert connection.recv(100) == b"two"
