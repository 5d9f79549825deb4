"""A kill lasts until it is restored, stops the release, wins every race and has a receipt."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
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


def test_a_kill_of_a_flag_without_a_release_is_told(checkout: Caller) -> None:
    checkout.post_ok(f"{PROJECT}/webhooks", {"key": "chat", "url": "https://chat.example.com/"})
    policy = {
        "key": "telling",
        "stages": [{"percentage": 5}, {"percentage": 100}],
        "notify": [{"webhook": "chat"}],
    }
    checkout.post_ok(f"{PROJECT}/policies", policy)
    checkout.post_ok(f"{FLAG}/kill", {"reason": "it burns"})
    [sent] = (checkout.get(f"{PROJECT}/webhooks/chat/deliveries").json or {})["items"]
    assert (sent["event"], sent["flag"], sent["release"]) == ("killed", "checkout", None)
    shown = checkout.get(f"{PROJECT}/webhooks/chat/deliveries/{sent['id']}").json or {}
    assert "it burns" in shown["body"]


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


def with_tag(admin: Caller, *keys: str, tag: str = "payments") -> None:
    for key in keys:
        admin.post_ok(f"{PROJECT}/flags", {"key": key, "type": "boolean", "tags": [tag]})


def test_a_kill_keeps_its_link_and_audits_it(checkout: Caller) -> None:
    link = "https://incidents.example.com/INC-2231"
    killed = checkout.post_ok(f"{FLAG}/kill", {"reason": "errors", "url": link})
    assert (killed["killed"]["url"], killed["killed"]["tag"]) == (link, "")
    [listed] = checkout.get(f"{PROJECT}/kills").json["items"]  # type: ignore[index]
    assert listed["killed"]["url"] == link
    checkout.post_ok(f"{FLAG}/restore", {"reason": "fixed", "url": link})
    audit = checkout.get(f"{PROJECT}/audit?limit=2").json
    assert audit is not None
    assert [entry["details"]["url"] for entry in audit["items"]] == [link, link]


@pytest.mark.parametrize("link", ["javascript:alert(1)", "incidents/1", "https://", "ftp://x/y"])
def test_a_link_must_be_one_that_a_page_may_show(checkout: Caller, link: str) -> None:
    refused = checkout.post(f"{FLAG}/kill", {"url": link})
    assert (refused.status_code, pointers(refused)) == (422, ["/url"])


def test_all_flags_with_a_tag_are_killed_in_one_version(
    checkout: Caller, release: str, store: Store
) -> None:
    with_tag(checkout, "pay-by-link", "pay-later")
    before = store.version("default", "production")
    body = {"tag": "payments", "reason": "the bank is down", "url": "https://x.example/1"}
    killed = checkout.post_ok(f"{PRODUCTION}/kill", body)
    assert killed == {
        "tag": "payments",
        "flags": ["pay-by-link", "pay-later"],
        "version": before + 1,
    }
    flags = json.loads(store.snapshot("default", "production").body)["flags"]
    assert [key for key, flag in flags.items() if flag.get("killed")] == killed["flags"]
    kills = checkout.get(f"{PROJECT}/kills").json["items"]  # type: ignore[index]
    assert [each["killed"]["tag"] for each in kills] == ["payments", "payments"]
    assert all(each["receipt"]["live"] == 0 for each in kills)
    audit = checkout.get(f"{PROJECT}/audit?limit=3").json["items"]  # type: ignore[index]
    assert sorted(entry["action"] for entry in audit) == ["flag.kill", "flag.kill", "tag.kill"]
    receipt = checkout.get(f"{PRODUCTION}/receipts/{killed['version']}").json
    assert receipt is not None
    assert receipt["action"] == "tag.kill"


def test_a_kill_of_a_tag_stops_the_releases_of_its_flags(checkout: Caller) -> None:
    with_tag(checkout, "pay-later")
    body = {"flag": "pay-later", "treatment": "on", "policy": "careful"}
    started = checkout.post_ok(f"{PRODUCTION}/releases", body)
    checkout.post_ok(f"{PRODUCTION}/kill", {"tag": "payments"})
    stopped = checkout.get(f"{PRODUCTION}/releases/{started['id']}").json
    assert stopped is not None
    assert stopped["state"] == "killed"


def test_a_kill_of_a_tag_is_all_or_nothing(checkout: Caller, store: Store) -> None:
    """Another commit between reading and writing makes the whole kill be made again."""
    with_tag(checkout, "pay-by-link", "pay-later")
    commit: Callable[[Change], Any] = store.commit
    raced = False

    def commit_after_another(change: Change) -> Any:
        nonlocal raced
        if not raced and change.audit is not None and change.audit.action == "tag.kill":
            raced = True
            checkout.post_ok(f"{PRODUCTION}/flags/pay-later/kill", {"reason": "mine"})
            before = stored_documents(store)
            try:
                return commit(change)
            finally:
                assert stored_documents(store) == before
        return commit(change)

    store.commit = commit_after_another  # type: ignore[method-assign,assignment]
    killed = checkout.post_ok(f"{PRODUCTION}/kill", {"tag": "payments", "reason": "all"})
    assert killed["flags"] == ["pay-by-link", "pay-later"]
    later = checkout.get(f"{PRODUCTION}/flags/pay-later").json
    assert later is not None
    assert later["killed"]["reason"] == "mine"


def test_a_restore_of_a_tag_leaves_alone_what_was_killed_by_itself(checkout: Caller) -> None:
    with_tag(checkout, "pay-by-link", "pay-later")
    checkout.post_ok(f"{PRODUCTION}/flags/pay-later/kill", {"reason": "its own"})
    checkout.post_ok(f"{PRODUCTION}/kill", {"tag": "payments"})
    body = {"tag": "payments", "reason": "the bank is back"}
    assert checkout.post_ok(f"{PRODUCTION}/restore", body)["flags"] == ["pay-by-link"]
    assert slug(checkout.post(f"{PRODUCTION}/restore", body)) == "not-possible"


def test_an_unknown_tag_is_told_with_what_is_like_it(checkout: Caller) -> None:
    with_tag(checkout, "pay-later")
    refused = checkout.post(f"{PRODUCTION}/kill", {"tag": "payment"})
    assert refused.status_code == 404
    assert "payments" in refused.text


def test_a_release_is_killed_by_its_id(checkout: Caller, release: str) -> None:
    killed = checkout.post_ok(f"{release}/kill", {"reason": "errors"})
    assert killed["killed"]["reason"] == "errors"
    checkout.post_ok(f"{FLAG}/restore", {"reason": "fixed"})
    checkout.post_ok(f"{release}/rollback", {"reason": "enough"})
    refused = checkout.post(f"{release}/kill", {"reason": "again"})
    assert (refused.status_code, slug(refused)) == (409, "not-possible")


def test_who_may_not_kill_a_flag_may_not_kill_a_tag(checkout: Caller) -> None:
    viewer = checkout.token_for("viewer", "default", "production")
    assert viewer.post(f"{PRODUCTION}/kill", {"tag": "payments"}).status_code == 403
    assert viewer.post(f"{PRODUCTION}/restore", {"tag": "payments"}).status_code == 403


def test_a_restore_is_told_before_it_happens(checkout: Caller, release: str, sdk: Caller) -> None:
    checkout.post_ok(f"{FLAG}/kill", {"reason": "errors"})
    sdk.post_ok("/sdk/v1/reports", report(1, instance="a" * 32))
    before = checkout.get(FLAG).json
    told = checkout.post_ok(f"{FLAG}/restore/preview", None)
    assert told["release"]["state"] == "paused"
    assert told["release"]["percentage"] == 5
    assert told["serves"] == {"variant": "off"}
    assert told["instances"]["live"] == 1
    assert checkout.get(FLAG).json == before
    checkout.post_ok(f"{FLAG}/restore", {"reason": "fixed"})
    assert slug(checkout.post(f"{FLAG}/restore/preview")) == "not-possible"
