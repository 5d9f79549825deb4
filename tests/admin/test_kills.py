"""A kill lasts until it is restored, stops the release, wins every race and has a receipt."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from flask import Flask
from tidegate_server.domain.change import Change
from tidegate_server.store import Store

from tests.http_calls import PRODUCTION, PROJECT, Caller, pointers, slug, stored_documents
from tests.sdk_api.test_routes import report

FLAG = f"{PRODUCTION}/flags/checkout"


def test_a_kill_serves_the_kill_variant_and_stops_the_release(
    checkout: Caller, release: str, store: Store
) -> None:
    killed = checkout.post_ok(f"{FLAG}/kill", {"reason": "errors everywhere"})
    assert killed["killed"]["reason"] == "errors everywhere"
    assert killed["killed"]["actor"].startswith("first admin")
    flag = json.loads(store.snapshot("default", "production").body)["flags"]["checkout"]
    assert flag["killed"] == "off"
    stopped = checkout.get(release).json
    assert stopped is not None
    assert stopped["state"] == "killed"
    assert slug(checkout.post(f"{release}/resume")) == "not-possible"


def test_a_restore_leaves_the_release_paused(checkout: Caller, release: str) -> None:
    checkout.post_ok(f"{FLAG}/kill", {})
    restored = checkout.post_ok(f"{FLAG}/restore", {"reason": "fixed"})
    assert (restored["killed"], restored["receipt"]) == (None, None)
    paused = checkout.get(release).json
    assert paused is not None
    assert paused["state"] == "paused"
    refused = checkout.post(f"{FLAG}/restore")
    assert (refused.status_code, slug(refused)) == (409, "not-possible")


def test_a_kill_needs_no_reason(checkout: Caller) -> None:
    assert checkout.post(f"{FLAG}/kill").status_code == 200


def test_killing_twice_keeps_the_first_kill(checkout: Caller) -> None:
    first = checkout.post_ok(f"{FLAG}/kill", {"reason": "first"})
    second = checkout.post_ok(f"{FLAG}/kill", {"reason": "second"})
    assert second["killed"] == first["killed"]
    audit = checkout.get(f"{PROJECT}/audit?limit=2").json
    assert audit is not None
    assert [entry["reason"] for entry in audit["items"]] == ["second", "first"]


def test_the_receipt_counts_the_instances_that_applied_the_kill(
    checkout: Caller, sdk: Caller
) -> None:
    version = sdk.post_ok("/sdk/v1/reports", report(1, instance="a" * 32))["version"]
    sdk.post_ok("/sdk/v1/reports", report(1, instance="a" * 32, sequence=2, version=version))
    sdk.post_ok("/sdk/v1/reports", report(1, instance="b" * 32, version=version))
    killed = checkout.post(f"{FLAG}/kill")
    assert killed.json is not None
    assert killed.json["receipt"] == {
        "live": 2,
        "applied": 0,
        "waiting": ["a" * 32, "b" * 32],
        "median_ms": None,
        "p95_ms": None,
        "slowest_ms": None,
    }
    newest = sdk.post_ok(
        "/sdk/v1/reports", report(1, instance="b" * 32, version=version, sequence=2)
    )
    sdk.post_ok(
        "/sdk/v1/reports",
        report(1, instance="b" * 32, version=newest["version"], sequence=3),
    )
    later = checkout.get(FLAG)
    assert later.json is not None
    receipt = later.json["receipt"]
    assert (receipt["live"], receipt["applied"], receipt["waiting"]) == (2, 1, ["a" * 32])
    assert receipt["slowest_ms"] == receipt["p95_ms"] == receipt["median_ms"] >= 0
    assert later.headers["ETag"] != killed.headers["ETag"]
    assert checkout.post(f"{FLAG}/restore", match=killed.headers["ETag"]).status_code == 200


def test_a_kill_succeeds_despite_concurrent_changes(
    checkout: Caller, app: Flask, store: Store
) -> None:
    """Another change is committed between the kill's read and its commit, several times."""
    commit: Callable[[Change], Any] = store.commit
    left = 5

    def commit_after_another(change: Change) -> Any:
        nonlocal left
        if left and change.audit is not None and change.audit.action == "flag.kill":
            left -= 1
            current = checkout.get(FLAG)
            assert current.json is not None
            targeting = {
                "enabled": not current.json["enabled"],
                "off_variant": "off",
                "default": {"variant": "off"},
            }
            changed = checkout.put(FLAG, targeting, match=current.headers["ETag"])
            assert changed.status_code == 200
        return commit(change)

    store.commit = commit_after_another  # type: ignore[method-assign,assignment]
    killed = checkout.post(f"{FLAG}/kill")
    assert killed.status_code == 200
    assert left == 0
    assert killed.json is not None
    assert killed.json["killed"] is not None


def test_concurrent_kills_all_succeed(checkout: Caller, app: Flask) -> None:
    ready = threading.Barrier(4)

    def kill(_: int) -> int:
        caller = Caller(app.test_client(), checkout.token)
        ready.wait()
        return caller.post(f"{FLAG}/kill").status_code

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(kill, range(4))) == {200}


def test_a_refused_kill_changes_nothing(checkout: Caller, store: Store) -> None:
    before = stored_documents(store)
    assert checkout.post(f"{PRODUCTION}/flags/nope/kill").status_code == 404
    assert checkout.post(f"{PROJECT}/environments/nope/flags/checkout/kill").status_code == 404
    refused = checkout.post(f"{FLAG}/kill", {"because": "typo"})
    assert (refused.status_code, pointers(refused)) == (422, ["/because"])
    assert stored_documents(store) == before
