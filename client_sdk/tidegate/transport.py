"""HTTP to the flag server: three requests, and nothing about what they mean.

urllib3 is imported when the first request is made, since it costs more than everything
else in the SDK together.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tidegate.errors import Refused, Unreachable
from tidegate.runtime.late_imports import load
from tidegate.version import VERSION

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, PoolManager

CONNECT_SECONDS = 3.0
ANSWER_SECONDS = 10.0
"""How long nothing may come of an answer, and how long its headers may take in all."""

WHOLE_SECONDS = 60.0
"""How long an answer may take in all, and one event of a stream."""

SILENCE_SECONDS = 40.0
"""A stream that is silent for more than two keep-alives is dead."""

LARGEST_BODY = 64 * 1024 * 1024
PIECE = 64 * 1024
"""How much of a compressed answer is taken out at once, whatever it expands to."""

OF_A_LINE = 64
"""What it takes to keep a line of an event, besides the line."""

SDK = f"tidegate-python/{VERSION}"


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event."""

    name: str
    data: str


SIGN_OF_LIFE = Event("sign of life", "")
"""The server is there and has nothing to say: a comment, or how long to wait after the end."""


class Transport:
    """The requests of one client in one process."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}", "User-Agent": SDK}
        self._pool: PoolManager | None = None
        self._lock = threading.Lock()
        self._stream: BaseHTTPResponse | None = None
        self._closed = False
        self.host: str = socket.gethostname()[:100]
        self.pid: int = os.getpid()

    def snapshot(self, version: int | None) -> Any | None:
        """Return the snapshot document; None when ``version`` is still the newest."""
        headers = {"Accept-Encoding": "gzip"}
        if version is not None:
            headers["If-None-Match"] = f'"{version}"'
        response = self._request("GET", "/sdk/v1/snapshot", headers)
        body = self._whole(response)
        return None if response.status == 304 else _json(body)

    def report(self, document: dict[str, Any]) -> bool:
        """Send a report; False when the server does not know this instance any more."""
        body = json.dumps(document, separators=(",", ":")).encode()
        response = self._request(
            "POST", "/sdk/v1/reports", {"Content-Type": "application/json"}, body
        )
        answer = self._whole(response)
        if response.status == 409:
            return False
        # Somebody in between may answer everything with 200: that acknowledges nothing.
        found = _json(answer)
        if not isinstance(found, dict) or not isinstance(found.get("version"), int):
            raise Unreachable("the answer is not the server's")
        return True

    def events(self, last_seen: int | None) -> Iterator[Event]:
        """Yield the stream's events until it ends."""
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-cache"}
        if last_seen is not None:
            headers["Last-Event-ID"] = str(last_seen)
        response = self._send(
            "GET", "/sdk/v1/stream", headers, None,
            SILENCE_SECONDS,
        )  # fmt: skip
        self._stream = response
        try:
            if response.status != 200:
                raise _refusal(response)
            if self._closed:
                return
            yield from parse_events(self._chunks(response))
        finally:
            self._stream = None
            response.close()

    def close(self) -> None:
        """Make no more requests and end the stream, whoever reads it."""
        self._closed = True
        stream, self._stream = self._stream, None
        if stream is not None:
            # Closing a response that another thread reads would wait for that thread.
            try:
                stream.shutdown()
            except (AttributeError, OSError, ValueError, RuntimeError):
                return

    def _chunks(self, response: BaseHTTPResponse) -> Iterator[bytes]:
        errors = _network_errors()
        try:
            yield from expanded(_arrived(response), response.headers.get("Content-Encoding", ""))
        except errors as error:
            raise Unreachable(_reason(error)) from None

    def _request(
        self, method: str, path: str, headers: dict[str, str], body: bytes | None = None
    ) -> BaseHTTPResponse:
        response = self._send(method, path, headers, body, ANSWER_SECONDS)
        if response.status in (200, 304) or (response.status == 409 and method == "POST"):
            return response
        response.close()
        raise _refusal(response)

    def _whole(self, response: BaseHTTPResponse) -> bytes:
        """Return an answer's body, which must neither trickle for ever nor fill the memory."""
        deadline = time.monotonic() + WHOLE_SECONDS
        parts: list[bytes] = []
        size = 0
        try:
            for chunk in self._chunks(response):
                parts.append(chunk)
                size += len(chunk)
                if size > LARGEST_BODY:
                    raise Unreachable("the answer is too large")
                if time.monotonic() > deadline:
                    raise Unreachable("the answer takes too long")
        finally:
            # What was read to its end goes back to the pool, anything else is cut.
            response.release_conn() if response.closed else response.close()
        return b"".join(parts)

    def _send(
        self,
        method: str,
        path: str,
        headers: dict[str, str],
        body: bytes | None,
        patience: float,
    ) -> BaseHTTPResponse:
        if not self._url.startswith(("http://", "https://")):
            raise Unreachable("the address does not begin with http:// or https://")
        errors = _network_errors()
        timeout = load("urllib3").Timeout(connect=CONNECT_SECONDS, read=patience)
        try:
            return self._manager().request(
                method,
                self._url + path,
                headers=self._headers | headers,
                body=body,
                timeout=timeout,
                preload_content=False,
                decode_content=False,
                redirect=False,
            )
        except errors as error:
            raise Unreachable(_reason(error)) from None

    def _manager(self) -> PoolManager:
        with self._lock:
            if self._pool is None:
                # A host name is looked up with this codec, which is imported late too.
                load("encodings.idna")
                pool: PoolManager = load("urllib3").PoolManager(
                    num_pools=4, maxsize=2, retries=False
                )
                pool.pool_classes_by_scheme = _impatient_pools()
                self._pool = pool
            return self._pool


def _arrived(response: BaseHTTPResponse) -> Iterator[bytes]:
    # read1 gives what has arrived, without waiting for more.
    while chunk := response.read1():
        yield chunk


def expanded(chunks: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    """Yield an answer's bytes in pieces that fit the memory, however well it is compressed.

    A piece is empty where what arrived gives nothing yet.

    Args:
        chunks: what arrives.
        encoding: the header ``Content-Encoding``; only gzip is ever asked for.

    Raises:
        Unreachable: the encoding is another one.
        zlib.error: it is not gzip.
    """
    if encoding.lower() in ("", "identity"):
        yield from chunks
        return
    if encoding.lower() != "gzip":
        raise Unreachable("the answer is compressed in a way that was not asked for")
    decoder = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    for chunk in chunks:
        while True:
            piece = decoder.decompress(chunk, PIECE)
            yield piece
            chunk = decoder.unconsumed_tail
            if not chunk and len(piece) < PIECE:
                break


def parse_events(chunks: Iterator[bytes]) -> Iterator[Event]:
    """Yield the events in the chunks of a server-sent event stream, and signs of life.

    Only what the server sends is understood: one ``event`` and ``data`` lines; ids are in
    the data. An event that the stream's end cuts off is dropped, as the format asks.

    Raises:
        Unreachable: an event is larger than ``LARGEST_BODY``.
    """
    pending: list[bytes] = []
    name = "message"
    data: list[str] = []
    size = 0
    began: float | None = None
    for chunk in chunks:
        began = time.monotonic() if began is None else began
        if time.monotonic() - began > WHOLE_SECONDS:
            raise Unreachable("an event takes too long")
        pending.append(chunk)
        size += len(chunk)
        if size > LARGEST_BODY:
            raise Unreachable("an event is too large")
        if b"\n" not in chunk:
            continue
        *lines, rest = b"".join(pending).split(b"\n")
        pending = [rest]
        for raw in lines:
            line = raw.removesuffix(b"\r").decode("utf-8", "replace")
            if not line:
                if data:
                    yield Event(name, "\n".join(data))
                name, data, size, began = "message", [], len(rest), None
            elif line.startswith(":"):
                yield SIGN_OF_LIFE
            else:
                field, _, value = line.partition(":")
                value = value.removeprefix(" ")
                if field == "event":
                    name = value
                elif field == "data":
                    data.append(value)
                    size += OF_A_LINE
                elif field == "retry":
                    yield SIGN_OF_LIFE


def _impatient_pools() -> dict[str, Any]:
    """Connection pools whose requests fail when an answer's headers take too long in all.

    A time-out of a socket begins anew with every byte, so it does not end a trickle.
    """
    connection, pools = load("urllib3.connection"), load("urllib3.connectionpool")

    def impatient(base: Any) -> Any:
        class Impatient(base):  # type: ignore[misc] # the base is known only once it is loaded
            def getresponse(self) -> Any:
                watch = threading.Timer(ANSWER_SECONDS + SILENCE_SECONDS, _cut, [self.sock])
                watch.daemon = True
                # No thread starts while the interpreter ends; then others see to the end.
                with suppress(RuntimeError):
                    watch.start()
                try:
                    return super().getresponse()
                finally:
                    watch.cancel()

        return Impatient

    return {
        "http": type(
            "Pool",
            (pools.HTTPConnectionPool,),
            {"ConnectionCls": impatient(connection.HTTPConnection)},
        ),
        "https": type(
            "SecurePool",
            (pools.HTTPSConnectionPool,),
            {"ConnectionCls": impatient(connection.HTTPSConnection)},
        ),
    }


def _cut(connected: Any) -> None:
    try:
        connected.shutdown(socket.SHUT_RDWR)
    except (AttributeError, OSError):
        return


def _network_errors() -> tuple[type[Exception], ...]:
    return (load("urllib3.exceptions").HTTPError, OSError, ValueError, zlib.error)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        raise Unreachable("the answer is not JSON") from None


def _refusal(response: BaseHTTPResponse) -> Unreachable:
    status = response.status
    if status in (401, 403):
        return Refused(f"the token is refused ({status})")
    wait = response.headers.get("Retry-After", "")
    # A date there is not waited for.
    seconds = float(wait) if wait.isascii() and wait.isdigit() else 0.0
    return Unreachable(f"the server answers {status}", seconds)


def _reason(error: Exception) -> str:
    inner = getattr(error, "reason", None)
    return type(inner if isinstance(inner, Exception) else error).__name__
