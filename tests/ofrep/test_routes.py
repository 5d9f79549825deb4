"""The routes of the remote evaluation protocol, on a real store."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from flask import Flask
from tidegate_server.errors import StoreUnavailable
from tidegate_server.ofrep.environment_cache import CachedEnvironment
from tidegate_server.ofrep.services import OfrepServices
from tidegate_server.store import Store
from werkzeug.test import TestResponse

from tests.http_calls import PRODUCTION, PROJECT, SET_BY_SERVER, Caller, slug

ALL = "/ofrep/v1/evaluate/flags"
ANN = {"context": {"targetingKey": "ann", "plan": "pro"}}

FLAGS: list[dict[str, Any]] = [
    {"key": "checkout", "type": "boolean", "client_side": True, "metadata": {"owner": "shop"}},
    {
        "key": "banner",
        "type": "string",
        "variants": [{"key": "red", "value": "#f00"}, {"key": "blue", "value": "#00f"}],
        "client_side": True,
    },
    {
        "key": "page-size",
        "type": "number",
        "variants": [{"key": "few", "value": 20}, {"key": "many", "value": 50}],
    },
    {
        "key": "discount",
        "type": "number",
        "variants": [{"key": "none", "value": 0.0}, {"key": "some", "value": 2.5}],
    },
    {
        "key": "limits",
        "type": "object",
        "variants": [
            {"key": "low", "value": {"rate": 1, "burst": [1, 2.0, None]}},
            {"key": "high", "value": {}},
        ],
    },
    {
        "key": "unset",
        "type": "string",
        "variants": [{"key": "code", "value": None}, {"key": "set", "value": "x"}],
        "client_side": True,
    },
]


def change_targeting(admin: Caller, flag: str, **change: Any) -> None:
    """Change what a flag serves in production."""
    at = f"{PRODUCTION}/flags/{flag}"
    read = admin.get(at)
    assert read.json is not None
    body = {name: value for name, value in read.json.items() if name not in SET_BY_SERVER}
    changed = admin.put(at, {**body, **change}, match=read.headers["ETag"])
    assert changed.status_code == 200, changed.text


@pytest.fixture
def flags(admin: Caller) -> Caller:
    """Return the admin of a server with a flag of every type."""
    for flag in FLAGS:
        admin.post_ok(f"{PROJECT}/flags", flag)
    return admin


@pytest.fixture
def web(admin: Caller) -> Caller:
    """Return a client that evaluates in production."""
    return admin.token_for("client", "default", "production")


def keys(response: TestResponse) -> list[str]:
    assert response.status_code == 200, response.text
    assert response.json is not None
    return [flag["key"] for flag in response.json["flags"]]


def production(app: Flask) -> CachedEnvironment:
    services: OfrepServices = app.extensions["tidegate.ofrep"]
    return services.environments.get(("default", "production"))


def wait_for_version(app: Flask, version: int) -> None:
    """Wait until the process has a version of production."""
    environment = production(app)
    listener = environment.listen()
    while environment.current().compiled.version < version:
        listener.wait(5.0)
    listener.close()


def wait_for_store_version(app: Flask, store: Store) -> None:
    """Wait until the process has the store's version of production."""
    wait_for_version(app, store.version("default", "production"))


# One flag ----------------------------------------------------------------------------


def test_a_flag_is_evaluated(flags: Caller, sdk: Caller) -> None:
    response = sdk.post(f"{ALL}/banner", ANN)
    assert response.status_code == 200
    assert response.mimetype == "application/json"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.json == {
        "key": "banner",
        "value": "#f00",
        "reason": "STATIC",
        "variant": "red",
        "metadata": {"flagVersion": 2},
    }


def test_an_evaluation_carries_what_the_flags_author_wrote(flags: Caller, web: Caller) -> None:
    response = web.post(f"{ALL}/checkout", ANN).json
    assert response is not None
    assert response["metadata"] == {"owner": "shop", "flagVersion": 2}


@pytest.mark.parametrize(
    ("flag", "text"),
    [
        ("checkout", '"value":false'),
        ("page-size", '"value":20,'),
        ("discount", '"value":0.0'),
        ("limits", '"value":{"rate":1,"burst":[1,2.0,null]}'),
    ],
)
def test_values_keep_their_json_form(flags: Caller, sdk: Caller, flag: str, text: str) -> None:
    assert text in sdk.post(f"{ALL}/{flag}", ANN).text


def test_a_variant_without_a_value_has_no_value_in_the_response(flags: Caller, sdk: Caller) -> None:
    response = sdk.post(f"{ALL}/unset", ANN).json
    assert response is not None
    assert "value" not in response
    assert (response["variant"], response["reason"]) == ("code", "STATIC")


def test_the_context_decides(flags: Caller, sdk: Caller) -> None:
    pro = {"attribute": "plan", "operator": "equals", "value": "pro"}
    change_targeting(
        flags, "banner", rules=[{"id": "pro", "when": pro, "serve": {"variant": "blue"}}]
    )
    for context, variant, reason in (
        ({"plan": "pro"}, "blue", "TARGETING_MATCH"),
        ({"plan": "free"}, "red", "DEFAULT"),
        ({}, "red", "DEFAULT"),
    ):
        response = sdk.post(f"{ALL}/banner", {"context": context}).json
        assert response is not None
        assert (response["variant"], response["reason"]) == (variant, reason)


def test_the_body_is_optional_and_may_have_further_fields(flags: Caller, sdk: Caller) -> None:
    assert sdk.post(f"{ALL}/banner").status_code == 200
    assert sdk.post(f"{ALL}/banner", {}).status_code == 200
    assert sdk.post(f"{ALL}/banner", {**ANN, "anything": ["else"]}).status_code == 200


@pytest.mark.parametrize("key", ["nope", "a/b", "%20", "..."])
def test_an_unknown_flag_is_not_found(flags: Caller, sdk: Caller, key: str) -> None:
    response = sdk.post(f"{ALL}/{key}", ANN)
    assert response.status_code == 404
    assert response.json is not None
    assert response.json["errorCode"] == "FLAG_NOT_FOUND"
    assert response.json["key"] == key.replace("%20", " ")


def test_a_percentage_needs_a_targeting_key(flags: Caller, sdk: Caller) -> None:
    split = [{"variant": "red", "weight": 50}, {"variant": "blue", "weight": 50}]
    change_targeting(flags, "banner", default={"split": split})
    response = sdk.post(f"{ALL}/banner", {"context": {"plan": "pro"}})
    assert response.status_code == 400
    assert response.json is not None
    assert (response.json["key"], response.json["errorCode"]) == ("banner", "TARGETING_KEY_MISSING")
    response = sdk.post(f"{ALL}/banner", ANN)
    assert response.json is not None
    assert response.json["reason"] == "SPLIT"


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ({"data": "{", "content_type": "application/json"}, "PARSE_ERROR"),
        ({"data": '{"a":1,"a":2}', "content_type": "application/json"}, "PARSE_ERROR"),
        ({"data": "[]", "content_type": "application/json"}, "PARSE_ERROR"),
        ({"data": "{}", "content_type": "text/plain"}, "PARSE_ERROR"),
        ({"data": b"\xff", "content_type": "application/json"}, "PARSE_ERROR"),
        ({"data": b" " * (2**20 + 1), "content_type": "application/json"}, "PARSE_ERROR"),
        ({"json": {"context": "ann"}}, "INVALID_CONTEXT"),
        ({"json": {"context": None}}, "INVALID_CONTEXT"),
        ({"json": {"context": {"targetingKey": 7}}}, "INVALID_CONTEXT"),
    ],
)
def test_an_invalid_body_is_a_bad_request(
    flags: Caller, sdk: Caller, sent: dict[str, Any], code: str
) -> None:
    for path in (f"{ALL}/banner", ALL):
        response = sdk.post(path, **sent)
        assert (response.status_code, response.mimetype) == (400, "application/json")
        assert response.json is not None
        assert response.json["errorCode"] == code
        assert response.json["errorDetails"]
        assert response.json.get("key") == ("banner" if path != ALL else None)


# All flags ---------------------------------------------------------------------------


def test_all_flags_are_evaluated_at_once(flags: Caller, sdk: Caller) -> None:
    response = sdk.post(ALL, ANN)
    assert keys(response) == sorted(flag["key"] for flag in FLAGS)
    assert response.json is not None
    for flag in response.json["flags"]:
        assert sdk.post(f"{ALL}/{flag['key']}", ANN).json == flag


def test_a_flag_that_cannot_be_evaluated_fails_alone(flags: Caller, sdk: Caller) -> None:
    split = [{"variant": "red", "weight": 50}, {"variant": "blue", "weight": 50}]
    change_targeting(flags, "banner", default={"split": split})
    response = sdk.post(ALL, {})
    assert len(keys(response)) == len(FLAGS)
    assert response.json is not None
    failed = {
        each["key"]: each["errorCode"] for each in response.json["flags"] if "errorCode" in each
    }
    assert failed == {"banner": "TARGETING_KEY_MISSING"}


def test_an_unchanged_response_is_304(flags: Caller, sdk: Caller) -> None:
    etag = sdk.post(ALL, ANN).headers["ETag"]
    same = sdk.post(ALL, ANN, headers={"If-None-Match": etag})
    assert (same.status_code, same.data, same.headers["ETag"]) == (304, b"", etag)
    several = sdk.post(ALL, ANN, headers={"If-None-Match": f'"x", W/{etag}'})
    assert several.status_code == 304


def test_the_etag_changes_with_the_flags(
    flags: Caller, sdk: Caller, app: Flask, store: Store
) -> None:
    seen = {"If-None-Match": sdk.post(ALL, ANN).headers["ETag"]}
    change_targeting(flags, "banner", default={"variant": "blue"})
    wait_for_store_version(app, store)
    changed = sdk.post(ALL, ANN, headers=seen)
    assert "banner" in keys(changed)
    assert changed.headers["ETag"] != seen["If-None-Match"]


def test_the_etag_depends_on_the_context(flags: Caller, sdk: Caller) -> None:
    seen = {"If-None-Match": sdk.post(ALL, ANN).headers["ETag"]}
    bob = {"context": {"targetingKey": "bob"}}
    assert sdk.post(ALL, bob, headers=seen).status_code == 200
    assert sdk.post(ALL, ANN, headers=seen).status_code == 304


def test_a_change_without_effect_keeps_the_etag(
    flags: Caller, sdk: Caller, app: Flask, store: Store
) -> None:
    seen = {"If-None-Match": sdk.post(ALL, ANN).headers["ETag"]}
    flags.post_ok(f"{PROJECT}/segments", {"key": "staff", "included": ["zoe"]})
    wait_for_store_version(app, store)
    assert sdk.post(ALL, ANN, headers=seen).status_code == 304


def test_an_event_of_another_change_gets_a_whole_response(
    flags: Caller, sdk: Caller, app: Flask, store: Store
) -> None:
    seen = {"If-None-Match": sdk.post(ALL, ANN).headers["ETag"]}
    version = store.version("default", "production")
    for etag, status in (
        (f'"{version}"', 304),
        (f"{version}", 304),
        (f'W/"{version}"', 304),
        ("", 304),
        (f'"{version - 1}"', 200),
        ("something", 200),
    ):
        query = {"flagConfigEtag": etag, "flagConfigLastModified": "1771622898"}
        response = sdk.post(ALL, ANN, headers=seen, query_string=query)
        assert response.status_code == status, etag


def test_an_evaluation_waits_for_the_version_of_its_event(
    flags: Caller, sdk: Caller, app: Flask, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may send the event before this one has the change."""
    environment = production(app)
    environment.current()
    waits = threading.Event()
    apply = environment._apply
    monkeypatch.setattr(environment, "_apply", lambda update: (waits.wait(5.0), apply(update)))
    change_targeting(flags, "banner", default={"variant": "blue"})
    version = store.version("default", "production")
    stale = sdk.post(f"{ALL}/banner", ANN).json
    assert stale is not None
    assert stale["variant"] == "red"
    threading.Timer(0.05, waits.set).start()
    fresh = sdk.post(f"{ALL}/banner", ANN, query_string={"flagConfigEtag": f'"{version}"'}).json
    assert fresh is not None
    assert fresh["variant"] == "blue"


def test_an_evaluation_does_not_wait_for_a_version_that_does_not_exist(
    flags: Caller, sdk: Caller
) -> None:
    response = sdk.post(f"{ALL}/banner", ANN, query_string={"flagConfigEtag": '"999999"'})
    assert response.status_code == 200


# Tokens ------------------------------------------------------------------------------


def test_evaluations_need_a_known_token(flags: Caller) -> None:
    for path in (f"{ALL}/banner", ALL, "/ofrep/v1/track"):
        for token in (None, "tg_client_nobody_0123456789abcdef0123456789abcdef"):
            refused = Caller(flags.client, token).post(path, ANN)
            assert (refused.status_code, slug(refused)) == (401, "unauthenticated")


@pytest.mark.parametrize("role", ["admin", "writer", "reader"])
def test_other_roles_may_not_evaluate(flags: Caller, role: str) -> None:
    other = flags.token_for(role, "default", "production")
    for path in (f"{ALL}/banner", ALL, "/ofrep/v1/track"):
        refused = other.post(path, ANN)
        assert (refused.status_code, slug(refused)) == (403, "forbidden")


def test_a_token_may_be_sent_as_an_api_key(flags: Caller, sdk: Caller) -> None:
    assert sdk.token is not None
    nameless = Caller(flags.client, None)
    assert nameless.post(ALL, ANN, headers={"X-API-Key": sdk.token}).status_code == 200
    assert nameless.post(ALL, ANN, headers={"X-API-Key": "x"}).status_code == 401


def test_a_client_sees_only_flags_available_to_clients(flags: Caller, web: Caller) -> None:
    assert keys(web.post(ALL, ANN)) == ["banner", "checkout", "unset"]
    for hidden in ("limits", "page-size"):
        response = web.post(f"{ALL}/{hidden}", ANN)
        unknown = web.post(f"{ALL}/nope", ANN)
        assert response.status_code == unknown.status_code == 404
        assert response.text.replace(hidden, "nope") == unknown.text


def test_a_client_sees_no_rules_and_segments(flags: Caller, web: Caller) -> None:
    segment = {"key": "secret-people", "included": ["eve"]}
    flags.post_ok(f"{PROJECT}/segments", segment)
    rule = {"id": "secret-rule", "when": {"segment": "secret-people"}, "serve": {"variant": "blue"}}
    change_targeting(flags, "banner", rules=[rule])
    eve = {"context": {"targetingKey": "eve"}}
    for response in (web.post(ALL, eve), web.post(f"{ALL}/banner", eve)):
        assert "TARGETING_MATCH" in response.text
        assert "secret" not in response.text


def test_an_sdk_token_sees_the_rule_id(flags: Caller, sdk: Caller) -> None:
    everyone: dict[str, Any] = {"id": "everyone", "when": {"all": []}, "serve": {"variant": "blue"}}
    change_targeting(flags, "banner", rules=[everyone])
    response = sdk.post(f"{ALL}/banner", ANN).json
    assert response is not None
    assert response["metadata"]["ruleId"] == "everyone"


def test_a_flag_can_be_made_available_to_clients_and_hidden_again(
    flags: Caller, web: Caller, app: Flask, store: Store
) -> None:
    etag = web.post(ALL, ANN).headers["ETag"]
    for client_side, known in ((True, True), (False, False)):
        read = flags.get(f"{PROJECT}/flags/limits")
        body = {**FLAGS[4], "client_side": client_side}
        changed = flags.put(f"{PROJECT}/flags/limits", body, match=read.headers["ETag"])
        assert changed.status_code == 200, changed.text
        wait_for_store_version(app, store)
        response = web.post(ALL, ANN, headers={"If-None-Match": etag})
        assert (response.status_code == 200) is known
        etag = response.headers["ETag"] if not known else etag


def test_an_unreadable_flag_hides_its_reason_from_clients(
    flags: Caller, web: Caller, sdk: Caller, store: Store
) -> None:
    snapshot = ("tg:{default}:snapshot:production", "flag:banner")
    # Not with the store, which keeps the snapshot that it has read.
    kept = store._connection.client.hget(*snapshot)
    assert kept is not None
    broken = {**json.loads(kept), "default": {"variant": "gone"}}
    store._connection.client.hset(*snapshot, json.dumps(broken))
    for caller, words in ((sdk, "gone"), (web, "cannot be read")):
        response = caller.post(f"{ALL}/banner", ANN)
        assert response.status_code == 400
        assert response.json is not None
        assert response.json["errorCode"] == "PARSE_ERROR"
        assert words in response.json["errorDetails"]
    assert "gone" not in web.post(f"{ALL}/banner", ANN).text


def test_a_rate_limited_response_says_when_to_retry(flags: Caller) -> None:
    token = {"name": "web", "role": "client", "project": "default", "environment": "production"}
    created = flags.post_ok("/api/v1/tokens", {**token, "rate_limit": 2})
    limited = Caller(flags.client, created["secret"])
    etag = limited.post(ALL, ANN).headers["ETag"]
    assert limited.post(ALL, ANN, headers={"If-None-Match": etag}).status_code == 304
    for path in (ALL, f"{ALL}/banner", "/ofrep/v1/track"):
        refused = limited.post(path, ANN)
        assert (refused.status_code, slug(refused)) == (429, "rate-limited")
        assert 1 <= int(refused.headers["Retry-After"]) <= 30


# Outages -----------------------------------------------------------------------------


def test_evaluations_go_on_while_the_store_is_down(
    flags: Caller, sdk: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sdk.post(ALL, ANN).status_code == 200

    def unavailable(*_: Any) -> Any:
        raise StoreUnavailable("The store cannot be used now.")

    for name in ("get", "version", "snapshot"):
        monkeypatch.setattr(Store, name, unavailable)
    assert sdk.post(ALL, ANN).status_code == 200
    assert sdk.post(f"{ALL}/banner", ANN, query_string={"flagConfigEtag": "999"}).status_code == 200


def test_an_environment_that_was_never_read_is_a_server_error(
    flags: Caller, sdk: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unavailable(*_: Any) -> Any:
        raise StoreUnavailable("The store cannot be used now.")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "snapshot", unavailable)
        failed = sdk.post(f"{ALL}/banner", ANN)
        assert (failed.status_code, failed.headers["Retry-After"]) == (500, "1")
        assert failed.json is not None
        assert (failed.json["key"], failed.json["errorCode"]) == ("banner", "GENERAL")
    assert sdk.post(f"{ALL}/banner", ANN).status_code == 200


def test_a_server_error_hides_its_cause(
    flags: Caller, sdk: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: Any) -> Any:
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr("tidegate_server.ofrep.evaluations.evaluate_all_flags", crash)
    failed = sdk.post(ALL, ANN)
    assert (failed.status_code, failed.mimetype) == (500, "application/json")
    assert failed.json is not None
    assert failed.json["errorCode"] == "GENERAL"
    assert "secret" not in failed.text


# Evaluation counts ---------------------------------------------------------------------


def test_an_archived_flag_that_pages_still_ask_for_says_so(
    flags: Caller, web: Caller, app: Flask
) -> None:
    body = {"key": "promo", "type": "boolean", "client_side": True}
    flags.post_ok(f"{PROJECT}/flags", body)
    flags.post_ok(f"{PROJECT}/flags/promo/archive", {})
    answer = web.post(f"{ALL}/promo", ANN).json
    assert answer is not None
    assert answer["errorCode"] == "FLAG_NOT_FOUND"
    assert "or it is archived" in answer["errorDetails"]
    web.post(f"{ALL}/made-up-by-a-client", ANN)
    services: OfrepServices = app.extensions["tidegate.ofrep"]
    services.environments.get(("default", "production"))._report(leaving=True)
    found = flags.get(f"{PROJECT}/flags/promo").json
    assert found is not None
    [warning] = found["warnings"]
    assert "Asked for in production by 'remote evaluation by clients'" in warning["detail"]
    refused = flags.delete(f"{PROJECT}/flags/promo", match="*")
    assert slug(refused) == "not-possible"


def test_remote_evaluations_count_for_their_flags(
    flags: Caller, sdk: Caller, web: Caller, app: Flask
) -> None:
    for _ in range(3):
        sdk.post(f"{ALL}/banner", ANN)
    sdk.post(f"{ALL}/gone", ANN)
    web.post(f"{ALL}/made-up-by-a-client", ANN)
    web.post(ALL, ANN)
    services: OfrepServices = app.extensions["tidegate.ofrep"]
    services.environments.get(("default", "production"))._report(leaving=True)
    banner = flags.get(f"{PRODUCTION}/flags/banner").json
    checkout = flags.get(f"{PRODUCTION}/flags/checkout").json
    limits = flags.get(f"{PRODUCTION}/flags/limits").json
    unknown = flags.get(f"{PRODUCTION}/unknown-flags").json
    assert banner is not None
    assert checkout is not None
    assert limits is not None
    assert unknown is not None
    assert banner["evaluated"]["by_variant"]["red"]["count"] == 3
    assert checkout["evaluated"]["last_at"] is None
    assert checkout["evaluated"]["in_bulk_at"] is not None
    assert limits["evaluated"]["in_bulk_at"] is None
    assert [each["key"] for each in unknown["items"]] == ["gone"]
