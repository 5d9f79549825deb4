"""The activity feed brings what happens to every page, and says when it lost something."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tidegate_server.domain.change import Address, Audit, Put
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.projects import Environment
from tidegate_server.errors import StoreUnavailable
from tidegate_server.store import Store, activity_feed
from tidegate_server.store.activity_feed import ActivityEvent, ActivitySubscription

from tests.store.changes import PRODUCTION, SHOP, change
from tests.store.reporting import Instance
from tests.waiting import PATIENCE_SECONDS, until


def commit(store: Store, revision: int, action: str = "environment.edit") -> None:
    write = Put(Address(Kind.ENVIRONMENT, PRODUCTION), Environment(PRODUCTION), revision)
    store.commit(change(write, audit=Audit("dana", action, PRODUCTION)), durable=False)


def next_event(subscription: ActivitySubscription) -> ActivityEvent:
    event = subscription.get(PATIENCE_SECONDS)
    assert event is not None, "no event came"
    return event


def test_what_happens_after_the_subscription_is_brought(store: Store) -> None:
    commit(store, 0)
    subscription = store.activity_feed.subscribe(SHOP, PRODUCTION)
    commit(store, 1)
    event = next_event(subscription)
    assert event.name == "environment"
    data = json.loads(event.data)
    assert (data["key"], data["revision"], data["actor"]) == (PRODUCTION, 2, "dana")
    assert subscription.get(0.01) is None


def test_a_subscription_misses_nothing_that_happens_while_it_is_made(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(store, 0)
    feed = store.activity_feed
    other = feed.subscribe(SHOP, PRODUCTION)
    shown, read_many = feed.moment(SHOP, PRODUCTION), feed._connection.read_many

    def read_then_wait(*commands: Any, **how: Any) -> Any:
        found = read_many(*commands, **how)
        monkeypatch.undo()
        commit(store, 1)
        assert next_event(other).name == "environment"  # the feed is past it
        return found

    monkeypatch.setattr(feed._connection, "read_many", read_then_wait)
    subscription = feed.subscribe(SHOP, PRODUCTION)
    assert subscription.moment == feed.moment(SHOP, PRODUCTION) != shown
    missed = feed.missed(SHOP, PRODUCTION, other.position, subscription.position)
    assert [event.name for event in missed] == ["environment"]


def test_instances_that_apply_a_version_together_are_one_event(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    instances = [Instance(store, f"{number:032x}") for number in range(10)]
    for each in instances:
        each.send_next(version=1)
    subscription = store.activity_feed.subscribe(SHOP, PRODUCTION)
    for each in instances:
        each.send_next(version=2)
    applied = 0
    while applied < 10:
        event = next_event(subscription)
        assert event.name == "receipt"
        applied += json.loads(event.data)["instances"]
    assert applied == 10


def test_a_page_that_does_not_read_gets_one_event_that_says_so(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activity_feed, "QUEUE_SIZE", 3)
    subscription = store.activity_feed.subscribe(SHOP, PRODUCTION)
    for revision in range(5):
        commit(store, revision)
    # Reading now, before the queue is full, would make it the page of another test.
    until(lambda: activity_feed.RESET in subscription._queue.queue, "the lost events")
    assert next_event(subscription) == activity_feed.RESET


def test_a_closed_feed_ends_its_subscriptions(store: Store) -> None:
    before = store.activity_feed.subscribe(SHOP, PRODUCTION)
    store.activity_feed.close()
    assert before.get(PATIENCE_SECONDS) is None
    assert store.activity_feed.subscribe(SHOP, PRODUCTION).get(PATIENCE_SECONDS) is None


def test_the_feed_follows_only_what_is_shown(store: Store) -> None:
    one = store.activity_feed.subscribe(SHOP, PRODUCTION)
    two = store.activity_feed.subscribe(SHOP, "staging")
    assert len(store.activity_feed._positions) == 3
    one.close()
    assert len(store.activity_feed._positions) == 2
    two.close()
    assert store.activity_feed._positions == {}


def test_after_an_outage_every_page_reads_everything_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(store, 0)
    subscription = store.activity_feed.subscribe(SHOP, PRODUCTION)
    connection = store.activity_feed._connection
    read, failures = connection.read, 1

    def fail_once(*command: object) -> object:
        nonlocal failures
        if command[0] == "XREAD" and failures:
            failures -= 1
            raise StoreUnavailable("The store cannot be used now: it cannot be reached.")
        return read(*command)

    monkeypatch.setattr(connection, "read", fail_once)
    assert next_event(subscription).name == "reset"
    commit(store, 1)
    assert next_event(subscription).name == "environment"
