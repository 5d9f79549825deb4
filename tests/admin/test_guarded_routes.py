"""Every route that changes something: a protected environment refuses it, or it has a reason."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from tidegate_server.domain.change import Address, Change, Put
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.permissions import EVALUATION, Permission
from tidegate_server.domain.protection import EXEMPT
from tidegate_server.domain.release import Release, State
from tidegate_server.store import Store

from tests.admin.guarded import FLAG, ON, protect, targeting
from tests.http_calls import POLICY, PRODUCTION, PROJECT, Caller, slug, stored_documents

NOT_GUARDED = {
    "create_project": "a new project has no environments",
    "replace_project": "a name and a description",
    "create_environment": "a new environment is not protected, and no application uses it",
    "rotate_context_key": "a key that leaked is replaced at once",
    "create_flag": "a new flag serves its off variant",
    "create_segment": "nothing uses a new segment",
    "delete_segment": "a segment that is used is not deleted",
    "create_policy": "nothing uses a new policy",
    "create_webhook": "nothing uses a new webhook",
    "delete_webhook": "a webhook that is used is not deleted",
    "rotate_webhook_secret": "a secret that leaked is replaced at once",
    "try_webhook": "a message for a test",
    "create_hook": "an alert can only pause, roll back or kill",
    "replace_hook": "an alert can only pause, roll back or kill",
    "restore_hook_version": "an alert can only pause, roll back or kill",
    "delete_hook": "an alert can only pause, roll back or kill",
    "pause_release": "it stops something",
    "rollback_release": "it stops something",
    "resume_release": "it gives a release back to its policy, which was approved",
    "approve_release": "it is an approval, which the policy asks for",
    "create_share_link": "a link shows something and changes nothing",
    "revoke_share_link": "a link shows something and changes nothing",
    "kill_flag": "it stops something",
    "kill_tagged_flags": "it stops something",
    "kill_release": "it stops something",
    "restore_flag": "it gives back what was approved before the kill",
    "restore_tagged_flags": "it gives back what was approved before the kill",
    "delete_token": "it takes permissions away",
    "delete_person": "it takes permissions away",
    "reset_second_factor": "it gives nobody a way to sign in without the password",
    "delete_group": "it takes permissions away",
    "create_role": "nobody has a new role",
    "delete_role": "nobody has a role that is deleted",
    "unlink_identity": "it takes a way to sign in away",
    "delete_identity_provider": "it takes permissions away",
    "try_identity_provider": "it changes nothing",
    "set_client_secret": "it gives nobody a way to sign in",
    "delete_client_secret": "it gives nobody a way to sign in",
    "create_context": "it is for trying flags out",
    "replace_context": "it is for trying flags out",
    "restore_context_version": "it is for trying flags out",
    "delete_context": "it is for trying flags out",
    "push_code_references": "it says where code uses flags",
    "forget_code_references": "it says where code uses flags",
    "upload_segment_keys": "guarded, and its body is a file: a test of its own",
    "cancel_scheduled_change": "it stops something",
    "approve_change_request": "it is an approval",
    "reject_change_request": "it changes nothing",
    "approve_server_change_request": "it is an approval",
    "reject_server_change_request": "it changes nothing",
}
"""The routes that never wait, and why; a further route is listed here or called below."""

CALLED_ELSEWHERE = {"delete_environment", "delete_project"}
"""Guarded routes that are refused first for another reason: an active release. ``test_deletion.py``
calls them."""


def rule(id: str, segment: str) -> dict[str, Any]:
    return {"id": id, "when": {"segment": segment}, "serve": ON}


def started(admin: Caller, flag: str, **more: Any) -> str:
    admin.post_ok(f"{PROJECT}/flags", {"key": flag, "type": "boolean"})
    body = {"flag": flag, "treatment": "on", "policy": "careful", **more}
    return str(admin.post_ok(f"{PRODUCTION}/releases", body)["id"])


PEOPLE, GROUPS, ROLES = "/api/v1/people", "/api/v1/groups", "/api/v1/roles"
OKTA = {"issuer": "https://okta.example.com", "client_id": "tidegate"}
OTHER_PROVIDER = {"key": "other", "issuer": "https://other.example.com", "client_id": "a"}
WRITER = [{"role": "developer", "project": "default"}]


def access(admin: Caller) -> tuple[str, str, str]:
    """Return the paths of a person, a group and a role that have less than in their version 1."""
    made = admin.post_ok(PEOPLE, {"email": "eve@example.com", "grants": WRITER})
    person = f"{PEOPLE}/{made['id']}"
    assert admin.put(person, {"email": "eve@example.com"}, match="*").status_code == 200
    admin.post_ok(GROUPS, {"key": "team", "grants": WRITER})
    assert admin.put(f"{GROUPS}/team", {}, match="*").status_code == 200
    admin.post_ok(ROLES, {"key": "shipper", "permissions": ["read", "write"]})
    assert admin.put(f"{ROLES}/shipper", {"permissions": ["read"]}, match="*").status_code == 200
    admin.post_ok(GROUPS, {"key": "crew", "grants": [{"role": "shipper"}]})
    return person, f"{GROUPS}/team", f"{ROLES}/shipper"


def identity_provider(admin: Caller) -> str:
    """Return the path of an identity provider that gives less than in its version 1."""
    mapping = {"provider_group": "devs", "grants": WRITER}
    body = {"key": "okta", **OKTA, "group_mappings": [mapping]}
    admin.post_ok("/api/v1/identity-providers", body)
    path = "/api/v1/identity-providers/okta"
    assert admin.put(path, OKTA, match="*").status_code == 200
    return path


def in_cooldown(store: Store, id: str) -> None:
    """Make a release wait for its next attempt."""
    address = Address(Kind.RELEASE, id, "production")
    stored = store.get("default", address)
    assert stored is not None
    release: Release = stored.document
    waiting = replace(release, state=State.COOLDOWN, closed=True, cooldown_until_ms=2**50)
    store.commit(Change("default", (Put(address, waiting, stored.revision),)))


@pytest.fixture
def guarded(checkout: Caller, store: Store) -> dict[str, tuple[str, str, Any]]:
    """Return a request for each guarded route, in a project with a protected environment."""
    webhook = {"key": "gate", "url": "https://gate.example/one"}
    checkout.post_ok(f"{PROJECT}/webhooks", webhook)
    changed = {"url": "https://gate.example/two"}
    assert checkout.put(f"{PROJECT}/webhooks/gate", changed, match="*").status_code == 200
    checkout.post_ok(f"{PROJECT}/policies", {**POLICY, "key": "spare"})
    careful = {**POLICY, "confirm": [{"webhook": "gate"}]}
    assert checkout.put(f"{PROJECT}/policies/careful", careful, match="*").status_code == 200
    checkout.post_ok(f"{PROJECT}/flags", {"key": "old", "type": "boolean"})
    checkout.post_ok(f"{PROJECT}/flags/old/archive", {})
    flag = f"{PROJECT}/flags/checkout"
    body = {"type": "boolean", "client_side": True, "variants": checkout.get(flag).json["variants"]}  # type: ignore[index]
    assert checkout.put(flag, body, match="*").status_code == 200
    rules = targeting(checkout, rules=[rule("staff", "staff")])
    assert checkout.put(FLAG, rules, match="*").status_code == 200
    crew = {"included": ["eve"]}
    assert checkout.put(f"{PROJECT}/segments/staff", crew, match="*").status_code == 200
    running = f"{PRODUCTION}/releases/{started(checkout, 'running')}"
    draft = f"{PRODUCTION}/releases/{started(checkout, 'draft', draft=True)}"
    cooling = started(checkout, "cooling")
    in_cooldown(store, cooling)
    token = {"name": "ci", "role": "developer", "project": "default"}
    made = checkout.post_ok("/api/v1/tokens", token)["id"]
    person, group, role = access(checkout)
    bob = checkout.post_ok(PEOPLE, {"email": "bob@example.com", "grants": WRITER})
    provider = identity_provider(checkout)
    protect(checkout)
    body_on = targeting(checkout, default=ON)
    later = {
        "reason": "later",
        "at": (datetime.now(UTC) + timedelta(days=1)).isoformat(timespec="seconds"),
        "operations": [{"method": "PUT", "path": FLAG, "body": body_on, "if_match": "*"}],
    }
    start = {"flag": "checkout", "treatment": "on", "policy": "careful"}
    serving = {"enabled": True, "off_variant": "off", "default": ON}
    served_on = {"key": "checkout", **body, "targeting": {"production": serving}}
    return {
        "replace_environment": ("PUT", PRODUCTION, {}),
        "restore_environment_version": ("POST", f"{PRODUCTION}/history/1/restore", None),
        "replace_flag": ("PUT", flag, {**body, "client_side": False}),
        "restore_flag_version": ("POST", f"{flag}/history/1/restore", None),
        "delete_flag": ("DELETE", f"{flag}?force=true", None),
        "archive_flag": ("POST", f"{flag}/archive", {}),
        "unarchive_flag": ("POST", f"{PROJECT}/flags/old/unarchive", {}),
        "replace_targeting": ("PUT", FLAG, targeting(checkout, default=ON)),
        "restore_targeting_version": ("POST", f"{FLAG}/history/1/restore", None),
        "copy_flag_under_another_key": ("POST", f"{flag}/copy", {"key": "twin"}),
        "promote_flags": ("POST", f"{PRODUCTION}/promote", promotion(checkout)),
        "replace_segment": ("PUT", f"{PROJECT}/segments/staff", {}),
        "restore_segment_version": ("POST", f"{PROJECT}/segments/staff/history/1/restore", None),
        "replace_policy": ("PUT", f"{PROJECT}/policies/careful", POLICY),
        "restore_policy_version": ("POST", f"{PROJECT}/policies/careful/history/1/restore", None),
        "delete_policy": ("DELETE", f"{PROJECT}/policies/spare", None),
        "replace_webhook": ("PUT", f"{PROJECT}/webhooks/gate", {"url": "https://other.example/"}),
        "restore_webhook_version": ("POST", f"{PROJECT}/webhooks/gate/history/1/restore", None),
        "start_release": ("POST", f"{PRODUCTION}/releases", start),
        "advance_release": ("POST", f"{running}/advance", {}),
        "complete_release": ("POST", f"{running}/complete", {}),
        "begin_release": ("POST", f"{draft}/begin", {}),
        "retry_release": ("POST", f"{PRODUCTION}/releases/{cooling}/retry", {}),
        "create_scheduled_change": ("POST", f"{PROJECT}/scheduled-changes", later),
        "create_token": ("POST", "/api/v1/tokens", token),
        "rotate_token": ("POST", f"/api/v1/tokens/{made}/rotate", {}),
        "create_person": ("POST", PEOPLE, {"email": "new@example.com", "grants": WRITER}),
        "replace_person": ("PUT", person, {"email": "eve@example.com", "grants": WRITER}),
        "restore_person_version": ("POST", f"{person}/history/1/restore", None),
        "invite_person": ("POST", f"{PEOPLE}/{bob['id']}/invitation", {}),
        "create_group": ("POST", GROUPS, {"key": "new", "grants": WRITER}),
        "replace_group": ("PUT", group, {"grants": WRITER}),
        "restore_group_version": ("POST", f"{group}/history/1/restore", None),
        "replace_role": ("PUT", role, {"permissions": ["read", "approve"]}),
        "apply_import": ("POST", f"{PROJECT}/apply", {"flags": [served_on]}),
        "create_identity_provider": ("POST", "/api/v1/identity-providers", OTHER_PROVIDER),
        "replace_identity_provider": ("PUT", provider, {**OKTA, "client_id": "other"}),
        "restore_identity_provider_version": ("POST", f"{provider}/history/1/restore", None),
        "restore_role_version": ("POST", f"{role}/history/1/restore", None),
    }


def promotion(admin: Caller) -> dict[str, Any]:
    """Return the body that promotes a flag as it was planned."""
    admin.post_ok(f"{PROJECT}/environments", {"key": "staging"})
    body = {"from": "staging", "flags": ["checkout"]}
    [flag] = admin.post_ok(f"{PRODUCTION}/promote?plan=true", body)["flags"]
    return {**body, "revisions": {"checkout": flag["revisions"]}}


def changing_routes(app: Flask) -> Iterator[str]:
    for route in app.url_map.iter_rules():
        permission = getattr(app.view_functions[route.endpoint], "permission", None)
        changing = permission not in EVALUATION | {None, Permission.READ}
        if changing and not {"GET"} & (route.methods or set()):
            yield route.endpoint.rpartition(".")[2]


def test_every_changing_route_is_guarded_or_has_a_reason(
    app: Flask, checkout: Caller, store: Store, guarded: dict[str, tuple[str, str, Any]]
) -> None:
    routes = set(changing_routes(app))
    listed = guarded.keys() | NOT_GUARDED.keys() | CALLED_ELSEWHERE
    assert routes - listed == set(), "call these routes in a protected environment, or say why not"
    assert listed - routes == set()
    before = stored_documents(store)
    for name, (method, path, body) in guarded.items():
        refused = checkout.call(method, path, body, match="*")
        assert refused.status_code == 409, (name, refused.status_code, refused.text)
        assert slug(refused) == "approval-required", (name, refused.text)
    assert stored_documents(store) == before


def test_every_guarded_route_can_be_proposed(
    checkout: Caller, guarded: dict[str, tuple[str, str, Any]]
) -> None:
    for name, (method, path, body) in guarded.items():
        answer = checkout.call(method, path, body, match="*", headers={"Tidegate-Propose": "why"})
        assert answer.status_code == 202, (name, answer.text)
        assert answer.json is not None
        assert {"project": "default", "environment": "production"} in answer.json["places"], name


def test_every_exempt_kind_has_a_reason() -> None:
    assert all(EXEMPT.values())


def test_uploaded_keys_of_a_used_segment_are_guarded(
    checkout: Caller, guarded: dict[str, tuple[str, str, Any]]
) -> None:
    path = f"{PROJECT}/segments/staff/keys?mode=add"
    headers = {"Authorization": f"Bearer {checkout.token}", "Content-Type": "text/csv"}
    refused = checkout.client.post(path, data="key\neve\nbob\n", headers=headers)
    assert slug(refused) == "approval-required", refused.text
    headers["Tidegate-Propose"] = "why"
    proposed = checkout.client.post(path, data="eve\n", headers=headers)
    assert (proposed.status_code, slug(proposed)) == (409, "not-possible"), proposed.text
