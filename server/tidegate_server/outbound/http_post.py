"""One POST to somewhere that may misbehave: bounded in time and size, and never raising.

A time-out here is the time of the whole exchange. The standard library's counts anew with
every byte, so that a server which sends one now and then would hold a thread for ever; a
timer cuts the connection instead. Only the resolution of a name cannot be cut.

Threads: a timer for each request, which only shuts the socket down.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from urllib.parse import SplitResult

from tidegate_server.urls import split_url


@dataclass(frozen=True, slots=True)
class Answered:
    """How a request went.

    Attributes:
        took_ms: how long it took.
        status: the answer's; None when there was none.
        body: the answer's, as far as it was read.
        retry_after_s: what the answer says of when to come back.
        problem: why there was no answer, in words that may stand in logs; else empty.
    """

    took_ms: int
    status: int | None = None
    body: bytes = b""
    retry_after_s: float | None = None
    problem: str = ""

    @property
    def succeeded(self) -> bool:
        """Whether the receiver took what it was sent. A redirect is not followed."""
        return self.status is not None and 200 <= self.status < 300


class _Connection(http.client.HTTPConnection):
    """A connection that can be cut at any time, also before it has a socket.

    ``late`` tells that it was. It is set before the socket is looked for, and looked at once
    the socket is there, so that one of the two sides always ends the connection.
    """

    def __init__(self, parts: SplitResult, timeout_s: float) -> None:
        self._encrypted = parts.scheme == "https"
        if self._encrypted:
            self.default_port = http.client.HTTPS_PORT
        super().__init__(parts.hostname or "", parts.port or self.default_port, timeout=timeout_s)
        self.late = threading.Event()
        self._connected: socket.socket | None = None

    def connect(self) -> None:
        """Connect, and encrypt where the address says so.

        Raises:
            TimeoutError: it was cut meanwhile.
        """
        connected = socket.create_connection((self.host, self.port), self.timeout)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not self._encrypted:
            self.sock = self._connected = connected
            self._insist_on_time()
            return
        encrypted = _trust().wrap_socket(
            connected, server_hostname=self.host, do_handshake_on_connect=False
        )
        self.sock = self._connected = encrypted
        self._insist_on_time()
        encrypted.do_handshake()

    def _insist_on_time(self) -> None:
        if self.late.is_set():
            raise TimeoutError

    def cut(self) -> None:
        """End whatever waits for the other side, or will wait for it."""
        self.late.set()
        # An answer that ends with the connection has it alone: ``sock`` is None then.
        if self._connected is not None:
            with suppress(OSError):
                # Past what an encrypted socket would do first: say goodbye and wait.
                socket.socket.shutdown(self._connected, socket.SHUT_RDWR)


@cache
def _trust() -> ssl.SSLContext:
    return ssl.create_default_context()


def post(
    url: str, body: bytes, headers: Mapping[str, str], timeout_s: float, most_bytes: int = 0
) -> Answered:
    """Send a body to an address and say how it went.

    Args:
        url: the address.
        body: what is sent.
        headers: with it.
        timeout_s: how long everything may take together.
        most_bytes: how much of the answer's body is read; 0: its status is enough.
    """
    began = time.monotonic()
    parts = split_url(url)
    if parts is None:
        return Answered(0, problem="this is no address that requests can go to")
    connection = _Connection(parts, timeout_s)
    timer = threading.Timer(timeout_s, connection.cut)
    timer.daemon = True
    timer.start()
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", target, body, dict(headers))
        answer = connection.getresponse()
        content = answer.read(most_bytes) if most_bytes else b""
        if connection.late.is_set():
            return Answered(_since(began), problem=_too_late(timeout_s))
        retry_after = _seconds(answer.headers.get("Retry-After"))
        return Answered(_since(began), answer.status, content, retry_after)
    except (OSError, http.client.HTTPException, ValueError) as error:
        waited = connection.late.is_set() or isinstance(error, TimeoutError)
        problem = _too_late(timeout_s) if waited else _in_words(error)
        return Answered(_since(began), problem=problem)
    finally:
        timer.cancel()
        connection.close()


def _since(began: float) -> int:
    return round((time.monotonic() - began) * 1_000)


def _too_late(timeout_s: float) -> str:
    return f"no answer in {timeout_s:g} s"


def _in_words(error: Exception) -> str:
    if isinstance(error, socket.gaierror):
        return "there is no machine of this name"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate cannot be trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return "it does not speak TLS as we do"
    if isinstance(error, http.client.HTTPException):
        return "what it answered is not HTTP, or broke off"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return "the connection broke"


def _seconds(text: str | None) -> float | None:
    """The seconds of a ``Retry-After``; a date there is not waited for."""
    return float(text) if text is not None and text.isascii() and text.isdigit() else None
