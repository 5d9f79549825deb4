"""CORS: pages of an environment's allowed origins may read responses; others may not."""

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


def allow_origins(admin: Caller, environment: str, *origins: str) -> None:
    at = f"{PROJECT}/environments/{environment}"
    assert admin.put(at, {"allowed_origins": origins}, match="*").status_code == 200


def preflight(admin: Caller, path: str, origin: str) -> TestResponse:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,if-none-match",
    }
    return admin.client.options(path, headers=headers)


def shared_with(response: TestResponse) -> str | None:
    assert "Origin" in response.headers["Vary"]
    return response.headers.get("Access-Control-Allow-Origin")


@pytest.fixture
def web(admin: Caller) -> Caller:
    allow_origins(admin, "production", SHOP)
    allow_origins(admin, "development", "http://localhost:3000")
    return admin.token_for("client", "default", "production")


@pytest.mark.parametrize("path", [ALL, f"{ALL}/checkout", "/ofrep/v1/track"])
def test_a_preflight_request_succeeds_for_allowed_origins(web: Caller, path: str) -> None:
    response = preflight(web, path, SHOP)
    assert response.status_code == 200
    assert shared_with(response) == SHOP
    allowed = response.headers["Access-Control-Allow-Headers"].lower().split(", ")
    assert {"authorization", "content-type", "if-none-match"} <= set(allowed)
    assert "POST" in response.headers["Access-Control-Allow-Methods"]
    assert shared_with(preflight(web, path, "https://other.example")) is None


def test_a_response_is_shared_with_the_origins_of_the_tokens_environment(web: Caller) -> None:
    response = web.post(ALL, {}, headers={"Origin": SHOP})
    assert shared_with(response) == SHOP
    assert response.headers["Access-Control-Expose-Headers"] == "ETag, Retry-After"
    assert "Access-Control-Allow-Credentials" not in response.headers
    for other in ("http://localhost:3000", "https://other.example", "null"):
        assert shared_with(web.post(ALL, {}, headers={"Origin": other})) is None
    assert shared_with(web.post(ALL, {})) is None


def test_unchanged_and_refused_responses_are_shared_too(web: Caller) -> None:
    etag = web.post(ALL, {}).headers["ETag"]
    same = web.post(ALL, {}, headers={"Origin": SHOP, "If-None-Match": etag})
    assert (same.status_code, shared_with(same)) == (304, SHOP)
    wrong = web.post(ALL, {"context": 1}, headers={"Origin": SHOP})
    assert (wrong.status_code, shared_with(wrong)) == (400, SHOP)
    unknown_caller = Caller(web.client, "tg_client_nobody_0123456789abcdef0123456789abcdef")
    unknown = unknown_caller.post(ALL, {}, headers={"Origin": SHOP})
    assert (unknown.status_code, shared_with(unknown)) == (401, SHOP)


def test_a_stream_is_shared_with_the_same_origins(web: Caller) -> None:
    url = web.post_ok(ALL, {})["eventStreams"][0]["url"]
    for origin, shown in ((SHOP, SHOP), ("http://localhost:3000", None)):
        stream = web.client.get(url, headers={"Origin": origin})
        assert (stream.status_code, shared_with(stream)) == (200, shown)
        stream.close()


def test_a_star_allows_every_origin(web: Caller, admin: Caller) -> None:
    allow_origins(admin, "production", "*")
    assert shared_with(web.post(ALL, {}, headers={"Origin": "https://any.example"}))


def test_other_routes_are_shared_with_no_origin(web: Caller, admin: Caller) -> None:
    allow_origins(admin, "production", "*")
    for path in (f"{PROJECT}/flags", "/health/live", "/openapi.json", "/sdk/v1/snapshot"):
        for response in (
            admin.get(path, headers={"Origin": SHOP}),
            preflight(admin, path, SHOP),
        ):
            assert not [name for name in response.headers if name[0].startswith("Access-Control")]


def test_allowed_origins_stay_allowed_while_the_store_is_down(
    web: Caller, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    origins = AllowedOrigins(store, cache_seconds=0)
    assert origins.allows(SHOP, ("default", "production"))

    def unavailable(*_: Any) -> Any:
        raise StoreUnavailable("The store cannot be used now.")

    monkeypatch.setattr(Store, "projects", unavailable)
    assert origins.allows(SHOP, ("default", "production"))
    assert not origins.allows(SHOP, ("default", "development"))


def test_origins_are_read_no_more_often_while_the_store_is_down(
    web: Caller, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = 0
    now = 0.0

    def unavailable(*_: Any) -> Any:
        nonlocal reads
        reads += 1
        raise StoreUnavailable("The store cannot be used now.")

    monkeypatch.setattr(time, "monotonic", lambda: now)
    origins = AllowedOrigins(store, cache_seconds=2)
    assert origins.allows(SHOP, None)
    with monkeypatch.context() as patch:
        patch.setattr(Store, "projects", unavailable)
        now += 2
        assert all(origins.allows(SHOP, None) for _ in range(5))
        assert reads == 1
    now += 2
    assert origins.allows(SHOP, None)
