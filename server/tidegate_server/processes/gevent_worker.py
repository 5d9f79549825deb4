"""The web worker: gunicorn's gevent worker, which stops without waiting for silent clients.

Clients keep connections open for their next request. A worker that is asked to stop answers
what it has been asked, and ends the connections on which nothing was asked; without this it
would wait for each of them until its patience ends.

Greenlets: one for each connection; they and ``end_silent_connections`` share one hub, so
that nothing happens in between two lines here that do not wait.
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
    """A gevent worker that knows which of its connections are silent."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._connections: dict[Any, Any] = {}
        self._silent: set[Any] = set()

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
        """Wait for the next request of a connection: gunicorn reads it within this."""
        greenlet = gevent.getcurrent()
        self._silent.add(greenlet)
        try:
            if not self.alive:
                self._end(greenlet)
            # With False it ends the wait without an error; its types do not say so.
            with gevent.Timeout(self.cfg.keepalive, False):  # type: ignore[arg-type]
                yield
        except OSError as error:
            # How gevent ends the wait of someone whose reading has ended: no request came.
            if error.errno != errno.EBADF or self.alive:
                raise
        finally:
            self._silent.discard(greenlet)

    def end_silent_connections(self) -> None:
        """Let no connection wait for another request."""
        for greenlet in list(self._silent):
            self._end(greenlet)

    def _end(self, greenlet: Any) -> None:
        # Only reading ends: should a request have come after all, its answer still goes out.
        with suppress(OSError, KeyError):
            self._connections[greenlet].shutdown(socket.SHUT_RD)
