"""A client that has gone is noticed, and its next request is not touched."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest
from flask import Flask
from tidegate_server.web import client_connection
from tidegate_server.web.backend import backend

from tests.http_calls import PROJECT, Caller
from tests.waiting import until


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_a_client_waits_until_it_closes_the_connection(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    ours.settimeout(7.0)
    waits = client_connection.waits({"gunicorn.socket": ours})
    assert waits()
    theirs.sendall(b"GET")
    assert waits()
    assert ours.recv(3) == b"GET"
    assert ours.gettimeout() == 7.0
    theirs.close()
    assert not waits()


def test_a_client_whose_connection_is_not_known_waits() -> None:
    assert client_connection.waits({})()


def test_a_request_whose_client_has_gone_ends_its_simulation(
    app: Flask, checkout: Caller, port: int
) -> None:
    stuck = {
        "key": "stuck",
        "interval": "10s",
        "stages": [{"percentage": 5, "min_samples": 10**9}, {"percentage": 100}],
    }
    token = checkout.token_for("reader", "default", None).token
    simulation = {"policy": stuck, "traffic": 40, "base_error": 0.01, "days": 90, "runs": 500}
    body = json.dumps(simulation).encode()
    head = (
        f"POST {PROJECT}/policies/simulate HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {token}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with app.app_context():
        computations = backend().computations
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(head.encode() + body)
        until(lambda: computations._running == 1, "the simulation runs")
    until(lambda: computations._running == 0, "the simulation has ended")
    # A process whose computation ended by itself would wait for the next one.
    assert computations._idle == []
