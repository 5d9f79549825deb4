"""The sample of seen users is bounded, forgets after an hour, and is fair."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from typing import Any

import pytest
import redis
from tidegate.seen_users import ALL_NAMES, sample_number, user_name
from tidegate_server.domain.seen_users import SeenUser
from tidegate_server.store import Store, keys
from tidegate_server.store.seen_users import Limits, SeenUsersStore

from tests.store.changes import PRODUCTION, SHOP

TIMES, ATTRIBUTES, LIMIT = keys.seen_users(SHOP, PRODUCTION)


def named(numbers: Iterable[int]) -> list[SeenUser]:
    return [SeenUser(user_name("s", f"user-{number}"), {"number": number}) for number in numbers]


def sample_of(users: SeenUsersStore) -> list[str]:
    return [each.name for each in users.sample(SHOP, PRODUCTION).users]


@pytest.fixture
def users(store: Store) -> SeenUsersStore:
    return SeenUsersStore(store._connection, Limits(most=50))


def make_older(raw: redis.Redis, by_ms: int) -> None:
    """Make everything that was seen, and the slots of the limits, so much older."""
    names: Any = raw.zrange(TIMES, 0, -1)
    for name in names:
        raw.zincrby(TIMES, -by_ms, name)
    limits: Any = raw.hgetall(LIMIT)
    slots = {name: value for name, value in limits.items() if name.isdigit()}
    for name, value in slots.items():
        raw.hdel(LIMIT, name)
        raw.hset(LIMIT, int(name) - by_ms // Limits().slot_ms, value)
    raw.hincrby(LIMIT, "slot", -by_ms // Limits().slot_ms)


def test_users_are_kept_with_their_attributes(users: SeenUsersStore) -> None:
    users.add(SHOP, PRODUCTION, named(range(10)))
    sample = users.sample(SHOP, PRODUCTION)
    assert {each.attributes["number"] for each in sample.users} == set(range(10))
    assert (sample.share, sample.population) == (1.0, 10)
    assert users.sample(SHOP, "staging").users == ()


def test_the_sample_keeps_those_with_the_lowest_numbers(users: SeenUsersStore) -> None:
    everyone = named(range(1_000))
    for begin in range(0, 1_000, 40):
        limit = users.add(SHOP, PRODUCTION, everyone[begin : begin + 40])
    lowest = sorted(each.name for each in everyone)[:50]
    assert sample_of(users) == lowest
    assert limit == users.limit(SHOP, PRODUCTION) > sample_number(lowest[-1])
    # The order statistics of uniform numbers: the 51st of 1,000 is about 51 / 1,001, with a
    # relative standard deviation of about 1 / sqrt(51).
    population = users.sample(SHOP, PRODUCTION).population
    assert abs(population - 1_000) < 4 * 1_000 / math.sqrt(51)


def test_who_comes_often_is_not_more_likely_in_the_sample(users: SeenUsersStore) -> None:
    chosen = random.Random(7)
    everyone = named(range(1_000))
    for _ in range(60):
        regulars = [everyone[chosen.randrange(100)] for _ in range(60)]
        users.add(SHOP, PRODUCTION, regulars)
    for begin in range(100, 1_000, 100):
        users.add(SHOP, PRODUCTION, everyone[begin : begin + 100])
    assert sample_of(users) == sorted(each.name for each in everyone)[:50]


def test_a_user_is_forgotten_an_hour_after_it_was_last_seen(
    users: SeenUsersStore, raw: redis.Redis
) -> None:
    users.add(SHOP, PRODUCTION, named(range(5)))
    make_older(raw, 40 * 60_000)
    users.add(SHOP, PRODUCTION, named(range(2)))
    make_older(raw, 40 * 60_000)
    assert len(sample_of(users)) == 2
    users.add(SHOP, PRODUCTION, named([9]))
    assert raw.hlen(ATTRIBUTES) == raw.zcard(TIMES) == 3


def test_when_users_become_fewer_the_limit_rises_step_by_step_and_the_sample_stays_fair(
    users: SeenUsersStore, raw: redis.Redis
) -> None:
    everyone = named(range(1_000))
    low = users.add(SHOP, PRODUCTION, everyone)
    make_older(raw, 61 * 60_000)
    raised = users.add(SHOP, PRODUCTION, named(range(2_000, 2_005)))
    assert low < raised <= 2 * low
    # The lower limit was in force within the last hour: whoever is between them may be missing.
    make_older(raw, 10 * 60_000)
    again = users.add(SHOP, PRODUCTION, [])
    assert raised < again
    below = users.sample(SHOP, PRODUCTION).share * ALL_NAMES
    assert round(below) == raised
    assert all(sample_number(name) < raised for name in sample_of(users))


def test_everything_expires_where_nobody_comes(users: SeenUsersStore, raw: redis.Redis) -> None:
    users.add(SHOP, PRODUCTION, named(range(3)))
    for key in (TIMES, ATTRIBUTES, LIMIT):
        assert 0 < raw.pttl(key) <= 2 * Limits().kept_ms


def test_a_deleted_sample_is_empty(users: SeenUsersStore) -> None:
    users.add(SHOP, PRODUCTION, named(range(3)))
    users.forget(SHOP, PRODUCTION)
    assert sample_of(users) == []
