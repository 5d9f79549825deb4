"""Deadlines of a connection, shortened for the tests."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from tidegate_server.processes import timed_socket
from tidegate_server.processes.timed_socket import TimedSocket
from werkzeug.exceptions import RequestTimeout


@pytest.fixture
def pair() -> Iterator[tuple[TimedSocket, socket.socket]]:
    """The server's end of a connection, and its client's."""
    server, client = socket.socketpair()
    with server, client:
        yield TimedSocket(server), client


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("IDLE_SECONDS", "HEADER_SECONDS", "BODY_SECONDS", "ANSWER_SECONDS"):
        monkeypatch.setattr(timed_socket, name, 0.05)


@pytest.mark.usefixtures("impatient")
class TestAClientThat:
    def test_sends_nothing_gets_no_answer(self, pair: tuple[TimedSocket, socket.socket]) -> None:
        timed, client = pair
        timed.expect_request()
        assert timed.recv(100) == b""
        assert timed.is_too_slow
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.recv(100)

    def test_sends_part_of_the_headers_gets_408(
        self, pair: tuple[TimedSocket, socket.socket]
    ) -> None:
        timed, client = pair
        timed.expect_request()
        client.sendall(b"GET / HT")
        assert timed.recv(100) == b"GET / HT"
        assert timed.recv(100) == b""
        assert client.recv(100).startswith(b"HTTP/1.1 408 ")

    def test_sends_part_of_a_body_is_told_so(self, pair: tuple[TimedSocket, socket.socket]) -> None:
        timed, client = pair
        timed.expect_body()
        client.sendall(b"{")
        assert timed.recv(100) == b"{"
        with pytest.raises(RequestTimeout, match="too slowly"):
            timed.recv(100)
        assert timed.is_too_slow

    def test_does_not_read_its_answer_loses_the_connection(
        self, pair: tuple[TimedSocket, socket.socket], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(timed_socket, "BYTES_PER_SECOND", 10**9)
        timed, _ = pair
        with pytest.raises(BrokenPipeError):
            timed.sendall(b"x" * 10_000_000)


class CountedSocket:
    """A connection that remembers what it sent with each call."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def settimeout(self, seconds: float) -> None:
        """Do nothing."""

    def sendall(self, data: bytes, flags: int = 0) -> None:
        self.sent.append(data)


def test_headers_and_the_body_after_them_are_sent_at_once() -> None:
    connection: Any = CountedSocket()
    timed = TimedSocket(connection)
    timed.join_next()
    for part in (b"HTTP/1.1 200 OK\r\n\r\n", b"{}", b"HTTP/1.1 404 Not Found\r\n\r\n", b"no"):
        timed.sendall(part)
    assert connection.sent == [
        *(b"HTTP/1.1 200 OK\r\n\r\n{}", b"HTTP/1.1 404 Not Found\r\n\r\n", b"no"),
    ]


def test_a_body_that_keeps_the_pace_may_take_longer(
    pair: tuple[TimedSocket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timed_socket, "BODY_SECONDS", 0.0)
    timed, client = pair
    timed.expect_body()
    client.sendall(b"x" * 100_000)
    received = 0
    while received < 100_000:
        received += len(timed.recv(10_000))
    timed.expect_request()
    client.sendall(b"GET")
    assert timed.recv(3) == b"GET"


def test_the_next_request_may_take_longer_than_the_first(
    pair: tuple[TimedSocket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timed_socket, "HEADER_SECONDS", 0.0)
    timed, client = pair
    timed.expect_body()  # of a first request
    timed.expect_request()
    client.sendall(b"GET")
    assert timed.recv(3) == b"GET"
