"""With a server that is away, hangs, trickles or lies, the application keeps its flags."""

from __future__ import annotations

import json
import logging
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tidegate import Client, Context, report_thread
from tidegate import transport as transports
from tidegate.errors import Unreachable

from tests.sdk import bad_proxy
from tests.sdk.bad_proxy import Mode, Proxy
from tests.sdk.server import Environment
from tests.waiting import soon

ANA = Context("ana")


pytestmark = pytest.mark.usefixtures("impatient")


@pytest.fixture
def proxy(proxy: Proxy, environment: Environment) -> Proxy:
    environment.flag("checkout")
    environment.target("checkout", default={"variant": "on"})
    return proxy


def log_levels(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the levels of the client's log lines, without those about reports."""
    return [
        record.levelname
        for record in caplog.records
        if record.name == "tidegate" and "does not accept reports" not in record.getMessage()
    ]


NEWER = {"schema": 99, "project": "p", "environment": "e", "version": 1}
BAD: dict[str, Mode] = {
    "refuses": bad_proxy.refuse,
    "never answers": bad_proxy.black_hole,
    "sends a head for ever": bad_proxy.trickle_head,
    "sends a body for ever": bad_proxy.trickle_body,
    "answers 500": bad_proxy.respond("500 Internal Server Error", {}),
    "answers 401": bad_proxy.respond("401 Unauthorized", {}),
    "answers something else": bad_proxy.respond("200 OK", b"<html>", "text/html"),
    "sends no JSON": bad_proxy.stream_and_cut(b"event: snapshot\ndata: {oops\n\n", snapshot="oops"),
    "sends a newer schema": bad_proxy.stream_and_cut(
        f"event: snapshot\ndata: {json.dumps(NEWER)}\n\n".encode(), snapshot=NEWER
    ),
    "is cut in the middle of an event": bad_proxy.stream_and_cut(
        b'event: snapshot\ndata: {"schema": 1,', snapshot=[]
    ),
}


@pytest.mark.parametrize("how", BAD)
def test_an_application_starts_with_its_defaults_and_recovers(
    proxy: Proxy, environment: Environment, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    caplog.set_level(logging.INFO, "tidegate")
    proxy.switch_to(BAD[how])
    client = Client(proxy.url, environment.token)
    try:
        soon(lambda: proxy.connections > 3, "the client keeps trying")
        assert client.boolean("checkout", False, ANA) is False
        assert client.boolean_details("checkout", False, ANA).error_code == "PROVIDER_NOT_READY"
        assert client.status().state == "starting"
        assert log_levels(caplog) == ["WARNING"]
        proxy.switch_to(bad_proxy.pass_through)
        assert client.wait_until_ready(60)
        assert client.boolean("checkout", False, ANA) is True
        soon(lambda: log_levels(caplog) == ["WARNING", "INFO"], "each change is logged once")
    finally:
        client.close()


@pytest.mark.parametrize("how", BAD)
def test_a_running_application_keeps_its_flags_and_recovers(
    proxy: Proxy, environment: Environment, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    client = Client(proxy.url, environment.token)
    try:
        assert client.wait_until_ready(60)
        soon(lambda: client.status().state == "connected", "it is connected")
        caplog.set_level(logging.INFO, "tidegate")
        caplog.clear()
        before = proxy.connections
        proxy.switch_to(BAD[how])
        environment.target("checkout", default={"variant": "off"})
        soon(lambda: proxy.connections > before + 3, "the client keeps trying")
        soon(lambda: client.status().state == "stale", "the client is stale")
        assert client.boolean("checkout", False, ANA) is True
        proxy.switch_to(bad_proxy.pass_through)
        soon(lambda: client.boolean("checkout", True, ANA) is False, "the change arrives")
        soon(lambda: client.status().state == "connected", "it is connected again")
        # A refused token is logged in addition to the lost connection.
        warnings = 2 if how == "answers 401" else 1
        soon(
            lambda: log_levels(caplog) == ["WARNING"] * warnings + ["INFO"],
            "each change is logged once",
        )
    finally:
        client.close()


def test_an_untrusted_certificate_is_rejected(
    proxy: Proxy,
    environment: Environment,
    certificate: tuple[str, str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "tidegate")
    proxy.switch_to(bad_proxy.untrusted_tls(*certificate))
    client = Client(proxy.url.replace("http:", "https:"), environment.token)
    try:
        soon(lambda: proxy.connections > 2, "the client keeps trying")
        assert client.status().state == "starting"
        soon(lambda: log_levels(caplog) == ["WARNING"], "each change is logged once")
    finally:
        client.close()


def test_a_silent_stream_is_replaced(proxy: Proxy, environment: Environment) -> None:
    """After a suspend the other end is gone: no byte arrives, and no end of the stream."""
    text = f"event: snapshot\ndata: {json.dumps(environment.snapshot())}\n\n".encode()
    proxy.switch_to(bad_proxy.stream_and_stay_silent(text))
    client = Client(proxy.url, environment.token)
    try:
        assert client.wait_until_ready(60)
        soon(lambda: proxy.connections > 2, "the client opens another stream")
        proxy.mode = bad_proxy.pass_through  # open connections stay silent
        environment.target("checkout", default={"variant": "off"})
        soon(lambda: client.boolean("checkout", True, ANA) is False, "the change arrives")
    finally:
        client.close()


def test_a_lower_version_is_applied(proxy: Proxy, environment: Environment) -> None:
    """The version is lower after the server's store is restored from a backup."""
    client = Client(proxy.url, environment.token)
    try:
        assert client.wait_until_ready(60)
        older = {**environment.snapshot(), "version": 1}
        older["flags"]["checkout"]["default"] = {"variant": "off"}
        text = f"id: 1\nevent: snapshot\ndata: {json.dumps(older)}\n\n".encode()
        proxy.switch_to(bad_proxy.stream_and_cut(text, snapshot=older))
        soon(lambda: client.status().version == 1, "the older version is applied")
        assert client.boolean("checkout", True, ANA) is False
    finally:
        client.close()


def test_a_kill_arrives_by_polling_when_streams_are_cut(
    proxy: Proxy, environment: Environment, caplog: pytest.LogCaptureFixture
) -> None:
    """A proxy cuts every stream, and the flags still stay up to date."""

    def no_streams(proxy: Proxy, client: socket.socket) -> None:
        head = bad_proxy.read_head(client)
        if b"/sdk/v1/stream" in head:
            return
        server = proxy.connect()
        server.sendall(head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        while part := server.recv(65_536):
            client.sendall(part)

    caplog.set_level(logging.INFO, "tidegate")
    proxy.switch_to(no_streams)
    client = Client(proxy.url, environment.token)
    try:
        assert client.wait_until_ready(60)
        assert client.boolean("checkout", False, ANA) is True
        environment.kill("checkout")
        soon(lambda: client.boolean("checkout", True, ANA) is False, "the kill arrives")
        assert client.status().state == "connected"
        soon(lambda: log_levels(caplog) == ["WARNING", "INFO"], "each change is logged once")
    finally:
        client.close()


def test_closing_does_not_wait_for_a_server_that_hangs(
    proxy: Proxy, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(proxy.url, environment.token)
    assert client.wait_until_ready(60)
    proxy.switch_to(bad_proxy.black_hole)
    monkeypatch.setattr(report_thread, "LAST_REPORT_SECONDS", 0.1)
    closed = threading.Thread(target=client.close)
    closed.start()
    closed.join(20)
    assert not closed.is_alive()
    assert client.boolean("checkout", False, ANA) is False


class TestWithACache:
    def test_flags_survive_a_restart_without_the_server(
        self, proxy: Proxy, environment: Environment, tmp_path: Path
    ) -> None:
        path = tmp_path / "flags"
        first = Client(proxy.url, environment.token, cache_path=path)
        assert first.wait_until_ready(60)
        first.close()
        proxy.switch_to(bad_proxy.black_hole)
        second = Client(proxy.url, environment.token, cache_path=path)
        try:
            assert second.wait_until_ready(0)
            details = second.boolean_details("checkout", False, ANA)
            assert (details.value, details.reason) == (True, "STALE")
            assert second.status().state == "stale"
            environment.target("checkout", default={"variant": "off"})
            proxy.switch_to(bad_proxy.pass_through)
            soon(lambda: second.boolean("checkout", True, ANA) is False, "the change arrives")
            assert second.boolean_details("checkout", True, ANA).reason == "STATIC"
        finally:
            second.close()

    def test_a_damaged_file_is_ignored(
        self, proxy: Proxy, environment: Environment, tmp_path: Path
    ) -> None:
        path = tmp_path / "flags"
        path.write_bytes(b"\x00" * 100)
        proxy.switch_to(bad_proxy.black_hole)
        client = Client(proxy.url, environment.token, cache_path=path)
        try:
            assert client.boolean("checkout", False, ANA) is False
            proxy.switch_to(bad_proxy.pass_through)
            assert client.wait_until_ready(60)
        finally:
            client.close()

    def test_a_file_of_a_newer_schema_is_ignored(
        self, environment: Environment, tmp_path: Path
    ) -> None:
        path = tmp_path / "flags"
        from tidegate.persistence import SnapshotFile

        SnapshotFile(path, "http://127.0.0.1:9", environment.token).save(json.dumps(NEWER).encode())
        client = Client("http://127.0.0.1:9", environment.token, cache_path=path)
        try:
            assert client.status().version is None
        finally:
            client.close()


def test_memory_is_bounded_whatever_a_stream_sends(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transports, "LARGEST_BODY", 10_000)

    def endless() -> Iterator[bytes]:
        while True:
            yield b"data: " + b"x" * 1_000

    with pytest.raises(Unreachable, match="too large"):
        for _ in transports.parse_events(endless()):
            pass


def test_the_token_is_not_logged(
    proxy: Proxy, environment: Environment, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    proxy.switch_to(bad_proxy.respond("401 Unauthorized", {}))
    client: Any = Client(proxy.url, environment.token)
    soon(lambda: proxy.connections > 3, "the client keeps trying")
    client.close()
    assert environment.token not in caplog.text
