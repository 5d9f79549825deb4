"""A bare fan-out under gunicorn and gevent, the baseline of event streams: no more than the bytes.

Each stream answers with prepared bytes and waits until its client leaves. ``PUT /opening``
prepares these bytes, ``GET /stream`` is a stream, and ``POST /publish`` writes its body to all.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

from gunicorn.app.base import BaseApplication


class FanOut:
    """The open streams, as a WSGI application."""

    def __init__(self) -> None:
        self._opening = b""
        self._streams: set[Any] = set()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        if environ["PATH_INFO"] == "/stream":
            start_response("200 OK", [("Content-Type", "text/event-stream")])
            return self._events(environ["gunicorn.socket"])
        body = environ["wsgi.input"].read()
        if environ["PATH_INFO"] == "/opening":
            self._opening = body
        else:
            for stream in self._streams:
                stream.sendall(body)
        start_response("204 No Content", [])
        return []

    def _events(self, connection: Any) -> Iterator[bytes]:
        yield self._opening
        self._streams.add(connection)
        connection.recv(1)
        self._streams.discard(connection)


class Web(BaseApplication):  # type: ignore[misc]
    """Gunicorn with its own gevent worker."""

    def load_config(self) -> None:
        """Set what the server sets, too."""
        self.cfg.set("bind", f"127.0.0.1:{sys.argv[1]}")
        self.cfg.set("worker_class", "gevent")
        self.cfg.set("worker_connections", int(sys.argv[2]))
        self.cfg.set("control_socket_disable", True)

    def load(self) -> FanOut:
        """Return the application."""
        return FanOut()


if __name__ == "__main__":
    Web().run()
