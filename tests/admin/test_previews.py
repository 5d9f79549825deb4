"""Previews of edits and of releases, for the recently seen users of an environment."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from tidegate.seen_users import user_name
from tidegate_server.domain.change import Address
from tidegate_server.domain.kinds import Kind
from tidegate_server.sdk_api import services
from tidegate_server.sdk_api.wanted_users import SeenUserReports
from tidegate_server.store import Store
from tidegate_server.store.connection import Connection
from tidegate_server.web import backend
from tidegate_server.web.settings import ApiSettings

from tests.admin.test_instances import report
from tests.http_application import SECRET_KEY
from tests.http_calls import PRODUCTION, PROJECT, Caller, pointers, slug, stored_documents

USERS = 200
TARGETING = {"enabled": True, "off_variant": "off", "default": {"variant": "off"}}
PRO = {
    "id": "paying",
    "when": {"attribute": "plan", "operator": "equals", "value": "pro"},
    "serve": {"variant": "on"},
}


@pytest.fixture
def seen(checkout: Caller, sdk: Caller) -> Caller:
    """Return an admin of an environment where 200 users were seen, a quarter of them paying."""
    when = {"attribute": "plan", "operator": "in", "value": ["pro", "team"]}
    checkout.post_ok(f"{PROJECT}/segments", {"key": "paying", "when": when})
    body = {**TARGETING, "default": {"variant": "off"}}
    assert checkout.put(f"{PRODUCTION}/flags/checkout", body, match='"1"').status_code == 200
    wanted = ask(sdk)
    assert wanted["attributes"] == ["plan"]
    users = [
        {
            "user": user_name(wanted["secret"], f"user-{number}"),
            "attributes": {"plan": "pro" if number % 4 == 0 else "free", "email": "not asked for"},
        }
        for number in range(USERS)
    ]
    report(sdk, 2, seen_users=users)
    return checkout


def ask(sdk: Caller, **more: Any) -> Any:
    body = {
        **{"schema": 2, "instance": "f" * 32, "sequence": 1, "continues": False, "version": 1},
        **{"interval": 10, "sdk": "x", "host": "h", "pid": 1, "counts": [], "failing": []},
        **{"samples": [], **more},
    }
    return sdk.post_ok("/sdk/v1/reports", body)["seen_users"]


def test_a_preview_says_who_would_get_another_variant(seen: Caller) -> None:
    body = {**TARGETING, "rules": [PRO]}
    found = seen.post_ok(f"{PRODUCTION}/flags/checkout/preview", body)
    assert found["by"] == [{"flag": "checkout", "from": "off", "to": "on", "count": 50}]
    assert (found["seen"], found["changed"], found["population"]) == (USERS, 50, USERS)
    share = found["share"]
    assert share["low"] < share["seen"] == 0.25 < share["high"]
    assert "50 of 200 recently seen users (25.0 %)" in found["text"]
    assert found["flags"] == ["checkout"]


def test_a_preview_changes_nothing(seen: Caller, store: Store) -> None:
    before = stored_documents(store)
    seen.post_ok(f"{PRODUCTION}/flags/checkout/preview", {**TARGETING, "rules": [PRO]})
    seen.post_ok(f"{PRODUCTION}/segments/staff/preview", {"included": ["user-1"]})
    release = {"flag": "checkout", "treatment": "on", "policy": "careful"}
    seen.post_ok(f"{PRODUCTION}/releases/preview", release)
    assert stored_documents(store) == before


def test_a_preview_is_checked_like_the_edit(seen: Caller) -> None:
    body = {**TARGETING, "default": {"variant": "blue"}}
    answer = seen.post(f"{PRODUCTION}/flags/checkout/preview", body)
    assert (answer.status_code, pointers(answer)) == (422, ["/default/variant"])
    missing = seen.post(f"{PRODUCTION}/flags/nothing/preview", TARGETING)
    assert slug(missing) == "not-found"


def test_a_viewer_may_preview(seen: Caller) -> None:
    viewer = seen.token_for("viewer", "default", "production")
    assert viewer.post_ok(f"{PRODUCTION}/flags/checkout/preview", TARGETING)["changed"] == 0


def test_an_edit_of_a_segment_is_compared_for_the_flags_that_use_it(seen: Caller) -> None:
    rule = {"id": "staff", "when": {"segment": "staff"}, "serve": {"variant": "on"}}
    edited = seen.put(f"{PRODUCTION}/flags/checkout", {**TARGETING, "rules": [rule]}, match='"1"')
    assert edited.status_code == 200, edited.text
    body = {"included": ["user-1", "user-2", "someone"]}
    found = seen.post_ok(f"{PRODUCTION}/segments/staff/preview", body)
    assert found["by"] == [{"flag": "checkout", "from": "off", "to": "on", "count": 2}]


def test_the_start_of_a_release_and_its_next_stage_are_previewed(seen: Caller) -> None:
    body = {"flag": "checkout", "treatment": "on", "policy": "careful"}
    found = seen.post_ok(f"{PRODUCTION}/releases/preview", body)
    # 5 % of 200 users, within four standard deviations of a binomial distribution.
    assert 0 <= found["changed"] <= 10 + 4 * (200 * 0.05 * 0.95) ** 0.5
    release = seen.post_ok(f"{PRODUCTION}/releases", body)
    path = f"{PRODUCTION}/releases/{release['id']}/preview"
    advanced = seen.post_ok(path, {"action": "advance"})
    stopped = seen.post_ok(path, {"action": "rollback"})
    assert advanced["changed"] + stopped["changed"] == USERS
    assert slug(seen.post(path, {"action": "retry"})) == "not-possible"
    assert pointers(seen.post(path, {"action": "jump"})) == ["/action"]


def test_seen_users_are_listed_without_their_keys_and_with_what_rules_compare(
    seen: Caller,
) -> None:
    found = seen.get(f"{PRODUCTION}/seen-users?limit=500").json
    assert found is not None
    assert (found["total"], found["population"]) == (USERS, USERS)
    assert {tuple(each["attributes"]) for each in found["items"]} == {("plan",)}
    assert "user-" not in str(found)


def test_a_segment_says_how_many_seen_users_it_holds_where_the_caller_may_read(
    seen: Caller,
) -> None:
    path = f"{PROJECT}/segments/paying/seen-users"
    found = {each["environment"]: each for each in seen.get(path).json["items"]}  # type: ignore[index]
    assert (found["production"]["seen"], found["production"]["held"]) == (USERS, 50)
    assert "50 of 200 recently seen users (25.0 %)" in found["production"]["text"]
    assert (found["development"]["seen"], found["development"]["share"]) == (0, None)
    elsewhere = seen.token_for("viewer", "default", "development").get(path).json
    assert elsewhere is not None
    assert [each["environment"] for each in elsewhere["items"]] == ["development"]
    assert seen.get(f"{PROJECT}/segments/nobody/seen-users").status_code == 404


def test_an_environment_that_wants_no_users_forgets_those_it_has(
    seen: Caller, sdk: Caller, store: Store, app: Flask
) -> None:
    environment = store.get("default", Address(Kind.ENVIRONMENT, "production"))
    assert environment is not None
    edited = seen.put(PRODUCTION, {"report_seen_users": False}, match=f'"{environment.revision}"')
    assert edited.status_code == 200, edited.text
    found = seen.get(f"{PRODUCTION}/seen-users").json
    assert found is not None
    assert found["items"] == []
    preview = seen.post_ok(f"{PRODUCTION}/flags/checkout/preview", TARGETING)
    assert preview["seen"] == 0
    assert "does not let SDKs report users" in preview["caveats"][0]
    services.install(app, backend.install(app, store, ApiSettings(SECRET_KEY)))
    assert ask(sdk, sequence=2) is None
    assert store.seen_users.sample("default", "production").users == ()


def test_a_report_without_users_asks_the_store_for_nothing(
    seen: Caller, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports = SeenUserReports(store, SECRET_KEY)
    wanted = reports.take("default", "production", ())
    assert wanted is not None

    def asked(*_: Any) -> Any:
        raise AssertionError

    monkeypatch.setattr(Connection, "read", asked)
    assert reports.take("default", "production", ()) == wanted


@pytest.mark.parametrize(
    ("user", "pointer"),
    [
        ({"user": "ann", "attributes": {}}, "/seen_users/0/user"),
        ({"user": "0" * 16, "attributes": {"a": {"b": 1}}}, "/seen_users/0/attributes/a"),
        ({"user": "0" * 16, "attributes": {"a": "x" * 20_000}}, "/seen_users/0/attributes"),
        ({"user": "0" * 16, "attributes": {"a": 1e300}}, "/seen_users/0/attributes/a"),
        ({"user": "0" * 16, "attributes": {}, "lists": {"aa": 1}}, "/seen_users/0/lists/aa"),
        ({"user": "0" * 16, "attributes": {}, "lists": {"x y": True}}, "/seen_users/0/lists/x y"),
    ],
)
def test_what_no_sdk_sends_is_refused(sdk: Caller, user: Any, pointer: str) -> None:
    body = {
        **{"schema": 2, "instance": "f" * 32, "sequence": 1, "continues": False, "version": 1},
        **{"interval": 10, "sdk": "x", "host": "h", "pid": 1, "counts": [], "failing": []},
        **{"samples": [], "seen_users": [user]},
    }
    answer = sdk.post("/sdk/v1/reports", body)
    assert (answer.status_code, pointers(answer)) == (422, [pointer])
