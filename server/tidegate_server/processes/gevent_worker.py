"""The web worker: gunicorn's gevent worker, with limits for connections.

Clients keep connections open for their next request. When this worker stops, it completes the
current requests and closes idle connections; gunicorn's own would wait for them until its timeout.
One address may have only so many connections, and every client has to keep a pace
(``timed_socket``), so that no single machine can occupy all connections.

Greenlets: one for each connection. They share one hub with ``end_idle_connections``, so lines
that do not wait run without interruption.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import gevent
from gunicorn.workers.ggevent import GeventWorker

from tidegate_server.process_metrics import CONNECTIONS, CONNECTIONS_REFUSED
from tidegate_server.processes.connection_limits import AddressLimit
from tidegate_server.processes.timed_socket import TimedSocket

PER_ADDRESS = "TIDEGATE_CONNECTIONS_PER_ADDRESS"
PROXIES = "TIDEGATE_TRUSTED_PROXIES"
"""Environment variables of this process."""

TOO_MANY = (
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 5\r\n"
    b"Content-Type: text/plain\r\nContent-Length: 58\r\n\r\n"
    b"Your address has too many connections here; close others.\n"
)
REFUSED_SECONDS = 1.0
"""How long a refused client may take to read why."""

SMALL_BODY = 16 * 1024
DISCARDED_BYTES = 32 * 1024 * 1024
DISCARD_SECONDS = 10.0
CHUNK = 64 * 1024


class Worker(GeventWorker):  # type: ignore[misc]
    """A gevent worker that knows which of its connections are idle."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._connections: dict[Any, TimedSocket] = {}
        self._idle: set[Any] = set()
        self._addresses: AddressLimit | None = None

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Serve one connection until it ends, or refuse it."""
        addresses = self._address_limit()
        name = addresses.enter(addr[0] if isinstance(addr, tuple) else "")
        if name is None:
            CONNECTIONS_REFUSED.inc()
            _refuse(client)
            return
        CONNECTIONS.inc()
        greenlet = gevent.getcurrent()
        timed = self._connections[greenlet] = TimedSocket(client)
        try:
            super().handle(listener, timed, addr)
        finally:
            CONNECTIONS.dec()
            addresses.leave(name)
            self._connections.pop(greenlet, None)

    def _address_limit(self) -> AddressLimit:
        if self._addresses is None:
            # Late: modules of the server are loaded after gevent has patched the standard library.
            from tidegate_server.processes.settings import parse_trusted_proxies

            self._addresses = AddressLimit(
                int(os.environ[PER_ADDRESS]), parse_trusted_proxies(os.environ[PROXIES])
            )
        return self._addresses

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> Any:
        """Answer a request, and end its connection if much of its body was left unread.

        gunicorn would read the rest in steps of 1 kB, each of which copies up to 1 MB: so a
        refused request of a few megabytes would keep every other one waiting for seconds.
        """
        should_close = req.should_close
        # Asked when the response's headers are written: they tell the client, too.
        req.should_close = lambda: should_close() or sock.is_too_slow or _has_unread_body(req)
        # As gunicorn decides it for an answer of unknown length.
        sock.is_chunked = req.version > (1, 0)
        sock.expect_body()
        try:
            return super().handle_request(listener_name, req, sock, addr)
        finally:
            if _has_unread_body(req):
                _discard_body(sock.connection)

    @contextmanager
    def timeout_ctx(self) -> Iterator[None]:
        """Return the context in which gunicorn waits for a connection's next request."""
        greenlet = gevent.getcurrent()
        self._idle.add(greenlet)
        try:
            if not self.alive:
                self._end(greenlet)
            self._connections[greenlet].expect_request()
            yield
        except OSError as error:
            # Raised by gevent if reading ends while it waits: no request came.
            if error.errno != errno.EBADF or self.alive:
                raise
        finally:
            self._idle.discard(greenlet)

    def end_idle_connections(self) -> None:
        """Close the connections that wait for another request."""
        for greenlet in list(self._idle):
            self._end(greenlet)

    def _end(self, greenlet: Any) -> None:
        # Only reading ends, so that a request that has just arrived still gets its response.
        with suppress(OSError, KeyError):
            self._connections[greenlet].shutdown(socket.SHUT_RD)


def _refuse(client: Any) -> None:
    """Tell a client that it is refused, and close its connection."""
    with suppress(OSError):
        client.settimeout(REFUSED_SECONDS)
        client.sendall(TOO_MANY)
        client.shutdown(socket.SHUT_WR)
        client.recv(CHUNK)
    client.close()


def _has_unread_body(req: Any) -> bool:
    """Return whether more of a request's body is unread than may be read at once."""
    reader = req.body.reader
    length = getattr(reader, "length", None)
    if length is None:  # of unknown length: in chunks
        return getattr(reader, "parser", None) is not None
    return bool(length > SMALL_BODY)


def _discard_body(sock: Any) -> None:
    """Say that the response was the last one, and let the client send what it is sending.

    A connection that is closed while the client sends is reset, and the response lost.
    """
    with suppress(OSError):
        sock.shutdown(socket.SHUT_WR)
        with gevent.Timeout(DISCARD_SECONDS, False):  # type: ignore[arg-type]
            discarded = 0
            while discarded < DISCARDED_BYTES and (data := sock.recv(CHUNK)):
                discarded += len(data)
                gevent.sleep(0)  # others, too
