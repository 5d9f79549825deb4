"""Receipts: how fast versions reach the instances that ran when they were committed."""

from __future__ import annotations

import pytest
import redis
from tidegate_server.domain.change import Audit
from tidegate_server.store import Store, keys
from tidegate_server.store.receipts import RATIO
from tidegate_server.store.report_limits import LIMITS

from tests.store.changes import PRODUCTION, SHOP, refreshed
from tests.store.reporting import Instance


def commit(store: Store, count: int = 1) -> int:
    """Commit changes of the environment; return its version."""
    for _ in range(count):
        store.commit(refreshed("checkout"), durable=False)
    return store.version(SHOP, PRODUCTION)


def age(raw: redis.Redis, version: int, by_ms: int) -> None:
    """Make a commit so much older."""
    key = keys.version_receipt(SHOP, PRODUCTION, version)
    raw.hincrby(key, "at", -by_ms)


def instance(store: Store, number: int) -> Instance:
    return Instance(store, f"{number:032x}")


def test_a_receipt_says_who_committed_the_version(store: Store) -> None:
    change = refreshed(
        "checkout",
    )
    change = change.__class__(
        change.scope, (), change.refreshes, audit=Audit("dana", "targeting.edit", "checkout")
    )
    committed = store.commit(change, durable=False)
    receipt = store.receipts.of_version(SHOP, PRODUCTION, committed.versions[PRODUCTION])
    assert receipt is not None
    assert (receipt.actor, receipt.action, receipt.at_ms) == (
        *("dana", "targeting.edit"),
        committed.at_ms,
    )
    assert (receipt.confirmed, receipt.slowest_ms, receipt.quantile_ms(0.5)) == (0, None, None)
    assert store.receipts.of_version(SHOP, PRODUCTION, 99) is None


def test_instances_that_ran_before_the_commit_are_counted_once(
    store: Store, raw: redis.Redis
) -> None:
    first = commit(store)
    known = [instance(store, number) for number in range(3)]
    for each in known:
        each.send_next(version=first)
    second = commit(store)
    age(raw, second, 60_000)
    for each in known[:2]:
        each.send_next(version=second)
        each.send_next(version=second)
    instance(store, 9).send_next(version=second)
    receipt = store.receipts.of_version(SHOP, PRODUCTION, second)
    assert receipt is not None
    assert receipt.confirmed == 2
    assert receipt.slowest_ms is not None
    assert 60_000 <= receipt.slowest_ms < 90_000
    median = receipt.quantile_ms(0.5)
    assert median is not None
    assert 60_000 / RATIO <= median <= receipt.slowest_ms


def test_the_time_ends_when_the_instance_applied_the_version(
    store: Store, raw: redis.Redis
) -> None:
    one = instance(store, 1)
    one.send_next(version=commit(store))
    version = commit(store)
    age(raw, version, 60_000)
    one.send_next(version=version, version_age=59.0)
    receipt = store.receipts.of_version(SHOP, PRODUCTION, version)
    assert receipt is not None
    assert receipt.slowest_ms is not None
    assert 1_000 <= receipt.slowest_ms < 30_000


@pytest.mark.parametrize("claimed", [1e9, 0.0])
def test_no_age_that_an_instance_claims_makes_a_time_negative(store: Store, claimed: float) -> None:
    one = instance(store, 1)
    one.send_next(version=commit(store))
    version = commit(store)
    one.send_next(version=version, version_age=claimed)
    receipt = store.receipts.of_version(SHOP, PRODUCTION, version)
    assert receipt is not None
    assert receipt.slowest_ms is not None
    assert receipt.slowest_ms >= 0


def test_an_instance_that_missed_many_versions_is_counted_for_the_latest(store: Store) -> None:
    one = instance(store, 1)
    one.send_next(version=commit(store))
    last = commit(store, LIMITS.receipts + 5)
    one.send_next(version=last)
    counted = [
        version
        for version in range(1, last + 1)
        if (found := store.receipts.of_version(SHOP, PRODUCTION, version)) and found.confirmed
    ]
    assert counted == list(range(last - LIMITS.receipts + 1, last + 1))


def test_a_version_that_does_not_exist_is_no_receipt(store: Store, raw: redis.Redis) -> None:
    one = instance(store, 1)
    version = commit(store)
    one.send_next(version=version)
    one.send_next(version=version + 10**9)
    names = raw.keys("*:receipts:*")
    assert names == [keys.version_receipt(SHOP, PRODUCTION, version).encode()]


def test_an_instance_keeps_the_start_that_it_said_first(store: Store) -> None:
    one = instance(store, 1)
    one.send_next(uptime=100.0, application="shop", token="ci")
    [first] = store.instances.all(SHOP, PRODUCTION)
    assert first.started_ms is not None
    assert abs(first.seen_ms - 100_000 - first.started_ms) <= 1
    assert (first.application, first.token) == ("shop", "ci")
    one.send_next(uptime=5_000.0, application="shop", token="ci")
    [second] = store.instances.all(SHOP, PRODUCTION)
    assert second.started_ms == first.started_ms


def test_an_instance_that_says_nothing_about_itself_is_listed(store: Store) -> None:
    instance(store, 1).send_next()
    [only] = store.instances.all(SHOP, PRODUCTION)
    assert (only.application, only.token, only.started_ms) == ("", "", None)
