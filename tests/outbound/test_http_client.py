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
from tidegate_server.domain.network_addresses import PUBLIC_ONLY
from tidegate_server.outbound.http_client import HttpClient, HttpResult

from tests.receiver import BREAK, DRIP, HANG, LOOPBACK, PATH, Answer, receiver

SHORT_S = 0.3
PLENTY_S = 10.0
"""Longer than any request here takes, even on a busy machine."""


request = HttpClient(LOOPBACK).request


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
    assert (result.status, result.problem) == (None, "no answer in 5 s")
    assert result.detail == "the answer is not valid HTTP, or it is incomplete"


def test_a_server_that_accepts_and_stays_silent_is_cut_off() -> None:
    with listening() as server:
        assert post(address(server), SHORT_S).problem == "no answer in 0.3 s"
        # The TLS handshake waits for the server, too.
        assert post(address(server, "https"), SHORT_S).problem == "no answer in 0.3 s"


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_request_that_connects_too_late_is_never_sent(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = socket.socket.connect

    def slowly(connecting: socket.socket, address: Any) -> None:
        time.sleep(2 * SHORT_S)
        connect(connecting, address)

    monkeypatch.setattr(socket.socket, "connect", slowly)
    with receiver(DRIP) as server:
        result = post(server.url.replace("http", scheme, 1), SHORT_S)
    assert (result.status, result.problem) == (None, "no answer in 0.3 s")
    assert server.received == []


def test_a_lookup_that_hangs_is_abandoned_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()

    def hang(*_: Any, **__: Any) -> list[Any]:
        released.wait(PLENTY_S)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    began = time.monotonic()
    results = [post(f"http://slow{number % 2}.example.com/", 0.1) for number in range(10)]
    took = time.monotonic() - began
    released.set()
    assert took < PLENTY_S
    assert {each.problem for each in results} == {"no answer in 0.1 s"}
    # The threads that hang are few.
    assert results[-1].detail == "too many lookups of host names are under way"


def test_a_closed_port_and_an_unknown_host_are_told_apart_in_the_detail_only() -> None:
    with listening() as server:
        url = address(server)
    closed, unknown = post(url, 5), post("http://nowhere.invalid/", 5)
    assert closed.problem == unknown.problem == "no answer in 5 s"
    assert (closed.detail, unknown.detail) == ("connection refused", "unknown host")


def test_a_response_that_is_not_http_is_a_problem() -> None:
    with listening() as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                read_request(connection)
                connection.sendall(b"220 mail.example.com ESMTP\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        detail = post(address(server), 5).detail
        thread.join()
    assert detail == "the answer is not valid HTTP, or it is incomplete"


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
                *("-subj", "/CN=localhost"),
                *("-addext", "subjectAltName=IP:127.0.0.1,DNS:hooks.example.com"),
            ],
            check=True,
            capture_output=True,
        )
        made.write_text((tmp_path / "key.pem").read_text() + (tmp_path / "cert.pem").read_text())
        return made

    @contextmanager
    def serving(
        self, certificate: Path, asked_names: list[str | None] | None = None
    ) -> Iterator[str]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        names = [] if asked_names is None else asked_names
        context.sni_callback = lambda _, name, __: names.append(name)
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
            detail = post(url, 5).detail
        assert detail.startswith("untrusted certificate: self-signed certificate")

    def test_a_trusted_certificate_is_accepted(
        self, certificate: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with self.serving(certificate) as url:
            assert post(url, 5).status == 204

    @pytest.mark.parametrize("host", ["hooks.example.com", "hooks.example.com."])
    def test_the_certificate_must_be_for_the_name_in_the_url(
        self, certificate: Path, monkeypatch: pytest.MonkeyPatch, host: str
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        resolve_to(monkeypatch, ["127.0.0.1"])
        names: list[str | None] = []
        with self.serving(certificate, names) as url:
            assert post(url.replace("127.0.0.1", host), 5).status == 204
        assert names == ["hooks.example.com"]
        with self.serving(certificate) as url:
            detail = post(url.replace("127.0.0.1", "other.example.com"), 5).detail
        assert "Hostname mismatch" in detail


def resolve_to(monkeypatch: pytest.MonkeyPatch, *lookups: list[str]) -> list[str]:
    """Make each lookup of a name return the next addresses; return the names looked up."""
    names: list[str] = []
    real = socket.getaddrinfo
    answers = list(lookups)

    def look_up(host: str, port: int, **options: Any) -> list[Any]:
        names.append(host)
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        return [each for ip in found for each in real(ip, port, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return names


class TestAddresses:
    public_only = staticmethod(HttpClient(PUBLIC_ONLY).request)

    @pytest.mark.parametrize(
        "host",
        [
            "127.0.0.1",
            "127.0.0.1.",
            "127.1",
            "2130706433",
            "0x7f.1",
            "0x7F000001",
            "0177.0.0.1",
            "0",
            "localhost",
            "LOCALHOST.",
            "[::]",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
        ],
    )
    def test_nothing_connects_to_this_machine_in_any_notation(self, host: str) -> None:
        with receiver() as server:
            port = server.origin.rpartition(":")[2]
            result = self.public_only("POST", f"http://{host}:{port}/", timeout_s=5, body=b"{}")
            time.sleep(0.05)
        assert server.received == []
        assert result.status is None
        if not host.endswith("."):  # some resolvers do not know it then
            assert result.refused
            assert result.problem == "refused: not a public address"

    def test_a_name_is_looked_up_once_and_the_checked_address_is_used(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """DNS rebinding: the second lookup would give another address than the first."""
        with receiver() as server:
            port = server.origin.rpartition(":")[2]
            names = resolve_to(monkeypatch, ["127.0.0.1"], ["127.0.0.2"])
            result = post(f"http://rebind.example.com:{port}/hook", 5)
        assert (result.status, names) == (200, ["rebind.example.com"])
        assert server.received[0].headers["Host"] == f"rebind.example.com:{port}"

    def test_a_name_with_inner_addresses_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with receiver() as server:
            port = server.origin.rpartition(":")[2]
            resolve_to(monkeypatch, ["127.0.0.1", "10.0.0.1", "fd00:ec2::254"])
            result = self.public_only("POST", f"http://a.example.com:{port}/", timeout_s=5)
        assert (result.problem, result.refused) == ("refused: not a public address", True)
        assert "10.0.0.1" not in result.problem
        assert "127.0.0.1, 10.0.0.1, fd00:ec2::254 is neither public" in result.detail
        assert server.received == []

    def test_only_the_permitted_addresses_of_a_name_are_tried(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with receiver() as server:
            port = server.origin.rpartition(":")[2]
            tried: list[str] = []
            connect = socket.socket.connect

            def record(connecting: socket.socket, address: Any) -> None:
                tried.append(address[0])
                connect(connecting, address)

            monkeypatch.setattr(socket.socket, "connect", record)
            resolve_to(monkeypatch, ["127.0.0.3", "169.254.169.254", "127.0.0.1"])
            result = post(f"http://mixed.example.com:{port}/", 5)
        assert (result.status, tried) == (200, ["127.0.0.1"])

    def test_a_redirect_inward_is_not_followed(self) -> None:
        with receiver() as inner:
            moved = Answer(307, headers=(("Location", inner.url),))
            with receiver(moved) as server:
                result = post(server.url, 5)
        assert (result.status, result.succeeded) == (307, False)
        assert inner.received == []
