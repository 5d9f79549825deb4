"""A request to a server that misbehaves ends in time, with a reason and no exception."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from tidegate_server.outbound import http_client
from tidegate_server.outbound.http_client import HttpResult, request

from tests.receiver import BREAK, DRIP, HANG, PATH, Answer, receiver

SHORT_S = 0.3
PLENTY_S = 10.0
"""Longer than any request here takes, even on a busy machine."""


@contextmanager
def listening() -> Iterator[socket.socket]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server


def read_request(connection: socket.socket) -> None:
    """Read a request to the end of its body: closing before would reset the connection."""
    taken = b""
    while not taken.endswith(b"{}"):
        taken += connection.recv(1_000)


def post(url: str, timeout_s: float, max_bytes: int = 0) -> HttpResult:
    return request("POST", url, timeout_s=timeout_s, body=b"{}", max_bytes=max_bytes)


def address(server: socket.socket, scheme: str = "http") -> str:
    return f"{scheme}://127.0.0.1:{server.getsockname()[1]}/"


def test_a_request_arrives_as_sent_and_its_response_is_returned() -> None:
    with receiver(Answer(200, {"taken": True})) as server:
        result = request(
            "POST",
            server.url,
            timeout_s=5,
            body=b'{"a":1}',
            headers={"Content-Type": "application/json"},
            max_bytes=1_000,
        )
    assert (result.status, result.body, result.problem) == (200, b'{"taken": true}', "")
    assert result.succeeded
    (received,) = server.received
    assert (received.path, received.body) == (f"{PATH}?by=tidegate", b'{"a":1}')
    assert received.headers["Host"] == server.url.split("/")[2]
    assert received.headers["Content-Type"] == "application/json"


def test_a_get_request_sends_no_body() -> None:
    with receiver(Answer(200, "text", headers=(("ETag", '"3"'),))) as server:
        result = request("GET", server.url, timeout_s=5, max_bytes=1_000)
    assert (result.status, result.body, result.headers["etag"]) == (200, b"text", '"3"')
    assert [(each.method, each.body) for each in server.received] == [("GET", b"")]


def test_a_bad_address_is_a_problem() -> None:
    result = request("GET", "ftp://127.0.0.1/", timeout_s=5)
    assert (result.status, result.problem) == (None, "not a valid http or https address")


@pytest.mark.parametrize("status", [301, 400, 404, 410, 429, 500, 503])
def test_only_2xx_is_success_and_no_redirect_is_followed(status: int) -> None:
    with receiver(Answer(status, headers=(("Location", "/elsewhere"),))) as server:
        result = post(server.url, 5)
    assert (result.status, result.succeeded) == (status, False)
    assert len(server.received) == 1


def test_retry_after_is_read_in_seconds_and_dates_are_ignored() -> None:
    with receiver(Answer(503, headers=(("Retry-After", "7"),))) as server:
        assert post(server.url, 5).retry_after_s == 7
        server.behave(Answer(503, headers=(("Retry-After", "Fri, 31 Dec 1999 23:59:59 GMT"),)))
        assert post(server.url, 5).retry_after_s is None


@pytest.mark.parametrize("behaviour", [HANG, DRIP])
def test_a_server_that_hangs_or_drips_is_cut_off(behaviour: str) -> None:
    with receiver(behaviour) as server:
        result = post(server.url, SHORT_S)
    assert (result.status, result.problem) == (None, "no answer in 0.3 s")


def test_a_body_that_drips_until_the_connection_closes_is_cut_off() -> None:
    with listening() as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection, suppress(OSError):
                read_request(connection)
                connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
                until = time.monotonic() + PLENTY_S
                while time.monotonic() < until:
                    connection.sendall(b"x")
                    time.sleep(0.02)

        thread = threading.Thread(target=answer)
        thread.start()
        began = time.monotonic()
        result = post(address(server), SHORT_S, 100_000)
        took = time.monotonic() - began
        thread.join()
    assert (result.status, result.problem) == (None, "no answer in 0.3 s")
    assert took < PLENTY_S


def test_a_response_that_ends_early_is_a_problem() -> None:
    with receiver(BREAK) as server:
        result = post(server.url, 5)
    assert result.status is None
    assert result.problem == "the answer is not valid HTTP, or it is incomplete"


def test_a_server_that_accepts_and_stays_silent_is_cut_off() -> None:
    with listening() as server:
        assert post(address(server), SHORT_S).problem == "no answer in 0.3 s"
        # The TLS handshake waits for the server, too.
        assert post(address(server, "https"), SHORT_S).problem == "no answer in 0.3 s"


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_request_that_connects_too_late_is_never_sent(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = socket.create_connection

    def slowly(*arguments: Any) -> socket.socket:
        time.sleep(2 * SHORT_S)
        return connect(*arguments)

    monkeypatch.setattr(socket, "create_connection", slowly)
    with receiver(DRIP) as server:
        began = time.monotonic()
        answers: list[HttpResult] = []
        thread = threading.Thread(
            target=lambda: answers.append(post(server.url.replace("http", scheme, 1), SHORT_S))
        )
        thread.start()
        thread.join(PLENTY_S)
        took = time.monotonic() - began
    thread.join()
    assert took < PLENTY_S
    assert [(each.status, each.problem) for each in answers] == [(None, "no answer in 0.3 s")]
    assert server.received == []


def test_a_closed_port_and_an_unknown_host_are_problems() -> None:
    with listening() as server:
        url = address(server)
    assert post(url, 5).problem == "connection refused"
    nowhere = post("http://nowhere.invalid/", 5)
    assert nowhere.problem == "unknown host"


def test_a_response_that_is_not_http_is_a_problem() -> None:
    with listening() as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                read_request(connection)
                connection.sendall(b"220 mail.example.com ESMTP\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        problem = post(address(server), 5).problem
        thread.join()
    assert problem == "the answer is not valid HTTP, or it is incomplete"


def test_a_body_is_read_up_to_its_limit() -> None:
    with receiver(Answer(200, "x" * 100_000)) as server:
        assert len(post(server.url, 5, 1_000).body) == 1_000
        assert post(server.url, 5).body == b""


class TestTls:
    @pytest.fixture
    def certificate(self, tmp_path: Path) -> Path:
        made = tmp_path / "both.pem"
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
                *("-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem")),
                *("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"),
            ],
            check=True,
            capture_output=True,
        )
        made.write_text((tmp_path / "key.pem").read_text() + (tmp_path / "cert.pem").read_text())
        return made

    @contextmanager
    def serving(self, certificate: Path) -> Iterator[str]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        with listening() as server:

            def answer() -> None:
                connection, _ = server.accept()
                try:
                    with context.wrap_socket(connection, server_side=True) as encrypted:
                        read_request(encrypted)
                        encrypted.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
                except OSError:
                    connection.close()

            thread = threading.Thread(target=answer)
            thread.start()
            yield address(server, "https")
            thread.join()

    def test_an_unknown_certificate_is_refused(self, certificate: Path) -> None:
        with self.serving(certificate) as url:
            problem = post(url, 5).problem
        assert problem.startswith("untrusted certificate: self-signed certificate")

    def test_a_trusted_certificate_is_accepted(
        self, certificate: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        trusting = ssl.create_default_context(cafile=str(certificate))
        monkeypatch.setattr(http_client, "_tls_context", lambda: trusting)
        with self.serving(certificate) as url:
            assert post(url, 5).status == 204
