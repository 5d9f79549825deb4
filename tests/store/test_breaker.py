"""The breaker of the store, with a store that a test lets answer or not."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from tidegate_server.errors import StoreUnavailable
from tidegate_server.process_metrics import REGISTRY
from tidegate_server.store.breaker import Breaker
from tidegate_server.store.connection import Connection

from tests.store.test_connection import FailingClient
from tests.waiting import until


class Asked:
    """What the breaker is told when it asks."""

    def __init__(self) -> None:
        self.error: Exception | None = RedisTimeoutError("late")
        self.count = 0
        self.recovered = threading.Event()

    def ask(self) -> None:
        self.count += 1
        if self.error is not None:
            raise self.error


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture
def breaker(asked: Asked) -> Iterator[Breaker]:
    breaker = Breaker(asked.ask, asked.recovered.set)
    yield breaker
    asked.error = None
    breaker.close()
    until(lambda: not breaker.is_open)


def metric(name: str) -> float:
    return REGISTRY.get_sample_value(name) or 0.0


def test_after_a_command_without_an_answer_the_next_are_refused_unsent(breaker: Breaker) -> None:
    client = FailingClient(RedisTimeoutError("late"))
    connection = Connection(client, breaker)
    refused_before = metric("tidegate_store_calls_refused_total")
    for _ in range(5):
        with pytest.raises(StoreUnavailable, match="did not answer in time"):
            connection.read("GET", "n")
    assert client.commands == 1
    assert metric("tidegate_store_calls_refused_total") == refused_before + 4
    assert metric("tidegate_store_breaker_open") == 1


@pytest.mark.parametrize("answer", [None, RedisConnectionError("refused")])
def test_commands_are_sent_again_when_the_store_answers_or_refuses_at_once(
    breaker: Breaker, asked: Asked, answer: Exception | None
) -> None:
    connection = Connection(FailingClient(RedisTimeoutError("late")), breaker)
    with pytest.raises(StoreUnavailable):
        connection.read("GET", "n")
    until(lambda: asked.count > 1, "asked again")
    assert breaker.is_open
    asked.error = answer
    until(lambda: not breaker.is_open, "closed")
    assert asked.recovered.is_set()
    assert connection.read("GET", "n") == "answer"
    assert metric("tidegate_store_breaker_open") == 0


def test_a_refused_connection_does_not_open_the_breaker(breaker: Breaker) -> None:
    errors = [RedisConnectionError("refused")] * 2
    client: redis.Redis = FailingClient(*errors)
    connection = Connection(client, breaker)
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        connection.read("GET", "n")
    assert not breaker.is_open
