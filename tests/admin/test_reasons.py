"""The reason of a change: where it is given, and where it may not be missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from flask import Flask
from tidegate_server.domain.permissions import Permission

from tests.http_calls import CHECKOUT, POLICY, PRODUCTION, PROJECT, Caller, slug, stored_documents

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

WRITES: dict[str, tuple[str, str, Any]] = {
    "projects.replace_project": ("PUT", PROJECT, {"name": "x"}),
    "environments.create_environment": ("POST", f"{PROJECT}/environments", {"key": "new"}),
    "environments.replace_environment": ("PUT", PRODUCTION, {"name": "x"}),
    "environments.rotate_context_key": ("POST", f"{PRODUCTION}/rotate-key", None),
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
    "releases.pause_release": "{release}/pause",
    "releases.rollback_release": "{release}/rollback",
}


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
    assert operations_that_change_a_project(app) == WRITES.keys() | EMERGENCIES.keys()


@pytest.fixture
def full(checkout: Caller) -> Callable[[str], str]:
    """A project with one of everything that requires reasons; completes the path of a request."""
    checkout.post_ok(f"{PROJECT}/webhooks", WEBHOOK)
    hook = checkout.post_ok(f"{PROJECT}/hooks", HOOK)["id"]
    require_reasons(checkout)
    release = release_of(checkout)
    return lambda path: path.format(hook=hook, release=release)


@pytest.mark.parametrize("operation", WRITES)
def test_a_change_without_a_reason_is_refused_and_changes_nothing(
    checkout: Caller, full: Callable[[str], str], operation: str
) -> None:
    method, path, body = WRITES[operation]
    store = checkout.client.application.extensions["tidegate"].store
    before = stored_documents(store)
    for headers in ({}, {"Tidegate-Reason": "  "}):
        answer = checkout.call(method, full(path), body, match="*", headers=headers)
        assert slug(answer) == "reason-required", answer.text
        assert answer.json is not None
        assert "Tidegate-Reason" in answer.json["detail"]
        assert "--reason" in answer.json["detail"]
    assert stored_documents(store) == before
    with_reason = checkout.call(method, full(path), body, match="*", headers=WHY)
    assert with_reason.json is None or not str(with_reason.json.get("type")).endswith("-required")


@pytest.mark.parametrize("operation", EMERGENCIES)
def test_what_stops_something_never_needs_a_reason(
    checkout: Caller, full: Callable[[str], str], operation: str
) -> None:
    assert checkout.post(full(EMERGENCIES[operation]), {}).status_code == 200


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
