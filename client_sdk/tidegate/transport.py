"""The four HTTP requests of the SDK, without what they mean.

urllib3 is imported at the first request: its import takes longer than all of the SDK.
"""

from __future__ import annotations

import json
import os
import socket
import time
import traceback
import zlib
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tidegate.addresses import port_of, split_url
from tidegate.causes import explanation, foreign_cause, network_cause, status_cause
from tidegate.connections import Connections
from tidegate.errors import Refused, Rejected, Unreachable
from tidegate.runtime.late_imports import load
from tidegate.version import VERSION

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

CONNECT_SECONDS = 3.0
RESPONSE_SECONDS = 10.0
"""The longest silence within a response."""

WHOLE_SECONDS = 60.0
"""The longest time for the head of a response, for all of it, and for one event of a stream."""

SILENCE_SECONDS = 40.0
"""The longest silence of a stream: more than two keep-alives."""

LONGEST_PROBLEM = 16 * 1024
"""How many bytes of an error response are read for its explanation."""

TEMPORARY = frozenset({401, 403, 408, 409, 425, 429})
"""Client errors that another token or a later request can overcome."""

WORTH_COMPRESSING = 8 * 1024
"""Shorter reports, in bytes, are sent uncompressed: most are, and the server reads these faster."""

LARGEST_BODY = 64 * 1024 * 1024
PIECE = 64 * 1024
"""How many bytes of a compressed response are decompressed at once."""

KEY_SET = "application/vnd.tidegate.key-set"
KEY_SET_CHANGES = "application/vnd.tidegate.key-set-changes"

LINE_OVERHEAD = 64
"""The memory that a line of an event takes in addition to its bytes."""

EVENT_STREAM = "text/event-stream"

SDK = f"tidegate-python/{VERSION}"


INCARNATION = "Tidegate-Incarnation"
"""The header with the incarnation of the version in ``Last-Event-ID``."""


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event."""

    name: str
    data: str


KEEP_ALIVE = Event("keep-alive", "")
"""A comment or a retry time: the server has no news, but is alive."""


MAX_APPLICATION = 100


class Transport:
    """The requests of one client in one process.

    Attributes:
        connections: the connections that they use.
        host: the name of this machine.
        pid: the id of this process.
        application: what this application is called; without control characters, and shortened.
        answer: the answer to the last report.
        server_date: the header ``Date`` of the last response of a report or snapshot.
    """

    def __init__(self, url: str, token: str, application: str = "") -> None:
        self._began = time.monotonic()
        self.application: str = _shown(application)[:MAX_APPLICATION]
        self.answer: Mapping[str, Any] = {}
        self._url = url.rstrip("/")
        parts = split_url(url)
        self._host = "" if parts is None else parts.hostname or ""
        self._port = 0 if parts is None else port_of(parts)
        self._headers = {"Authorization": f"Bearer {token}", "User-Agent": SDK}
        self.connections: Connections = Connections()
        self.host: str = socket.gethostname()[:100]
        self.pid: int = os.getpid()
        self.server_date: str = ""
        self._may_compress = True

    def snapshot(self, known: tuple[int, str] | None) -> bytes | None:
        """Return the snapshot as JSON; None if the known version and incarnation are the newest."""
        headers = {"Accept-Encoding": "gzip"}
        if known is not None:
            version, incarnation = known
            headers["If-None-Match"] = f'"{version}{incarnation and "."}{incarnation}"'
        response = self._request("GET", "/sdk/v1/snapshot", headers)
        body = self._read_body(response)
        if response.status == 304:
            return None
        _check_json(body)
        return body

    def key_set(self, digest: str, since: str | None, largest: int) -> tuple[bytes, bool]:
        """Return a key set, or its changes.

        Args:
            digest: the digest of the key set.
            since: the digest of an earlier one, whose changes are enough; None: there is none.
            largest: the size of the key set, in bytes.

        Returns:
            The content, and whether it is changes since the earlier one.
        """
        path = f"/sdk/v1/key-sets/{digest}" + (f"?since={since}" if since else "")
        response = self._request("GET", path, {"Accept-Encoding": "identity"})
        body = self._read_body(response, largest)
        kind = response.headers.get("Content-Type", "")
        if kind not in (KEY_SET, KEY_SET_CHANGES):
            raise Unreachable(foreign_cause("the response is not a key set"))
        return body, kind == KEY_SET_CHANGES

    def report(self, document: dict[str, Any], *, dry_run: bool = False) -> bool:
        """Send a report; return False if the server does not know this instance any more.

        In a dry run the server checks the report and counts nothing.
        """
        body = json.dumps(document, separators=(",", ":")).encode()
        path = "/sdk/v1/reports?dry_run=true" if dry_run else "/sdk/v1/reports"
        response = self._post(path, body)
        content = self._read_body(response)
        if response.status == 409:
            return False
        # A proxy may answer everything with 200: that acknowledges nothing.
        receipt = _parse_json(content)
        if not isinstance(receipt, dict) or not isinstance(receipt.get("version"), int):
            raise Unreachable(foreign_cause("the response is not a receipt"))
        self.answer = receipt
        return True

    def _post(self, path: str, body: bytes) -> BaseHTTPResponse:
        headers = {"Content-Type": "application/json"}
        if len(body) > WORTH_COMPRESSING and self._may_compress:
            compressor = zlib.compressobj(level=1, wbits=16 + zlib.MAX_WBITS)
            compressed = compressor.compress(body) + compressor.flush()
            try:
                return self._request(
                    "POST", path, headers | {"Content-Encoding": "gzip"}, compressed
                )
            except Rejected:
                # A server of an earlier version, or a proxy, takes no compressed bodies.
                self._may_compress = False
        return self._request("POST", path, headers, body)

    @property
    def uptime(self) -> float:
        """For how many seconds this instance has run."""
        return time.monotonic() - self._began

    def events(self, known: tuple[int, str] | None) -> Generator[Event]:
        """Yield the stream's events after a version and incarnation, until it ends."""
        headers = {"Accept": EVENT_STREAM, "Cache-Control": "no-cache"}
        if known is not None:
            headers["Last-Event-ID"] = str(known[0])
            headers[INCARNATION] = known[1]
        response = self._send("GET", "/sdk/v1/stream", headers, None, SILENCE_SECONDS)
        with closing(response):
            if response.status != 200:
                raise self._status_error(response)
            if not response.headers.get("Content-Type", EVENT_STREAM).startswith(EVENT_STREAM):
                raise Unreachable(foreign_cause("the response is not an event stream"))
            yield from parse_events(self._chunks(response))

    def _chunks(self, response: BaseHTTPResponse) -> Iterator[bytes]:
        errors = _network_errors()
        try:
            yield from decompressed(
                _received(response), response.headers.get("Content-Encoding", "")
            )
        except errors as error:
            raise self._unreachable(error) from None

    def _request(
        self, method: str, path: str, headers: dict[str, str], body: bytes | None = None
    ) -> BaseHTTPResponse:
        response = self._send(method, path, headers, body, RESPONSE_SECONDS)
        self.server_date = response.headers.get("Date", "")
        if response.status in (200, 304) or (response.status == 409 and method == "POST"):
            return response
        if method == "POST" and _is_permanent(response.status):
            kind = f"the server answers {response.status}"
            raise Rejected(kind, explanation(self._read_body(response)))
        try:
            # Not in a variable: the error would refer to this frame, and that to the error.
            raise self._status_error(response)
        finally:
            response.close()

    def _unreachable(self, error: Exception) -> Unreachable:
        """Return what a network error means."""
        cause = network_cause(error, self._host, self._port)
        # The frames of urllib3 keep errors, and those their frames. Cleared, all of it is freed at
        # once. Else an outage would leave garbage with every attempt.
        traceback.clear_frames(error.__traceback__)
        return Unreachable(cause)

    def _status_error(self, response: BaseHTTPResponse) -> Unreachable:
        status, headers = response.status, response.headers
        detail = ""
        size = headers.get("Content-Length", "")
        if size.isascii() and size.isdigit() and int(size) <= LONGEST_PROBLEM:
            with suppress(Unreachable):
                detail = explanation(self._read_body(response))
        cause = status_cause(status, detail, _origin(headers.get("Location", "")))
        if status in (401, 403):
            return Refused(cause)
        retry_after = headers.get("Retry-After", "")
        # A date is ignored.
        seconds = float(retry_after) if retry_after.isascii() and retry_after.isdigit() else 0.0
        return Unreachable(cause, seconds)

    def _read_body(self, response: BaseHTTPResponse, largest: int | None = None) -> bytes:
        """Return the body of a response, limited in time and size."""
        largest = LARGEST_BODY if largest is None else largest
        deadline = time.monotonic() + WHOLE_SECONDS
        parts: list[bytes] = []
        size = 0
        try:
            for chunk in self._chunks(response):
                parts.append(chunk)
                size += len(chunk)
                if size > largest:
                    raise Unreachable("the response is too large")
                if time.monotonic() > deadline:
                    raise Unreachable("the response takes too long")
        finally:
            # A connection whose response was read to its end goes back to the pool.
            response.release_conn() if response.closed else response.close()
        return b"".join(parts)

    def _send(
        self,
        method: str,
        path: str,
        headers: dict[str, str],
        body: bytes | None,
        read_timeout: float,
    ) -> BaseHTTPResponse:
        if not self._url.startswith(("http://", "https://")):
            raise Unreachable("the url does not start with http:// or https://")
        if self.connections.closed:
            raise Unreachable("the client is closed")
        errors = _network_errors()
        timeout = load("urllib3").Timeout(connect=CONNECT_SECONDS, read=read_timeout)
        try:
            return self.connections.pool(WHOLE_SECONDS).request(
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
            raise self._unreachable(error) from None


def _received(response: BaseHTTPResponse) -> Iterator[bytes]:
    # read1 returns what has been received, without waiting for more.
    while chunk := response.read1():
        yield chunk


def decompressed(chunks: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    """Yield the bytes of a response in small pieces, however well it is compressed.

    A piece is empty if the received bytes decompress to nothing yet.

    Args:
        chunks: the received bytes.
        encoding: the header ``Content-Encoding``; requests ask only for gzip.

    Raises:
        Unreachable: the encoding is not gzip.
        zlib.error: the bytes are not gzip.
    """
    if encoding.lower() in ("", "identity"):
        yield from chunks
        return
    if encoding.lower() != "gzip":
        raise Unreachable("the response has an unknown Content-Encoding")
    decoder = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    for chunk in chunks:
        while True:
            piece = decoder.decompress(chunk, PIECE)
            yield piece
            chunk = decoder.unconsumed_tail
            if not chunk and len(piece) < PIECE:
                break


def parse_events(chunks: Iterator[bytes]) -> Iterator[Event]:
    """Yield the events of a server-sent event stream, and keep-alives.

    Only the fields that the server sends are read: ``event``, ``data`` and ``retry``; the ids
    are in the data. An incomplete event at the end of the stream is dropped, as the format
    requires.

    Raises:
        Unreachable: an event is larger than ``LARGEST_BODY``, or takes too long.
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
                yield KEEP_ALIVE
            else:
                field, _, value = line.partition(":")
                value = value.removeprefix(" ")
                if field == "event":
                    name = value
                elif field == "data":
                    data.append(value)
                    size += LINE_OVERHEAD
                elif field == "retry":
                    yield KEEP_ALIVE


def _network_errors() -> tuple[type[Exception], ...]:
    return (load("urllib3.exceptions").HTTPError, OSError, ValueError, zlib.error)


def _parse_json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        raise Unreachable(foreign_cause("the response is not JSON")) from None


def _check_json(body: bytes) -> None:
    msgspec = load("msgspec")
    try:
        msgspec.json.decode(body, type=msgspec.Raw)  # finds its end, and creates nothing
    except ValueError:
        raise Unreachable(foreign_cause("the response is not JSON")) from None


def _is_permanent(status: int) -> bool:
    return 400 <= status < 500 and status not in TEMPORARY


def _origin(url: str) -> str:
    """Return the scheme, host and port of a URL: the rest may be secret; empty if it has none."""
    parts = split_url(url)
    return "" if parts is None else f"{parts.scheme}://{parts.hostname}:{port_of(parts)}"


def _shown(name: str) -> str:
    """Return a name without what could spoil a list: control characters and lone surrogates."""
    text = str(name).encode("utf-8", "replace").decode()
    return "".join(part if part.isprintable() else " " for part in text).strip()
