"""Webhooks are made with a secret that is shown once, and stay while something names them."""

from __future__ import annotations

import redis
from tidegate_server.store import Store

from tests.http_calls import (
    POLICY,
    PRODUCTION,
    PROJECT,
    Caller,
    pointers,
    raw_contents,
    slug,
    stored_documents,
)

LIST = f"{PROJECT}/webhooks"
PATH = f"{LIST}/ops"
OPS = {"key": "ops", "url": "https://ops.example.com/tidegate/abc?team=web"}
NAMED = {**POLICY, "notify": [{"webhook": "ops", "events": ["held", "rolled_back"]}]}


def test_a_webhook_is_made_read_changed_and_deleted(admin: Caller) -> None:
    made = admin.post_ok(LIST, OPS)
    assert made["secret"].startswith("tgw_")
    assert (made["format"], made["enabled"], made["timeout"]) == ("json", True, "5s")

    shown = admin.get(PATH).json
    assert shown == {key: value for key, value in made.items() if key != "secret"}
    changed = admin.put(PATH, {"url": OPS["url"], "timeout": "2s"}, match='"1"')
    assert changed.json is not None
    assert (changed.json["timeout"], changed.json["revision"]) == ("2s", 2)
    assert admin.get(LIST).json == {"items": [changed.json], "next_cursor": None}

    assert admin.delete(PATH, match='"2"').status_code == 204
    assert admin.get(PATH).status_code == 404


def test_a_secret_is_shown_once_and_kept_nowhere(admin: Caller, raw: redis.Redis) -> None:
    secrets = [admin.post_ok(LIST, OPS)["secret"], admin.post_ok(f"{PATH}/rotate", None)["secret"]]
    assert len(set(secrets)) == 2
    answers = [admin.get(path).text for path in (PATH, LIST, f"{PROJECT}/audit")]
    for secret in secrets:
        assert not any(secret in each for each in answers)
        assert secret.removeprefix("tgw_") not in raw_contents(raw)
    assert "ops.example.com/tidegate/abc" in raw_contents(raw)


def test_a_rotation_says_how_long_the_old_secret_lasts(admin: Caller) -> None:
    assert admin.post_ok(LIST, OPS)["old_secret_until"] is None
    assert admin.post_ok(f"{PATH}/rotate", None)["old_secret_until"] > "2026"


def test_a_reader_sees_where_it_goes_but_not_a_path_that_may_be_a_credential(
    admin: Caller,
) -> None:
    admin.post_ok(LIST, OPS)
    reader = admin.token_for("reader", "default", None)
    one, page = reader.get(PATH).json, reader.get(LIST).json
    assert one is not None
    assert page is not None
    assert one["url"] == page["items"][0]["url"] == "https://ops.example.com/…"
    assert reader.get(PATH).headers["ETag"] != admin.get(PATH).headers["ETag"]
    assert slug(reader.post(f"{PATH}/rotate")) == "forbidden"


def test_a_webhook_that_a_policy_names_stays(admin: Caller, store: Store) -> None:
    refused = admin.post(f"{PROJECT}/policies", NAMED)
    assert pointers(refused) == ["/notify/0/webhook"]
    admin.post_ok(LIST, OPS)
    admin.post_ok(f"{PROJECT}/policies", NAMED)
    before = stored_documents(store)
    refused = admin.delete(PATH, match='"1"')
    assert (refused.status_code, slug(refused)) == (409, "not-possible")
    assert "policy careful" in refused.text
    assert stored_documents(store) == before


def test_a_key_is_taken_once(admin: Caller) -> None:
    admin.post_ok(LIST, OPS)
    assert slug(admin.post(LIST, OPS)) == "already-exists"


def test_what_cannot_be_is_refused_with_its_field(admin: Caller) -> None:
    wrong = {"key": "ops", "url": "ops.example.com", "timeout": "1h"}
    assert pointers(admin.post(LIST, wrong)) == ["/url", "/timeout"]
    assert pointers(admin.post(LIST, {**OPS, "secret": "mine"})) == ["/secret"]


def test_what_waits_for_a_webhook_can_be_read(admin: Caller, store: Store) -> None:
    admin.post_ok(LIST, OPS)
    assert admin.get(f"{PATH}/deliveries").json == {"items": [], "next_cursor": None}
    for reason in ("one", "two", "three"):
        tried = admin.post(f"{PATH}/test", {"reason": reason})
        assert tried.status_code == 204, tried.text
    page = admin.get(f"{PATH}/deliveries?limit=2").json
    assert page is not None
    rest = admin.get(f"{PATH}/deliveries?cursor={page['next_cursor']}").json
    assert rest is not None
    found = page["items"] + rest["items"]
    assert [each["state"] for each in found] == ["waiting"] * 3
    assert [each["id"] for each in found] == sorted((each["id"] for each in found), reverse=True)
    first = found[0]
    assert (first["event"], first["release"], first["attempts"]) == ("test", None, 0)
    assert first["queued_at"] == first["next_attempt_at"]
    assert first["last_attempt"] is None
    assert rest["next_cursor"] is None
    assert store.audit("default")[0][0].action == "webhook.test"


def test_a_start_is_queued_for_whom_the_policy_tells(checkout: Caller) -> None:
    checkout.post_ok(LIST, OPS)
    checkout.put(
        f"{PROJECT}/policies/careful", {**NAMED, "notify": [{"webhook": "ops"}]}, match="*"
    )
    asked = {"flag": "checkout", "treatment": "on", "policy": "careful"}
    started = checkout.post_ok(f"{PRODUCTION}/releases", asked)
    checkout.post_ok(f"{PRODUCTION}/releases/{started['id']}/pause", {"reason": "lunch"})
    checkout.post_ok(f"{PRODUCTION}/flags/checkout/kill", {"reason": "fire"})
    reader = checkout.token_for("reader", "default", None)
    page = reader.get(f"{PATH}/deliveries").json
    assert page is not None
    assert [each["event"] for each in page["items"]] == ["killed", "paused", "started"]
    assert {each["release"] for each in page["items"]} == {started["id"]}
    assert {each["flag"] for each in page["items"]} == {"checkout"}


def test_deleting_a_webhook_drops_what_waits(admin: Caller) -> None:
    admin.post_ok(LIST, OPS)
    admin.post(f"{PATH}/test")
    assert admin.delete(PATH, match="*").status_code == 204
    assert admin.get(f"{PATH}/deliveries").status_code == 404
    admin.post_ok(LIST, OPS)
    assert admin.get(f"{PATH}/deliveries").json == {"items": [], "next_cursor": None}
