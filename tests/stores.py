"""Fixtures of a real store. A package of tests imports them in its ``conftest.py``.

Each package that imports them gets its own server.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from tidegate_server.store import Store
from tidegate_server.store.embedded import EmbeddedValkey


@pytest.fixture(scope="session")
def valkey() -> Iterator[EmbeddedValkey]:
    with tempfile.TemporaryDirectory(prefix="tg-test-") as folder:
        server = EmbeddedValkey(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture
def raw(valkey: EmbeddedValkey) -> Iterator[redis.Redis]:
    """A client of the store's server, which is emptied first."""
    with redis.Redis(unix_socket_path=str(valkey.socket)) as client:
        client.flushall()
        yield client


@pytest.fixture
def store(valkey: EmbeddedValkey, raw: redis.Redis) -> Iterator[Store]:
    """An empty store."""
    opened = Store.connect(valkey.url)
    yield opened
    opened.close()
