"""HTTP requests to servers that may misbehave: bounded in time and size, never raising.

The time limit covers the whole exchange. A socket's own timeout starts again with every
byte, so a server that sends one byte now and then could hold a thread for ever; here a timer
shuts the connection down instead.

A request connects to an address that was checked, never to a name. A name that has one address
when it is checked and another one afterwards (DNS rebinding) therefore gains nothing.

Threads: one timer for each request, which only shuts the socket down, and those of
``NameLookup``.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeAlias
from urllib.parse import SplitResult

from tidegate_server.domain.network_addresses import AllowedNetworks
from tidegate_server.outbound.name_lookup import Endpoint, NameLookup
from tidegate_server.tls_contexts import tls_context
from tidegate_server.urls import split_url

NOT_PUBLIC = "refused: not a public address"


class _AddressRefused(Exception):
    """A host has no address that requests may go to."""


@dataclass(frozen=True, slots=True)
class HttpResult:
    """The result of a request: a response, or the reason why there is none.

    Attributes:
        took_ms: how long the request took.
        status: the response's status; None if there was no response.
        body: the response's body, up to the request's ``max_bytes``.
        headers: the response's headers, with names in lower case.
        problem: why there was no response, without secrets; empty if there was one. It is the
            same for a closed port, a silent one and an unknown host: whoever chooses the address
            must not learn what the server's network looks like.
        detail: what exactly happened, for the operator.
        refused: whether there was no request, because it may not go to this address.
    """

    took_ms: int
    status: int | None = None
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""
    detail: str = ""
    refused: bool = False

    @property
    def succeeded(self) -> bool:
        """Whether the status is 2xx. Redirects are not followed, so they do not count."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def retry_after_s(self) -> float | None:
        """The seconds in ``Retry-After``; None if there are none, or it holds a date."""
        text = self.headers.get("retry-after", "")
        return float(text) if text.isascii() and text.isdigit() else None


class HttpClient:
    """Sends requests to public addresses and to networks that are allowed.

    Args:
        networks: where requests may go.
    """

    def __init__(self, networks: AllowedNetworks) -> None:
        self._networks = networks
        self._lookup = NameLookup()

    def request(
        self,
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
            problem = "not a valid http or https address"
            return HttpResult(0, problem=problem, detail=problem)
        connection = _Connection(parts, start + timeout_s, self._permitted_endpoints)
        timer = threading.Timer(timeout_s, connection.expire)
        timer.daemon = True
        timer.start()
        no_answer = f"no answer in {timeout_s:g} s"
        try:
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request(method, target, body, dict(headers or {}))
            response = connection.getresponse()
            content = response.read(max_bytes) if max_bytes else b""
            if connection.expired.is_set():
                return HttpResult(_ms_since(start), problem=no_answer, detail=no_answer)
            received = {name.lower(): value for name, value in response.headers.items()}
            return HttpResult(_ms_since(start), response.status, content, received)
        except _AddressRefused as refused:
            detail = str(refused)
            return HttpResult(_ms_since(start), problem=NOT_PUBLIC, detail=detail, refused=True)
        except (OSError, http.client.HTTPException, ValueError) as error:
            timed_out = connection.expired.is_set() or isinstance(error, TimeoutError)
            detail = no_answer if timed_out else _error_detail(error)
            return HttpResult(_ms_since(start), problem=no_answer, detail=detail)
        finally:
            timer.cancel()
            connection.close()

    def _permitted_endpoints(self, host: str, port: int, timeout_s: float) -> list[Endpoint]:
        """Return the endpoints of a host that requests may go to.

        Raises:
            _AddressRefused: there are endpoints, and none is permitted.
            OSError, UnicodeError: as ``NameLookup`` raises them.
        """
        found = self._lookup.endpoints(host, port, timeout_s)
        permitted = [each for each in found if self._networks.permits(each.ip)]
        if found and not permitted:
            addresses = ", ".join(dict.fromkeys(str(each.ip) for each in found))
            raise _AddressRefused(f"{addresses} is neither public nor in an allowed network")
        return permitted


FindEndpoints: TypeAlias = Callable[[str, int, float], list[Endpoint]]


class _Connection(http.client.HTTPConnection):
    """A connection that another thread can end at any time, even before it has a socket.

    ``expire`` sets ``expired`` before it looks for the socket, and ``connect`` checks
    ``expired`` once it has the socket, so that one of the two always ends the connection.

    Args:
        parts: the URL.
        deadline: when to give up (monotonic).
        find_endpoints: returns the endpoints of a host that the connection may use.
    """

    def __init__(self, parts: SplitResult, deadline: float, find_endpoints: FindEndpoints) -> None:
        self._uses_tls = parts.scheme == "https"
        if self._uses_tls:
            self.default_port = http.client.HTTPS_PORT
        super().__init__(parts.hostname or "", parts.port or self.default_port)
        self.expired = threading.Event()
        self._deadline = deadline
        self._find_endpoints = find_endpoints
        self._socket: socket.socket | None = None

    def connect(self) -> None:
        """Connect, and start TLS for an https address.

        Raises:
            TimeoutError: the time was over before there was a socket.
            OSError: no endpoint accepts a connection, or TLS fails.
            _AddressRefused: the connection may use no endpoint of the host.
        """
        endpoints = self._find_endpoints(self.host, self.port, self._left_s())
        connected = self._connect_to_any(endpoints)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not self._uses_tls:
            self.sock = self._socket = connected
            self._check_not_expired()
            return
        encrypted = tls_context().wrap_socket(
            connected, server_hostname=self.host.removesuffix("."), do_handshake_on_connect=False
        )
        self.sock = self._socket = encrypted
        self._check_not_expired()
        encrypted.do_handshake()

    def _connect_to_any(self, endpoints: Iterable[Endpoint]) -> socket.socket:
        problem = OSError(None, "the host has no address")
        for endpoint in endpoints:
            connecting = socket.socket(endpoint.family, socket.SOCK_STREAM)
            try:
                connecting.settimeout(self._left_s())
                connecting.connect(endpoint.address)
            except OSError as error:
                connecting.close()
                problem = error
            else:
                return connecting
        raise problem

    def _left_s(self) -> float:
        left_s = self._deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        return left_s

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


def _ms_since(start: float) -> int:
    return round((time.monotonic() - start) * 1_000)


def _error_detail(error: Exception) -> str:
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
