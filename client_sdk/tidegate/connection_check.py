"""Tests each step between an application and its flag server, from the address to a report.

It takes the way of a client, with the same requests. Nothing of it counts: the report is a dry run.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import NamedTuple
from urllib.parse import urlsplit

from tidegate.addresses import port_of, server_address, token_text
from tidegate.causes import network_cause
from tidegate.errors import InvalidSetting, Refused, Rejected, Unreachable, WireError
from tidegate.evaluation.compiled_snapshot import CompiledSnapshot
from tidegate.flag_follower import FlagFollower, Report
from tidegate.reporting import Reporter
from tidegate.sync import POLL_SECONDS, HttpSource
from tidegate.transport import CONNECT_SECONDS, Transport

STREAM_SECONDS = 10.0
"""How long the first event of the stream may take: the server sends one at once."""

CLOCK_SECONDS = 5.0
"""A larger difference of the clocks is a warning."""

STEPS = (
    "address", "token text", "name", "connection", "certificate", "token", "snapshot", "stream",
    "report", "clock",
)  # fmt: skip


class Outcome(Enum):
    """How a step ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "FAILED"
    UNTESTED = "-"


class Step(NamedTuple):
    """One step and what it showed.

    Attributes:
        name: one of ``STEPS``.
        outcome: how it ended.
        text: what was found; on a failure the cause. It never has the token.
    """

    name: str
    outcome: Outcome
    text: str


def check_connection(url: str, token: str) -> Iterator[Step]:
    """Yield each step as soon as it is done; after a failure, those that need it as untested.

    Args:
        url: the address of the server, as a person set it.
        token: the SDK token, as a person set it.
    """
    done = []
    for step in _steps(url, token):
        done.append(step.name)
        yield step
    for name in STEPS[len(done) :]:
        yield Step(name, Outcome.UNTESTED, "not tested")


def _steps(url: str, token: str) -> Iterator[Step]:
    try:
        address = server_address(url)
    except InvalidSetting as error:
        yield Step("address", Outcome.FAILED, str(error) if url.strip() else NO_ADDRESS)
        return
    yield Step("address", Outcome.OK, address)
    try:
        text = token_text(token)
    except InvalidSetting as error:
        yield Step("token text", Outcome.FAILED, str(error) if token.strip() else NO_TOKEN)
        return
    yield Step("token text", Outcome.OK, "has only characters that a token may have")
    reached = True
    for step in _network_steps(address):
        reached = step.outcome is not Outcome.FAILED
        yield step
    if reached:
        yield from _request_steps(address, text)


NO_ADDRESS = "there is no address; set TIDEGATE_URL or give --url"
NO_TOKEN = "there is no token; set TIDEGATE_TOKEN or give --token-file"  # noqa: S105


def _network_steps(address: str) -> Iterator[Step]:
    parts = urlsplit(address)
    host, port = parts.hostname or "", port_of(parts)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        yield Step("name", Outcome.FAILED, network_cause(error, host, port))
        return
    addresses = dict.fromkeys(str(each[4][0]) for each in found)
    yield Step("name", Outcome.OK, f"{host} is {', '.join(addresses)}")
    began = time.monotonic()
    try:
        connection = socket.create_connection((host, port), CONNECT_SECONDS)
    except OSError as error:
        yield Step("connection", Outcome.FAILED, network_cause(error, host, port))
        return
    with connection:
        milliseconds = (time.monotonic() - began) * 1000
        yield Step("connection", Outcome.OK, f"{host}:{port} accepts in {milliseconds:.0f} ms")
        if parts.scheme == "http":
            yield Step("certificate", Outcome.UNTESTED, "none: the address begins with http://")
            return
        try:
            with ssl.create_default_context().wrap_socket(connection, server_hostname=host) as tls:
                certificate = tls.getpeercert() or {}
        except OSError as error:
            yield Step("certificate", Outcome.FAILED, network_cause(error, host, port))
            return
    yield Step("certificate", Outcome.OK, f"trusted, valid until {certificate.get('notAfter')}")


def _request_steps(address: str, token: str) -> Iterator[Step]:
    transport = Transport(address, token)
    try:
        try:
            flags = FlagFollower(HttpSource(transport), Reporter()).read_snapshot()
        except Refused as error:
            yield Step("token", Outcome.FAILED, error.kind)
            return
        except (Unreachable, WireError) as error:
            yield Step("token", Outcome.UNTESTED, "not tested")
            yield Step("snapshot", Outcome.FAILED, str(error))
            return
        date, received_at = transport.server_date, time.time()
        yield Step("token", Outcome.OK, "accepted")
        yield _snapshot_step(flags)
        yield _stream_step(address, token, (flags.version, flags.snapshot.incarnation))
        yield _report_step(transport, flags)
        yield _clock_step(date, received_at)
    finally:
        transport.connections.cut()
        transport.connections.close()


def _snapshot_step(flags: CompiledSnapshot) -> Step:
    snapshot = flags.snapshot
    text = (
        f"{snapshot.project}/{snapshot.environment} at version {flags.version}, "
        f"flags: {len(snapshot.flags)}, segments: {len(snapshot.segments)}"
    )
    if flags.broken:
        place, error = next(iter(flags.broken.items()))
        broken = f"; {len(flags.broken)} cannot be read, first {place}: {error}"
        return Step("snapshot", Outcome.WARNING, text + broken)
    return Step("snapshot", Outcome.OK, text)


def _stream_step(address: str, token: str, known: tuple[int, str]) -> Step:
    transport = Transport(address, token)
    too_late = threading.Event()

    def give_up() -> None:
        too_late.set()
        transport.connections.cut()

    late = threading.Timer(STREAM_SECONDS, give_up)
    late.daemon = True
    late.start()
    began = time.monotonic()
    try:
        with closing(transport.events(known)) as events:
            for _ in events:
                seconds = time.monotonic() - began
                return Step("stream", Outcome.OK, f"first event after {seconds * 1000:.0f} ms")
        cause = "the stream ended without an event"
    except Unreachable as error:
        cause = error.kind
    finally:
        late.cancel()
        transport.connections.cut()
        transport.connections.close()
    if too_late.is_set():
        cause = f"no event in {STREAM_SECONDS:g} s; a proxy in between may buffer the response"
    return Step("stream", Outcome.FAILED, f"{cause}; clients poll every {POLL_SECONDS:g} s instead")


def _report_step(transport: Transport, flags: CompiledSnapshot) -> Step:
    report = Report(Reporter().next_report(), flags.version, 10.0, leaving=True)
    try:
        transport.report(HttpSource(transport).document(report), dry_run=True)
    except Rejected as error:
        return Step("report", Outcome.FAILED, f"{error.kind}: {error.reason}")
    except Unreachable as error:
        return Step("report", Outcome.FAILED, error.kind)
    return Step("report", Outcome.OK, "accepted, a dry run: nothing is counted")


def _clock_step(date: str, received_at: float) -> Step:
    try:
        # The header has whole seconds, rounded down.
        ahead = received_at - (parsedate_to_datetime(date).timestamp() + 0.5)
    except ValueError:
        return Step("clock", Outcome.UNTESTED, "the server does not say its time")
    if abs(ahead) < 1:
        return Step("clock", Outcome.OK, "within a second of the server's")
    text = f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the server's"
    return Step("clock", Outcome.OK if abs(ahead) < CLOCK_SECONDS else Outcome.WARNING, text)
