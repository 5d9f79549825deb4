"""Signing out together with an identity provider, whichever of the two somebody signs out of."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import redis
from flask import Flask
from joserfc.jwk import RSAKey
from tidegate_server.application import create_app
from tidegate_server.store import Store
from tidegate_server.web.settings import ApiSettings
from werkzeug.test import TestResponse

from tests.admin.test_provider_sign_in import (
    Visitor,
    audit,
    connect,
    jws_part,
    signed_with,
    unsigned,
)
from tests.http_calls import Caller, raw_contents, slug
from tests.openid_provider import (
    CLIENT_ID,
    CLIENT_SECRET,
    LOGOUT_EVENT,
    Claims,
    OpenIdProvider,
    new_rsa_key,
    running_provider,
)
from tests.people import join
from tests.receiver import LOOPBACK
from tests.waiting import until

PATH = "/api/v1/sign-in/with/okta/sign-out"
NOW = int(time.time())


@pytest.fixture
def settings(settings: ApiSettings) -> ApiSettings:
    return replace(settings, identity_provider_networks=LOOPBACK)


@pytest.fixture(scope="module")
def rsa() -> RSAKey:
    return new_rsa_key("key-1")


@pytest.fixture
def okta(admin: Caller, rsa: RSAKey) -> Iterator[OpenIdProvider]:
    """A provider that is connected."""
    with running_provider(rsa) as provider:
        connect(admin, provider)
        yield provider


def signed_in(app: Flask, okta: OpenIdProvider, session: str | None = "session-1") -> Visitor:
    """Return a browser that has signed in; the provider calls its session by a name."""
    okta.user["sid"] = session
    visitor = Visitor(app.test_client())
    assert visitor.sign_in().status_code == 303
    return visitor


def say(admin: Caller, token: str, path: str = PATH) -> TestResponse:
    """Let the provider say something."""
    return admin.client.post(path, data={"logout_token": token})


def test_a_session_that_ends_at_the_provider_ends_here(
    app: Flask, admin: Caller, okta: OpenIdProvider
) -> None:
    one, other = signed_in(app, okta, "one"), signed_in(app, okta, "other")
    answer = say(admin, okta.logout_token(sid="one"))
    assert (answer.status_code, answer.text) == (200, "")
    assert answer.headers["Cache-Control"] == "no-store"
    assert one.me() is None
    assert other.me() is not None
    entry = audit(admin)[0]
    assert (entry["action"], entry["actor"]) == ("session.revoke", "identity provider okta")
    assert say(admin, okta.logout_token(sid="other", sub=None)).status_code == 200
    assert other.me() is None


def test_a_session_ends_in_every_process(
    app: Flask, admin: Caller, okta: OpenIdProvider, store: Store, settings: ApiSettings
) -> None:
    ada = signed_in(app, okta)
    cookie = ada.client.get_cookie("tidegate-http")
    assert cookie is not None
    other = create_app(store, replace(settings, token_poll_seconds=0.05))
    try:
        elsewhere = Visitor(other.test_client())
        elsewhere.client.set_cookie("tidegate-http", cookie.value)
        assert elsewhere.me() is not None
        assert say(admin, okta.logout_token()).status_code == 200
        until(lambda: elsewhere.me() is None, "the other process has noticed")
    finally:
        other.extensions["tidegate"].authenticator.close()


def test_a_subject_without_a_session_ends_all_of_this_provider(
    app: Flask, admin: Caller, okta: OpenIdProvider
) -> None:
    one, other = signed_in(app, okta, "one"), signed_in(app, okta, None)
    okta.user = {**okta.user, "sub": "eve", "email": "eve@example.com"}
    eve = signed_in(app, okta, "three")
    with_password = join(app, admin, "bob@example.com")
    okta.user["sub"] = "00u-ada"
    assert say(admin, okta.logout_token()).status_code == 200
    assert (one.me(), other.me()) == (None, None)
    assert eve.me() is not None
    assert with_password.get("/api/v1/me").status_code == 200


def test_a_session_of_somebody_else_is_not_ended_with_a_subject(
    app: Flask, admin: Caller, okta: OpenIdProvider
) -> None:
    ada = signed_in(app, okta, "one")
    assert say(admin, okta.logout_token(sub="eve", sid="one")).status_code == 200
    assert ada.me() is not None


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://evil.example.com"},
        {"aud": "another-client"},
        {"aud": None},
        {"exp": NOW - 3600},
        {"exp": None},
        {"exp": NOW + 48 * 3600},
        {"iat": None},
        {"iat": NOW + 3600},
        {"jti": None},
        {"jti": ""},
        {"events": None},
        {"events": {}},
        {"events": []},
        {"events": {LOGOUT_EVENT: None}},
        {"events": {"http://schemas.openid.net/event/other": {}}},
        {"nonce": "a"},
        {"sub": None},
        {"sub": 5},
        {"sid": ["one"]},
    ],
)
def test_a_logout_token_that_is_not_valid_ends_nothing(
    app: Flask, admin: Caller, okta: OpenIdProvider, claims: Claims
) -> None:
    ada = signed_in(app, okta, "one")
    refused = say(admin, okta.logout_token(**claims))
    assert (refused.status_code, slug(refused)) == (400, "token-refused")
    assert ada.me() is not None


def test_a_logout_token_works_once(app: Flask, admin: Caller, okta: OpenIdProvider) -> None:
    signed_in(app, okta)
    token = okta.logout_token()
    assert say(admin, token).status_code == 200
    ada = signed_in(app, okta)
    assert say(admin, token).status_code == 400
    assert ada.me() is not None


def test_a_forged_logout_token_ends_nothing(
    app: Flask, admin: Caller, okta: OpenIdProvider
) -> None:
    ada = signed_in(app, okta)
    genuine = okta.logout_token()
    header, content, signature = genuine.split(".")
    claims: Claims = json.loads(_decoded(content))
    forged = [
        unsigned(claims),
        signed_with(okta.key.as_pem(private=False), claims),
        signed_with(CLIENT_SECRET.encode(), claims),
        replace(okta, key=new_rsa_key("key-1")).logout_token(),
        f"{header}.{jws_part(json.dumps({**claims, 'sid': 'session-1'}).encode())}.{signature}",
        okta.signed({**okta.claims(), "nonce": "an ID token"}),
        okta.signed(claims, {"typ": "at+jwt"}),
        "",
        "a.b.c",
    ]
    for token in forged:
        assert say(admin, token).status_code == 400, token
    assert admin.client.post(PATH).status_code == 400
    elsewhere = PATH.replace("okta", "other")
    assert say(admin, genuine, elsewhere).status_code == 400
    assert ada.me() is not None
    assert say(admin, genuine).status_code == 200


def _decoded(part: str) -> bytes:
    import base64

    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def test_a_logout_token_signs_nobody_in(app: Flask, admin: Caller, okta: OpenIdProvider) -> None:
    okta.change = lambda claims: {**claims, "events": {LOGOUT_EVENT: {}}}
    visitor = Visitor(app.test_client())
    assert visitor.sign_in().status_code == 401


def test_strangers_cannot_keep_the_word_of_a_provider_from_arriving(
    app: Flask, admin: Caller, okta: OpenIdProvider
) -> None:
    ada = signed_in(app, okta)
    for _ in range(110):
        assert say(admin, "a.b.c").status_code == 400
    assert say(admin, okta.logout_token()).status_code == 200
    assert ada.me() is None


def test_signing_out_here_offers_to_sign_out_there(
    app: Flask, admin: Caller, okta: OpenIdProvider, raw: redis.Redis
) -> None:
    ada = signed_in(app, okta)
    csrf = ada.me()["csrf_token"]
    page = ada.client.post("/sign-out", data={"csrf_token": csrf})
    assert page.status_code == 200, page.text
    assert ada.me() is None
    assert f'action="{okta.issuer}/end-session"' in page.text
    fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page.text))
    assert fields["client_id"] == CLIENT_ID
    assert fields["post_logout_redirect_uri"] == "http://localhost/sign-in"
    token = fields["id_token_hint"]
    assert json.loads(_decoded(token.split(".")[1]))["sub"] == "00u-ada"
    policy = page.headers["Content-Security-Policy"]
    assert f"form-action 'self' https: {okta.issuer};" in policy
    other = ada.client.get("/sign-in").headers["Content-Security-Policy"]
    assert "form-action 'self';" in other
    assert token not in raw_contents(raw)


def test_signing_out_leads_to_the_sign_in_page_where_there_is_nothing_else(
    app: Flask, admin: Caller, okta: OpenIdProvider
) -> None:
    okta.settings["end_session_endpoint"] = None
    ada = signed_in(app, okta)
    answer = ada.client.post("/sign-out", data={"csrf_token": ada.me()["csrf_token"]})
    assert (answer.status_code, answer.location) == (303, "/sign-in")
    bob = join(app, admin, "bob@example.com")
    signed_out: Any = bob.post("/api/v1/sign-out").json
    assert signed_out == {"provider": None}
    assert bob.get("/api/v1/me").status_code == 401
