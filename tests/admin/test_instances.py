"""Instances, the receipts of versions, and the kills in force."""

from __future__ import annotations

from typing import Any

import pytest

from tests.http_calls import PRODUCTION, PROJECT, Caller, pointers, slug


def report(sdk: Caller, number: int = 1, sequence: int = 1, **more: Any) -> None:
    body = {
        "schema": 2,
        "instance": f"{number:032x}",
        "sequence": sequence,
        "continues": sequence > 1,
        "version": 1,
        "interval": 10,
        "sdk": "tidegate-python/1",
        "host": "web-1",
        "pid": number,
        "counts": [],
        "failing": [],
        "samples": [],
        **more,
    }
    sdk.post_ok("/sdk/v1/reports", body)


def instances(admin: Caller, query: str = "") -> Any:
    answer = admin.get(f"{PRODUCTION}/instances?{query}")
    assert answer.status_code == 200, answer.text
    return answer.json


def make_versions(admin: Caller, count: int) -> int:
    """Make versions of the environment; return the last one."""
    for number in range(count):
        admin.post_ok(f"{PROJECT}/flags", {"key": f"flag-{number}", "type": "boolean"})
    return int(instances(admin)["version"])


def test_an_instance_says_what_it_is_and_since_when_it_runs(admin: Caller, sdk: Caller) -> None:
    report(sdk, application="checkout-api", uptime=60)
    [only] = instances(admin)["items"]
    assert (only["application"], only["token"]) == ("checkout-api", "a sdk")
    assert only["sdk"] == "tidegate-python/1"
    assert only["started_at"] < only["last_seen_at"]


@pytest.mark.parametrize("name", ["x" * 101, "a\x1b[31mred", "bell\x07"])
def test_a_name_that_would_spoil_a_list_is_refused(sdk: Caller, name: str) -> None:
    body = {"application": name, "instance": "a" * 32}
    refused = sdk.post("/sdk/v1/reports", body)
    assert refused.status_code == 422
    assert "/application" in pointers(refused)


def test_instances_are_filtered_by_whether_they_live_and_are_behind(
    admin: Caller, sdk: Caller
) -> None:
    version = make_versions(admin, 3)
    report(sdk, 1, version=version)
    report(sdk, 2, version=version - 1)
    report(sdk, 3, version=version - 2, leaving=True)
    found = {
        query: [each["pid"] for each in instances(admin, query)["items"]]
        for query in ("", "live=true", "live=false", "behind=true", "behind=false")
    }
    assert found == {
        "": [1, 2, 3],
        "live=true": [1, 2],
        "live=false": [3],
        "behind=true": [2, 3],
        "behind=false": [1],
    }
    one, two, three = instances(admin)["items"]
    assert one["behind_since"] is None
    assert three["behind_since"] <= two["behind_since"]
    assert instances(admin, "limit=1")["total"] == 3


def test_a_receipt_names_who_waits(admin: Caller, sdk: Caller) -> None:
    version = make_versions(admin, 2)
    for number in (1, 2):
        report(sdk, number, version=version - 1, application="shop")
    report(sdk, 1, 2, version=version)
    receipt = admin.get(f"{PRODUCTION}/receipts/{version}").json
    assert receipt is not None
    assert (receipt["live"], receipt["applied"], receipt["confirmed"]) == (2, 1, 1)
    assert receipt["action"] == "flag.create"
    assert receipt["slowest_ms"] >= receipt["median_ms"] >= 0
    [waiting] = receipt["waiting"]
    assert (waiting["pid"], waiting["application"], waiting["version"]) == (2, "shop", version - 1)


def test_a_version_that_is_still_to_come_has_no_receipt(admin: Caller) -> None:
    version = make_versions(admin, 1)
    refused = admin.get(f"{PRODUCTION}/receipts/{version + 1}")
    assert (refused.status_code, slug(refused)) == (404, "not-found")
    assert f"is at version {version}" in refused.text


def test_kills_in_force_are_listed_for_the_environments_that_one_may_read(admin: Caller) -> None:
    make_versions(admin, 2)
    other = f"{PROJECT}/environments/development"
    admin.post_ok(f"{PRODUCTION}/flags/flag-0/kill", {"reason": "errors"})
    admin.post_ok(f"{other}/flags/flag-1/kill", {"reason": "a test"})
    found = admin.get(f"{PROJECT}/kills").json
    assert found is not None
    assert [(each["environment"], each["flag"], each["serves"]) for each in found["items"]] == [
        ("development", "flag-1", "off"),
        ("production", "flag-0", "off"),
    ]
    assert found["items"][1]["killed"]["reason"] == "errors"
    local = admin.token_for("viewer", "default", "production").get(f"{PROJECT}/kills").json
    assert local is not None
    assert [each["flag"] for each in local["items"]] == ["flag-0"]
    admin.post_ok(f"{PRODUCTION}/flags/flag-0/restore", {})
    found = admin.get(f"{PROJECT}/kills").json
    assert found is not None
    assert [each["flag"] for each in found["items"]] == ["flag-1"]
