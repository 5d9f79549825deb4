"""Webhooks have a secret that is shown once; a webhook in use cannot be deleted."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import pytest
import redis
from tidegate_server.domain.network_addresses import AllowedNetworks
from tidegate_server.store import Store
from tidegate_server.web.settings import ApiSettings

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

WEBHOOKS = f"{PROJECT}/webhooks"
OPS_WEBHOOK = f"{WEBHOOKS}/ops"
OPS = {"key": "ops", "url": "https://ops.example.com/tidegate/abc?team=web"}
NOTIFYING_POLICY = {**POLICY, "notify": [{"webhook": "ops", "events": ["held", "rolled_back"]}]}


def test_a_webhook_is_created_read_replaced_and_deleted(admin: Caller) -> None:
    created = admin.post_ok(WEBHOOKS, OPS)
    assert created["secret"].startswith("tgw_")
    assert (created["format"], created["enabled"], created["timeout"]) == ("json", True, "5s")

    read = admin.get(OPS_WEBHOOK).json
    assert read == {key: value for key, value in created.items() if key != "secret"}
    changed = admin.put(OPS_WEBHOOK, {"url": OPS["url"], "timeout": "2s"}, match='"1"')
    assert changed.json is not None
    assert (changed.json["timeout"], changed.json["revision"]) == ("2s", 2)
    assert admin.get(WEBHOOKS).json == {"items": [changed.json], "next_cursor": None}

    assert admin.delete(OPS_WEBHOOK, match='"2"').status_code == 204
    assert admin.get(OPS_WEBHOOK).status_code == 404


def test_the_secret_is_shown_once_and_not_stored(admin: Caller, raw: redis.Redis) -> None:
    secrets = [
        admin.post_ok(WEBHOOKS, OPS)["secret"],
        admin.post_ok(f"{OPS_WEBHOOK}/rotate", None)["secret"],
    ]
    assert len(set(secrets)) == 2
    answers = [admin.get(path).text for path in (OPS_WEBHOOK, WEBHOOKS, f"{PROJECT}/audit")]
    for secret in secrets:
        assert not any(secret in each for each in answers)
        assert secret.removeprefix("tgw_") not in raw_contents(raw)
    assert "ops.example.com/tidegate/abc" in raw_contents(raw)


def test_a_rotation_says_until_when_the_old_secret_works(admin: Caller) -> None:
    assert admin.post_ok(WEBHOOKS, OPS)["old_secret_until"] is None
    assert admin.post_ok(f"{OPS_WEBHOOK}/rotate", None)["old_secret_until"] > "2026"


def test_a_reader_sees_the_host_but_not_the_path_of_the_url(
    admin: Caller,
) -> None:
    admin.post_ok(WEBHOOKS, OPS)
    reader = admin.token_for("reader", "default", None)
    one, page = reader.get(OPS_WEBHOOK).json, reader.get(WEBHOOKS).json
    assert one is not None
    assert page is not None
    assert one["url"] == page["items"][0]["url"] == "https://ops.example.com/…"
    assert reader.get(OPS_WEBHOOK).headers["ETag"] != admin.get(OPS_WEBHOOK).headers["ETag"]
    assert slug(reader.post(f"{OPS_WEBHOOK}/rotate")) == "forbidden"


def test_a_webhook_that_a_policy_uses_cannot_be_deleted(admin: Caller, store: Store) -> None:
    refused = admin.post(f"{PROJECT}/policies", NOTIFYING_POLICY)
    assert pointers(refused) == ["/notify/0/webhook"]
    admin.post_ok(WEBHOOKS, OPS)
    admin.post_ok(f"{PROJECT}/policies", NOTIFYING_POLICY)
    before = stored_documents(store)
    refused = admin.delete(OPS_WEBHOOK, match='"1"')
    assert (refused.status_code, slug(refused)) == (409, "not-possible")
    assert "policy careful" in refused.text
    assert stored_documents(store) == before


def test_a_webhook_key_can_be_used_once(admin: Caller) -> None:
    admin.post_ok(WEBHOOKS, OPS)
    assert slug(admin.post(WEBHOOKS, OPS)) == "already-exists"


def test_an_invalid_webhook_is_refused_with_the_field(admin: Caller) -> None:
    wrong = {"key": "ops", "url": "ops.example.com", "timeout": "1h"}
    assert pointers(admin.post(WEBHOOKS, wrong)) == ["/url", "/timeout"]
    assert pointers(admin.post(WEBHOOKS, {**OPS, "secret": "mine"})) == ["/secret"]


def test_a_url_with_an_inner_address_is_refused_with_the_fix(admin: Caller) -> None:
    inner = {"url": "http://0x7f.1:6379/"}
    admin.post_ok(WEBHOOKS, OPS)
    for refused in (
        admin.post(WEBHOOKS, {"key": "store", **inner}),
        admin.put(OPS_WEBHOOK, inner, match="*"),
    ):
        assert (refused.status_code, pointers(refused)) == (422, ["/url"])
        assert "add the network to TIDEGATE_WEBHOOK_NETWORKS" in refused.text


MAIL = {"key": "mail", "url": "mailto:oncall@example.com,dev@example.com", "format": "email"}


def test_a_server_without_a_mail_server_refuses_mail(admin: Caller) -> None:
    refused = admin.post(WEBHOOKS, MAIL)
    assert (refused.status_code, pointers(refused)) == (422, ["/format"])
    assert "TIDEGATE_SMTP_SERVER" in refused.text


class TestWithAMailServer:
    @pytest.fixture
    def settings(self, settings: ApiSettings) -> ApiSettings:
        return replace(settings, sends_mail=True)

    def test_readers_see_where_mail_goes_without_the_names(self, admin: Caller) -> None:
        assert admin.post_ok(WEBHOOKS, MAIL)["url"] == MAIL["url"]
        reader = admin.token_for("viewer", "default", None)
        shown = reader.get(f"{WEBHOOKS}/mail").json
        assert shown is not None
        assert shown["url"] == "mailto:example.com/…"

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"url": "https://example.com/"}, "/url"),
            ({"url": "mailto:"}, "/url"),
            ({"url": "mailto:oncall@example.com?bcc=x@y.z"}, "/url"),
            ({"url": "mailto:" + ",".join(["a@b.c"] * 21)}, "/url"),
            ({"format": "slack"}, "/format"),
        ],
    )
    def test_a_wrong_address_is_refused_with_the_field(
        self, admin: Caller, changes: dict[str, str], field: str
    ) -> None:
        assert pointers(admin.post(WEBHOOKS, {**MAIL, **changes})) == [field]


class TestWithAnAllowedNetwork:
    @pytest.fixture
    def settings(self, settings: ApiSettings) -> ApiSettings:
        networks = AllowedNetworks((ip_network("10.1.0.0/16"),))
        return replace(settings, webhook_networks=networks)

    def test_a_url_in_the_network_is_taken(self, admin: Caller) -> None:
        inside, outside = ({"key": "ops", "url": f"http://10.{n}.0.9/"} for n in (1, 2))
        admin.post_ok(WEBHOOKS, inside)
        assert pointers(admin.put(OPS_WEBHOOK, outside, match="*")) == ["/url"]


def test_queued_messages_are_listed(admin: Caller, store: Store) -> None:
    admin.post_ok(WEBHOOKS, OPS)
    assert admin.get(f"{OPS_WEBHOOK}/deliveries").json == {"items": [], "next_cursor": None}
    for reason in ("one", "two", "three"):
        tried = admin.post(f"{OPS_WEBHOOK}/test", {"reason": reason})
        assert tried.status_code == 204, tried.text
    page = admin.get(f"{OPS_WEBHOOK}/deliveries?limit=2").json
    assert page is not None
    rest = admin.get(f"{OPS_WEBHOOK}/deliveries?cursor={page['next_cursor']}").json
    assert rest is not None
    deliveries = page["items"] + rest["items"]
    assert [each["state"] for each in deliveries] == ["waiting"] * 3
    assert [each["id"] for each in deliveries] == sorted(
        (each["id"] for each in deliveries), reverse=True
    )
    first = deliveries[0]
    assert (first["event"], first["release"], first["attempts"]) == ("test", None, 0)
    assert first["queued_at"] == first["next_attempt_at"]
    assert first["last_attempt"] is None
    assert rest["next_cursor"] is None
    assert store.logs.audit("default")[0][0].action == "webhook.test"


def test_events_are_queued_for_the_webhooks_of_the_policy(checkout: Caller) -> None:
    checkout.post_ok(WEBHOOKS, OPS)
    checkout.put(
        f"{PROJECT}/policies/careful",
        {**NOTIFYING_POLICY, "notify": [{"webhook": "ops"}]},
        match="*",
    )
    body = {"flag": "checkout", "treatment": "on", "policy": "careful"}
    started = checkout.post_ok(f"{PRODUCTION}/releases", body)
    checkout.post_ok(f"{PRODUCTION}/releases/{started['id']}/pause", {"reason": "lunch"})
    checkout.post_ok(f"{PRODUCTION}/flags/checkout/kill", {"reason": "fire"})
    reader = checkout.token_for("reader", "default", None)
    page = reader.get(f"{OPS_WEBHOOK}/deliveries").json
    assert page is not None
    assert [each["event"] for each in page["items"]] == ["killed", "paused", "started"]
    assert {each["release"] for each in page["items"]} == {started["id"]}
    assert {each["flag"] for each in page["items"]} == {"checkout"}


def test_deleting_a_webhook_drops_its_queued_messages(admin: Caller) -> None:
    admin.post_ok(WEBHOOKS, OPS)
    admin.post(f"{OPS_WEBHOOK}/test")
    assert admin.delete(OPS_WEBHOOK, match="*").status_code == 204
    assert admin.get(f"{OPS_WEBHOOK}/deliveries").status_code == 404
    admin.post_ok(WEBHOOKS, OPS)
    assert admin.get(f"{OPS_WEBHOOK}/deliveries").json == {"items": [], "next_cursor": None}
