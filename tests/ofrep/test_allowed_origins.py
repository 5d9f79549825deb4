"""Browsers show answers to pages that an environment allows, and to no others."""

from __future__ import annotations

import time
from typing import Any

import pytest
from tidegate_server.errors import StoreUnavailable
from tidegate_server.ofrep.allowed_origins import AllowedOrigins
from tidegate_server.store import Store
from werkzeug.test import TestResponse

from tests.http_calls import PROJECT, Caller

ALL = "/ofrep/v1/evaluate/flags"
SHOP = "https://shop.example"


def allow(admin: Caller, environment: str, *origins: str) -> None:
    at = f"{PROJECT}/environments/{environment}"
    assert admin.put(at, {"allowed_origins": origins}, match="*").status_code == 200


def preflight(admin: Caller, path: str, origin: str) -> TestResponse:
    asks = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,if-none-match",
    }
    return admin.client.options(path, headers=asks)


def shared_with(answer: TestResponse) -> str | None:
    assert "Origin" in answer.headers["Vary"]
    return answer.headers.get("Access-Control-Allow-Origin")


@pytest.fixture
def web(admin: Caller) -> Caller:
    allow(admin, "production", SHOP)
    allow(admin, "development", "http://localhost:3000")
    return admin.token_for("client", "default", "production")


@pytest.mark.parametrize("path", [ALL, f"{ALL}/checkout", "/ofrep/v1/track"])
def test_a_preflight_is_answered_for_allowed_pages(web: Caller, path: str) -> None:
    answer = preflight(web, path, SHOP)
    assert answer.status_code == 200
    assert shared_with(answer) == SHOP
    allowed = answer.headers["Access-Control-Allow-Headers"].lower().split(", ")
    assert {"authorization", "content-type", "if-none-match"} <= set(allowed)
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    assert shared_with(preflight(web, path, "https://other.example")) is None


def test_an_answer_is_shown_to_pages_of_the_tokens_environment(web: Caller) -> None:
    answer = web.post(ALL, {}, headers={"Origin": SHOP})
    assert shared_with(answer) == SHOP
    assert answer.headers["Access-Control-Expose-Headers"] == "ETag, Retry-After"
    assert "Access-Control-Allow-Credentials" not in answer.headers
    for other in ("http://localhost:3000", "https://other.example", "null"):
        assert shared_with(web.post(ALL, {}, headers={"Origin": other})) is None
    assert shared_with(web.post(ALL, {})) is None


def test_what_is_known_already_and_what_is_refused_is_shown_too(web: Caller) -> None:
    etag = web.post(ALL, {}).headers["ETag"]
    same = web.post(ALL, {}, headers={"Origin": SHOP, "If-None-Match": etag})
    assert (same.status_code, shared_with(same)) == (304, SHOP)
    wrong = web.post(ALL, {"context": 1}, headers={"Origin": SHOP})
    assert (wrong.status_code, shared_with(wrong)) == (400, SHOP)
    stranger = Caller(web.client, "tg_client_nobody_0123456789abcdef0123456789abcdef")
    unknown = stranger.post(ALL, {}, headers={"Origin": SHOP})
    assert (unknown.status_code, shared_with(unknown)) == (401, SHOP)


def test_a_stream_is_shown_to_the_same_pages(web: Caller) -> None:
    url = web.post_ok(ALL, {})["eventStreams"][0]["url"]
    for origin, shown in ((SHOP, SHOP), ("http://localhost:3000", None)):
        stream = web.client.get(url, headers={"Origin": origin})
        assert (stream.status_code, shared_with(stream)) == (200, shown)
        stream.close()


def test_every_page_may_be_allowed(web: Caller, admin: Caller) -> None:
    allow(admin, "production", "*")
    assert shared_with(web.post(ALL, {}, headers={"Origin": "https://any.example"}))


def test_nothing_else_is_shown_to_pages(web: Caller, admin: Caller) -> None:
    allow(admin, "production", "*")
    for path in (f"{PROJECT}/flags", "/health/live", "/openapi.json", "/sdk/v1/snapshot"):
        for answer in (
            admin.get(path, headers={"Origin": SHOP}),
            preflight(admin, path, SHOP),
        ):
            assert not [name for name in answer.headers if name[0].startswith("Access-Control")]


def test_what_was_allowed_stays_so_while_the_store_is_away(
    web: Caller, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    origins = AllowedOrigins(store, cache_seconds=0)
    assert origins.allows(SHOP, ("default", "production"))

    def away(*_: Any) -> Any:
        raise StoreUnavailable("The store cannot be used now.")

    monkeypatch.setattr(Store, "scopes", away)
    assert origins.allows(SHOP, ("default", "production"))
    assert not origins.allows(SHOP, ("default", "development"))


def test_a_store_that_is_away_is_asked_no_more_often_than_one_that_is_there(
    web: Caller, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0
    now = 0.0

    def away(*_: Any) -> Any:
        nonlocal asked
        asked += 1
        raise StoreUnavailable("The store cannot be used now.")

    monkeypatch.setattr(time, "monotonic", lambda: now)
    origins = AllowedOrigins(store, cache_seconds=2)
    assert origins.allows(SHOP, None)
    with monkeypatch.context() as patch:
        patch.setattr(Store, "scopes", away)
        now += 2
        assert all(origins.allows(SHOP, None) for _ in range(5))
        assert asked == 1
    now += 2
    assert origins.allows(SHOP, None)
