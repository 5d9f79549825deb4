"""The web worker: gunicorn's gevent worker, which stops without waiting for idle clients.

Clients keep connections open for their next request. When this worker stops, it completes the
current requests and closes idle connections; gunicorn's own would wait for them until its timeout.

Greenlets: one for each connection. They share one hub with ``end_idle_connections``, so lines
that do not wait run without interruption.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import gevent
from gunicorn.workers.ggevent import GeventWorker

SMALL_BODY = 16 * 1024
DISCARDED_BYTES = 32 * 1024 * 1024
DISCARD_SECONDS = 10.0
CHUNK = 64 * 1024


class Worker(GeventWorker):  # type: ignore[misc]
    """A gevent worker that knows which of its connections are idle."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._connections: dict[Any, Any] = {}
        self._idle: set[Any] = set()

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Serve one connection until it ends."""
        greenlet = gevent.getcurrent()
        self._connections[greenlet] = client
        try:
            super().handle(listener, client, addr)
        finally:
            self._connections.pop(greenlet, None)

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> Any:
        """Answer a request, and end its connection if much of its body was left unread.

        gunicorn would read the rest in steps of 1 kB, each of which copies up to 1 MB: so a
        refused request of a few megabytes would keep every other one waiting for seconds.
        """
        should_close = req.should_close
        # Asked when the response's headers are written: they tell the client, too.
        req.should_close = lambda: should_close() or _has_unread_body(req)
        try:
            return super().handle_request(listener_name, req, sock, addr)
        finally:
            if _has_unread_body(req):
                _discard_body(sock)

    @contextmanager
    def timeout_ctx(self) -> Iterator[None]:
        """Return the context in which gunicorn waits for a connection's next request."""
        greenlet = gevent.getcurrent()
        self._idle.add(greenlet)
        try:
            if not self.alive:
                self._end(greenlet)
            # False means no exception, which gevent's types do not allow.
            with gevent.Timeout(self.cfg.keepalive, False):  # type: ignore[arg-type]
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
