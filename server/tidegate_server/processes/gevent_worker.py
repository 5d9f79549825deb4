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
