"""Change requests: proposed, approved by others, applied as one change."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient
from tidegate_server.domain.change import Address, Change, Put
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.protection import guarded_parts
from tidegate_server.errors import StaleRevision
from tidegate_server.store import Store

from tests.admin.guarded import (
    FLAG,
    ON,
    REQUESTS,
    another_person,
    approve,
    proposed,
    protect,
    second_token,
    serve_on,
    state,
    targeting,
)
from tests.http_calls import PRODUCTION, PROJECT, Caller, pointers, slug, stored_documents


@pytest.fixture
def ann(checkout: Caller) -> Caller:
    """Return who proposes."""
    return another_person(checkout)


@pytest.fixture
def bob(checkout: Caller) -> Caller:
    """Return who approves."""
    return another_person(checkout)


@pytest.fixture
def request_path(checkout: Caller, ann: Caller, bob: Caller) -> str:
    """Return the path of a request to serve "on" in a protected environment."""
    protect(checkout)
    return proposed(serve_on(ann, why="the launch"))


def operation(method: str, path: str, body: Any = None, if_match: str | None = "*") -> Any:
    return {"method": method, "path": path, "body": body, "if_match": if_match}


def test_a_proposed_operation_changes_nothing_and_shows_what_it_would_change(
    ann: Caller, request_path: str
) -> None:
    assert targeting(ann)["default"] == {"variant": "off"}
    request = ann.get(request_path).json
    assert request is not None
    assert (request["state"], request["reason"], request["apply"]) == (
        "proposed",
        "the launch",
        "by_hand",
    )
    assert request["required_approvals"] == 1
    assert request["places"] == [{"project": "default", "environment": "production"}]
    assert [each["action"] for each in request["actions"]] == ["targeting.edit"]
    [changed] = request["changes"]
    assert changed["key"] == "checkout"
    assert changed["changes"][0]["before"] == "off"
    assert changed["changes"][0]["after"] == "on"
    assert request["present"] == {"conflicts": [], "changes": request["changes"], "problem": ""}


def test_an_approved_request_is_applied_as_its_owner(
    checkout: Caller, ann: Caller, bob: Caller, request_path: str
) -> None:
    approved = approve(bob, request_path)
    assert approved.json is not None
    assert approved.json["state"] == "approved"
    assert targeting(ann)["default"] == {"variant": "off"}
    applied = ann.post(f"{request_path}/apply", {"reason": "It is Monday."})
    assert applied.status_code == 200, applied.text
    assert applied.json is not None
    assert applied.json["state"] == "applied"
    assert applied.json["closed"]["reason"] == "It is Monday."
    assert applied.json["answers"][0]["default"] == ON
    assert targeting(ann)["default"] == ON
    entry = checkout.get(f"{PROJECT}/audit?limit=1").json
    assert entry is not None
    [last] = entry["items"]
    assert last["action"] == "targeting.edit"
    assert last["actor"] == applied.json["owner"]
    assert last["reason"] == "the launch"
    assert last["details"]["change_request"] == request_path.rpartition("/")[2]
    assert last["details"]["approved_by"] == applied.json["approvals"][0]["actor"]


def test_applying_is_repeated_if_a_release_starts_while_the_approvals_are_checked(
    ann: Caller, bob: Caller, request_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    approve(bob, request_path)
    calls: list[Any] = []

    def stale_at_first(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == 1:
            raise StaleRevision("Release 1 of flag checkout has just started; read it again.")
        return guarded_parts(*args)

    guarding = "tidegate_server.admin.guarded_changes.guarded_parts"
    monkeypatch.setattr(guarding, stale_at_first)
    applied = ann.post(f"{request_path}/apply", {})
    assert applied.status_code == 200, applied.text
    assert len(calls) == 2
    assert targeting(ann)["default"] == ON


def test_a_request_is_not_applied_before_it_is_approved(ann: Caller, request_path: str) -> None:
    refused = ann.post(f"{request_path}/apply", {})
    assert slug(refused) == "not-possible"
    assert "another person must approve it" in refused.text


def test_nobody_approves_their_own_request(
    checkout: Caller, store: Store, ann: Caller, request_path: str
) -> None:
    assert slug(approve(ann, request_path)) == "forbidden"


def test_a_second_token_of_the_same_person_does_not_count(
    checkout: Caller, store: Store, ann: Caller
) -> None:
    second = second_token(checkout, store, ann)
    protect(checkout)
    path = proposed(serve_on(ann, why="the launch"))
    refused = approve(second, path)
    assert slug(refused) == "forbidden"
    assert "Your other tokens count as you." in refused.text


def test_two_tokens_of_one_person_are_one_approval(
    checkout: Caller, store: Store, ann: Caller, bob: Caller
) -> None:
    second = second_token(checkout, store, bob)
    protect(checkout, approvals=2)
    path = proposed(serve_on(ann, why="the launch"))
    assert approve(bob, path).status_code == 200
    assert slug(approve(second, path)) == "not-possible"
    assert state(ann, path) == "proposed"


def test_an_approver_needs_the_permission_in_the_protected_environment(
    checkout: Caller, ann: Caller
) -> None:
    elsewhere = another_person(checkout, environment="development")
    developer = another_person(checkout, "developer")
    local = another_person(checkout, environment="production")
    protect(checkout)
    path = proposed(serve_on(ann, why="the launch"))
    assert slug(approve(elsewhere, path)) == "forbidden"
    assert slug(approve(developer, path)) == "forbidden"
    assert approve(local, path).status_code == 200


def test_an_approval_names_the_revision_that_was_read(bob: Caller, request_path: str) -> None:
    assert slug(bob.post(f"{request_path}/approve", {})) == "revision-required"
    assert slug(bob.post(f"{request_path}/approve", {}, match='"99"')) == "stale-revision"


def test_a_changed_request_loses_its_approvals(ann: Caller, bob: Caller, request_path: str) -> None:
    assert approve(bob, request_path).status_code == 200
    body = targeting(ann, enabled=False, default=ON)
    revised = {"reason": "another", "operations": [operation("PUT", FLAG, body)]}
    etag = ann.get(request_path).headers["ETag"]
    changed = ann.put(request_path, revised, match=etag)
    assert changed.status_code == 200, changed.text
    assert changed.json is not None
    assert (changed.json["state"], changed.json["approvals"], changed.json["edition"]) == (
        "proposed",
        [],
        2,
    )
    assert slug(ann.post(f"{request_path}/apply", {})) == "not-possible"
    assert slug(bob.put(request_path, revised, match="*")) == "forbidden"


def test_an_approval_of_the_earlier_edition_is_stale(
    ann: Caller, bob: Caller, request_path: str
) -> None:
    read = bob.get(request_path).headers["ETag"]
    body = targeting(ann, enabled=False)
    revised = {"reason": "another", "operations": [operation("PUT", FLAG, body)]}
    assert ann.put(request_path, revised, match="*").status_code == 200
    assert slug(bob.post(f"{request_path}/approve", {}, match=read)) == "stale-revision"


def test_an_applied_request_is_not_applied_again(
    ann: Caller, bob: Caller, request_path: str
) -> None:
    approve(bob, request_path)
    assert ann.post(f"{request_path}/apply", {}).status_code == 200
    again = ann.post(f"{request_path}/apply", {})
    assert slug(again) == "not-possible"
    assert "is applied" in again.text


def test_a_rejected_or_withdrawn_request_is_closed(ann: Caller, bob: Caller) -> None:
    first = proposed(serve_on(ann, why="one"))
    rejected = bob.post(f"{first}/reject", {"reason": "not today"})
    assert rejected.json is not None
    assert (rejected.json["state"], rejected.json["closed"]["reason"]) == ("rejected", "not today")
    assert slug(approve(bob, first)) == "not-possible"
    second = proposed(serve_on(ann, why="two"))
    assert slug(bob.post(f"{second}/withdraw", {})) == "forbidden"
    assert ann.post(f"{second}/withdraw", {}).status_code == 200
    assert state(ann, second) == "withdrawn"


def test_a_request_shows_that_what_it_changes_was_changed_meanwhile(
    checkout: Caller, ann: Caller, bob: Caller
) -> None:
    path = proposed(serve_on(ann, why="the launch"))
    approve(bob, path)
    assert checkout.put(FLAG, targeting(checkout, enabled=False), match="*").status_code == 200
    request = ann.get(path).json
    assert request is not None
    [conflict] = request["present"]["conflicts"]
    assert (conflict["kind"], conflict["key"], conflict["made_against"], conflict["revision"]) == (
        "targeting",
        "checkout",
        1,
        2,
    )
    assert request["present"]["changes"] != request["changes"]
    refused = ann.post(f"{path}/apply", {})
    assert slug(refused) == "not-possible"
    assert "targeting checkout in production is at revision 2, not 1" in refused.text
    assert targeting(ann)["enabled"] is False


def kill_and_restore(caller: Caller) -> None:
    caller.post_ok(f"{FLAG}/kill", {"reason": "customers are charged twice"})
    caller.post_ok(f"{FLAG}/restore", {"reason": "it was the bank"})


def test_a_kill_and_its_restore_are_no_conflict(
    checkout: Caller, ann: Caller, bob: Caller, request_path: str
) -> None:
    approve(bob, request_path)
    kill_and_restore(checkout)
    kill_and_restore(checkout)
    request = ann.get(request_path).json
    assert request is not None
    assert (request["state"], request["present"]["conflicts"]) == ("approved", [])
    assert request["present"]["problem"] == ""
    assert ann.post(f"{request_path}/apply", {}).status_code == 200
    assert targeting(ann)["default"] == ON


def test_a_kill_in_force_is_a_conflict_until_it_is_restored(
    checkout: Caller, ann: Caller, bob: Caller, request_path: str
) -> None:
    approve(bob, request_path)
    checkout.post_ok(f"{FLAG}/kill", {"reason": "customers are charged twice"})
    refused = ann.post(f"{request_path}/apply", {})
    assert slug(refused) == "not-possible"
    assert "killed (revision 2, not 1). Restore it first." in refused.text
    assert "propose it again" not in refused.text
    assert targeting(ann)["default"] == {"variant": "off"}
    checkout.post_ok(f"{FLAG}/restore", {"reason": "it was the bank"})
    assert ann.post(f"{request_path}/apply", {}).status_code == 200
    assert targeting(ann)["default"] == ON


def test_a_change_beside_a_kill_stays_a_conflict(
    checkout: Caller, ann: Caller, bob: Caller
) -> None:
    path = proposed(serve_on(ann, why="the launch"))
    approve(bob, path)
    kill_and_restore(checkout)
    assert checkout.put(FLAG, targeting(checkout, enabled=False), match="*").status_code == 200
    kill_and_restore(checkout)
    refused = ann.post(f"{path}/apply", {})
    assert slug(refused) == "not-possible"
    assert "targeting checkout in production is at revision 6, not 1" in refused.text


def test_a_request_that_was_made_under_a_kill_is_applied_after_its_restore(
    checkout: Caller, ann: Caller, bob: Caller
) -> None:
    checkout.post_ok(f"{FLAG}/kill", {"reason": "customers are charged twice"})
    path = proposed(serve_on(ann, why="the mend"))
    approve(bob, path)
    checkout.post_ok(f"{FLAG}/restore", {"reason": "it was the bank"})
    assert ann.post(f"{path}/apply", {}).status_code == 200
    assert targeting(ann)["default"] == ON


def test_another_kill_is_not_restored_by_a_request_for_the_first(
    checkout: Caller, ann: Caller, bob: Caller
) -> None:
    checkout.post_ok(f"{FLAG}/kill", {"reason": "customers are charged twice"})
    why = {"Tidegate-Propose": "it was the bank"}
    responder = checkout.token_for("responder", "default", None)
    path = proposed(responder.post(f"{FLAG}/restore", {}, headers=why))
    approve(bob, path)
    checkout.post_ok(f"{FLAG}/restore", {"reason": "it was the bank"})
    checkout.post_ok(f"{FLAG}/kill", {"reason": "now it is the shop"})
    refused = responder.post(f"{path}/apply", {})
    assert slug(refused) == "not-possible"
    killed = ann.get(FLAG).json
    assert killed is not None
    assert killed["killed"]["reason"] == "now it is the shop"


def test_several_operations_are_one_change(checkout: Caller, ann: Caller, bob: Caller) -> None:
    protect(checkout)
    rule = {"id": "crew", "when": {"segment": "crew"}, "serve": ON}
    operations = [
        operation("POST", f"{PROJECT}/segments", {"key": "crew", "included": ["bob"]}, None),
        operation("PUT", FLAG, targeting(ann, rules=[rule])),
        operation("PUT", f"{PROJECT}/segments/staff", {"included": ["eve"]}),
    ]
    body = {"reason": "the crew", "operations": operations}
    created = ann.post(REQUESTS, body)
    assert created.status_code == 201, created.text
    path = created.headers["Location"]
    assert created.json is not None
    assert [each["action"] for each in created.json["actions"]] == [
        "segment.create",
        "targeting.edit",
        "segment.edit",
    ]
    assert {each["key"] for each in created.json["changes"]} == {"crew", "checkout", "staff"}
    approve(bob, path)
    before = checkout.get(f"{PROJECT}/audit").json
    applied = ann.post(f"{path}/apply", {})
    assert applied.status_code == 200, applied.text
    assert targeting(ann)["rules"][0]["when"] == {"segment": "crew"}
    after = checkout.get(f"{PROJECT}/audit").json
    assert before is not None
    assert after is not None
    assert len(after["items"]) == len(before["items"]) + 1
    entry = after["items"][0]
    assert (entry["action"], entry["target"]) == ("change_request.apply", path.rpartition("/")[2])
    assert {each["key"] for each in entry["documents"]} == {"crew", "checkout", "staff"}


def test_of_several_operations_all_are_made_or_none(
    checkout: Caller, ann: Caller, bob: Caller, store: Store
) -> None:
    operations = [
        operation("POST", f"{PROJECT}/segments", {"key": "crew"}, None),
        operation("PUT", FLAG, targeting(ann, default=ON)),
    ]
    created = ann.post(REQUESTS, {"reason": "both", "operations": operations})
    path = created.headers["Location"]
    approve(bob, path)
    assert checkout.put(FLAG, targeting(checkout, enabled=False), match="*").status_code == 200
    before = stored_documents(store)
    assert slug(ann.post(f"{path}/apply", {})) == "not-possible"
    assert stored_documents(store) == before


def test_a_flag_and_its_targeting_are_created_in_one_change(ann: Caller, bob: Caller) -> None:
    place = f"{PRODUCTION}/flags/fresh"
    body = {"enabled": True, "off_variant": "off", "default": ON}
    operations = [
        operation("POST", f"{PROJECT}/flags", {"key": "fresh", "type": "boolean"}, None),
        operation("PUT", place, body),
    ]
    created = ann.post(REQUESTS, {"reason": "fresh", "operations": operations})
    assert created.status_code == 201, created.text
    path = created.headers["Location"]
    approve(bob, path)
    assert ann.post(f"{path}/apply", {}).status_code == 200
    assert targeting(ann, place)["default"] == ON


def test_the_error_names_the_operation_that_is_wrong(ann: Caller) -> None:
    operations = [
        operation("POST", f"{PROJECT}/segments", {"key": "crew"}, None),
        operation("PUT", FLAG, {"enabled": "yes"}),
    ]
    refused = ann.post(REQUESTS, {"reason": "both", "operations": operations})
    assert refused.status_code == 422
    assert "/operations/1/body/enabled" in refused.text


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/v1/nothing"),
        ("POST", f"{PROJECT}/change-requests"),
        ("POST", f"{PROJECT}/policies/simulate"),
        ("PUT", "/health/live"),
        ("POST", "//evil.example/api/v1/tokens"),
    ],
)
def test_only_operations_that_change_something_are_planned(
    ann: Caller, method: str, path: str
) -> None:
    refused = ann.post(REQUESTS, {"reason": "x", "operations": [operation(method, path, {})]})
    assert refused.status_code == 422
    assert "/operations/0/path" in refused.text


def test_a_request_of_one_project_changes_no_other(checkout: Caller) -> None:
    checkout.post_ok("/api/v1/projects", {"key": "web"})
    other = operation("POST", "/api/v1/projects/web/segments", {"key": "crew"}, None)
    body = {"reason": "x", "operations": [other]}
    assert checkout.post(REQUESTS, body).status_code == 422
    assert checkout.post("/api/v1/change-requests", body).status_code == 422


def test_a_proposer_needs_the_permission_of_the_operation(checkout: Caller) -> None:
    viewer = another_person(checkout, "viewer")
    assert slug(serve_on(viewer, why="please")) == "forbidden"
    developer = another_person(checkout, "developer", environment="development")
    body = targeting(checkout, default=ON)
    headers = {"Tidegate-Propose": "please"}
    assert slug(developer.put(FLAG, body, match="*", headers=headers)) == "forbidden"


def test_a_stale_proposal_is_refused_at_once(ann: Caller) -> None:
    headers = {"Tidegate-Propose": "why"}
    body = targeting(ann, default=ON)
    assert slug(ann.put(FLAG, body, match='"9"', headers=headers)) == "stale-revision"
    assert slug(ann.put(FLAG, body, headers=headers)) == "revision-required"


def test_what_changes_nothing_is_not_proposed(ann: Caller) -> None:
    body = targeting(ann)
    refused = ann.put(FLAG, body, match="*", headers={"Tidegate-Propose": "why"})
    assert slug(refused) == "not-possible"


def test_a_request_may_be_applied_with_its_last_approval(
    checkout: Caller, ann: Caller, bob: Caller
) -> None:
    protect(checkout)
    body = {
        "reason": "the launch",
        "apply": "on_approval",
        "operations": [operation("PUT", FLAG, targeting(ann, default=ON))],
    }
    path = ann.post(REQUESTS, body).headers["Location"]
    approved = approve(bob, path)
    assert approved.json is not None
    assert (approved.json["state"], approved.json["problem"]) == ("applied", "")
    assert approved.json["answers"] is None
    assert targeting(ann)["default"] == ON


def test_an_approval_stands_if_the_change_cannot_be_applied_at_once(
    checkout: Caller, ann: Caller, bob: Caller
) -> None:
    body = {
        "reason": "the launch",
        "apply": "on_approval",
        "operations": [operation("PUT", FLAG, targeting(ann, default=ON))],
    }
    path = ann.post(REQUESTS, body).headers["Location"]
    assert checkout.put(FLAG, targeting(checkout, enabled=False), match="*").status_code == 200
    approved = approve(bob, path)
    assert approved.json is not None
    assert approved.json["state"] == "approved"
    assert "at revision 2" in approved.json["problem"]


def test_an_owner_who_lost_the_permission_changes_nothing(
    checkout: Caller, ann: Caller, bob: Caller, client: FlaskClient
) -> None:
    path = proposed(serve_on(ann, why="the launch"))
    approve(bob, path)
    assert ann.token is not None
    id = ann.token.split("_")[-2]
    assert checkout.delete(f"/api/v1/tokens/{id}", match="*").status_code == 204
    refused = checkout.post(f"{path}/apply", {})
    assert slug(refused) == "not-possible"
    assert "no longer has access" in refused.text
    assert targeting(checkout)["default"] == {"variant": "off"}


def test_an_approver_who_lost_the_permission_no_longer_counts(
    checkout: Caller, ann: Caller, bob: Caller, request_path: str
) -> None:
    approve(bob, request_path)
    assert bob.token is not None
    id = bob.token.split("_")[-2]
    assert checkout.delete(f"/api/v1/tokens/{id}", match="*").status_code == 204
    refused = ann.post(f"{request_path}/apply", {})
    assert slug(refused) == "approval-required"
    assert targeting(ann)["default"] == {"variant": "off"}


def test_a_token_is_proposed_to_the_server_and_its_secret_goes_to_the_owner_only(
    checkout: Caller,
) -> None:
    boss = checkout.token_for("admin", None, None)
    protect(checkout)
    body = {"name": "deploy", "role": "developer", "project": "default"}
    headers = {"Tidegate-Propose": "for the pipeline"}
    answer = boss.post("/api/v1/tokens", body, headers=headers)
    path = proposed(answer)
    assert path.startswith("/api/v1/change-requests/")
    assert approve(checkout, path).status_code == 200
    assert slug(checkout.post(f"{path}/apply", {})) == "forbidden"
    applied = boss.post(f"{path}/apply", {})
    assert applied.json is not None
    assert applied.json["answers"][0]["secret"].startswith("tg_developer_")
    again = boss.get(path)
    assert "tg_developer_" not in again.text


def test_a_request_that_makes_a_secret_is_not_applied_by_an_approval(checkout: Caller) -> None:
    token = {"name": "deploy", "role": "developer", "project": "default"}
    body = {
        "reason": "x",
        "apply": "on_approval",
        "operations": [operation("POST", "/api/v1/tokens", token, None)],
    }
    refused = checkout.post("/api/v1/change-requests", body)
    assert slug(refused) == "not-possible"
    assert "by_hand" in refused.text


def test_the_protection_is_lifted_by_a_request(checkout: Caller, store: Store) -> None:
    boss = checkout.token_for("admin", None, None)
    protect(checkout)
    headers = {"Tidegate-Propose": "we are done"}
    path = proposed(checkout.put(PRODUCTION, {}, match="*", headers=headers))
    approve(boss, path)
    assert checkout.post(f"{path}/apply", {}).status_code == 200
    assert serve_on(checkout).status_code == 200


def test_more_approvals_are_needed_once_the_protection_asks_for_more(
    checkout: Caller, ann: Caller, bob: Caller
) -> None:
    path = proposed(serve_on(ann, why="the launch"))
    approve(bob, path)
    protect(checkout, approvals=2)
    assert slug(ann.post(f"{path}/apply", {})) == "approval-required"


def test_an_expired_request_is_neither_approved_nor_applied(
    ann: Caller, bob: Caller, request_path: str, store: Store
) -> None:
    assert approve(bob, request_path).status_code == 200
    address = Address(Kind.CHANGE_REQUEST, request_path.rpartition("/")[2])
    stored = store.get("default", address)
    assert stored is not None
    expired = replace(stored.document, expires_ms=store.now_ms() - 1)
    store.commit(Change("default", (Put(address, expired, stored.revision),)))
    assert state(ann, request_path) == "expired"
    before = ann.get(FLAG).json
    for answer in (approve(bob, request_path), ann.post(f"{request_path}/apply", {})):
        assert slug(answer) == "not-possible"
        assert "is expired" in answer.text
    assert ann.get(FLAG).json == before
    listed = ann.get(f"{REQUESTS}?state=expired").json
    assert listed is not None
    assert len(listed["items"]) == 1


@pytest.mark.parametrize(
    ("given", "accepted"), [("1h", True), ("90d", True), ("59m", False), ("91d", False)]
)
def test_a_request_expires_within_an_hour_and_ninety_days(
    ann: Caller, given: str, accepted: bool
) -> None:
    on = operation("PUT", FLAG, targeting(ann, default=ON))
    body = {"reason": "launch", "expires_in": given, "operations": [on]}
    answer = ann.post(REQUESTS, body)
    assert (answer.status_code == 201) is accepted, answer.text
    if not accepted:
        assert pointers(answer) == ["/expires_in"]


def test_comments_are_kept(ann: Caller, bob: Caller, request_path: str) -> None:
    assert bob.post(f"{request_path}/comments", {"text": "Why now?"}).status_code == 200
    ann.post(f"{request_path}/comments", {"text": "The campaign."})
    request = ann.get(request_path).json
    assert request is not None
    assert [each["text"] for each in request["comments"]] == ["Why now?", "The campaign."]


def test_the_list_is_filtered_by_state(ann: Caller, bob: Caller) -> None:
    first = proposed(serve_on(ann, why="one"))
    proposed(serve_on(ann, why="two"))
    ann.post(f"{first}/withdraw", {})
    listed = ann.get(f"{REQUESTS}?state=proposed").json
    assert listed is not None
    assert [each["reason"] for each in listed["items"]] == ["two"]
    everything = ann.get(REQUESTS).json
    assert everything is not None
    assert {each["reason"] for each in everything["items"]} == {"one", "two"}


def test_a_viewer_sees_what_changes_but_not_the_bodies(
    checkout: Caller, ann: Caller, request_path: str
) -> None:
    viewer = another_person(checkout, "viewer")
    request = viewer.get(request_path).json
    assert request is not None
    assert request["operations"][0]["body"] is None
    assert request["changes"]
    assert slug(viewer.post(f"{request_path}/reject", {})) == "forbidden"
    assert slug(viewer.post(f"{request_path}/apply", {})) == "forbidden"


def test_nobody_of_another_project_sees_a_request(checkout: Caller, request_path: str) -> None:
    checkout.post_ok("/api/v1/projects", {"key": "web"})
    stranger = checkout.token_for("viewer", "web", None)
    assert slug(stranger.get(request_path)) == "forbidden"
    assert slug(stranger.get(REQUESTS)) == "forbidden"
    server = stranger.get("/api/v1/change-requests").json
    assert server == {"items": [], "next_cursor": None}


def test_a_yaml_policy_is_proposed(checkout: Caller, ann: Caller) -> None:
    policy = "key: quick\nstages:\n- percentage: 50\n- percentage: 100\n"
    headers = {"Tidegate-Propose": "quick", "Content-Type": "application/yaml"}
    headers["Authorization"] = f"Bearer {ann.token}"
    answer = ann.client.post(f"{PROJECT}/policies", data=policy, headers=headers)
    assert answer.status_code == 202, answer.text
