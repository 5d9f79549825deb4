"""What a protected environment lets nobody change alone, and what never waits."""

from __future__ import annotations

from typing import Any

import pytest

from tests.http_calls import POLICY, PRODUCTION, PROJECT, SET_BY_SERVER, Caller, slug

DEVELOPMENT = f"{PROJECT}/environments/development"
FLAG = f"{PRODUCTION}/flags/checkout"


def protect(admin: Caller, approvals: int = 1) -> None:
    answer = admin.put(PRODUCTION, {"required_approvals": approvals}, match="*")
    assert answer.status_code == 200, answer.text


def targeting(caller: Caller, path: str, **changes: Any) -> dict[str, Any]:
    read = caller.get(path).json
    assert read is not None
    return {name: value for name, value in read.items() if name not in SET_BY_SERVER} | changes


def serve_on(caller: Caller, path: str = FLAG) -> Any:
    return caller.put(path, targeting(caller, path, default={"variant": "on"}), match="*")


def test_a_protected_environment_refuses_a_change_of_targeting(checkout: Caller) -> None:
    protect(checkout)
    refused = serve_on(checkout)
    assert (refused.status_code, slug(refused)) == (409, "approval-required")
    assert "production" in refused.text
    assert "the targeting of flag checkout" in refused.text
    assert "Tidegate-Propose" in refused.text
    assert serve_on(checkout, f"{DEVELOPMENT}/flags/checkout").status_code == 200


def test_the_protection_itself_is_protected(checkout: Caller) -> None:
    protect(checkout)
    assert slug(checkout.put(PRODUCTION, {}, match="*")) == "approval-required"
    more = {"required_approvals": 2}
    assert slug(checkout.put(PRODUCTION, more, match="*")) == "approval-required"
    renamed = {"required_approvals": 1, "name": "Live"}
    assert checkout.put(PRODUCTION, renamed, match="*").status_code == 200


@pytest.mark.parametrize("approvals", [-1, 11, True, "1"])
def test_the_number_of_approvals_is_bounded(admin: Caller, approvals: Any) -> None:
    assert admin.put(PRODUCTION, {"required_approvals": approvals}, match="*").status_code == 422


def test_a_kill_never_waits_and_a_restore_gives_back_what_was_approved(checkout: Caller) -> None:
    protect(checkout)
    assert checkout.post(f"{FLAG}/kill", {}).status_code == 200
    assert checkout.post(f"{FLAG}/restore", {}).status_code == 200


def test_stopping_a_release_never_waits(checkout: Caller, release: str) -> None:
    protect(checkout)
    assert checkout.post(f"{release}/pause", {}).status_code == 200
    assert checkout.post(f"{release}/resume", {}).status_code == 200
    assert checkout.post(f"{release}/pause", {"stop": True}).status_code == 200
    assert checkout.post(f"{release}/rollback", {}).status_code == 200


@pytest.mark.parametrize("action", ["advance", "complete"])
def test_opening_a_release_by_hand_waits(checkout: Caller, release: str, action: str) -> None:
    protect(checkout)
    refused = checkout.post(f"{release}/{action}", {})
    assert slug(refused) == "approval-required"
    assert "the release of flag checkout" in refused.text


@pytest.mark.parametrize("draft", [False, True])
def test_starting_a_release_waits(checkout: Caller, draft: bool) -> None:
    protect(checkout)
    body = {"flag": "checkout", "treatment": "on", "policy": "careful", "draft": draft}
    assert slug(checkout.post(f"{PRODUCTION}/releases", body)) == "approval-required"
    assert checkout.post(f"{DEVELOPMENT}/releases", body).status_code == 201


def test_beginning_a_draft_waits(checkout: Caller) -> None:
    body = {"flag": "checkout", "treatment": "on", "policy": "careful", "draft": True}
    draft = checkout.post_ok(f"{PRODUCTION}/releases", body)
    protect(checkout)
    begin = f"{PRODUCTION}/releases/{draft['id']}/begin"
    assert slug(checkout.post(begin, {})) == "approval-required"


def test_a_killed_release_that_is_restored_and_resumed_does_not_wait(
    checkout: Caller, release: str
) -> None:
    protect(checkout)
    for path in (f"{FLAG}/kill", f"{FLAG}/restore", f"{release}/resume"):
        assert checkout.post(path, {}).status_code == 200


def test_a_segment_waits_where_a_rule_uses_it(checkout: Caller) -> None:
    checkout.post_ok(f"{PROJECT}/segments", {"key": "crew", "included": ["bob"]})
    rule = {
        "id": "staff",
        "when": {"segment": "staff"},
        "serve": {"variant": "on"},
    }
    changed = targeting(checkout, FLAG, rules=[rule])
    assert checkout.put(FLAG, changed, match="*").status_code == 200
    protect(checkout)
    more = {"included": ["ann", "eve"]}
    assert slug(checkout.put(f"{PROJECT}/segments/staff", more, match="*")) == "approval-required"
    assert checkout.put(f"{PROJECT}/segments/crew", more, match="*").status_code == 200
    renamed = {"included": ["ann"], "name": "Staff"}
    assert checkout.put(f"{PROJECT}/segments/staff", renamed, match="*").status_code == 200


def test_a_segment_within_a_used_segment_waits(checkout: Caller) -> None:
    outer = {"key": "outer", "when": {"segment": "staff"}}
    checkout.post_ok(f"{PROJECT}/segments", outer)
    rule = {"id": "outer", "when": {"segment": "outer"}, "serve": {"variant": "on"}}
    assert checkout.put(FLAG, targeting(checkout, FLAG, rules=[rule]), match="*").status_code == 200
    protect(checkout)
    answer = checkout.put(f"{PROJECT}/segments/staff", {"included": ["eve"]}, match="*")
    assert slug(answer) == "approval-required"


def test_a_policy_waits_and_a_new_one_does_not(checkout: Caller) -> None:
    protect(checkout)
    changed = {**POLICY, "bake": "20s"}
    assert slug(checkout.put(f"{PROJECT}/policies/careful", changed, match="*")) == (
        "approval-required"
    )
    assert slug(checkout.delete(f"{PROJECT}/policies/careful", match="*")) == "approval-required"
    assert checkout.post(f"{PROJECT}/policies", {**changed, "key": "new"}).status_code == 201


def test_a_flag_waits_where_its_values_change_and_its_words_do_not(checkout: Caller) -> None:
    protect(checkout)
    path = f"{PROJECT}/flags/checkout"
    read = checkout.get(path).json
    assert read is not None
    body = {name: read[name] for name in ("type", "variants", "client_side")}
    words = {"description": "Pays.", "owner": "shop", "tags": ["pay"], "temporary": True}
    assert checkout.put(path, body | words, match="*").status_code == 200
    assert slug(checkout.put(path, {**body, "client_side": True}, match="*")) == "approval-required"
    assert slug(checkout.post(f"{path}/archive", {})) == "approval-required"
    assert slug(checkout.delete(f"{path}?force=true", match="*")) == "approval-required"
    assert checkout.post(f"{PROJECT}/flags", {"key": "new", "type": "boolean"}).status_code == 201


def test_a_restored_version_waits_like_an_edit(checkout: Caller) -> None:
    assert serve_on(checkout).status_code == 200
    protect(checkout)
    answer = checkout.post(f"{FLAG}/history/1/restore", match="*")
    assert slug(answer) == "approval-required"
    unprotected = checkout.post(f"{PRODUCTION}/history/1/restore", match="*")
    assert slug(unprotected) == "approval-required"


def test_a_new_flag_waits_where_it_would_serve_more_than_its_off_variant(
    checkout: Caller,
) -> None:
    protect(checkout)
    flag = {"key": "new", "type": "boolean"}
    serving = {"enabled": True, "off_variant": "off", "default": {"variant": "on"}}
    variants = [{"key": "on", "value": True}, {"key": "off", "value": False}]
    wanted = {**flag, "variants": variants, "targeting": {"production": serving}}
    refused = checkout.post(f"{PROJECT}/apply", {"flags": [wanted]})
    assert slug(refused) == "approval-required"
    assert "the targeting of flag new" in refused.text
    off = {"production": {**serving, "enabled": False}, "development": serving}
    made = checkout.post(f"{PROJECT}/apply", {"flags": [{**wanted, "targeting": off}]})
    assert made.status_code == 200, made.text
    checkout.post_ok(f"{PROJECT}/flags/new/copy", {"key": "off-too"})
    checkout.post_ok(f"{PROJECT}/flags", {"key": "newest", "type": "boolean"})


def token(caller: Caller, role: str, project: str | None, environment: str | None = None) -> Any:
    body = {"name": f"a {role}", "role": role, "project": project, "environment": environment}
    return caller.post("/api/v1/tokens", body | {"whole_server": project is None})


def test_a_token_waits_where_it_could_change_a_protected_environment(checkout: Caller) -> None:
    protect(checkout)
    for project, environment in ((None, None), ("default", None), ("default", "production")):
        for role in ("admin", "developer", "responder"):
            refused = token(checkout, role, project, environment)
            assert slug(refused) == "approval-required", (role, project, environment)
    assert token(checkout, "developer", "default", "development").status_code == 201
    assert token(checkout, "viewer", None).status_code == 201
    assert token(checkout, "sdk", "default", "production").status_code == 201


def test_a_new_secret_of_a_token_waits_and_its_end_does_not(checkout: Caller) -> None:
    made = token(checkout, "developer", "default").json
    protect(checkout)
    path = f"/api/v1/tokens/{made['id']}"
    assert slug(checkout.post(f"{path}/rotate", {})) == "approval-required"
    assert checkout.delete(path, match="*").status_code == 204


def test_what_was_refused_is_not_made(checkout: Caller) -> None:
    protect(checkout)
    before = checkout.get(FLAG).json
    serve_on(checkout)
    assert checkout.get(FLAG).json == before
