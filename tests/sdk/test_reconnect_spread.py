"""Five hundred clients reconnect spread over time after a restart of their server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest
from tidegate import Client

from tests.sdk.integrations.treatment_counts import SNAPSHOT

CLIENTS = 500
DOWN_SECONDS = 2.0
SLICE_SECONDS = 0.1
SHARE = 0.25
"""In the busiest tenth of a second less than this share of the clients connects."""

STREAM = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    b"event: snapshot\ndata: " + json.dumps(SNAPSHOT).encode() + b"\n\n"
)
TAKEN = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
UNCHANGED = b"HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n"


class RestartingServer:
    """Streams one snapshot to every client, and notes when each of them connected."""

    def __init__(self) -> None:
        self.connected_at: list[float] = []
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.start()

    def start(self) -> None:
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)

    def stop(self) -> None:
        """Refuse new connections, and cut the open ones."""
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)

    def close(self) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _start(self) -> None:
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, backlog=2 * CLIENTS
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            if b"/sdk/v1/stream" in head:
                self.connected_at.append(time.monotonic())
                writer.write(STREAM)
                await reader.read()
            else:
                writer.write(TAKEN if head.startswith(b"POST") else UNCHANGED)
                await writer.drain()
        self._writers.discard(writer)
        writer.close()


@pytest.fixture
def server() -> Iterator[RestartingServer]:
    server = RestartingServer()
    yield server
    server.close()


def wait_until_all_connected(server: RestartingServer) -> None:
    deadline = time.monotonic() + 120
    while len(server.connected_at) < CLIENTS:
        assert time.monotonic() < deadline, f"{len(server.connected_at)} of {CLIENTS} connected"
        time.sleep(0.05)


@pytest.mark.long
def test_clients_reconnect_spread_over_time_after_a_restart(server: RestartingServer) -> None:
    clients = [Client(f"http://127.0.0.1:{server.port}", "a-token") for _ in range(CLIENTS)]
    try:
        wait_until_all_connected(server)
        assert all(client.wait_until_ready(60) for client in clients)
        server.stop()
        server.connected_at.clear()
        time.sleep(DOWN_SECONDS)
        server.start()
        wait_until_all_connected(server)
        slices = Counter(int(moment / SLICE_SECONDS) for moment in server.connected_at)
        assert max(slices.values()) < SHARE * CLIENTS, sorted(slices.items())
        assert all(client.boolean("checkout", False) for client in clients)
    finally:
        for client in clients:
            client._lifecycle.ask_to_close()
        for client in clients:
            client.close()
