"""The lease script; ``tests/policy_job`` tests its use by the policy job."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis
from tidegate_server.domain.change import Fence
from tidegate_server.store import Store

from tests.store.changes import SHOP
from tests.waiting import until

LONG_MS = 60_000
Lapse = Callable[[], None]


@pytest.fixture
def lapse(store: Store, raw: redis.Redis) -> Lapse:
    """Return a function that ends the shop's lease, as if its time were over."""

    def end_now() -> None:
        raw.hset(f"tg:{{{SHOP}}}:lease", "expires", store.now_ms())

    return end_now


def test_only_one_process_holds_a_lease(store: Store) -> None:
    assert store.leases.acquire(SHOP, "job-1", LONG_MS) == Fence("job-1", 1)
    assert store.leases.acquire(SHOP, "job-2", LONG_MS) is None
    assert store.leases.acquire(SHOP, "job-1", LONG_MS) == Fence("job-1", 1)


def test_every_scope_has_its_own_lease(store: Store) -> None:
    for holder, scope in (("job-1", SHOP), ("job-2", "blog"), ("job-3", "")):
        assert store.leases.acquire(scope, holder, LONG_MS) == Fence(holder, 1)


def test_a_lease_expires_by_the_stores_clock(store: Store) -> None:
    store.leases.acquire(SHOP, "job-1", 1)
    until(lambda: store.leases.acquire(SHOP, "job-2", LONG_MS) == Fence("job-2", 2), "expired")


def test_acquiring_it_again_extends_a_lease(store: Store, raw: redis.Redis) -> None:
    def ends() -> int:
        return int(raw.hget(f"tg:{{{SHOP}}}:lease", "expires") or 0)

    store.leases.acquire(SHOP, "job-1", LONG_MS)
    early = ends()
    assert early >= store.now_ms() + LONG_MS - 10_000
    store.leases.acquire(SHOP, "job-1", 2 * LONG_MS)
    assert ends() >= early + LONG_MS


def test_the_number_increases_whenever_an_expired_lease_is_acquired(
    store: Store, lapse: Lapse
) -> None:
    seen = []
    for holder in ("job-1", "job-1", "job-2", "job-1"):
        fence = store.leases.acquire(SHOP, holder, LONG_MS)
        assert fence is not None
        seen.append(fence)
        lapse()
    assert [fence.number for fence in seen] == [1, 2, 3, 4]


def test_a_released_lease_is_free_immediately(store: Store) -> None:
    fence = store.leases.acquire(SHOP, "job-1", LONG_MS)
    assert fence is not None
    store.leases.release(SHOP, fence)
    assert store.leases.acquire(SHOP, "job-2", LONG_MS) == Fence("job-2", 2)


@pytest.mark.parametrize("stranger", [Fence("job-2", 1), Fence("job-1", 0), Fence("job-1", 2)])
def test_only_the_holder_can_release_a_lease(store: Store, stranger: Fence) -> None:
    store.leases.acquire(SHOP, "job-1", LONG_MS)
    store.leases.release(SHOP, stranger)
    assert store.leases.acquire(SHOP, "job-3", LONG_MS) is None


def test_releasing_a_lease_that_nobody_holds_does_nothing(store: Store) -> None:
    store.leases.release(SHOP, Fence("job-1", 1))
    assert store.leases.acquire(SHOP, "job-1", LONG_MS) == Fence("job-1", 1)
