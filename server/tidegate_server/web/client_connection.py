"""The connection of a request: whether its client still waits, and how to write to it directly."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import Any, Protocol, cast

SOCKETS = ("gunicorn.socket", "werkzeug.socket")
"""Where web servers keep a request's connection in its WSGI environment."""


class DirectConnection(Protocol):
    """A connection that another thread may write parts of a response to, while its own waits.

    Attributes:
        is_chunked: whether the response is sent in chunks.
    """

    is_chunked: bool

    def join_next(self) -> None:
        """Write the next two parts with one call: the headers of an answer, and its body."""

    def send_now(self, data: bytes) -> bool:
        """Write bytes without waiting; return False unless the connection takes all of them.

        What it does not take, or why it takes nothing any more, ``finish`` sees to.
        """

    def finish(self) -> None:
        """Write the rest that the client did not take at once.

        Raises:
            OSError: the client has gone, or does not take it in time.
        """


def direct(environ: Mapping[str, Any]) -> DirectConnection | None:
    """Return the connection of a request, if it can be written to directly."""
    connection = environ.get(SOCKETS[0])
    return cast(DirectConnection, connection) if hasattr(connection, "send_now") else None


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
