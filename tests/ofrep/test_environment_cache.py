"""A process that evaluates flags for clients follows changes and reports as an instance."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from tidegate_server.errors import StoreUnavailable
from tidegate_server.ofrep import environment_cache
from tidegate_server.ofrep.environment_cache import (
    CachedEnvironment,
    EnvironmentCache,
    StoreSource,
)
from tidegate_server.ofrep.flag_views import Audience
from tidegate_server.ofrep.services import OfrepServices
from tidegate_server.store import Store
from tidegate_server.store.change_feed import Subscription, Update

from tests.http_calls import PRODUCTION, PROJECT, Caller

PRODUCTION_KEY = ("default", "production")
FLAG = f"{PRODUCTION}/flags/checkout"
LATE_UPDATE = '{"version": 9999, "flags": {}, "segments": {}}'


@pytest.fixture
def cache(app: Flask) -> EnvironmentCache:
    services: OfrepServices = app.extensions["tidegate.ofrep"]
    return services.environments


@pytest.fixture
def production(checkout: Caller, cache: EnvironmentCache) -> CachedEnvironment:
    environment = cache.get(PRODUCTION_KEY)
    environment.current()
    return environment


def wait_until(production: CachedEnvironment, holds: Callable[[], bool]) -> None:
    """Wait until a change of the environment makes a condition true."""
    listener = production.listen()
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        listener.wait(0.05)
    listener.close()


def killed(production: CachedEnvironment) -> bool:
    return production.current().compiled.snapshot.flags["checkout"].killed is not None


def test_changes_are_applied(production: CachedEnvironment, checkout: Caller, store: Store) -> None:
    checkout.post_ok(f"{FLAG}/kill", {})
    wait_until(production, lambda: killed(production))
    assert production.current().compiled.version == store.version(*PRODUCTION_KEY)
    checkout.post_ok(f"{FLAG}/restore", {})
    wait_until(production, lambda: not killed(production))


def test_unchanged_flags_are_reused(production: CachedEnvironment, checkout: Caller) -> None:
    checkout.post_ok(f"{PROJECT}/flags", {"key": "other", "type": "boolean"})
    wait_until(production, lambda: "other" in production.current().compiled.flags)
    before = production.current().views[Audience.APPLICATIONS].flags
    checkout.post_ok(f"{FLAG}/kill", {})
    wait_until(production, lambda: killed(production))
    after = production.current().views[Audience.APPLICATIONS].flags
    assert after["other"] is before["other"]
    assert after["checkout"] is not before["checkout"]


@pytest.mark.parametrize("update", [Update(7, None), Update(9_999, LATE_UPDATE)])
def test_a_missed_update_is_replaced_by_a_whole_snapshot(
    checkout: Caller, store: Store, monkeypatch: pytest.MonkeyPatch, update: Update
) -> None:
    given = iter([update])
    original = Subscription.get

    def get(subscription: Subscription, timeout: float) -> Update | None:
        return next(given, None) or original(subscription, timeout)

    monkeypatch.setattr(Subscription, "get", get)
    reads: list[int] = []
    read = StoreSource.snapshot

    def counting(source: StoreSource) -> Any:
        reads.append(1)
        return read(source)

    monkeypatch.setattr(StoreSource, "snapshot", counting)
    other = EnvironmentCache(store)
    production = other.get(PRODUCTION_KEY)
    production.current()
    wait_until(production, lambda: len(reads) == 2)
    other.close()


def test_changes_are_applied_after_an_outage_of_the_store(
    production: CachedEnvironment, checkout: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment_cache, "RETRY_SECONDS", 0.02)
    tried = threading.Event()

    def away(*_: Any) -> Any:
        tried.set()
        raise StoreUnavailable("The store cannot be used now.")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "snapshot", away)
        assert production._subscription is not None
        production._subscription.put(Update(0, None))
        assert tried.wait(60)
        assert not killed(production)
        checkout.post_ok(f"{FLAG}/kill", {})
    wait_until(production, lambda: killed(production))


def test_an_unreadable_update_does_not_stop_later_ones(
    production: CachedEnvironment, checkout: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment_cache, "RETRY_SECONDS", 0.02)
    assert production._subscription is not None
    version = production.current().compiled.version + 1
    production._subscription.put(Update(version, "not JSON"))
    checkout.post_ok(f"{FLAG}/kill", {})
    wait_until(production, lambda: killed(production))


def test_a_process_is_an_instance_and_reports_its_version(
    production: CachedEnvironment, checkout: Caller, store: Store
) -> None:
    (instance,) = live_instances(checkout)
    assert instance["sdk"].startswith("tidegate-server/")
    receipt = checkout.post_ok(f"{FLAG}/kill", {})["receipt"]
    assert receipt["live"] == 1
    wait_until(
        production, lambda: live_instances(checkout)[0]["version"] == store.version(*PRODUCTION_KEY)
    )
    read = checkout.get(FLAG).json
    assert read is not None
    assert read["receipt"]["applied"] == 1


def live_instances(admin: Caller) -> list[dict[str, Any]]:
    """Return the live instances, as soon as there are any."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        listed = admin.get(f"{PRODUCTION}/instances").json
        assert listed is not None
        if listed["items"]:
            items: list[dict[str, Any]] = [each for each in listed["items"] if each["live"]]
            return items
    raise AssertionError("no instance reports")


def reported_version(admin: Caller) -> int:
    version: int = live_instances(admin)[0]["version"]
    return version


def test_concurrent_requests_share_one_cached_environment(
    checkout: Caller, cache: EnvironmentCache
) -> None:
    environments: list[CachedEnvironment] = []

    def use_production() -> None:
        production = cache.get(PRODUCTION_KEY)
        production.current()
        environments.append(production)

    threads = [threading.Thread(target=use_production) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, environments))) == 1
    names = [thread.name for thread in threading.enumerate()]
    assert names.count("tidegate-environment-default/production") == 1


def test_an_idle_environment_is_evicted_and_reports_that_it_leaves(
    production: CachedEnvironment,
    cache: EnvironmentCache,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(environment_cache, "IDLE_SECONDS", 0.0)
    listener = production.listen()
    cache.get(("default", "development"))
    assert cache.get(PRODUCTION_KEY) is production
    listener.close()
    time.sleep(0.001)
    cache.get(("default", "development"))
    assert production._thread is not None
    production._thread.join(20)
    assert not production._thread.is_alive()
    assert cache.get(PRODUCTION_KEY) is not production
    (instance,) = store.instances.all(*PRODUCTION_KEY)
    assert (instance.live, instance.left) == (False, True)


def test_a_restored_store_takes_the_flags_back(
    production: CachedEnvironment, checkout: Caller, store: Store
) -> None:
    checkout.post_ok(f"{FLAG}/kill", {})
    wait_until(production, lambda: killed(production))
    store._connection.client.set("tg:{default}:version:production", 1)
    assert production._subscription is not None
    production._subscription.put(Update(1, None))
    wait_until(production, lambda: production.current().compiled.version == 1)
