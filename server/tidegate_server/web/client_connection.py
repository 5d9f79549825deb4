"""Whether the client of a request still waits for the answer."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import Any

SOCKETS = ("gunicorn.socket", "werkzeug.socket")
"""Where web servers keep a request's connection in its WSGI environment."""


def waits(environ: Mapping[str, Any]) -> Callable[[], bool]:
    """Return a function that tells whether the client of a request is still connected.

    Call it from the thread or greenlet that serves the request. A client whose connection is
    not known counts as connected.
    """
    connection = next((environ[name] for name in SOCKETS if name in environ), None)
    return lambda: connection is None or _is_open(connection)


def _is_open(connection: socket.socket) -> bool:
    try:
        timeout = connection.gettimeout()
        connection.settimeout(0.0)
        try:
            # The next byte stays where it is: it may belong to the client's next request.
            return connection.recv(1, socket.MSG_PEEK) != b""
        finally:
            connection.settimeout(timeout)
    except (BlockingIOError, ValueError):
        # Nothing was sent; or the connection is encrypted here, and cannot be looked at.
        return True
    except OSError:
        return False
