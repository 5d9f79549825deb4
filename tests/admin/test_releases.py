"""Releases are started, read and acted on."""

from __future__ import annotations

from typing import Any

import pytest
from tidegate_server.decisions.progress import initial_progress
from tidegate_server.domain import release_state_machine as machine
from tidegate_server.domain.change import Address, Change, LedgerEntry, Put
from tidegate_server.domain.kinds import Kind
from tidegate_server.store import Store

from tests.http_calls import PRODUCTION, PROJECT, Caller, pointers, slug, stored_documents

RELEASES = f"{PRODUCTION}/releases"
START = {"flag": "checkout", "treatment": "on", "policy": "careful"}


def test_a_release_starts_at_its_first_stage(checkout: Caller) -> None:
    started = checkout.post(RELEASES, {**START, "control": "off", "reason": "time to go"})
    assert started.status_code == 201
    release = started.json
    assert release is not None
    assert started.headers["Location"] == f"{RELEASES}/{release['id']}"
    assert (release["state"], release["control"], release["treatment"]) == ("running", "off", "on")
    assert release["stage"] == {
        "number": 1,
        "of": 2,
        "name": "stage-1",
        "percentage": 5,
        "segments": [],
    }
    assert release["openings"] == [{"stage": 1, "percentage": 5, "segments": []}]
    assert release["reason"] == "time to go"
    assert release["progress"] is None
    assert release["ended_at"] is None
    assert checkout.get(started.headers["Location"]).json == release
    targeting = checkout.get(f"{PRODUCTION}/flags/checkout").json
    assert targeting is not None
    assert targeting["release"] == release["id"]


def test_a_flag_has_one_active_release(checkout: Caller, release: str, store: Store) -> None:
    before = stored_documents(store)
    refused = checkout.post(RELEASES, START)
    assert (refused.status_code, slug(refused)) == (409, "not-possible")
    assert "Complete it or roll it back" in refused.text
    assert stored_documents(store) == before


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"flag": "nope"}, "/flag"),
        ({"treatment": "blue"}, "/treatment"),
        ({"treatment": "off"}, "/treatment"),
        ({"control": "on"}, "/control"),
        ({"rule": "nope"}, "/rule"),
        ({"policy": "nope"}, "/policy"),
        ({"percentage": 5}, "/percentage"),
        ({"flag": None}, "/flag"),
    ],
)
def test_an_invalid_release_is_refused(
    checkout: Caller, store: Store, change: dict[str, Any], pointer: str
) -> None:
    before = stored_documents(store)
    refused = checkout.post(RELEASES, {**START, **change})
    assert refused.status_code == 422, refused.text
    assert pointers(refused) == [pointer]
    assert stored_documents(store) == before


def act(caller: Caller, release: str, action: str, body: Any = None, **more: Any) -> Any:
    response = caller.post(f"{release}/{action}", body, **more)
    assert response.status_code == 200, response.text
    return response.json


def test_a_person_pauses_resumes_and_advances_a_release(checkout: Caller, release: str) -> None:
    paused = act(checkout, release, "pause", {"reason": "lunch"})
    assert (paused["state"], paused["reason"], paused["stopped"]) == ("paused", "lunch", False)
    assert paused["resumes_to"] == "running"
    assert act(checkout, release, "pause", {"stop": True})["stopped"] is True
    assert act(checkout, release, "resume")["state"] == "running"
    baking = act(checkout, release, "advance", {"reason": "sure"})
    assert (baking["state"], baking["stage"]["number"], baking["step"]) == ("baking", 2, 2)
    assert (paused["stage_basis"], baking["stage_basis"]) == (None, "person")


@pytest.mark.parametrize(
    ("action", "state", "served"),
    [("complete", "completed", "on"), ("rollback", "rolled_back", "off")],
)
def test_a_person_ends_a_release(
    checkout: Caller, release: str, action: str, state: str, served: str
) -> None:
    ended = act(checkout, release, action, {"reason": "enough"})
    assert ended["state"] == state
    assert ended["ended_at"] is not None
    targeting = checkout.get(f"{PRODUCTION}/flags/checkout").json
    assert targeting is not None
    assert (targeting["default"], targeting["release"]) == ({"variant": served}, None)
    again = checkout.post(f"{release}/{action}")
    assert (again.status_code, slug(again)) == (409, "not-possible")


def test_only_a_pause_can_be_a_full_stop(checkout: Caller, release: str) -> None:
    refused = checkout.post(f"{release}/resume", {"stop": True})
    assert refused.status_code == 422
    assert pointers(refused) == ["/stop"]


def test_an_unknown_action_is_not_found(checkout: Caller, release: str) -> None:
    missing = checkout.post(f"{release}/applaud", {})
    assert (missing.status_code, slug(missing)) == (404, "no-such-address")


def test_an_action_with_a_stale_if_match_is_refused(
    checkout: Caller, release: str, store: Store
) -> None:
    etag = checkout.get(release).headers["ETag"]
    act(checkout, release, "pause", match=etag)
    before = stored_documents(store)
    stale = checkout.post(f"{release}/resume", match=etag)
    assert (stale.status_code, slug(stale)) == (412, "stale-revision")
    assert "Read it again" in stale.text
    assert stored_documents(store) == before


def test_releases_are_listed_the_latest_first(checkout: Caller, release: str) -> None:
    act(checkout, release, "rollback")
    second = checkout.post_ok(RELEASES, START)["id"]
    listed = checkout.get(RELEASES).json
    assert listed is not None
    assert [item["id"] for item in listed["items"]] == [second, release.rpartition("/")[2]]
    running = checkout.get(f"{RELEASES}?state=running&flag=checkout").json
    assert running is not None
    assert [item["id"] for item in running["items"]] == [second]
    other = checkout.get(f"{RELEASES}?flag=other").json
    assert other is not None
    assert other["items"] == []
    assert pointers(checkout.get(f"{RELEASES}?state=flying")) == ["/state"]


def write_progress(store: Store, release: str) -> None:
    id = release.rpartition("/")[2]
    stored = store.get("default", Address(Kind.RELEASE, id, "production"))
    assert stored is not None
    address = Address(Kind.PROGRESS, id, "production")
    before = store.get("default", address)
    progress = initial_progress(stored.document)
    store.commit(
        Change(
            "default",
            (Put(address, progress, before.revision if before else 0),),
            ledger=(LedgerEntry("production", id, progress),),
        )
    )


def test_progress_changes_the_etag_but_not_the_revision(
    checkout: Caller, release: str, store: Store
) -> None:
    first = checkout.get(release)
    write_progress(store, release)
    second = checkout.get(release, headers={"If-None-Match": first.headers["ETag"]})
    assert second.status_code == 200
    assert second.json is not None
    assert second.json["progress"]["windows"] == 0
    assert second.json["progress"]["control"]["exposures"] == 0
    assert second.json["progress"]["last_decision"] is None
    same = checkout.get(release, headers={"If-None-Match": second.headers["ETag"]})
    assert (same.status_code, same.data) == (304, b"")
    act(checkout, release, "pause", match=first.headers["ETag"])


def test_the_ledger_has_pages(checkout: Caller, release: str, store: Store) -> None:
    for _ in range(3):
        write_progress(store, release)
    first = checkout.get(f"{release}/ledger?limit=2").json
    assert first is not None
    assert len(first["items"]) == 2
    assert first["items"][0]["entry"]["windows"] == 0
    last = checkout.get(f"{release}/ledger?limit=2&cursor={first['next_cursor']}").json
    assert last is not None
    assert (len(last["items"]), last["next_cursor"]) == (1, None)
    assert pointers(checkout.get(f"{release}/ledger?cursor=YWJj")) == ["/cursor"]


def test_the_error_names_what_does_not_exist(admin: Caller) -> None:
    assert "release 'rel_1'" in admin.get(f"{RELEASES}/rel_1").text
    assert "release 'rel_1'" in admin.post(f"{RELEASES}/rel_1/pause").text
    assert "environment 'nope'" in admin.get(f"{PROJECT}/environments/nope/releases").text


def start_under_policy(checkout: Caller, **more: Any) -> dict[str, Any]:
    """Create a policy with more fields, and return a request to start a release under it."""
    body = {"key": "gated", "stages": [{"percentage": 5}, {"percentage": 100}], **more}
    checkout.post_ok(f"{PROJECT}/policies", body)
    return {**START, "policy": "gated"}


def test_a_draft_serves_the_control_until_it_begins(checkout: Caller) -> None:
    started = checkout.post_ok(RELEASES, {**START, "draft": True})
    assert (started["state"], started["closed"]) == ("draft", True)
    assert started["stage"]["percentage"] == 0
    assert started["openings"] == [{"stage": 0, "percentage": 0, "segments": []}]
    begun = act(checkout, f"{RELEASES}/{started['id']}", "begin", {"reason": "seen enough"})
    assert (begun["state"], begun["closed"], begun["step"]) == ("running", False, 2)
    assert begun["openings"] == [{"stage": 1, "percentage": 5, "segments": []}]


def test_a_policy_that_compares_with_before_needs_a_draft(checkout: Caller, store: Store) -> None:
    start = start_under_policy(checkout, checks=[{"compare": "before"}])
    before = stored_documents(store)
    refused = checkout.post(RELEASES, start)
    assert (refused.status_code, pointers(refused)) == (422, ["/draft"])
    assert stored_documents(store) == before
    assert checkout.post(RELEASES, {**start, "draft": True}).status_code == 201


def test_an_approval_is_refused_until_the_release_asks_for_it(checkout: Caller) -> None:
    stages = [{"percentage": 5, "approval": {"count": 1}}, {"percentage": 100}]
    started = checkout.post_ok(RELEASES, start_under_policy(checkout, stages=stages))
    release = f"{RELEASES}/{started['id']}"
    early = checkout.post(f"{release}/approve")
    assert (early.status_code, slug(early)) == (409, "not-possible")
    for action in ("advance", "complete"):
        refused = checkout.post(f"{release}/{action}")
        assert (refused.status_code, slug(refused)) == (409, "not-possible")
        assert "needs 1 approval; it has 0" in refused.text


def release_awaiting_approval(checkout: Caller, store: Store, **gate: Any) -> str:
    """Start a release that waits for approvals, and return its path."""
    stages = [{"percentage": 5, "approval": gate}, {"percentage": 100}]
    id = checkout.post_ok(RELEASES, start_under_policy(checkout, stages=stages))["id"]
    address = Address(Kind.RELEASE, id, "production")
    stored = store.get("default", address)
    assert stored is not None
    waiting = machine.request_approval(
        stored.document, store.now_ms(), "everything else has passed"
    )
    store.commit(Change("default", (Put(address, waiting, stored.revision),)))
    return f"{RELEASES}/{id}"


def test_an_approval_is_kept_with_its_actor_and_comment(checkout: Caller, store: Store) -> None:
    release = release_awaiting_approval(checkout, store, count=2)
    given = act(checkout, release, "approve", {"reason": "looks good"})
    assert given["state"] == "awaiting_approval"
    assert [each["comment"] for each in given["approvals"]] == ["looks good"]
    assert given["approvals"][0]["actor"] == given["started_by"]
    again = checkout.post(f"{release}/approve")
    assert (again.status_code, slug(again)) == (409, "not-possible")
    audit = checkout.get(f"{PROJECT}/audit").json
    assert audit is not None
    assert audit["items"][0]["action"] == "release.approve"
    assert audit["items"][0]["reason"] == "looks good"


def test_a_policy_may_bar_the_starter_from_approving(checkout: Caller, store: Store) -> None:
    release = release_awaiting_approval(checkout, store, not_the_starter=True)
    refused = checkout.post(f"{release}/approve")
    assert (refused.status_code, slug(refused)) == (409, "not-possible")
    other = checkout.token_for("writer", "default", "production")
    assert other.post(f"{release}/approve").status_code == 200


def test_only_named_approvers_may_approve(checkout: Caller, store: Store) -> None:
    release = release_awaiting_approval(checkout, store, approvers=["ana"])
    refused = checkout.post(f"{release}/approve")
    assert (refused.status_code, slug(refused)) == (409, "not-possible")
    assert "ana can" in refused.text
    reader = checkout.token_for("reader", "default", "production")
    assert reader.post(f"{release}/approve").status_code == 403
