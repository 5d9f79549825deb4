"""Text that people write has no characters that hide or reorder it."""

from __future__ import annotations

from typing import Any

import pytest
from tidegate_server.store import Store

from tests.http_calls import POLICY, PRODUCTION, PROJECT, Caller, pointers, stored_documents

EVIL = "admin\u202etoor"

BODIES: dict[str, tuple[str, dict[str, Any], str]] = {
    "project name": ("/api/v1/projects", {"key": "a", "name": EVIL}, "/name"),
    "environment name": (f"{PROJECT}/environments", {"key": "a", "name": EVIL}, "/name"),
    "flag name": (f"{PROJECT}/flags", {"key": "a", "type": "boolean", "name": EVIL}, "/name"),
    "flag description": (
        f"{PROJECT}/flags",
        {"key": "a", "type": "boolean", "description": EVIL},
        "/description",
    ),
    "flag tag": (f"{PROJECT}/flags", {"key": "a", "type": "boolean", "tags": [EVIL]}, "/tags/0"),
    "segment name": (f"{PROJECT}/segments", {"key": "a", "name": EVIL}, "/name"),
    "policy name": (f"{PROJECT}/policies", {**POLICY, "key": "a", "name": EVIL}, "/name"),
    "webhook name": (
        f"{PROJECT}/webhooks",
        {"key": "a", "url": "https://hooks.example/", "name": EVIL},
        "/name",
    ),
    "hook name": (
        f"{PROJECT}/hooks",
        {"name": EVIL, "kind": "generic", "action": "hold", "flags": ["checkout"]},
        "/name",
    ),
    "token name": (
        "/api/v1/tokens",
        {"name": EVIL, "role": "reader", "whole_server": True},
        "/name",
    ),
    "reason of a kill": (f"{PRODUCTION}/flags/checkout/kill", {"reason": EVIL}, "/reason"),
    "reason of a release": (
        f"{PRODUCTION}/releases",
        {"flag": "checkout", "treatment": "on", "policy": "careful", "reason": EVIL},
        "/reason",
    ),
}


@pytest.mark.parametrize("what", BODIES)
def test_invisible_text_is_refused_with_its_field(
    checkout: Caller, store: Store, what: str
) -> None:
    path, body, pointer = BODIES[what]
    before = stored_documents(store)
    refused = checkout.post(path, body)
    assert refused.status_code == 422, refused.text
    assert pointer in pointers(refused)
    assert "U+202E" in refused.text
    assert stored_documents(store) == before
