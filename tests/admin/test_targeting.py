"""Targeting is replaced as a whole; the kill and the release are not part of it."""

from __future__ import annotations

import json
from typing import Any

from tidegate_server.store import Store

from tests.http_calls import PRODUCTION, PROJECT, Caller, pointers

PATH = f"{PRODUCTION}/flags/checkout"

TARGETING: dict[str, Any] = {
    "enabled": True,
    "off_variant": "off",
    "kill_variant": "off",
    "default": {"split": [{"variant": "on", "weight": 12.5}, {"variant": "off", "weight": 87.5}]},
    "rules": [
        {
            "id": "Staff",
            "when": {
                "any": [
                    {"segment": "staff"},
                    {"attribute": "address.country", "operator": "in", "value": ["DE", "AT"]},
                    {"none": [{"attribute": "plan", "operator": "exists"}]},
                ]
            },
            "serve": {"variant": "on"},
        }
    ],
    "prerequisites": [],
}


def test_targeting_is_read_as_it_was_written(checkout: Caller) -> None:
    changed = checkout.put(PATH, TARGETING, match=checkout.get(PATH).headers["ETag"])
    assert changed.status_code == 200
    read = checkout.get(PATH)
    assert read.json == changed.json
    assert read.headers["ETag"] == changed.headers["ETag"] == '"2"'
    assert read.json is not None
    returned = {key: read.json[key] for key in TARGETING}
    condition = returned["rules"][0]["when"]["any"][2]["none"][0]
    condition.pop("value", None)
    assert returned == TARGETING


def test_targeting_changes_only_its_environment(checkout: Caller, store: Store) -> None:
    before = {env: store.version("default", env) for env in ("development", "production")}
    checkout.put(PATH, TARGETING, match='"1"')
    assert store.version("default", "development") == before["development"]
    assert store.version("default", "production") == before["production"] + 1
    flag = json.loads(store.snapshot("default", "production").body)["flags"]["checkout"]
    assert flag["rules"][0]["id"] == "Staff"


def test_replacing_the_targeting_keeps_a_kill(checkout: Caller) -> None:
    checkout.post_ok(f"{PATH}/kill", {"reason": "smoke"})
    changed = checkout.put(PATH, TARGETING, match=checkout.get(PATH).headers["ETag"])
    assert changed.status_code == 200
    assert changed.json is not None
    assert changed.json["killed"]["reason"] == "smoke"
    refused = checkout.put(PATH, {**TARGETING, "killed": None}, match=changed.headers["ETag"])
    assert refused.status_code == 422
    assert pointers(refused) == ["/killed"]


def test_the_list_has_all_flags_of_an_environment(checkout: Caller) -> None:
    checkout.post_ok(f"{PROJECT}/flags", {"key": "search", "type": "boolean"})
    listed = checkout.get(f"{PRODUCTION}/flags").json
    assert listed is not None
    assert [item["flag"] for item in listed["items"]] == ["checkout", "search"]


def test_the_error_names_every_invalid_field(checkout: Caller) -> None:
    wrong = {
        **TARGETING,
        "enabled": 1,
        "rules": [
            {"id": "a", "when": {"all": [{"segment": 5}]}, "serve": {"variant": "on"}},
            {"id": "b", "when": {"all": []}, "serve": {}},
            {"id": "c", "when": {"all": [], "any": []}, "serve": {"variant": "on"}, "x": 1},
        ],
    }
    refused = checkout.put(PATH, wrong, match='"1"')
    assert refused.status_code == 422
    assert set(pointers(refused)) == {
        "/enabled",
        "/rules/0/when/all/0/segment",
        "/rules/1/serve",
        "/rules/2/when",
        "/rules/2/x",
    }


def test_a_rule_about_another_spelling_of_the_targeting_key_is_refused(checkout: Caller) -> None:
    at = f"{PRODUCTION}/flags/checkout"
    read = checkout.get(at)
    assert read.json is not None
    assert read.json["warnings"] == []
    fields = ("enabled", "off_variant", "default", "prerequisites")
    body = {name: read.json[name] for name in fields}

    def rules(attribute: str) -> list[dict[str, Any]]:
        when = {"attribute": attribute, "operator": "equals", "value": "ann"}
        return [{"id": "ann", "when": when, "serve": {"variant": "on"}}]

    refused = checkout.put(
        at, {**body, "rules": rules("targeting_key")}, match=read.headers["ETag"]
    )
    assert (refused.status_code, pointers(refused)) == (422, ["/rules/0/when/attribute"])
    assert refused.json is not None
    assert "Did you mean targetingKey?" in refused.json["detail"]
    taken = checkout.put(at, {**body, "rules": rules("key")}, match=read.headers["ETag"])
    assert taken.json is not None
    assert [each["pointer"] for each in taken.json["warnings"]] == ["/rules/0/when/attribute"]


def test_the_flags_that_need_a_flag_are_listed(checkout: Caller) -> None:
    for key in ("above", "gone", "apart"):
        checkout.post_ok(f"{PROJECT}/flags", {"key": key, "type": "boolean"})
    needs = [{"flag": "checkout", "variants": ["on"]}]
    for key in ("above", "gone"):
        path = f"{PRODUCTION}/flags/{key}"
        targeting = {"enabled": True, "off_variant": "off", "default": {"variant": "on"}}
        etag = checkout.get(path).headers["ETag"]
        put = checkout.put(path, {**targeting, "prerequisites": needs}, match=etag)
        assert put.status_code == 200, put.text
    assert checkout.post(f"{PROJECT}/flags/gone/archive").status_code == 200
    dependents = checkout.get(f"{PRODUCTION}/flags/checkout/dependents").json
    assert dependents is not None
    assert dependents["items"] == [{"flag": "above", "variants": ["on"]}]
    assert checkout.get(f"{PRODUCTION}/flags/nothing/dependents").status_code == 404
