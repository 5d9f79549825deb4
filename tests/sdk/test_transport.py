"""Requests to a real server, and the parser of event streams."""

from __future__ import annotations

import gc
import gzip
import itertools
import json
import socket
import threading
import tracemalloc
from contextlib import suppress
from itertools import pairwise
from types import FrameType, SimpleNamespace, TracebackType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tidegate import transport as transports
from tidegate.errors import Refused, Rejected, Unreachable
from tidegate.reporting import Reporter
from tidegate.transport import (
    KEEP_ALIVE,
    Event,
    Transport,
    decompressed,
    parse_events,
)

from tests.sdk import bad_proxy
from tests.sdk.bad_proxy import Mode, Proxy
from tests.sdk.reports import report_document
from tests.sdk.server import Environment
from tests.sdk.test_reporting import count_operation, sent_report


def parsed(body: bytes | None) -> Any:
    assert body is not None
    return json.loads(body)


def events(*chunks: bytes) -> list[Event]:
    return list(parse_events(iter(chunks)))


# Streams


def test_an_event_has_a_name_and_data() -> None:
    assert events(b"id: 7\nevent: update\ndata: {}\n\n") == [Event("update", "{}")]


def test_an_event_without_a_name_is_a_message() -> None:
    assert events(b"event: a\ndata: 1\n\ndata: 2\n\n") == [Event("a", "1"), Event("message", "2")]


def test_data_in_several_lines_is_joined() -> None:
    assert events(b"data: a\ndata:\ndata: b\n\n") == [Event("message", "a\n\nb")]


def test_one_space_before_a_value_is_not_part_of_it() -> None:
    assert events(b"data:  a\ndata:b\n\n") == [Event("message", " a\nb")]


def test_comments_and_retry_times_are_keep_alives() -> None:
    assert events(b": keep-alive\n\nretry: 1000\n\n") == [KEEP_ALIVE, KEEP_ALIVE]


def test_an_event_without_data_is_ignored() -> None:
    assert events(b"event: update\nid: 7\n\n\n\n") == []


def test_unknown_fields_are_ignored() -> None:
    assert events(b"weather: fine\nnonsense\ndata: 1\n\n") == [Event("message", "1")]


def test_an_incomplete_event_at_the_end_is_dropped() -> None:
    for cut in (b"data: 1\n\ndata: 2\n", b"data: 1\n\ndata: 2", b"data: 1\n\nda"):
        assert events(cut) == [Event("message", "1")]


STREAM = (
    ": hello\n\nretry: 1500\n\nid: 1\nevent: snapshot\ndata: {\"flags\": {}}\n\n"
    "event: update\ndata: Ελένη 😀 日本\ndata: \u2028\n\n: keep-alive\n\ndata: last\n\n"
)  # fmt: skip
WHOLE = events(STREAM.encode())


@given(st.lists(st.integers(0, 200)), st.booleans())
def test_events_are_read_however_the_stream_is_split(
    cuts: list[int], carriage_returns: bool
) -> None:
    stream = STREAM.replace("\n", "\r\n").encode() if carriage_returns else STREAM.encode()
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    chunks = [stream[low:high] for low, high in pairwise(edges)]
    assert len(WHOLE) == 6
    assert events(*(chunk for chunk in chunks if chunk)) == WHOLE


def test_bytes_that_are_not_text_are_read_without_an_error() -> None:
    assert events(b"data: \xff\xfe\n\n") == [Event("message", "\ufffd\ufffd")]


@given(st.lists(st.binary(max_size=30)))
def test_no_bytes_raise_an_exception(chunks: list[bytes]) -> None:
    events(*chunks)


def test_an_event_that_never_ends_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transports, "LARGEST_BODY", 1_000)
    with pytest.raises(Unreachable, match="too large"):
        events(*[b"x" * 100] * 20)
    lines = b"data: " + b"x" * 500 + b"\n"
    with pytest.raises(Unreachable, match="too large"):
        events(*[lines] * 20)
    assert len(events(*[lines + b"\n"] * 20)) == 20


def advance_clock_by_ten_seconds_per_call(monkeypatch: pytest.MonkeyPatch) -> None:
    now = itertools.count(step=10)
    monkeypatch.setattr(transports, "time", SimpleNamespace(monotonic=lambda: next(now)))


@pytest.mark.parametrize("part", [b"x", b"data: x\n"])
def test_an_event_that_trickles_is_rejected(monkeypatch: pytest.MonkeyPatch, part: bytes) -> None:
    advance_clock_by_ten_seconds_per_call(monkeypatch)
    with pytest.raises(Unreachable, match="too long"):
        events(*[part] * 20)


def test_a_stream_may_go_on_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    advance_clock_by_ten_seconds_per_call(monkeypatch)
    assert len(events(*[b"x\n\ndata: "] * 100)) == 99


# Requests


@pytest.fixture
def transport(environment: Environment) -> Transport:
    return Transport(environment.url + "/", environment.token)


def test_a_known_snapshot_is_not_sent_again(environment: Environment, transport: Transport) -> None:
    environment.flag("checkout")
    assert parsed(transport.snapshot(None)) == environment.snapshot()
    version, incarnation = environment.version, environment.snapshot()["incarnation"]
    assert transport.snapshot((version, incarnation)) is None
    for other in ((version - 1, incarnation), (version, "0" * 16), (version, "")):
        assert parsed(transport.snapshot(other)) == environment.snapshot()


def test_a_large_snapshot_arrives_compressed_and_complete(
    environment: Environment, transport: Transport
) -> None:
    keys = [f"user-{number}" for number in range(3_000)]
    environment.segment("many", included=keys)
    document = parsed(transport.snapshot(None))
    assert document["segments"]["many"]["included"] == keys


def test_a_stream_begins_with_a_snapshot_and_goes_on_with_updates(
    environment: Environment, transport: Transport
) -> None:
    environment.flag("checkout")
    stream = (event for event in transport.events(None) if event.data)
    first = next(stream)
    assert (first.name, json.loads(first.data)) == ("snapshot", environment.snapshot())
    environment.kill("checkout")
    second = next(stream)
    assert second.name == "update"
    assert json.loads(second.data)["flags"]["checkout"]["killed"] == "off"


def test_a_stream_continues_after_the_last_seen_version(
    environment: Environment, transport: Transport
) -> None:
    seen, incarnation = environment.version, environment.snapshot()["incarnation"]
    environment.flag("checkout")
    first = next(event for event in transport.events((seen, incarnation)) if event.data)
    assert (first.name, json.loads(first.data)["version"]) == ("update", seen + 1)


def test_a_report_is_acknowledged_or_the_instance_is_unknown(transport: Transport) -> None:
    reporter = Reporter()
    count_operation(reporter)
    report = sent_report(report_document(reporter))
    assert transport.report(report) is True
    assert transport.report(report) is True
    unknown = {**report, "instance": "f" * 32, "continues": True, "sequence": 9}
    assert transport.report(unknown) is False


def test_a_long_report_is_compressed(environment: Environment, transport: Transport) -> None:
    report = sent_report(report_document(Reporter())) | {
        "evaluations": [
            {"flag": f"flag-{n}", "variants": {"on": 1}, "defaults": 0, "estimated": False}
            for n in range(200)
        ]
    }
    assert transport.report(report) is True
    environment.server.refuse_gzip = True
    try:
        # A server of an earlier version: then none is.
        assert transport.report({**report, "sequence": 2}) is True
        environment.server.refuse_gzip = False
        assert transport.report({**report, "sequence": 3}) is True
    finally:
        environment.server.refuse_gzip = False
    assert environment.server.compressed[environment.token] == [True, False, False]


def test_a_wrong_token_is_refused(environment: Environment) -> None:
    transport = Transport(environment.url, "wrong")
    with pytest.raises(Refused, match="401"):
        transport.snapshot(None)
    with pytest.raises(Refused, match="401"):
        transport.report({})
    with pytest.raises(Refused, match="401"):
        next(transport.events(None))


def test_an_invalid_report_is_not_acknowledged(transport: Transport) -> None:
    with pytest.raises(Unreachable, match="422"):
        transport.report({"schema": 1})


def test_closing_ends_a_stream_that_another_thread_reads(
    environment: Environment, transport: Transport
) -> None:
    started = threading.Event()
    seen: list[Event] = []

    def read() -> None:
        try:
            for event in transport.events(None):
                seen.append(event)
                started.set()
        except Unreachable:
            pass

    reader = threading.Thread(target=read)
    reader.start()
    assert started.wait(60)
    transport.connections.cut()
    reader.join(20)
    assert not reader.is_alive()


@pytest.mark.parametrize(
    ("mode", "why"),
    [
        (bad_proxy.respond("500 Internal Server Error", {}), "the server answers 500"),
        (bad_proxy.respond("302 Found", {}), "the server answers 302"),
        (bad_proxy.respond("404 Not Found", {}), "the server answers 404"),
        (bad_proxy.respond("409 Conflict", {}), "the server answers 409"),
        (bad_proxy.respond("429 Too Many Requests", {}), "the server answers 429"),
        (bad_proxy.endless_head, "was lost"),
        (bad_proxy.respond_compressed(b"no gzip"), "the response is damaged"),
        (bad_proxy.respond_compressed(gzip.compress(b"{}")[:10]), "not JSON"),
        (
            bad_proxy.respond_compressed(gzip.compress(gzip.compress(b"{}")), "gzip, gzip"),
            "unknown Content-Encoding",
        ),
        (bad_proxy.respond("200 OK", b"<html>", "text/html"), "not JSON"),
        (bad_proxy.respond("200 OK", b"\xff"), "not JSON"),
        (bad_proxy.refuse, "was lost .(RemoteDisconnected|ConnectionResetError)"),
    ],
)
def test_an_unexpected_response_to_a_snapshot_request_is_unreachable(
    proxy: Proxy, environment: Environment, mode: Mode, why: str
) -> None:
    proxy.switch_to(mode)
    with pytest.raises(Unreachable, match=why):
        Transport(proxy.url, environment.token).snapshot(None)


def test_a_stream_that_is_cut_says_so(proxy: Proxy, environment: Environment) -> None:
    events = Transport(proxy.url, environment.token).events(None)
    assert next(events).name == "snapshot"
    proxy.switch_to(bad_proxy.refuse)
    with pytest.raises(Unreachable, match=r"was cut in the middle of a response$"):
        list(events)


@pytest.mark.parametrize(
    ("retry_after", "wait"),
    [("7", 7.0), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0), ("-1", 0.0), ("", 0.0)],
)
def test_a_busy_server_can_set_a_retry_time(
    proxy: Proxy, environment: Environment, retry_after: str, wait: float
) -> None:
    proxy.switch_to(bad_proxy.busy(retry_after))
    transport = Transport(proxy.url, environment.token)
    for ask in (lambda: transport.snapshot(None), lambda: next(transport.events(None))):
        with pytest.raises(Unreachable, match="429") as caught:
            ask()
        assert caught.value.wait == wait


@pytest.mark.parametrize("what", ["report", "snapshot", "events"])
@pytest.mark.parametrize(
    "mode",
    [
        bad_proxy.refuse,
        bad_proxy.respond("500 Internal Server Error", {"detail": "busy"}),
        bad_proxy.respond("401 Unauthorized", {}),
        bad_proxy.respond("200 OK", b"<html>", "text/html"),
        bad_proxy.respond_compressed(b"no gzip"),
        None,
    ],
)
def test_a_failed_request_leaves_nothing_to_the_garbage_collector(
    proxy: Proxy, environment: Environment, mode: Mode | None, what: str
) -> None:
    url = "http://127.0.0.1:9"  # nothing listens there
    if mode is not None:
        proxy.switch_to(mode)
        url = proxy.url
    transport = Transport(url, environment.token)

    def fail() -> None:
        with suppress(Unreachable, Rejected):
            if what == "report":
                transport.report({})
            elif what == "snapshot":
                transport.snapshot(None)
            else:
                list(transport.events(None))
            raise AssertionError("it did not fail")

    fail()  # what is made once is made now
    gc.collect()
    gc.disable()
    try:
        fail()
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        left = [each for each in gc.garbage if _is_of_a_request(each)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert left == []


def _is_of_a_request(each: object) -> bool:
    return isinstance(each, FrameType | TracebackType | BaseException) or type(
        each
    ).__module__.startswith(("urllib3", "tidegate."))


def test_a_server_without_keep_alive_is_supported(proxy: Proxy, environment: Environment) -> None:
    proxy.switch_to(bad_proxy.respond_http_1_0({"version": 1}))
    transport = Transport(proxy.url, environment.token)
    assert [parsed(transport.snapshot(None)) for _ in range(2)] == [{"version": 1}] * 2
    assert proxy.connections == 2


def test_the_token_is_not_sent_to_the_target_of_a_redirect(
    proxy: Proxy, environment: Environment
) -> None:
    other = Proxy(environment.url)
    proxy.switch_to(bad_proxy.redirect(other.url))
    transport = Transport(proxy.url, environment.token)
    for ask in (lambda: transport.snapshot(None), lambda: next(transport.events(None))):
        with pytest.raises(Unreachable, match="the server answers 307"):
            ask()
    assert (proxy.connections, other.connections) == (2, 0)
    other.close()


@pytest.mark.parametrize("what", ["snapshot", "stream"])
def test_a_compression_bomb_does_not_fill_the_memory(
    proxy: Proxy, environment: Environment, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(transports, "LARGEST_BODY", 1_000_000)
    proxy.switch_to(bad_proxy.respond_compressed(gzip.compress(b" " * 100_000_000)))
    transport = Transport(proxy.url, environment.token)
    tracemalloc.start()
    try:
        with pytest.raises(Unreachable, match="too large"):
            transport.snapshot(None) if what == "snapshot" else list(transport.events(None))
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_an_event_with_very_many_lines_does_not_fill_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transports, "LARGEST_BODY", 1_000_000)
    with pytest.raises(Unreachable, match="too large"):
        events(*[b"data: a line\n" * 1_000] * 50)


@given(st.binary(max_size=2_000), st.lists(st.integers(0, 300)))
def test_a_compressed_response_is_read_however_it_is_split(body: bytes, cuts: list[int]) -> None:
    packed = gzip.compress(body)
    edges = [0, *sorted(min(cut, len(packed)) for cut in cuts), len(packed)]
    chunks = [packed[low:high] for low, high in pairwise(edges)]
    assert b"".join(decompressed(iter(chunks), "gzip")) == body
    assert b"".join(decompressed(iter([body]), "")) == body


def test_a_server_may_listen_on_ipv6_only(environment: Environment) -> None:
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("a system without IPv6")

    def answer() -> None:
        client, _ = listener.accept()
        with client:
            bad_proxy.read_head(client)
            client.sendall(bad_proxy.http_response("200 OK", b"{}"))

    threading.Thread(target=answer, daemon=True).start()
    url = f"http://[::1]:{listener.getsockname()[1]}"
    assert parsed(Transport(url, environment.token).snapshot(None)) == {}
    listener.close()


@pytest.mark.parametrize(
    "answer", [{}, [], "ok", {"version": "7"}, {"acknowledged": True}], ids=json.dumps
)
def test_a_200_of_a_proxy_acknowledges_nothing(
    proxy: Proxy, environment: Environment, answer: Any
) -> None:
    proxy.switch_to(bad_proxy.respond("200 OK", answer))
    with pytest.raises(Unreachable, match="there is no Tidegate server"):
        Transport(proxy.url, environment.token).report({})


def test_the_token_and_the_sdk_are_in_every_request(environment: Environment) -> None:
    heads: list[bytes] = []

    def listening(proxy: Proxy, client: socket.socket) -> None:
        heads.append(bad_proxy.read_head(client))
        client.sendall(bad_proxy.http_response("304 Not Modified", b""))

    proxy = Proxy(environment.url)
    proxy.switch_to(listening)
    assert Transport(proxy.url, "a-token").snapshot((7, "")) is None
    proxy.close()
    (head,) = heads
    lines = head.decode().split("\r\n")
    assert lines[0] == "GET /sdk/v1/snapshot HTTP/1.1"
    assert "Authorization: Bearer a-token" in lines
    assert 'If-None-Match: "7"' in lines
    assert any(line.startswith("User-Agent: tidegate-python/") for line in lines)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9",
        "http://host.invalid",
        "nonsense",
        "ftp://127.0.0.1",
        "http://[::1",
        "http://127.0.0.1:99999",
        "",
        "http://",
    ],
)
def test_an_invalid_url_is_unreachable(url: str) -> None:
    with pytest.raises(Unreachable):
        Transport(url, "token").snapshot(None)


@pytest.mark.parametrize("token", ["a\nb", "ü", "\ud800", "a\r\nX-Admin: 1"], ids=repr)
def test_a_token_that_cannot_be_sent_is_unreachable(environment: Environment, token: str) -> None:
    with pytest.raises(Unreachable):
        Transport(environment.url, token).snapshot(None)


def test_one_connection_serves_many_requests(environment: Environment, proxy: Proxy) -> None:
    def keeping_alive(proxy: Proxy, client: socket.socket) -> None:
        while bad_proxy.read_head(client):
            client.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{"version":1}')

    proxy.switch_to(keeping_alive)
    transport = Transport(proxy.url, environment.token)
    for _ in range(5):
        assert parsed(transport.snapshot(None)) == {"version": 1}
        assert transport.report({})
    assert proxy.connections == 1
