"""An address that guesses secrets has to wait; one that works never has to."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from flask import Flask
from tidegate_server.application import create_app
from tidegate_server.errors import StoreUnavailable
from tidegate_server.store import Store, keys
from tidegate_server.store.sign_in_attempts import Limit, SignInAttempts
from tidegate_server.web import failed_secrets
from tidegate_server.web.backend import Backend
from tidegate_server.web.settings import ApiSettings
from werkzeug.test import TestResponse

from tests.admin.test_hooks import HOOK
from tests.http_application import SECRET_KEY
from tests.http_calls import PRODUCTION, PROJECT, Caller, slug
from tests.waiting import until

GUESS = "tg_viewer_4f2a91c07d3e_0123456789abcdef0123456789abcdef0123456789abcdef"
WEB = {"name": "web", "role": "client", "project": "default", "environment": "production"}
ELSEWHERE = "203.0.113.7"


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failed_secrets, "FAILED_SECRETS", Limit("secret", 3, 60))


def call(
    app: Flask, token: str, path: str = f"{PROJECT}/flags", address: str = "127.0.0.1"
) -> TestResponse:
    caller = Caller(app.test_client(), token)
    return caller.get(path, environ_overrides={"REMOTE_ADDR": address})


def count(raw: redis.Redis, address: str) -> int:
    return int(raw.get(keys.attempts("secret", address)) or 0)


def test_an_address_that_guesses_has_to_wait_and_others_do_not(
    app: Flask, admin: Caller, sdk: Caller
) -> None:
    guesses = [call(app, token) for token in (GUESS, "guess", GUESS, GUESS, "guess")]
    assert [each.status_code for each in guesses] == [401, 401, 401, 429, 429]
    assert slug(guesses[-1]) == "rate-limited"
    assert 0 < int(guesses[-1].headers["Retry-After"]) <= 60
    for path in ("/sdk/v1/snapshot", "/sdk/v1/stream", "/metrics"):
        assert call(app, GUESS, path).status_code == 429, path
    assert call(app, GUESS, address=ELSEWHERE).status_code == 401
    # Tokens that work are accepted all the time: known ones, and one that was just made.
    assert call(app, str(admin.token)).status_code == 200
    assert call(app, str(sdk.token), "/sdk/v1/snapshot").status_code == 200
    made = admin.post_ok("/api/v1/tokens", {"name": "ci", "role": "reader", "whole_server": True})
    assert call(app, made["secret"]).status_code == 200
    assert call(app, GUESS).status_code == 429


def test_a_client_that_evaluates_has_to_wait_too(app: Flask, admin: Caller) -> None:
    guesses = [
        app.test_client().post("/ofrep/v1/evaluate/flags", json={}, headers={"X-API-Key": GUESS})
        for _ in range(4)
    ]
    assert [each.status_code for each in guesses] == [401, 401, 401, 429]
    assert 0 < int(guesses[-1].headers["Retry-After"]) <= 60


def test_guesses_at_the_secret_of_a_hook_and_at_the_url_of_a_stream_are_slowed_too(
    app: Flask, checkout: Caller, raw: redis.Redis
) -> None:
    hook = checkout.post_ok(f"{PROJECT}/hooks", HOOK)
    alerts = Caller(app.test_client(), hook["secret"])
    web = checkout.post_ok("/api/v1/tokens", {**WEB, "rate_limit": 1000})
    evaluated = Caller(app.test_client(), web["secret"]).post_ok("/ofrep/v1/evaluate/flags", {})
    url = evaluated["eventStreams"][0]["url"]
    forged = url[:-1] + ("0" if url[-1] != "0" else "1")
    guess = Caller(app.test_client(), "tgh_guess")
    tried = [
        guess.post(hook["path"], {}),
        app.test_client().get(forged),
        guess.post(hook["path"], {}),
        app.test_client().get(forged),
        guess.post(hook["path"], {}),
    ]
    assert [each.status_code for each in tried] == [401, 401, 401, 429, 429]
    assert 0 < int(tried[-1].headers["Retry-After"]) <= 60
    assert alerts.post(hook["path"], {"alerts": []}).status_code != 429
    assert app.test_client().get(url).status_code == 200
    # Whoever has no secret guesses none.
    assert app.test_client().post(hook["path"]).status_code == 401
    assert count(raw, "127.0.0.1") == 4


def test_guesses_at_shared_links_are_slowed_too(
    app: Flask, checkout: Caller, release: str, raw: redis.Redis
) -> None:
    shares = f"{PRODUCTION}/shares"
    report = checkout.post_ok(shares, {"kind": "report", "release": release.rpartition("/")[2]})
    badge = checkout.post_ok(shares, {"kind": "badge", "flag": "checkout", "lasts": None})
    works = [urlsplit(each["link"]).path for each in (report, badge)]
    secret = works[0].rpartition("/")[2]
    opening = f"/api/v1/shared/default/{report['id']}"
    visitor = app.test_client()
    tried = [
        visitor.get(works[0].replace(secret, "guess")).status_code,
        visitor.get(f"/badge/default/{report['id']}/guess.svg").status_code,
        visitor.post(opening, json={"secret": "guess"}).status_code,
        visitor.get("/shared/default/0123456789ab/guess").status_code,
        visitor.post(opening, json={"secret": "guess"}).status_code,
    ]
    assert tried == [404, 404, 404, 429, 429]
    assert [visitor.get(each).status_code for each in works] == [200, 200]
    assert visitor.post(opening, json={"secret": secret}).status_code == 200
    assert call(app, GUESS).status_code == 429, "guesses of all kinds count together"


def test_a_link_that_has_expired_is_no_guess(
    app: Flask, checkout: Caller, release: str, raw: redis.Redis
) -> None:
    id = release.rpartition("/")[2]
    new = {"kind": "report", "release": id, "lasts": "1ms"}
    link = checkout.post_ok(f"{PRODUCTION}/shares", new)["link"]
    visitor = app.test_client()
    assert {visitor.get(urlsplit(link).path).status_code for _ in range(5)} == {404}
    assert count(raw, "127.0.0.1") == 0


def test_tokens_that_work_are_not_counted(app: Flask, admin: Caller, raw: redis.Redis) -> None:
    new = {"name": "ci", "role": "reader", "whole_server": True}
    tokens = [str(admin.token), admin.post_ok("/api/v1/tokens", new)["secret"]]
    assert {call(app, token).status_code for token in tokens * 3} == {200}
    assert count(raw, "127.0.0.1") == 0


def test_all_processes_count_together_and_one_that_refuses_counts_no_more(
    app: Flask, store: Store, raw: redis.Redis
) -> None:
    other = create_app(store, ApiSettings(SECRET_KEY))
    tried = [call(each, GUESS).status_code for each in (app, other, app, other, app)]
    assert tried == [401, 401, 401, 429, 429]
    assert count(raw, "127.0.0.1") == 5
    assert [call(each, GUESS).status_code for each in (app, other) * 3] == [429] * 6
    assert count(raw, "127.0.0.1") == 5
    other.extensions["tidegate"].close()


def test_the_wait_ends_by_itself(
    app: Flask, raw: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failed_secrets, "FAILED_SECRETS", Limit("secret", 1, 1))
    assert [call(app, GUESS).status_code for _ in range(2)] == [401, 429]
    until(lambda: call(app, GUESS).status_code == 401, "the wait is over")


def test_the_addresses_of_one_ipv6_network_wait_together(app: Flask, admin: Caller) -> None:
    tried = [call(app, GUESS, address=f"2001:db8::{n}").status_code for n in range(1, 5)]
    assert tried == [401, 401, 401, 429]
    assert call(app, GUESS, address="2001:db8:0:1::1").status_code == 401


def test_a_process_remembers_so_many_addresses_at_most(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failed_secrets, "FAILED_SECRETS", Limit("secret", 0, 60))
    monkeypatch.setattr(failed_secrets, "MOST_REMEMBERED", 2)
    backend: Backend = app.extensions["tidegate"]
    for number in range(5):
        assert call(app, GUESS, address=f"203.0.113.{number}").status_code == 429
        assert len(backend.authenticator._failed._waiting) <= 2
    assert call(app, GUESS, address="203.0.113.0").status_code == 429


def test_what_cannot_be_counted_is_refused_as_before(
    app: Flask, admin: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unavailable(*_: Any) -> Any:
        raise StoreUnavailable("The store cannot be used now.")

    assert admin.get(f"{PROJECT}/flags").status_code == 200
    monkeypatch.setattr(SignInAttempts, "count", unavailable)
    assert {call(app, "guess").status_code for _ in range(5)} == {401}
