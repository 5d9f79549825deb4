"""Segments are created, replaced for everything that uses them, and deleted if unused."""

from __future__ import annotations

from tidegate_server.store import Store

from tests.http_calls import PRODUCTION, PROJECT, Caller, pointers, slug

PATH = f"{PROJECT}/segments/staff"
WHEN = {"attribute": "email", "operator": "ends_with", "value": "@example.com"}


def test_a_segment_is_created_read_replaced_and_deleted(admin: Caller, store: Store) -> None:
    created = admin.post(f"{PROJECT}/segments", {"key": "staff", "when": WHEN, "excluded": ["bob"]})
    assert created.status_code == 201
    assert created.json is not None
    assert (created.json["when"], created.json["excluded"]) == (WHEN, ["bob"])

    changed = admin.put(PATH, {"included": ["ann"]}, match='"1"')
    assert changed.json is not None
    assert (changed.json["when"], changed.json["included"]) == (None, ["ann"])
    assert admin.get(PATH).json == changed.json
    assert b'"ann"' in store.snapshot("default", "production").body

    assert admin.delete(PATH, match='"2"').status_code == 204
    assert admin.get(PATH).status_code == 404


def test_a_segment_in_use_cannot_be_deleted(checkout: Caller) -> None:
    targeting = {
        "enabled": True,
        "off_variant": "off",
        "default": {"variant": "off"},
        "rules": [{"id": "staff", "when": {"segment": "staff"}, "serve": {"variant": "on"}}],
    }
    assert checkout.put(f"{PRODUCTION}/flags/checkout", targeting, match='"1"').status_code == 200
    refused = checkout.delete(PATH, match='"1"')
    assert (refused.status_code, slug(refused)) == (409, "not-possible")
    assert "checkout" in refused.text


def test_a_segment_cannot_contain_itself(checkout: Caller) -> None:
    checkout.post_ok(f"{PROJECT}/segments", {"key": "friends", "when": {"segment": "staff"}})
    refused = checkout.put(PATH, {"when": {"all": [{"segment": "friends"}]}}, match='"1"')
    assert refused.status_code == 422
    assert pointers(refused) == ["/when"]
