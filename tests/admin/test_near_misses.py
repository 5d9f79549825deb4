"""A mistyped name is answered with what it may have meant, from what the token may read."""

from __future__ import annotations

from typing import Any

import pytest

from tests.http_calls import PRODUCTION, PROJECT, Caller, slug


@pytest.fixture
def shop(admin: Caller) -> Caller:
    """Return the admin of a server with a document of each kind."""
    for flag in ("new-checkout", "banner"):
        admin.post_ok(f"{PROJECT}/flags", {"key": flag, "type": "boolean"})
    admin.post_ok(f"{PROJECT}/segments", {"key": "beta-users"})
    stages = [{"percentage": 50}, {"percentage": 100}]
    admin.post_ok(f"{PROJECT}/policies", {"key": "careful-steps", "stages": stages})
    admin.post_ok(f"{PROJECT}/webhooks", {"key": "on-call", "url": "https://example.com/hook"})
    return admin


def suggestions(response: Any, status: int) -> list[str]:
    assert response.status_code == status, response.text
    found: list[str] = response.json["suggestions"]
    assert bool(found) == ("Did you mean" in response.json["detail"] + str(response.json["errors"]))
    return found


@pytest.mark.parametrize(
    ("method", "path", "found"),
    [
        ("POST", f"{PRODUCTION}/flags/new-chekout/kill", "new-checkout"),
        ("POST", f"{PRODUCTION}/flags/newcheckout/restore", "new-checkout"),
        ("GET", f"{PRODUCTION}/flags/new_checkout", "new-checkout"),
        ("GET", f"{PROJECT}/flags/bannner", "banner"),
        ("DELETE", f"{PROJECT}/flags/banne", "banner"),
        ("GET", f"{PROJECT}/segments/beta-user", "beta-users"),
        ("GET", f"{PROJECT}/policies/carefull-steps", "careful-steps"),
        ("GET", f"{PROJECT}/webhooks/oncall", "on-call"),
        ("POST", f"{PROJECT}/environments/prodution/flags/banner/kill", "production"),
        ("GET", f"{PROJECT}/environments/prod", "production"),
        ("GET", "/api/v1/projects/defualt/flags", "default"),
    ],
)
def test_a_mistyped_key_is_answered_with_the_nearest(
    shop: Caller, method: str, path: str, found: str
) -> None:
    refused = shop.call(method, path, headers={"If-Match": '"1"'}, json={})
    assert suggestions(refused, 404)[0] == found


def test_mistyped_names_in_a_body_are_answered_with_the_nearest(shop: Caller) -> None:
    start = {"flag": "banner", "treatment": "on", "policy": "careful-stps"}
    releases = f"{PRODUCTION}/releases"
    assert suggestions(shop.post(releases, start), 422) == ["careful-steps"]
    assert suggestions(shop.post(releases, {**start, "flag": "baner"}), 422) == ["banner"]
    assert suggestions(shop.post(releases, {**start, "treatmnt": "on"}), 422) == ["treatment"]
    flag = {"key": "x", "type": "boolean", "variant": []}
    assert suggestions(shop.post(f"{PROJECT}/flags", flag), 422) == ["variants"]
    for when, found in (
        ({"attribute": "a", "operator": "start_with", "value": "x"}, "starts_with"),
        ({"segment": "beta-usr"}, "beta-users"),
    ):
        segment = {"key": "new", "when": when}
        assert found in suggestions(shop.post(f"{PROJECT}/segments", segment), 422)


def test_an_unlike_key_has_no_suggestions(shop: Caller) -> None:
    assert suggestions(shop.get(f"{PROJECT}/flags/zzz"), 404) == []


def test_suggestions_come_from_what_the_token_may_read(shop: Caller) -> None:
    shop.post_ok("/api/v1/projects", {"key": "payments"})
    shop.post_ok("/api/v1/projects/payments/flags", {"key": "banner-secret", "type": "boolean"})
    reader = shop.token_for("reader", "payments", None)
    foreign = reader.get("/api/v1/projects/defaul")
    assert (foreign.status_code, slug(foreign)) == (403, "forbidden")
    assert suggestions(reader.get(f"{PROJECT}/flags/baner"), 403) == []
    assert suggestions(reader.get("/api/v1/projects/payments/flags/baner-secret"), 404) == [
        "banner-secret"
    ]
    sdk = shop.token_for("sdk", "default", "production")
    assert suggestions(sdk.get(f"{PROJECT}/flags/baner"), 403) == []
