"""A process that evaluates for others follows changes and reports like an instance."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from tidegate_server.errors import StoreUnavailable
from tidegate_server.ofrep import environment_cache
from tidegate_server.ofrep.environment_cache import Resident, Residents, StoreSource
from tidegate_server.ofrep.flag_views import Audience
from tidegate_server.store import Store
from tidegate_server.store.change_feed import FeedUpdate, Subscription
from tidegate_server.web.backend import Backend

from tests.http_calls import PRODUCTION, PROJECT, Caller

PLACE = ("default", "production")
FLAG = f"{PRODUCTION}/flags/checkout"
LATE_UPDATE = '{"version": 9999, "flags": {}, "segments": {}}'


@pytest.fixture
def backend(app: Flask) -> Backend:
    found: Backend = app.extensions["tidegate"]
    return found


@pytest.fixture
def resident(checkout: Caller, backend: Backend) -> Resident:
    found = backend.residents.of(PLACE)
    found.served()
    return found


def until(resident: Resident, holds: Callable[[], bool]) -> None:
    """Wait until something holds that a change of the resident brings about."""
    listener = resident.listen()
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        listener.wait(0.05)
    listener.close()


def killed(resident: Resident) -> bool:
    return resident.served().compiled.snapshot.flags["checkout"].killed is not None


def test_changes_are_followed(resident: Resident, checkout: Caller, store: Store) -> None:
    checkout.made(f"{FLAG}/kill", {})
    until(resident, lambda: killed(resident))
    assert resident.served().compiled.version == store.version(*PLACE)
    checkout.made(f"{FLAG}/restore", {})
    until(resident, lambda: not killed(resident))


def test_what_did_not_change_is_not_made_anew(resident: Resident, checkout: Caller) -> None:
    checkout.made(f"{PROJECT}/flags", {"key": "other", "type": "boolean"})
    until(resident, lambda: "other" in resident.served().compiled.flags)
    before = resident.served().views[Audience.APPLICATIONS].flags
    checkout.made(f"{FLAG}/kill", {})
    until(resident, lambda: killed(resident))
    after = resident.served().views[Audience.APPLICATIONS].flags
    assert after["other"] is before["other"]
    assert after["checkout"] is not before["checkout"]


@pytest.mark.parametrize("update", [FeedUpdate(7, None), FeedUpdate(9_999, LATE_UPDATE)])
def test_what_was_missed_is_read_as_a_whole(
    checkout: Caller, store: Store, monkeypatch: pytest.MonkeyPatch, update: FeedUpdate
) -> None:
    given = iter([update])
    original = Subscription.get

    def get(subscription: Subscription, timeout: float) -> FeedUpdate | None:
        return next(given, None) or original(subscription, timeout)

    monkeypatch.setattr(Subscription, "get", get)
    reads: list[int] = []
    read = StoreSource.snapshot

    def counting(source: StoreSource) -> Any:
        reads.append(1)
        return read(source)

    monkeypatch.setattr(StoreSource, "snapshot", counting)
    found = Residents(store)
    resident = found.of(PLACE)
    resident.served()
    until(resident, lambda: len(reads) == 2)
    found.close()


def test_an_outage_is_outlived(
    resident: Resident, checkout: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment_cache, "RETRY_SECONDS", 0.02)
    tried = threading.Event()

    def away(*_: Any) -> Any:
        tried.set()
        raise StoreUnavailable("The store cannot be used now.")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "snapshot", away)
        assert resident._subscription is not None
        resident._subscription.put(FeedUpdate(0, None))
        assert tried.wait(20)
        assert not killed(resident)
        checkout.made(f"{FLAG}/kill", {})
    until(resident, lambda: killed(resident))


def test_a_fault_does_not_stop_it(
    resident: Resident, checkout: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment_cache, "RETRY_SECONDS", 0.02)
    assert resident._subscription is not None
    version = resident.served().compiled.version + 1
    resident._subscription.put(FeedUpdate(version, "not JSON"))
    checkout.made(f"{FLAG}/kill", {})
    until(resident, lambda: killed(resident))


def test_it_is_an_instance_that_tells_its_version(
    resident: Resident, checkout: Caller, store: Store
) -> None:
    (instance,) = live(checkout)
    assert instance["sdk"].startswith("tidegate-server/")
    receipt = checkout.made(f"{FLAG}/kill", {})["receipt"]
    assert receipt["live"] == 1
    until(resident, lambda: live(checkout)[0]["version"] == store.version(*PLACE))
    read = checkout.get(FLAG).json
    assert read is not None
    assert read["receipt"]["applied"] == 1


def live(admin: Caller) -> list[dict[str, Any]]:
    """The live instances, as soon as there are any."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        listed = admin.get(f"{PRODUCTION}/instances").json
        assert listed is not None
        if listed["items"]:
            items: list[dict[str, Any]] = [each for each in listed["items"] if each["live"]]
            return items
    raise AssertionError("no instance reports")


def test_one_environment_has_one_however_many_ask(checkout: Caller, backend: Backend) -> None:
    found: list[Resident] = []

    def ask() -> None:
        resident = backend.residents.of(PLACE)
        resident.served()
        found.append(resident)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, found))) == 1
    names = [thread.name for thread in threading.enumerate()]
    assert names.count("tidegate-resident-default/production") == 1


def test_who_is_not_asked_any_more_moves_out(
    resident: Resident, backend: Backend, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment_cache, "IDLE_SECONDS", 0.0)
    listener = resident.listen()
    backend.residents.of(("default", "development"))
    assert backend.residents.of(PLACE) is resident
    listener.close()
    time.sleep(0.001)
    backend.residents.of(("default", "development"))
    assert resident._thread is not None
    resident._thread.join(20)
    assert not resident._thread.is_alive()
    assert backend.residents.of(PLACE) is not resident
    (instance,) = store.instances(*PLACE)
    assert (instance.live, instance.left) == (False, True)


def test_a_store_that_went_back_is_followed_back(
    resident: Resident, checkout: Caller, store: Store
) -> None:
    checkout.made(f"{FLAG}/kill", {})
    until(resident, lambda: killed(resident))
    store._client.set("tg:{default}:version:production", 1)
    assert resident._subscription is not None
    resident._subscription.put(FeedUpdate(1, None))
    until(resident, lambda: resident.served().compiled.version == 1)
