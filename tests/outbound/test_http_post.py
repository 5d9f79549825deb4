"""A request to somewhere that misbehaves ends in time, in words, and never in an exception."""

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
from tidegate_server.outbound import http_post
from tidegate_server.outbound.http_post import Answered, post

from tests.receiver import BREAK, DRIP, HANG, Answer, receiver

SHORT = 0.3
WITHIN_S = 10.0
"""What no time-out reaches, on however busy a machine."""


@contextmanager
def listening() -> Iterator[socket.socket]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server


def take_all(connection: socket.socket) -> None:
    """Read a request to the end of its body: closing before would reset the connection."""
    taken = b""
    while not taken.endswith(b"{}"):
        taken += connection.recv(1_000)


def address(server: socket.socket, scheme: str = "http") -> str:
    return f"{scheme}://127.0.0.1:{server.getsockname()[1]}/"


def test_what_is_sent_arrives_as_it_was() -> None:
    with receiver(Answer(200, {"taken": True})) as told:
        answered = post(told.url, b'{"a":1}', {"Content-Type": "application/json"}, 5, 1_000)
    assert (answered.status, answered.body, answered.problem) == (200, b'{"taken": true}', "")
    assert answered.succeeded
    (received,) = told.received
    assert (received.path, received.body) == ("/told?by=tidegate", b'{"a":1}')
    assert received.headers["Host"] == told.url.split("/")[2]


@pytest.mark.parametrize("status", [301, 400, 404, 410, 429, 500, 503])
def test_anything_but_success_is_told_and_no_redirect_followed(status: int) -> None:
    with receiver(Answer(status, headers=(("Location", "/elsewhere"),))) as told:
        answered = post(told.url, b"{}", {}, 5)
    assert (answered.status, answered.succeeded) == (status, False)
    assert len(told.received) == 1


def test_a_receiver_may_say_when_to_come_back() -> None:
    with receiver(Answer(503, headers=(("Retry-After", "7"),))) as told:
        assert post(told.url, b"{}", {}, 5).retry_after_s == 7
        told.behave(Answer(503, headers=(("Retry-After", "Fri, 31 Dec 1999 23:59:59 GMT"),)))
        assert post(told.url, b"{}", {}, 5).retry_after_s is None


@pytest.mark.parametrize("behaviour", [HANG, DRIP])
def test_one_that_keeps_us_waiting_is_cut_off(behaviour: str) -> None:
    with receiver(behaviour) as told:
        answered = post(told.url, b"{}", {}, SHORT)
    assert (answered.status, answered.problem) == (None, "no answer in 0.3 s")


def test_one_that_drips_what_it_says_last_is_cut_off() -> None:
    with listening() as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection, suppress(OSError):
                take_all(connection)
                connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
                until = time.monotonic() + WITHIN_S
                while time.monotonic() < until:
                    connection.sendall(b"x")
                    time.sleep(0.02)

        thread = threading.Thread(target=answer)
        thread.start()
        began = time.monotonic()
        answered = post(address(server), b"{}", {}, SHORT, 100_000)
        took = time.monotonic() - began
        thread.join()
    assert (answered.status, answered.problem) == (None, "no answer in 0.3 s")
    assert took < WITHIN_S


def test_one_that_breaks_off_is_told() -> None:
    with receiver(BREAK) as told:
        answered = post(told.url, b"{}", {}, 5)
    assert answered.status is None
    assert answered.problem == "what it answered is not HTTP, or broke off"


def test_one_that_never_takes_the_connection_further_is_cut_off() -> None:
    with listening() as server:
        assert post(address(server), b"{}", {}, SHORT).problem == "no answer in 0.3 s"
        # The handshake of an encrypted one waits just as well.
        assert post(address(server, "https"), b"{}", {}, SHORT).problem == "no answer in 0.3 s"


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_one_that_takes_all_the_time_to_be_connected_is_cut_off_at_once(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = socket.create_connection

    def slowly(*arguments: Any) -> socket.socket:
        time.sleep(2 * SHORT)
        return connect(*arguments)

    monkeypatch.setattr(socket, "create_connection", slowly)
    with receiver(DRIP) as told:
        began = time.monotonic()
        answers: list[Answered] = []
        thread = threading.Thread(
            target=lambda: answers.append(
                post(told.url.replace("http", scheme, 1), b"{}", {}, SHORT)
            )
        )
        thread.start()
        thread.join(WITHIN_S)
        took = time.monotonic() - began
    thread.join()
    assert took < WITHIN_S
    assert [(each.status, each.problem) for each in answers] == [(None, "no answer in 0.3 s")]
    assert told.received == []


def test_nobody_there_is_told() -> None:
    with listening() as server:
        url = address(server)
    assert post(url, b"{}", {}, 5).problem == "connection refused"
    nowhere = post("http://nowhere.invalid/", b"{}", {}, 5)
    assert nowhere.problem == "there is no machine of this name"


def test_what_is_not_http_is_told() -> None:
    with listening() as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                take_all(connection)
                connection.sendall(b"220 mail.example.com ESMTP\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        problem = post(address(server), b"{}", {}, 5).problem
        thread.join()
    assert problem == "what it answered is not HTTP, or broke off"


def test_an_answer_is_read_up_to_its_bound_and_only_where_it_matters() -> None:
    with receiver(Answer(200, "x" * 100_000)) as told:
        assert len(post(told.url, b"{}", {}, 5, 1_000).body) == 1_000
        assert post(told.url, b"{}", {}, 5).body == b""


class TestEncrypted:
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
                        take_all(encrypted)
                        encrypted.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
                except OSError:
                    connection.close()

            thread = threading.Thread(target=answer)
            thread.start()
            yield address(server, "https")
            thread.join()

    def test_a_stranger_is_not_trusted(self, certificate: Path) -> None:
        with self.serving(certificate) as url:
            problem = post(url, b"{}", {}, 5).problem
        assert problem.startswith("its certificate cannot be trusted: self-signed certificate")

    def test_whoever_is_trusted_is_told(
        self, certificate: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        trusting = ssl.create_default_context(cafile=str(certificate))
        monkeypatch.setattr(http_post, "_trust", lambda: trusting)
        with self.serving(certificate) as url:
            assert post(url, b"{}", {}, 5).status == 204
