"""A process that keeps thousands of event streams open, and notes when each gets an update.

It does little for each stream, so that the times are those of the server.
"""

from __future__ import annotations

import select
import socket
import time
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

AT_ONCE = 64
"""How many streams are being opened at the same time."""

PATIENCE_SECONDS = 120.0
OPENED = b"retry: "
END_OF_CHUNK = b"\n\n\r\n"
UPDATE = b"event: update"
CHUNK = 65_536


class StreamReader:
    """The streams of one server, in a process of their own.

    Args:
        port: the server's, on this machine.
        request: opens a stream.
    """

    def __init__(self, port: int, request: bytes) -> None:
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_read, args=(port, request, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def open(self, count: int) -> tuple[float, bytes]:
        """Open streams until each has said all; return the seconds, and what one of them said."""
        opened: tuple[float, bytes] = self._ask("open", count)
        return opened

    def updates(self, request: bytes) -> tuple[list[float], bytes]:
        """Send a request whose change reaches every stream.

        Returns:
            The seconds from the request until each stream had the change, and its bytes.
        """
        updates: tuple[list[float], bytes] = self._ask("updates", request)
        return updates

    def stop(self) -> None:
        """Close the streams."""
        self._process.terminate()
        self._process.join()
        self._pipe.close()

    def _ask(self, *question: Any) -> Any:
        self._pipe.send(question)
        if not self._pipe.poll(PATIENCE_SECONDS + 10.0):
            raise TimeoutError(f"no answer to {question[0]!r}")
        return self._pipe.recv()


class _Streams:
    def __init__(self, port: int, request: bytes) -> None:
        self._address = ("127.0.0.1", port)
        self._request = request
        self._epoll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}

    def open(self, count: int) -> tuple[float, bytes]:
        began = time.monotonic()
        deadline = began + PATIENCE_SECONDS
        said: dict[int, bytes] = {}
        started = finished = 0
        last = b""
        while finished < count:
            while started < count and len(said) < AT_ONCE:
                connection = socket.create_connection(self._address)
                connection.sendall(self._request)
                connection.setblocking(False)
                number = connection.fileno()
                self._sockets[number] = connection
                self._epoll.register(number, select.EPOLLIN)
                said[number] = b""
                started += 1
            for number, data in self._received(deadline):
                if number in said:
                    said[number] += data
                    if OPENED in said[number] and said[number].endswith(END_OF_CHUNK):
                        last = said.pop(number)
                        finished += 1
        return time.monotonic() - began, last

    def updates(self, request: bytes) -> tuple[list[float], bytes]:
        waiting = set(self._sockets)
        times = []
        update = b""
        with socket.create_connection(self._address) as control:
            began = time.monotonic()
            control.sendall(request)
            while waiting:
                for number, data in self._received(began + PATIENCE_SECONDS):
                    if number in waiting and UPDATE in data:
                        times.append(time.monotonic() - began)
                        waiting.discard(number)
                        update = data
            status = control.recv(CHUNK).split(b" ", 2)[1]
            if not status.startswith(b"2"):
                raise RuntimeError(f"the change was refused: {status.decode()}")
        return times, update

    def _received(self, deadline: float) -> list[tuple[int, bytes]]:
        received = []
        for number, _ in self._epoll.poll(1.0):
            data = self._sockets[number].recv(CHUNK)
            if not data:
                raise ConnectionError("the server ended a stream")
            received.append((number, data))
        if not received and time.monotonic() > deadline:
            raise TimeoutError("a stream waits for too long")
        return received


def _read(port: int, request: bytes, pipe: Connection) -> None:
    streams = _Streams(port, request)
    while True:
        name, argument = pipe.recv()
        pipe.send(getattr(streams, name)(argument))
