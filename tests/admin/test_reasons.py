"""The reason of a change: where it is given, and where it may not be missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from flask import Flask
from tidegate_server.domain.permissions import Permission

from tests.http_calls import CHECKOUT, POLICY, PRODUCTION, PROJECT, Caller, slug, stored_documents
from tests.people import PASSWORD

WHY = {"Tidegate-Reason": "the launch"}


def latest(admin: Caller, path: str = f"{PROJECT}/audit") -> Any:
    entries = admin.get(path).json
    assert entries is not None
    return entries["items"][0]


def test_a_header_says_why_a_document_changes(admin: Caller) -> None:
    assert admin.post(f"{PROJECT}/flags", CHECKOUT, headers=WHY).status_code == 201
    assert latest(admin)["reason"] == "the launch"
    assert (
        admin.delete(f"{PROJECT}/flags/checkout?force=true", match="1", headers=WHY).status_code
        == 204
    )
    assert (latest(admin)["action"], latest(admin)["reason"]) == ("flag.delete", "the launch")


def test_a_header_says_why_a_token_is_made(admin: Caller) -> None:
    admin.post(
        "/api/v1/tokens", {"name": "ci", "role": "viewer", "whole_server": True}, headers=WHY
    )
    assert latest(admin, "/api/v1/audit")["reason"] == "the launch"


@pytest.mark.parametrize(
    "sent",
    [quote("für „alle“ €100 %"), "für „alle“ €100 %".encode().decode("latin-1")],
    ids=["percent-encoded", "UTF-8"],
)
def test_a_reason_may_have_any_letters(checkout: Caller, sent: str) -> None:
    kill = checkout.post(f"{PRODUCTION}/flags/checkout/kill", {}, headers={"Tidegate-Reason": sent})
    assert kill.status_code == 200
    assert latest(checkout)["reason"] == "für „alle“ €100 %"


@pytest.mark.parametrize("sent", ["%ff", "a%0Ab%07", "x" * 1_001, "a%E2%80%AEb"])
def test_a_header_that_is_no_text_is_refused(checkout: Caller, sent: str) -> None:
    before = stored_documents(checkout.client.application.extensions["tidegate"].store)
    answer = checkout.post(
        f"{PRODUCTION}/flags/checkout/kill", {}, headers={"Tidegate-Reason": sent}
    )
    assert slug(answer) == "invalid"
    assert answer.json is not None
    assert "Tidegate-Reason" in answer.json["detail"]
    assert stored_documents(checkout.client.application.extensions["tidegate"].store) == before


def test_two_different_reasons_are_refused(checkout: Caller) -> None:
    answer = checkout.post(f"{PRODUCTION}/flags/checkout/kill", {"reason": "other"}, headers=WHY)
    assert slug(answer) == "invalid"
    same = checkout.post(f"{PRODUCTION}/flags/checkout/kill", {"reason": "the launch"}, headers=WHY)
    assert same.status_code == 200


# An environment that requires reasons


def require_reasons(admin: Caller, environment: str = "production") -> None:
    path = f"{PROJECT}/environments/{environment}"
    assert admin.put(path, {"require_reason": True}, match="*", headers=WHY).status_code == 200


def release_of(admin: Caller) -> str:
    body = {"flag": "checkout", "treatment": "on", "policy": "careful"}
    answer = admin.post(f"{PRODUCTION}/releases", body, headers=WHY)
    assert answer.json is not None
    return f"{PRODUCTION}/releases/{answer.json['id']}"


TARGETING = {"enabled": True, "off_variant": "off", "default": {"variant": "on"}}
WEBHOOK = {"key": "chat", "url": "https://example.com/x"}
HOOK = {
    "name": "alerts",
    "kind": "generic",
    "action": "kill",
    "environment": "production",
    "flags": ["checkout"],
}

CONTEXT = {"key": "vera", "context": {"targetingKey": "vera"}}
WRITES: dict[str, tuple[str, str, Any]] = {
    "projects.replace_project": ("PUT", PROJECT, {"name": "x"}),
    "environments.create_environment": ("POST", f"{PROJECT}/environments", {"key": "new"}),
    "environments.replace_environment": ("PUT", PRODUCTION, {"name": "x"}),
    "environments.rotate_context_key": ("POST", f"{PRODUCTION}/rotate-key", None),
    "shares.create_share_link": (
        "POST",
        f"{PRODUCTION}/shares",
        {"kind": "badge", "flag": "checkout"},
    ),
    "shares.revoke_share_link": ("DELETE", f"{PRODUCTION}/shares/{{share}}", None),
    "flags.create_flag": ("POST", f"{PROJECT}/flags", {"key": "new", "type": "boolean"}),
    "flags.replace_flag": (
        "PUT",
        f"{PROJECT}/flags/checkout",
        {
            "type": "boolean",
            "variants": [{"key": "on", "value": True}, {"key": "off", "value": False}],
            "name": "x",
        },
    ),
    "flags.delete_flag": ("DELETE", f"{PROJECT}/flags/checkout?force=true", None),
    "flags.archive_flag": ("POST", f"{PROJECT}/flags/checkout/archive", None),
    "flags.unarchive_flag": ("POST", f"{PROJECT}/flags/checkout/unarchive", None),
    "segments.create_segment": ("POST", f"{PROJECT}/segments", {"key": "new"}),
    "segments.replace_segment": ("PUT", f"{PROJECT}/segments/staff", {"name": "x"}),
    "segments.delete_segment": ("DELETE", f"{PROJECT}/segments/staff", None),
    "segments.upload_segment_keys": (
        "POST",
        f"{PROJECT}/segments/staff/keys?list=included&mode=add",
        b"eve\n",
    ),
    "contexts.create_context": ("POST", f"{PROJECT}/contexts", CONTEXT),
    "contexts.replace_context": ("PUT", f"{PROJECT}/contexts/vera", {**CONTEXT, "name": "x"}),
    "contexts.delete_context": ("DELETE", f"{PROJECT}/contexts/vera", None),
    "promotions.copy_flag_under_another_key": (
        "POST",
        f"{PROJECT}/flags/checkout/copy",
        {"key": "new"},
    ),
    "configuration.apply_import": ("POST", f"{PROJECT}/apply", {"segments": [{"key": "new"}]}),
    "projects.delete_project": ("DELETE", f"{PROJECT}?confirm=default&force=true", None),
    "environments.delete_environment": (
        "DELETE",
        f"{PRODUCTION}?confirm=production&force=true",
        None,
    ),
    "policies.create_policy": ("POST", f"{PROJECT}/policies", {**POLICY, "key": "new"}),
    "policies.replace_policy": ("PUT", f"{PROJECT}/policies/careful", {**POLICY, "name": "x"}),
    "policies.delete_policy": ("DELETE", f"{PROJECT}/policies/careful", None),
    "webhooks.create_webhook": ("POST", f"{PROJECT}/webhooks", {**WEBHOOK, "key": "new"}),
    "webhooks.replace_webhook": ("PUT", f"{PROJECT}/webhooks/chat", {**WEBHOOK, "name": "x"}),
    "webhooks.delete_webhook": ("DELETE", f"{PROJECT}/webhooks/chat", None),
    "webhooks.rotate_webhook_secret": ("POST", f"{PROJECT}/webhooks/chat/rotate", None),
    "webhooks.try_webhook": ("POST", f"{PROJECT}/webhooks/chat/test", {}),
    "hooks.create_hook": ("POST", f"{PROJECT}/hooks", HOOK),
    "hooks.replace_hook": ("PUT", f"{PROJECT}/hooks/{{hook}}", {**HOOK, "description": "x"}),
    "hooks.delete_hook": ("DELETE", f"{PROJECT}/hooks/{{hook}}", None),
    "targeting.replace_targeting": ("PUT", f"{PRODUCTION}/flags/checkout", TARGETING),
    "kill switch.restore_flag": ("POST", f"{PRODUCTION}/flags/checkout/restore", {}),
    "kill switch.restore_tagged_flags": ("POST", f"{PRODUCTION}/restore", {"tag": "shop"}),
    "releases.start_release": (
        "POST",
        f"{PRODUCTION}/releases",
        {"flag": "checkout", "treatment": "on", "policy": "careful"},
    ),
    **{
        f"{endpoint}_version": ("POST", f"{path}/history/1/restore", None)
        for endpoint, path in (
            ("environments.restore_environment", PRODUCTION),
            ("flags.restore_flag", f"{PROJECT}/flags/checkout"),
            ("targeting.restore_targeting", f"{PRODUCTION}/flags/checkout"),
            ("contexts.restore_context", f"{PROJECT}/contexts/vera"),
            ("segments.restore_segment", f"{PROJECT}/segments/staff"),
            ("policies.restore_policy", f"{PROJECT}/policies/careful"),
            ("webhooks.restore_webhook", f"{PROJECT}/webhooks/chat"),
            ("hooks.restore_hook", f"{PROJECT}/hooks/{{hook}}"),
        )
    },
    **{
        f"releases.{action}_release": ("POST", f"{{release}}/{action}", {})
        for action in ("resume", "advance", "begin", "approve", "retry", "complete")
    },
}
"""A valid request for each operation that changes something in a project."""

EMERGENCIES = {
    "kill switch.kill_flag": f"{PRODUCTION}/flags/checkout/kill",
    "kill switch.kill_release": "{release}/kill",
    "kill switch.kill_tagged_flags": f"{PRODUCTION}/kill",
    "releases.pause_release": "{release}/pause",
    "releases.rollback_release": "{release}/rollback",
}


WITH_A_REASON_OF_THEIR_OWN = {
    "change requests.approve_change_request",
    "change requests.reject_change_request",
    "scheduled changes.create_scheduled_change",
    "scheduled changes.cancel_scheduled_change",
}
"""What they decide about has a reason, or is not made."""


CHANGING = {
    Permission.WRITE,
    Permission.RELEASE,
    Permission.APPROVE,
    Permission.KILL,
    Permission.ADMINISTER,
}


def operations_that_change_a_project(app: Flask) -> set[str]:
    """Return the endpoints under a project that need a permission to change something."""
    return {
        rule.endpoint
        for rule in app.url_map.iter_rules()
        if "project" in rule.arguments
        and (rule.methods or set()) & {"POST", "PUT", "DELETE"}
        and getattr(app.view_functions[rule.endpoint], "permission", None) in CHANGING
    }


def test_every_operation_that_changes_a_project_is_tested_here(app: Flask) -> None:
    tested = WRITES.keys() | EMERGENCIES.keys() | WITH_A_REASON_OF_THEIR_OWN
    tested |= {"promotions.promote_flags"}  # below, since it needs a plan
    assert operations_that_change_a_project(app) == tested


@pytest.fixture
def full(checkout: Caller) -> Callable[[str], str]:
    """A project with one of everything that requires reasons; completes the path of a request."""
    checkout.post_ok(f"{PROJECT}/webhooks", WEBHOOK)
    hook = checkout.post_ok(f"{PROJECT}/hooks", HOOK)["id"]
    checkout.post_ok(f"{PROJECT}/contexts", CONTEXT)
    badge = {"kind": "badge", "flag": "checkout"}
    share = checkout.post_ok(f"{PRODUCTION}/shares", badge)["id"]
    require_reasons(checkout)
    release = release_of(checkout)
    return lambda path: path.format(hook=hook, release=release, share=share)


def sent(body: Any) -> dict[str, Any]:
    """Return how a body is sent: bytes as a text, everything else as JSON."""
    if isinstance(body, bytes):
        return {"data": body, "content_type": "text/plain"}
    return {"body": body}


def test_a_promotion_without_a_reason_is_refused(checkout: Caller) -> None:
    require_reasons(checkout)
    body = {"from": "development", "flags": ["checkout"]}
    answer = checkout.post(f"{PRODUCTION}/promote", body)
    assert slug(answer) == "reason-required"
    assert slug(checkout.post(f"{PRODUCTION}/promote", body, headers=WHY)) == "revision-required"


@pytest.mark.parametrize("operation", WRITES)
def test_a_change_without_a_reason_is_refused_and_changes_nothing(
    checkout: Caller, full: Callable[[str], str], operation: str
) -> None:
    method, path, body = WRITES[operation]
    store = checkout.client.application.extensions["tidegate"].store
    before = stored_documents(store)
    for headers in ({}, {"Tidegate-Reason": "  "}):
        answer = checkout.call(method, full(path), **sent(body), match="*", headers=headers)
        assert slug(answer) == "reason-required", answer.text
        assert answer.json is not None
        assert "Tidegate-Reason" in answer.json["detail"]
        assert "--reason" in answer.json["detail"]
    assert stored_documents(store) == before
    with_reason = checkout.call(method, full(path), **sent(body), match="*", headers=WHY)
    assert with_reason.json is None or not str(with_reason.json.get("type")).endswith("-required")


@pytest.mark.parametrize("operation", EMERGENCIES)
def test_what_stops_something_never_needs_a_reason(
    checkout: Caller, full: Callable[[str], str], operation: str
) -> None:
    # A tag that no flag has: the reason is asked for first.
    tagged = operation.endswith("tagged_flags")
    answer = checkout.post(full(EMERGENCIES[operation]), {"tag": "shop"} if tagged else {})
    assert answer.status_code == 200 or (tagged and slug(answer) != "reason-required"), answer.text


def test_other_environments_need_no_reason(checkout: Caller) -> None:
    require_reasons(checkout)
    elsewhere = f"{PROJECT}/environments/development/flags/checkout"
    assert checkout.put(elsewhere, TARGETING, match="*").status_code == 200


def test_only_an_admin_decides_whether_reasons_are_required(checkout: Caller) -> None:
    writer = checkout.token_for("writer", "default", None)
    answer = writer.put(PRODUCTION, {"require_reason": True}, match="*", headers=WHY)
    assert slug(answer) == "forbidden"


def test_an_environment_of_an_earlier_version_requires_no_reason(checkout: Caller) -> None:
    environment = checkout.get(PRODUCTION).json
    assert environment is not None
    assert environment["require_reason"] is False


def test_permissions_in_an_environment_that_requires_reasons_need_one(checkout: Caller) -> None:
    writer = [{"role": "developer", "project": "default"}]
    elsewhere = [{"role": "developer", "project": "default", "environment": "development"}]
    reader = [{"role": "viewer", "project": "default"}]
    require_reasons(checkout)
    checkout.post_ok("/api/v1/roles", {"key": "shipper", "permissions": ["read"]})
    checkout.post_ok("/api/v1/groups", {"key": "crew", "grants": [{"role": "shipper"}]})
    token = {"name": "ci", "role": "developer", "project": "default"}
    person = {"email": "eve@example.com", "grants": writer}
    tries = [
        ("POST", "/api/v1/tokens", token),
        ("POST", "/api/v1/people", person),
        ("POST", "/api/v1/groups", {"key": "team", "grants": writer}),
        ("PUT", "/api/v1/roles/shipper", {"permissions": ["read", "write"]}),
    ]
    for method, path, body in tries:
        match = "*" if method == "PUT" else None
        refused = checkout.call(method, path, body, match=match)
        assert slug(refused) == "reason-required", path
        made = checkout.call(method, path, body, match=match, headers=WHY)
        assert made.status_code in (200, 201), made.text
        assert latest(checkout, "/api/v1/audit")["reason"] == "the launch"
    for grants in (elsewhere, reader):
        name = grants[0]["role"]
        checkout.post_ok("/api/v1/people", {"email": f"{name}@example.com", "grants": grants})
    checkout.post_ok("/api/v1/tokens", {**token, "role": "viewer"})


def test_an_invitation_is_accepted_without_a_reason(app: Flask, checkout: Caller) -> None:
    person = {"email": "eve@example.com", "grants": [{"role": "developer", "project": "default"}]}
    made = checkout.post_ok("/api/v1/people", person)
    require_reasons(checkout)
    path = f"/api/v1/people/{made['id']}/invitation"
    assert slug(checkout.post(path, {})) == "reason-required"
    invited = checkout.post(path, {}, headers=WHY).json
    assert invited is not None
    body = {"invitation": invited["link"], "name": "Eve", "password": PASSWORD}
    accepted = app.test_client().post("/api/v1/invitations/accept", json=body)
    assert accepted.status_code == 200, accepted.text
