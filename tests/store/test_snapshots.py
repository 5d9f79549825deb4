"""A snapshot that a process keeps is as recent as one that it reads again."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest
import redis
from tidegate_server.store import Store, keys
from tidegate_server.store.snapshots import Snapshots

from tests.store.changes import PRODUCTION, SHOP, refreshed


@pytest.fixture
def other(store: Store) -> Iterator[Store]:
    """Return the store as another server has opened it."""
    opened = Store.connect(store.url)
    yield opened
    opened.close()


def flags(store: Store) -> list[str]:
    found = store.snapshot(SHOP, PRODUCTION)
    assert gzip.decompress(found.compressed) == found.body
    return sorted(msgspec.json.decode(found.body)["flags"])


def test_a_change_by_another_server_is_seen_at_once(store: Store, other: Store) -> None:
    store.commit(refreshed("a"))
    assert flags(store) == ["a"]
    before = store.snapshot(SHOP, PRODUCTION)
    assert store.snapshot(SHOP, PRODUCTION) is before
    other.commit(refreshed("b"))
    assert flags(store) == ["a", "b"]
    other.commit(refreshed("c", environment="staging"))
    assert flags(store) == ["a", "b"]


def test_another_state_of_the_same_version_is_seen(store: Store, raw: redis.Redis) -> None:
    store.commit(refreshed("a"))
    assert flags(store) == ["a"]
    raw.hset(keys.snapshot(SHOP, PRODUCTION), "flag:restored", "{}")
    assert flags(store) == ["a"]
    raw.set(keys.incarnation(SHOP), "another")
    assert flags(store) == ["a", "restored"]
    # As after a failover that lost the last commit.
    raw.hset(keys.snapshot(SHOP, PRODUCTION), "flag:again", "{}")
    raw.hset(keys.version_receipt(SHOP, PRODUCTION, 1), "at", "1")
    assert flags(store) == ["a", "again", "restored"]


def test_an_earlier_version_is_seen(store: Store, raw: redis.Redis) -> None:
    store.commit(refreshed("a"))
    store.commit(refreshed("b"))
    assert store.snapshot(SHOP, PRODUCTION).version == 2
    raw.set(keys.version(SHOP, PRODUCTION), 1)
    assert store.snapshot(SHOP, PRODUCTION).version == 1


def test_without_an_incarnation_nothing_is_kept(store: Store, raw: redis.Redis) -> None:
    store.commit(refreshed("a"))
    raw.delete(keys.incarnation(SHOP))
    assert store.snapshot(SHOP, PRODUCTION) is not store.snapshot(SHOP, PRODUCTION)


def test_as_much_is_kept_as_there_is_room_for(store: Store) -> None:
    for environment in (PRODUCTION, "staging"):
        store.commit(refreshed("a", environment=environment))
    size = len(store.snapshot(SHOP, PRODUCTION).body)
    snapshots = Snapshots(store._connection, most_bytes=size + 10)
    first = snapshots.read(SHOP, PRODUCTION)
    assert snapshots.read(SHOP, PRODUCTION) is first
    snapshots.read(SHOP, "staging")
    assert snapshots.read(SHOP, PRODUCTION) is not first
    store.commit(refreshed("b", "c"))
    assert len(snapshots.read(SHOP, PRODUCTION).body) > size + 10
    assert snapshots._size == 0


def test_many_requests_at_once_wait_for_one_reading(store: Store, raw: redis.Redis) -> None:
    store.commit(refreshed("a"))
    raw.config_resetstat()
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: store.snapshot(SHOP, PRODUCTION), range(30)))
    assert len(set(map(id, found))) == 1
    calls: Any = raw.info("commandstats")
    assert calls["cmdstat_hgetall"]["calls"] == 1
