"""What a flag serves to a context, now and at earlier times, and why."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import redis
from tidegate import wire
from tidegate.bucketing import bucket
from tidegate.context import Context
from tidegate.evaluation.compiled_snapshot import compile_snapshot
from tidegate_server.domain.calendar import instant_text
from tidegate_server.domain.change import Address
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.seen_users import SeenUser
from tidegate_server.store import Store, keys
from tidegate_server.web.seen_user_names import name_of_key

from tests.http_application import SECRET_KEY
from tests.http_calls import CHECKOUT, POLICY, PRODUCTION, PROJECT, Caller, pointers, slug

FLAG = f"{PRODUCTION}/flags/checkout"
BASE = {"enabled": True, "off_variant": "off", "default": {"variant": "off"}}
STAFF = {"id": "staff", "when": {"segment": "staff"}, "serve": {"variant": "on"}}


def evaluate(caller: Caller, context: Any = None, at: str | None = None, flag: str = FLAG) -> Any:
    body = {"context": context or {}} | ({} if at is None else {"at": at})
    answer = caller.post(f"{flag}/evaluate", body)
    assert answer.status_code == 200, answer.text
    return answer.json


def now(store: Store) -> str:
    """Return the present time, and let the next change have a later one."""
    text = instant_text(store.now_ms())
    time.sleep(0.003)
    return text


def texts(result: Any) -> list[str]:
    return [each["text"] for each in result["steps"]]


def test_an_evaluation_is_explained_rule_by_rule(checkout: Caller) -> None:
    rules = [
        {
            "id": "pros",
            "when": {"attribute": "plan", "operator": "equals", "value": "pro"},
            "serve": {"variant": "on"},
        },
        STAFF,
    ]
    checkout.put(FLAG, {**BASE, "rules": rules}, match="*")
    result = evaluate(checkout, {"targetingKey": "ann", "plan": "free"})
    assert (result["variant"], result["value"], result["reason"]) == ("on", True, "TARGETING_MATCH")
    assert texts(result) == [
        "The flag is not killed.",
        "The flag is enabled.",
        "The context does not meet rule pros.",
        "The context meets rule staff: it serves on.",
    ]
    assert [each["decides"] for each in result["steps"]] == [False, False, False, True]
    assert (result["now"], result["changed_since"]) == (None, [])
    assert {(each["kind"], each["key"]) for each in result["versions"]} == {
        ("flag", "checkout"),
        ("targeting", "checkout"),
        ("segment", "staff"),
    }
    assert texts(evaluate(checkout, {}))[-1] == "The default rule applies: it serves off."


def test_prerequisites_releases_and_kills_are_explained(checkout: Caller, release: str) -> None:
    id = release.rpartition("/")[2]
    checkout.post_ok(f"{release}/advance", {})
    assert texts(evaluate(checkout, {"targetingKey": "bob"}))[-1] == (
        f"Release {id} gives on: treatment of what stage 2 opened."
    )
    checkout.post_ok(f"{PROJECT}/flags", {"key": "search", "type": "boolean"})
    needs = [{"flag": "checkout", "variants": ["on"]}]
    search = f"{PRODUCTION}/flags/search"
    answer = checkout.put(search, {**BASE, "prerequisites": needs}, match="*")
    assert answer.status_code == 200, answer.text
    found = evaluate(checkout, {"targetingKey": "bob"}, flag=search)
    assert texts(found)[2] == "Flag checkout serves on."
    checkout.post_ok(f"{FLAG}/kill", {})
    found = evaluate(checkout, {"targetingKey": "bob"}, flag=search)
    assert texts(found)[-1] == "Flag checkout serves off, not on; so off."
    assert texts(evaluate(checkout)) == ["The flag is killed; everyone gets off."]


def everything_served(checkout: Caller, sdk: Caller, users: list[str]) -> dict[str, Any]:
    """Return what an SDK with the present snapshot serves to users."""
    document = sdk.get("/sdk/v1/snapshot").json
    compiled = compile_snapshot(wire.parse_snapshot(document))
    results = {user: compiled.evaluate("checkout", Context(user)) for user in users}
    return {
        user: (each.value, each.variant, each.reason, each.error_code, dict(each.metadata))
        for user, each in results.items()
    }


def test_an_earlier_evaluation_is_what_sdks_served_then(
    admin: Caller, sdk: Caller, store: Store
) -> None:
    users = [f"user-{number}" for number in range(40)]
    moments: list[tuple[str, dict[str, Any]]] = [(now(store), {})]

    def after(method: str, path: str, body: Any = None, **more: Any) -> Any:
        answer = admin.call(method, path, body, match="*" if method != "POST" else None, **more)
        assert answer.status_code < 300, answer.text
        moments.append((now(store), everything_served(admin, sdk, users)))
        return answer.json

    after("POST", f"{PROJECT}/segments", {"key": "staff", "included": users[:3]})
    after("POST", f"{PROJECT}/policies", POLICY)
    after("POST", f"{PROJECT}/flags", CHECKOUT)
    after("PUT", FLAG, {**BASE, "rules": [STAFF]})
    after("PUT", f"{PROJECT}/segments/staff", {"included": users[3:9]})
    body = {"flag": "checkout", "treatment": "on", "policy": "careful"}
    id = after("POST", f"{PRODUCTION}/releases", body)["id"]
    after("POST", f"{PRODUCTION}/releases/{id}/advance", {})
    after("POST", f"{FLAG}/kill", {})
    after("POST", f"{FLAG}/restore", {})
    after("POST", f"{PRODUCTION}/releases/{id}/rollback", {})
    split = [{"variant": "on", "weight": 30}, {"variant": "off", "weight": 70}]
    after("PUT", FLAG, {**BASE, "default": {"split": split}})
    after("PUT", FLAG, {**BASE, "enabled": False})
    after("DELETE", f"{PROJECT}/flags/checkout?force=true")
    after("POST", f"{PROJECT}/flags", CHECKOUT)
    assert len({json.dumps(served, sort_keys=True) for _, served in moments}) > 9
    for at, served in moments:
        for user in users:
            found = evaluate(admin, {"targetingKey": user}, at)
            expected = served.get(user, (None, None, "ERROR", "FLAG_NOT_FOUND", {}))
            assert (
                found["value"],
                found["variant"],
                found["reason"],
                found["error_code"],
                found["metadata"],
            ) == expected, (at, user)


def test_the_answer_says_what_has_changed_since(checkout: Caller, store: Store) -> None:
    checkout.put(FLAG, {**BASE, "rules": [STAFF]}, match="*")
    before = now(store)
    why = {"Tidegate-Reason": "bob left"}
    checkout.put(f"{PROJECT}/segments/staff", {"included": ["bob"]}, match="*", headers=why)
    result = evaluate(checkout, {"targetingKey": "ann"}, before)
    assert (result["variant"], result["now"]["variant"]) == ("on", "off")
    (changed,) = result["changed_since"]
    assert (changed["kind"], changed["key"], changed["reason"]) == ("segment", "staff", "bob left")
    assert evaluate(checkout, {"targetingKey": "ann"}, now(store))["changed_since"] == []


def test_a_time_of_which_no_version_is_kept_is_said_so(
    checkout: Caller, store: Store, raw: redis.Redis
) -> None:
    versions = keys.versions("default", Address(Kind.TARGETING, "checkout", "production"))
    checkout.put(FLAG, {**BASE, "enabled": False}, match="*")
    at = now(store)
    checkout.put(FLAG, BASE, match="*")
    raw.ltrim(versions, 0, 0)
    answer = checkout.post(f"{FLAG}/evaluate", {"at": at})
    assert (answer.status_code, slug(answer)) == (404, "not-kept")
    assert answer.json is not None
    assert "flag 'checkout' in production" in answer.json["detail"]
    assert evaluate(checkout, at=now(store))["variant"] == "off"


def test_a_killed_flag_needs_no_version_of_what_it_depends_on(
    checkout: Caller, store: Store, raw: redis.Redis
) -> None:
    checkout.put(FLAG, {**BASE, "rules": [STAFF]}, match="*")
    checkout.post_ok(f"{FLAG}/kill", {})
    at = now(store)
    checkout.put(f"{PROJECT}/segments/staff", {}, match="*")
    versions = keys.versions("default", Address(Kind.SEGMENT, "staff"))
    raw.ltrim(versions, 0, 0)
    assert evaluate(checkout, at=at)["metadata"]["killed"] is True


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"context": []}, "/context"),
        ({"context": {"targetingKey": 7}}, "/context/targetingKey"),
        ({"at": "yesterday"}, "/at"),
        ({"at": "2999-01-01"}, "/at"),
        ({"user": "ann"}, "/user"),
    ],
)
def test_a_bad_request_names_the_field(checkout: Caller, body: Any, pointer: str) -> None:
    answer = checkout.post(f"{FLAG}/evaluate", body)
    assert slug(answer) == "invalid"
    assert pointers(answer) == [pointer]


def test_what_does_not_exist_is_said_so(checkout: Caller) -> None:
    for path in (f"{PRODUCTION}/flags/chekout", f"{PROJECT}/environments/nowhere/flags/checkout"):
        assert slug(checkout.post(f"{path}/evaluate", {})) == "not-found"


def test_an_evaluation_needs_a_token_that_may_read_the_environment(checkout: Caller) -> None:
    allowed = [
        checkout.token_for("reader", "default", None),
        checkout.token_for("reader", "default", "production"),
    ]
    for caller in allowed:
        assert evaluate(caller)["variant"] == "off"
    checkout.post_ok("/api/v1/projects", {"key": "other"})
    refused = [
        checkout.token_for("reader", "default", "development"),
        checkout.token_for("reader", "other", None),
        checkout.token_for("sdk", "default", "production"),
        checkout.token_for("client", "default", "production"),
    ]
    for caller in refused:
        assert slug(caller.post(f"{FLAG}/evaluate", {})) == "forbidden"


def test_an_evaluation_counts_nothing(checkout: Caller, release: str, raw: redis.Redis) -> None:
    checkout.post_ok(f"{release}/advance", {})
    evaluate(checkout, {"targetingKey": "bob"})
    id = release.rpartition("/")[2]
    assert raw.hgetall(keys.evidence("default", "production", id)) == {}


PRO = {
    "id": "pros",
    "when": {"attribute": "plan", "operator": "equals", "value": "pro"},
    "serve": {"variant": "on"},
}


def test_a_step_says_why_a_rule_is_met_or_not(checkout: Caller) -> None:
    assert checkout.put(FLAG, {**BASE, "rules": [PRO, STAFF]}, match="*").status_code == 200
    steps = evaluate(checkout, {"targetingKey": "ann", "plan": "free"})["steps"]
    assert [(each["name"], each["matched"], each["why"]) for each in steps[2:]] == [
        ("pros", False, 'plan is "free", which does not meet: equals "pro"'),
        ("staff", True, "in segment staff, which includes the targeting key"),
    ]
    assert [each["matched"] for each in steps[:2]] == [None, None]


def test_a_split_shows_the_bucket_and_its_limit(checkout: Caller) -> None:
    split = [{"variant": "on", "weight": 30}, {"variant": "off", "weight": 70}]
    body = {**BASE, "default": {"split": split}}
    assert checkout.put(FLAG, body, match="*").status_code == 200
    seen = set()
    for number in range(40):
        result = evaluate(checkout, {"targetingKey": f"user-{number}"})
        assert result["bucket"] == bucket("checkout", f"user-{number}")
        assert (result["variant"] == "on") == (result["bucket"] < 30_000)
        assert result["opened_below"] == (30_000 if result["variant"] == "on" else 100_000)
        seen.add(result["variant"])
    assert seen == {"on", "off"}
    assert evaluate(checkout, {})["bucket"] is None


def test_a_release_shows_the_bucket_and_what_it_opened(checkout: Caller, release: str) -> None:
    id = release.rpartition("/")[2]
    for number in range(40):
        result = evaluate(checkout, {"targetingKey": f"user-{number}"})
        assert result["bucket"] == bucket(id, f"user-{number}")
        assert result["opened_below"] == 5_000
        assert (result["variant"] == "on") == (result["bucket"] < 5_000)


def test_an_evaluation_says_since_when_and_until_when_it_holds(
    checkout: Caller, store: Store
) -> None:
    before = now(store)
    checkout.put(FLAG, {**BASE, "rules": [PRO]}, match="*")
    between = now(store)
    checkout.put(FLAG, {**BASE, "rules": [STAFF]}, match="*")
    present = evaluate(checkout)
    assert present["until"] is None
    assert present["since"] > between
    past = evaluate(checkout, at=between)
    assert before < past["since"] < between < past["until"] == present["since"]


def test_a_version_of_the_environment_is_evaluated(checkout: Caller, store: Store) -> None:
    checkout.put(FLAG, {**BASE, "rules": [STAFF]}, match="*")
    version = store.version("default", "production")
    now(store)
    checkout.post_ok(f"{FLAG}/kill", {})
    body = {"context": {"targetingKey": "ann"}, "version": version}
    result = checkout.post_ok(f"{FLAG}/evaluate", body)
    assert (result["variant"], result["now"]["variant"]) == ("on", "off")
    unknown = checkout.post(f"{FLAG}/evaluate", {"version": version + 99})
    assert pointers(unknown) == ["/version"]
    both = checkout.post(f"{FLAG}/evaluate", {"version": version, "at": now(store)})
    assert pointers(both) == ["/version"]


def test_a_saved_context_is_evaluated_and_added_to(checkout: Caller) -> None:
    checkout.put(FLAG, {**BASE, "rules": [PRO]}, match="*")
    saved = {"key": "paying", "context": {"targetingKey": "ann", "plan": "pro"}}
    created = checkout.post_ok(f"{PROJECT}/contexts", saved)
    assert created["revision"] == 1
    result = checkout.post_ok(f"{FLAG}/evaluate", {"saved_context": "paying"})
    assert (result["variant"], result["context"]) == ("on", saved["context"])
    body = {"saved_context": "paying", "context": {"plan": "free"}}
    result = checkout.post_ok(f"{FLAG}/evaluate", body)
    assert result["variant"] == "off"
    assert result["context"] == {"targetingKey": "ann", "plan": "free"}
    missing = checkout.post(f"{FLAG}/evaluate", {"saved_context": "nobody"})
    assert slug(missing) == "not-found"


def test_saved_contexts_are_documents_with_a_history(checkout: Caller) -> None:
    path = f"{PROJECT}/contexts/paying"
    checkout.post_ok(f"{PROJECT}/contexts", {"key": "paying", "context": {"plan": "pro"}})
    edited = checkout.put(path, {"context": {"plan": "team"}}, match='"1"')
    assert edited.status_code == 200, edited.text
    restored = checkout.call("POST", f"{path}/history/1/restore", match='"2"')
    assert restored.json is not None
    assert restored.json["context"] == {"plan": "pro"}
    assert checkout.delete(path, match='"3"').status_code == 204
    assert checkout.get(path).status_code == 404
    refused = checkout.post(f"{PROJECT}/contexts", {"key": "x", "context": {"targetingKey": 7}})
    assert pointers(refused) == ["/context/targetingKey"]


def test_a_seen_user_is_evaluated_without_its_key(checkout: Caller, store: Store) -> None:
    checkout.put(FLAG, {**BASE, "rules": [PRO, STAFF]}, match="*")
    name_of = name_of_key(SECRET_KEY, "default", "production")
    users = [SeenUser(name_of("ann"), {"plan": "free"}), SeenUser(name_of("bob"), {"plan": "pro"})]
    store.seen_users.add("default", "production", users)
    ann = checkout.post_ok(f"{FLAG}/evaluate", {"seen_user": name_of("ann")})
    assert [each["name"] for each in ann["steps"] if each["decides"]] == ["staff"]
    assert "not known" in ann["caveats"][0]
    bob = checkout.post_ok(f"{FLAG}/evaluate", {"seen_user": name_of("bob")})
    assert bob["variant"] == "on"
    changed = {"seen_user": name_of("bob"), "context": {"plan": "free"}}
    assert checkout.post_ok(f"{FLAG}/evaluate", changed)["variant"] == "off"
    unknown = checkout.post(f"{FLAG}/evaluate", {"seen_user": "0" * 16})
    assert slug(unknown) == "not-found"
    both = {"seen_user": name_of("bob"), "context": {"targetingKey": "carl"}}
    assert pointers(checkout.post(f"{FLAG}/evaluate", both)) == ["/context/targetingKey"]


def test_all_flags_are_evaluated_for_a_context_in_pages(checkout: Caller) -> None:
    checkout.put(FLAG, {**BASE, "rules": [STAFF]}, match="*")
    for number in range(5):
        checkout.post_ok(f"{PROJECT}/flags", {"key": f"flag-{number}", "type": "boolean"})
    found: list[Any] = []
    body: dict[str, Any] = {"context": {"targetingKey": "ann"}, "limit": 4}
    while True:
        page = checkout.post_ok(f"{PRODUCTION}/evaluate", body)
        found += page["items"]
        if page["next_cursor"] is None:
            break
        body["cursor"] = page["next_cursor"]
    assert [each["flag"] for each in found] == ["checkout", *(f"flag-{n}" for n in range(5))]
    first = found[0]
    assert (first["variant"], first["decided_by"]["name"]) == ("on", "staff")
    some = checkout.post_ok(f"{PRODUCTION}/evaluate", {"flags": ["flag-1", "nothing"]})
    assert [(each["flag"], each["error_code"]) for each in some["items"]] == [
        ("flag-1", None),
        ("nothing", "FLAG_NOT_FOUND"),
    ]
    assert some["items"][1]["decided_by"] is None
