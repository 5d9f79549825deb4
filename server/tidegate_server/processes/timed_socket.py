"""A connection whose client has to keep a pace: deadlines for headers, bodies and answers.

Without them a client that sends nothing, or a byte now and then, keeps a connection for ever.

Greenlets: one for each connection; only it uses the connection's ``TimedSocket``.
"""

from __future__ import annotations

import errno
import socket
import time
from contextlib import suppress
from typing import Any

from tidegate_server.process_metrics import CONNECTIONS_TIMED_OUT

IDLE_SECONDS = 75.0
"""How long a connection may wait for its next request."""

HEADER_SECONDS = 10.0
"""How long the first request of a connection may take to come, and the headers of any request."""

BODY_SECONDS = 20.0
ANSWER_SECONDS = 60.0
BYTES_PER_SECOND = 8_000
"""The slowest pace: a body or an answer has its seconds, and one more for each 8 kB."""

TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class TimedSocket:
    """A client's connection with deadlines. What is not defined here is the socket's own.

    Args:
        connection: the connection.

    Attributes:
        connection: the connection, without deadlines.
        is_too_slow: whether a deadline was missed; the connection is then closed.
        is_chunked: whether the response to the present request is sent in chunks.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._deadline = 0.0
        self._in_body = False
        self._began = False
        self._is_used = False
        self._received = 0
        self._unsent: memoryview | None = None
        self._is_joining = False
        self._held = b""
        self.is_too_slow = False
        self.is_chunked = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.connection, name)

    def expect_request(self) -> None:
        """Wait for the headers of the next request from now on."""
        seconds = IDLE_SECONDS if self._is_used else HEADER_SECONDS
        self._deadline = time.monotonic() + seconds
        self._in_body = self._began = False
        self._received = 0

    def expect_body(self) -> None:
        """Wait for the body of the present request from now on."""
        self._deadline = time.monotonic() + BODY_SECONDS
        self._in_body = self._is_used = True
        self._received = 0

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Receive bytes; none if no request came in time.

        Raises:
            RequestTimeout: a body comes too slowly; the application answers with 408.
        """
        if flags:
            return self.connection.recv(size, flags)
        # Of the body that came before; 0 in headers.
        pace = self._received / BYTES_PER_SECOND
        self.connection.settimeout(max(0.001, self._deadline + pace - time.monotonic()))
        try:
            data = self.connection.recv(size)
        except TimeoutError:
            return self._end_slow_request()
        if self._in_body:
            self._received += len(data)
        elif not self._began:
            self._began = True
            self._deadline = time.monotonic() + HEADER_SECONDS
        return data

    def join_next(self) -> None:
        """Send the next two parts with one call: the headers of an answer, and its body."""
        self._is_joining = True

    def sendall(self, data: bytes | memoryview, flags: int = 0) -> None:
        """Send bytes to a client that takes them in time.

        Raises:
            BrokenPipeError: it did not; gunicorn then closes the connection without a log line.
        """
        if self._is_joining:
            self._is_joining, self._held = False, bytes(data)
            return
        if self._held:
            data, self._held = self._held + data, b""
        self.connection.settimeout(ANSWER_SECONDS + len(data) / BYTES_PER_SECOND)
        try:
            self.connection.sendall(data, flags)
        except TimeoutError:
            CONNECTIONS_TIMED_OUT.labels("answer").inc()
            raise BrokenPipeError(errno.EPIPE, "the client is too slow") from None

    def send_now(self, data: bytes) -> bool:
        """Write bytes without waiting; return False unless the connection takes all of them."""
        self.connection.settimeout(0.0)
        try:
            sent = self.connection.send(data)
        except OSError:  # its buffer is full, or the client has gone
            sent = 0
        if sent == len(data):
            return True
        self._unsent = memoryview(data)[sent:]
        return False

    def finish(self) -> None:
        """Send the rest of what ``send_now`` could not.

        Raises:
            BrokenPipeError: the client does not take it in time, or has gone.
        """
        unsent, self._unsent = self._unsent, None
        if unsent is not None:
            self.sendall(unsent)

    def _end_slow_request(self) -> bytes:
        self.is_too_slow = True
        if self._in_body:
            from werkzeug.exceptions import RequestTimeout

            CONNECTIONS_TIMED_OUT.labels("body").inc()
            raise RequestTimeout(
                f"The body came too slowly: it has {BODY_SECONDS:.0f} s, and one more for each "
                f"{BYTES_PER_SECOND // 1000} kB."
            )
        CONNECTIONS_TIMED_OUT.labels("headers" if self._began else "idle").inc()
        if self._began:
            with suppress(OSError):
                self.connection.send(TOO_SLOW)
        return b""
