"""Conditional requests: If-Match protects changes, If-None-Match saves responses."""

from __future__ import annotations

import pytest
from tidegate_server.store import Store

from tests.http_calls import PRODUCTION, PROJECT, Caller, slug, stored_documents

UPDATES = {
    "project": (PROJECT, {"name": "New"}),
    "environment": (PRODUCTION, {"name": "New"}),
    "flag": (
        f"{PROJECT}/flags/checkout",
        {
            "type": "boolean",
            "name": "New",
            "variants": [{"key": "on", "value": True}, {"key": "off", "value": False}],
        },
    ),
    "targeting": (
        f"{PRODUCTION}/flags/checkout",
        {"enabled": False, "off_variant": "off", "default": {"variant": "off"}},
    ),
    "segment": (f"{PROJECT}/segments/staff", {"name": "New"}),
    "policy": (
        f"{PROJECT}/policies/careful",
        {"stages": [{"percentage": 5}, {"percentage": 100}], "name": "New"},
    ),
}

DELETABLE = ("flag", "segment", "policy")


@pytest.mark.parametrize("what", UPDATES)
def test_an_update_needs_the_current_etag(checkout: Caller, store: Store, what: str) -> None:
    path, body = UPDATES[what]
    seen = checkout.get(path).headers["ETag"]
    before = stored_documents(store)
    for match, status, name in (
        (None, 428, "revision-required"),
        ('"999"', 412, "stale-revision"),
        ('W/"999"', 412, "stale-revision"),
        ('"x", "y"', 412, "stale-revision"),
        ("", 412, "stale-revision"),
    ):
        refused = checkout.put(path, body, match=match)
        assert (refused.status_code, slug(refused)) == (status, name), match
        assert "read" in refused.text.lower()
    assert stored_documents(store) == before
    assert checkout.put(path, body, match=f'"999", {seen}').status_code == 200
    assert checkout.put(path, body, match=seen).status_code == 412
    assert checkout.put(path, body, match="*").status_code == 200


@pytest.mark.parametrize("what", DELETABLE)
def test_a_deletion_needs_the_current_etag(checkout: Caller, store: Store, what: str) -> None:
    path, _ = UPDATES[what]
    if what == "flag":
        path += "?force=true"  # a flag that is not archived
    before = stored_documents(store)
    assert slug(checkout.delete(path)) == "revision-required"
    assert slug(checkout.delete(path, match='"999"')) == "stale-revision"
    assert stored_documents(store) == before
    assert checkout.delete(path, match=checkout.get(path).headers["ETag"]).status_code == 204
    assert slug(checkout.delete(path, match="*")) == "not-found"


@pytest.mark.parametrize("what", UPDATES)
def test_an_unchanged_response_is_304(checkout: Caller, what: str) -> None:
    path, body = UPDATES[what]
    seen = {"If-None-Match": checkout.get(path).headers["ETag"]}
    same = checkout.get(path, headers=seen)
    assert (same.status_code, same.data) == (304, b"")
    assert same.headers["ETag"] == seen["If-None-Match"]
    checkout.put(path, body, match="*")
    assert checkout.get(path, headers=seen).status_code == 200


def test_an_unchanged_list_is_304(checkout: Caller) -> None:
    seen = {"If-None-Match": checkout.get(f"{PROJECT}/flags").headers["ETag"]}
    assert checkout.get(f"{PROJECT}/flags", headers=seen).status_code == 304
    checkout.post_ok(f"{PROJECT}/flags", {"key": "search", "type": "boolean"})
    assert checkout.get(f"{PROJECT}/flags", headers=seen).status_code == 200
