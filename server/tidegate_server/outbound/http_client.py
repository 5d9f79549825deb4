"""HTTP requests to servers that may misbehave: bounded in time and size, never raising.

The time limit covers the whole exchange. A socket's own time-out starts again with every
byte, so a server that sends one byte now and then could hold a thread for ever; here a timer
shuts the connection down instead. It cannot interrupt the lookup of a host name.

Threads: one timer for each request, which only shuts the socket down.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from urllib.parse import SplitResult

from tidegate_server.urls import split_url


@dataclass(frozen=True, slots=True)
class HttpResult:
    """The result of a request: a response, or the reason why there is none.

    Attributes:
        took_ms: how long the request took.
        status: the response's status; None if there was no response.
        body: the response's body, up to the request's ``max_bytes``.
        headers: the response's headers, with names in lower case.
        problem: why there was no response, without secrets; empty if there was one.
    """

    took_ms: int
    status: int | None = None
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""

    @property
    def succeeded(self) -> bool:
        """Whether the status is 2xx. Redirects are not followed, so they do not count."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def retry_after_s(self) -> float | None:
        """The seconds in ``Retry-After``; None if there are none, or it holds a date."""
        text = self.headers.get("retry-after", "")
        return float(text) if text.isascii() and text.isdigit() else None


def request(
    method: str,
    url: str,
    *,
    timeout_s: float,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    max_bytes: int = 0,
) -> HttpResult:
    """Send a request. Redirects are not followed, and no exception is raised.

    Args:
        method: ``GET`` or ``POST``, for example.
        url: an http or https address.
        timeout_s: the limit for the whole exchange, in seconds.
        body: the request's body.
        headers: the request's headers.
        max_bytes: how much of the response's body to read; 0 reads the status only.
    """
    start = time.monotonic()
    parts = split_url(url)
    if parts is None:
        return HttpResult(0, problem="not a valid http or https address")
    connection = _Connection(parts, timeout_s)
    timer = threading.Timer(timeout_s, connection.expire)
    timer.daemon = True
    timer.start()
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request(method, target, body, dict(headers or {}))
        response = connection.getresponse()
        content = response.read(max_bytes) if max_bytes else b""
        if connection.expired.is_set():
            return HttpResult(_ms_since(start), problem=_timeout_problem(timeout_s))
        received = {name.lower(): value for name, value in response.headers.items()}
        return HttpResult(_ms_since(start), response.status, content, received)
    except (OSError, http.client.HTTPException, ValueError) as error:
        timed_out = connection.expired.is_set() or isinstance(error, TimeoutError)
        problem = _timeout_problem(timeout_s) if timed_out else _error_problem(error)
        return HttpResult(_ms_since(start), problem=problem)
    finally:
        timer.cancel()
        connection.close()


class _Connection(http.client.HTTPConnection):
    """A connection that another thread can end at any time, even before it has a socket.

    ``expire`` sets ``expired`` before it looks for the socket, and ``connect`` checks
    ``expired`` once it has the socket, so that one of the two always ends the connection.
    """

    def __init__(self, parts: SplitResult, timeout_s: float) -> None:
        self._uses_tls = parts.scheme == "https"
        if self._uses_tls:
            self.default_port = http.client.HTTPS_PORT
        super().__init__(parts.hostname or "", parts.port or self.default_port, timeout=timeout_s)
        self.expired = threading.Event()
        self._socket: socket.socket | None = None

    def connect(self) -> None:
        """Connect, and start TLS for an https address.

        Raises:
            TimeoutError: the time was over before there was a socket.
        """
        connected = socket.create_connection((self.host, self.port), self.timeout)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not self._uses_tls:
            self.sock = self._socket = connected
            self._check_not_expired()
            return
        encrypted = _tls_context().wrap_socket(
            connected, server_hostname=self.host, do_handshake_on_connect=False
        )
        self.sock = self._socket = encrypted
        self._check_not_expired()
        encrypted.do_handshake()

    def _check_not_expired(self) -> None:
        if self.expired.is_set():
            raise TimeoutError

    def expire(self) -> None:
        """End whatever waits for the server now, or will wait for it."""
        self.expired.set()
        # The response takes ``sock`` over when the server closes the connection after it.
        if self._socket is not None:
            with suppress(OSError):
                # The method of an SSLSocket would first exchange a TLS goodbye.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


@cache
def _tls_context() -> ssl.SSLContext:
    return ssl.create_default_context()


def _ms_since(start: float) -> int:
    return round((time.monotonic() - start) * 1_000)


def _timeout_problem(timeout_s: float) -> str:
    return f"no answer in {timeout_s:g} s"


def _error_problem(error: Exception) -> str:
    if isinstance(error, socket.gaierror):
        return "unknown host"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"untrusted certificate: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return "the TLS handshake failed"
    if isinstance(error, http.client.HTTPException):
        return "the answer is not valid HTTP, or it is incomplete"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return "the connection was lost"
