"""Fixtures of a real store. A package of tests imports them in its ``conftest.py``.

Each package that imports them gets its own server. ``STORE_TOPOLOGY``, one of ``TOPOLOGIES``, gives
it a store of several servers instead; tests of a single server's process are then skipped.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import cast

import pytest
import redis
from tidegate_server.store import Store
from tidegate_server.store.embedded import EmbeddedValkey

from tests.topologies import RunningTopology, cluster_topology, sentinel_topology

TOPOLOGIES: Mapping[str, Callable[[], AbstractContextManager[RunningTopology]]] = {
    "sentinel": sentinel_topology,
    "cluster": cluster_topology,
    "sentinel-tls": partial(sentinel_topology, tls=True),
    "cluster-tls": partial(cluster_topology, tls=True),
}


@pytest.fixture(scope="session")
def valkey() -> Iterator[EmbeddedValkey]:
    name = os.environ.get("STORE_TOPOLOGY", "single")
    if name != "single":
        with TOPOLOGIES[name]() as running:
            yield cast(EmbeddedValkey, running)
        return
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
    if isinstance(valkey, RunningTopology):
        client = cast(redis.Redis, valkey.raw())
    else:
        client = redis.Redis(unix_socket_path=str(valkey.socket))
    with client:
        client.flushall()
        yield client


@pytest.fixture
def store(valkey: EmbeddedValkey, raw: redis.Redis) -> Iterator[Store]:
    """An empty store."""
    opened = Store.connect(valkey.url)
    yield opened
    opened.close()
