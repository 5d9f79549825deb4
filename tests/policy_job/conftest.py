from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis
from tidegate_server.store import Store
from tidegate_server.store.embedded import EmbeddedValkey

from tests.policy_job.deployment import Deployment
from tests.receiver import Receiver, receiver

Start = Callable[..., Receiver]


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedValkey]:
    server = EmbeddedValkey(Path(tmp_path_factory.mktemp("valkey")))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def store(valkey: EmbeddedValkey) -> Iterator[Store]:
    client = redis.Redis.from_url(valkey.url)
    client.flushall()
    client.close()
    store = Store.connect(valkey.url)
    yield store
    store.close()


@pytest.fixture
def raw(valkey: EmbeddedValkey) -> Iterator[redis.Redis]:
    """The store as it is, beside its one door."""
    client = redis.Redis.from_url(valkey.url)
    yield client
    client.close()


@pytest.fixture
def deployment(store: Store) -> Deployment:
    return Deployment(store)


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts receivers, which end with the test."""
    with ExitStack() as stack:
        yield lambda *behaviours: stack.enter_context(receiver(*behaviours))
