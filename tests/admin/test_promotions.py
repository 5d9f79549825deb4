"""Flags are promoted as they were planned, all of them or none; and copied."""

from __future__ import annotations

from typing import Any

import pytest
from tidegate_server.store import Store
from werkzeug.test import TestResponse

from tests.admin.guarded import protect
from tests.http_calls import PRODUCTION, PROJECT, SET_BY_SERVER, Caller, pointers, slug

STAGING = f"{PROJECT}/environments/staging"
PROMOTE = f"{PRODUCTION}/promote"
RULE = {"id": "staff", "when": {"segment": "staff"}, "serve": {"variant": "on"}}


@pytest.fixture
def staging(checkout: Caller) -> Caller:
    """Return the admin of a server whose flag serves something else in staging."""
    checkout.post_ok(f"{PROJECT}/flags", {"key": "base", "type": "boolean"})
    checkout.post_ok(f"{PROJECT}/environments", {"key": "staging"})
    target(checkout, STAGING, "checkout", default={"variant": "on"}, rules=[RULE])
    return checkout


def shown(caller: Caller, place: str, flag: str) -> dict[str, Any]:
    read: dict[str, Any] | None = caller.get(f"{place}/flags/{flag}").json
    assert read is not None
    return read


def target(caller: Caller, place: str, flag: str, **changes: Any) -> None:
    present = shown(caller, place, flag)
    body = {name: value for name, value in present.items() if name not in SET_BY_SERVER}
    answer = caller.put(f"{place}/flags/{flag}", {**body, **changes}, match="*")
    assert answer.status_code == 200, answer.text


def plan(caller: Caller, *flags: str) -> Any:
    body = {"from": "staging", "flags": list(flags or ("checkout",))}
    return caller.post_ok(f"{PROMOTE}?plan=true", body)


def carry_out(caller: Caller, planned: Any) -> TestResponse:
    return caller.post(
        PROMOTE,
        {
            "from": planned["from"],
            "flags": [each["flag"] for each in planned["flags"]],
            "revisions": {each["flag"]: each["revisions"] for each in planned["flags"]},
        },
    )


def test_a_plan_shows_the_difference_and_changes_nothing(staging: Caller, store: Store) -> None:
    before = store.version("default", "production")
    [flag] = plan(staging)["flags"]
    assert {each["pointer"] for each in flag["changes"]} == {"/default/variant", "/rules/0"}
    assert any("default" in each["text"] for each in flag["changes"])
    assert store.version("default", "production") == before


def test_a_plan_is_carried_out_as_one_commit(staging: Caller, store: Store) -> None:
    target(staging, STAGING, "base", default={"variant": "on"})
    planned = plan(staging, "checkout", "base")
    before = store.version("default", "production")
    promoted = carry_out(staging, planned)
    assert promoted.status_code == 200, promoted.text
    assert promoted.json is not None
    assert promoted.json["applied"]
    assert store.version("default", "production") == before + 1
    for key in ("checkout", "base"):
        here, there = shown(staging, PRODUCTION, key), shown(staging, STAGING, key)
        assert (here["default"], here["rules"]) == (there["default"], there["rules"])
    audit = staging.get(f"{PROJECT}/audit?action=flag.promote").json
    assert audit is not None
    [entry] = audit["items"]
    assert {each["key"] for each in entry["documents"]} == {"checkout", "base"}
    again = carry_out(staging, plan(staging, "checkout", "base"))
    assert again.json is not None
    assert not again.json["applied"]


@pytest.mark.parametrize("place", [STAGING, PRODUCTION])
def test_what_changed_since_the_plan_stops_it(staging: Caller, place: str) -> None:
    planned = plan(staging)
    target(staging, place, "checkout", enabled=False)
    before = shown(staging, PRODUCTION, "checkout")
    refused = carry_out(staging, planned)
    assert refused.status_code == 409
    assert "Plan again" in refused.text
    assert shown(staging, PRODUCTION, "checkout") == before


def test_a_promotion_without_a_plan_is_refused(staging: Caller) -> None:
    refused = staging.post(PROMOTE, {"from": "staging", "flags": ["checkout"]})
    assert refused.status_code == 428
    unknown = staging.post(PROMOTE, {"from": "nowhere", "flags": ["checkout"]})
    assert unknown.status_code == 404
    assert "plan=true" in refused.text


def test_a_kill_and_a_release_stay(staging: Caller) -> None:
    staging.post_ok(f"{PRODUCTION}/flags/checkout/kill", {"reason": "customers cannot pay"})
    [flag] = plan(staging)["flags"]
    assert flag["killed"]
    carried = carry_out(staging, plan(staging))
    assert carried.status_code == 200, carried.text
    here = shown(staging, PRODUCTION, "checkout")
    assert here["killed"] is not None
    assert here["default"] == {"variant": "on"}


def test_all_flags_are_promoted_or_none(staging: Caller) -> None:
    body = {"flag": "base", "treatment": "on", "policy": "careful"}
    staging.post_ok(f"{PRODUCTION}/releases", body)
    target(staging, STAGING, "base", default={"variant": "on"})
    planned = plan(staging, "checkout", "base")
    refusals = {each["flag"]: each["problems"] for each in planned["flags"]}
    assert refusals["checkout"] == []
    assert refusals["base"]
    refused = carry_out(staging, planned)
    assert refused.status_code == 422
    assert all(each.startswith("/flags/1") for each in pointers(refused))
    assert shown(staging, PRODUCTION, "checkout")["default"] == {"variant": "off"}


def test_flags_that_need_each_other_are_promoted_in_any_order(staging: Caller) -> None:
    needs = [{"flag": "checkout", "variants": ["on"]}]
    target(staging, PRODUCTION, "checkout", prerequisites=[{"flag": "base", "variants": ["on"]}])
    target(staging, STAGING, "base", prerequisites=needs)
    for flags in (("base", "checkout"), ("checkout", "base")):
        planned = plan(staging, *flags)
        assert [each["problems"] for each in planned["flags"]] == [[], []]
    assert carry_out(staging, planned).status_code == 200
    assert shown(staging, PRODUCTION, "base")["prerequisites"] == needs


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"from": "production"}, "/from"),
        ({"flags": ["checkout", "checkout"]}, "/flags/1"),
        ({"flags": []}, "/flags"),
    ],
)
def test_what_makes_no_sense_is_refused_by_pointer(
    staging: Caller, changes: dict[str, Any], pointer: str
) -> None:
    body = {"from": "staging", "flags": ["checkout"], **changes}
    refused = staging.post(f"{PROMOTE}?plan=true", body)
    assert (refused.status_code, pointers(refused)) == (422, [pointer])


def test_a_caller_must_be_allowed_to_read_where_it_comes_from(staging: Caller) -> None:
    here = staging.token_for("developer", "default", "production")
    refused = here.post(f"{PROMOTE}?plan=true", {"from": "staging", "flags": ["checkout"]})
    assert refused.status_code == 403
    there = staging.token_for("developer", "default", "staging")
    elsewhere = there.post(f"{PROMOTE}?plan=true", {"from": "staging", "flags": ["checkout"]})
    assert elsewhere.status_code == 403


def test_a_promotion_to_a_protected_environment_needs_approval(staging: Caller) -> None:
    protect(staging)
    assert slug(carry_out(staging, plan(staging))) == "approval-required"


def test_a_copy_serves_what_the_flag_serves(staging: Caller) -> None:
    staging.post_ok(f"{STAGING}/flags/checkout/kill", {"reason": "x"})
    made = staging.post_ok(f"{PROJECT}/flags/checkout/copy", {"key": "checkout-2"})
    assert (made["salt"], made["variants"]) == (
        "checkout-2",
        staging.get(f"{PROJECT}/flags/checkout").json["variants"],  # type: ignore[index]
    )
    copied, original = shown(staging, STAGING, "checkout-2"), shown(staging, STAGING, "checkout")
    assert copied["rules"] == original["rules"] == [RULE]
    assert copied["killed"] is None
    body = {"key": "checkout-3", "name": "Third", "same_buckets": True}
    third = staging.post_ok(f"{PROJECT}/flags/checkout/copy", body)
    assert (third["salt"], third["name"]) == ("checkout", "Third")
    taken = staging.post(f"{PROJECT}/flags/checkout/copy", {"key": "base"})
    assert slug(taken) == "already-exists"


def test_sdks_get_a_copy_as_it_serves(staging: Caller, store: Store) -> None:
    staging.post_ok(f"{PROJECT}/flags/checkout/copy", {"key": "checkout-2"})
    body = store.snapshot("default", "staging").body.decode()
    assert '"checkout-2"' in body
