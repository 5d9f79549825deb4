"""A request outside its token's role or scope is refused and changes nothing."""

from __future__ import annotations

import logging
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from tidegate_server.application import create_app
from tidegate_server.errors import StoreUnavailable, Unauthenticated
from tidegate_server.store import Store
from tidegate_server.store.connection import Connection
from tidegate_server.store.logs import Logs
from tidegate_server.web import authentication, token_secrets
from tidegate_server.web.authentication import Authenticator
from tidegate_server.web.settings import ApiSettings

from tests.http_application import ADMIN_TOKEN, SECRET_KEY
from tests.http_calls import CHECKOUT, PRODUCTION, PROJECT, Caller, slug, stored_documents
from tests.people import join
from tests.waiting import until

DEVELOPMENT = f"{PROJECT}/environments/development"


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        f"Basic {ADMIN_TOKEN}",
        "Bearer wrong",
        f"Bearer {ADMIN_TOKEN}x",
        "Bearer tg_admin_bootstrap_0123456789abcdef0123456789abcdef",
        "Bearer tg_admin_nobody_0123456789abcdef0123456789abcdef",
        "Bearer \x80\xff",
    ],
)
def test_a_request_without_a_known_token_is_refused(
    admin: Caller, client: FlaskClient, store: Store, header: str | None
) -> None:
    before = stored_documents(store)
    headers = {} if header is None else {"Authorization": header}
    for method, path in (
        ("GET", "/api/v1/projects"),
        ("POST", f"{PROJECT}/flags"),
        ("POST", f"{PRODUCTION}/flags/checkout/kill"),
        ("DELETE", f"{PROJECT}/flags/checkout"),
        ("GET", "/sdk/v1/snapshot"),
        ("GET", "/sdk/v1/stream"),
        ("POST", "/sdk/v1/reports"),
        ("GET", "/metrics"),
    ):
        refused = client.open(path, method=method, headers=headers, json=CHECKOUT)
        assert (refused.status_code, slug(refused)) == (401, "unauthenticated"), path
        assert refused.headers["WWW-Authenticate"].startswith("Bearer")
    assert stored_documents(store) == before


def test_every_route_needs_a_token_except_health_openapi_and_hooks(app: Flask) -> None:
    open_to_all = {
        rule.rule
        for rule in app.url_map.iter_rules()
        if getattr(app.view_functions[rule.endpoint], "permission", None) is None
        and getattr(app.view_functions[rule.endpoint], "who", None) is None
        and not rule.endpoint.startswith("dashboard.")  # pages: see below
    }
    needs_the_hooks_secret = "/api/v1/hooks/<key:hook>"
    needs_a_password, needs_an_invitation = "/api/v1/sign-in", "/api/v1/invitations/accept"
    needs_a_link = "/api/v1/sign-in/link"
    needs_an_approval = {"/api/v1/device-sign-ins", "/api/v1/device-sign-ins/token"}
    needs_the_shares_secret = "/api/v1/shared/<key:project>/<key:share>"
    with_provider = "/api/v1/sign-in/with/<key:identity_provider>"
    assert open_to_all == {
        "/health/live",
        "/health/ready",
        "/openapi.json",
        needs_the_hooks_secret,
        needs_the_shares_secret,
        needs_a_password,
        needs_an_invitation,
        needs_a_link,
        *needs_an_approval,
        with_provider,
        f"{with_provider}/callback",
        f"{with_provider}/sign-out",  # needs a token that the provider signed
    }


PAGES_FOR_STRANGERS = {
    *("sign_in", "sign_out", "invitation", "asset"),
    *("sign_in_with_link", "back_to_kept"),  # the latter has only what its reader sends
    *("begin_with_provider", "back_from_provider"),
    *("shared_report", "show_badge"),  # need the secret of a share
}


def pages(app: Flask, method: str) -> list[str]:
    """Return the address of every page that takes a method and is for people who signed in."""
    keys = {
        "project": "default",
        "environment": "production",
        "flag": "checkout",
        "action": "pause",
    }

    def filled(part: re.Match[str]) -> str:
        kind, first, name = part["kind"] or "", part["first"], part["name"]
        return first or keys.get(name, "1" if kind == "int" else "missing")

    converter = r"<(?:(?P<kind>\w+)(?:\((?P<first>\w+)[^)]*\))?:)?(?P<name>\w+)>"
    found = sorted(
        re.sub(converter, filled, rule.rule)
        for rule in app.url_map.iter_rules()
        if rule.endpoint.startswith("dashboard.")
        and rule.endpoint.partition(".")[2] not in PAGES_FOR_STRANGERS
        and method in (rule.methods or ())
    )
    assert len(found) > 20
    return found


def test_every_page_sends_a_stranger_to_sign_in(app: Flask, checkout: Caller, store: Store) -> None:
    before = stored_documents(store)
    stranger = app.test_client()
    for method, least in (("GET", 25), ("POST", 10)):
        addresses = pages(app, method)
        assert len(addresses) >= least
        for address in addresses:
            answer = stranger.open(address, method=method, data={})
            if answer.status_code == 401:
                # A form comes back after signing in, so the page that asks for it keeps the form.
                assert method == "POST", address
                assert 'action="/sign-in"' in answer.text, address
                continue
            assert answer.status_code == 303, (method, address, answer.text)
            where = answer.headers["Location"]
            # A page may lead to another one of these first.
            assert where.startswith("/sign-in?next=/") or where in addresses, address
    assert stored_documents(store) == before


@pytest.mark.parametrize(
    ("form", "headers"),
    [
        ({}, {}),
        ({"csrf_token": "0" * 64}, {}),
        ({"csrf_token": "own"}, {"Origin": "https://evil.example.com"}),
        ({"csrf_token": "own"}, {"Sec-Fetch-Site": "cross-site"}),
    ],
)
def test_no_page_takes_a_form_of_another_page(
    app: Flask,
    checkout: Caller,
    store: Store,
    form: dict[str, str],
    headers: dict[str, str],
) -> None:
    ada = join(app, checkout, "ada@example.com", {"role": "admin"})
    sent = {name: ada.csrf if value == "own" else value for name, value in form.items()}
    before = stored_documents(store)
    for address in pages(app, "POST"):
        answer = ada.client.post(address, data=sent, headers=headers)
        assert answer.status_code == 403, (address, answer.text)
    assert stored_documents(store) == before


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example.com"}, {"Origin": "null"}])
def test_a_form_of_another_page_is_not_kept_for_who_signs_in(
    app: Flask, checkout: Caller, headers: dict[str, str]
) -> None:
    """Browsers send no cookie with such a form, so it looks as if the session had ended."""
    for address in pages(app, "POST"):
        answer = app.test_client().post(address, data={"reason": "evil"}, headers=headers)
        assert answer.status_code == 403, (address, answer.text)
        assert "kept_form" not in answer.text


def test_a_reader_may_not_change_anything(checkout: Caller, release: str, store: Store) -> None:
    reader = checkout.token_for("reader", "default", None)
    assert reader.get(release).status_code == 200
    before = stored_documents(store)
    for method, path in (
        ("POST", f"{PROJECT}/flags"),
        ("PUT", f"{PROJECT}/flags/checkout"),
        ("DELETE", f"{PROJECT}/flags/checkout"),
        ("POST", f"{PROJECT}/segments"),
        ("POST", f"{PROJECT}/policies"),
        ("PUT", f"{PRODUCTION}/flags/checkout"),
        ("POST", f"{PRODUCTION}/flags/checkout/kill"),
        ("POST", f"{PRODUCTION}/releases"),
        ("POST", f"{release}/rollback"),
        ("GET", "/api/v1/tokens"),
        ("POST", "/api/v1/tokens"),
    ):
        refused = reader.call(method, path, CHECKOUT, match='"1"')
        assert (refused.status_code, slug(refused)) == (403, "forbidden"), path
    assert stored_documents(store) == before


def test_a_writer_may_not_create_environments_or_tokens(admin: Caller, store: Store) -> None:
    writer = admin.token_for("writer", "default", None)
    before = stored_documents(store)
    for path in ("/api/v1/projects", f"{PROJECT}/environments", "/api/v1/tokens"):
        assert slug(writer.post(path, {"key": "web"})) == "forbidden"
    assert stored_documents(store) == before


def test_a_token_for_one_environment_may_change_only_that_one(
    checkout: Caller, store: Store
) -> None:
    writer = checkout.token_for("writer", "default", "production")
    before = stored_documents(store)
    assert slug(writer.post(f"{DEVELOPMENT}/flags/checkout/kill")) == "forbidden"
    assert slug(writer.get(f"{DEVELOPMENT}/flags/checkout")) == "forbidden"
    assert slug(writer.delete(f"{PROJECT}/flags/checkout", match='"1"')) == "forbidden"
    assert stored_documents(store) == before
    assert writer.get(f"{PROJECT}/flags/checkout").status_code == 200
    assert writer.post(f"{PRODUCTION}/flags/checkout/kill").status_code == 200


def test_a_token_for_one_project_reaches_no_other(admin: Caller) -> None:
    admin.post_ok("/api/v1/projects", {"key": "web"})
    local = admin.token_for("admin", "web", None)
    assert slug(local.get(f"{PROJECT}/flags")) == "forbidden"
    assert slug(local.post("/api/v1/projects", {"key": "other"})) == "forbidden"
    assert local.post("/api/v1/projects/web/environments", {"key": "live"}).status_code == 201


def test_an_sdk_token_reaches_only_the_sdk_routes(admin: Caller, sdk: Caller) -> None:
    assert sdk.get("/sdk/v1/snapshot").status_code == 200
    assert slug(sdk.get(f"{PRODUCTION}/flags")) == "forbidden"
    assert slug(sdk.get("/metrics")) == "forbidden"
    refused = admin.get("/sdk/v1/snapshot")
    assert slug(refused) == "forbidden"
    assert "--role sdk" in refused.text


def test_a_deleted_token_stops_working_after_the_next_look_for_changes(
    admin: Caller, store: Store
) -> None:
    client = create_app(store, ApiSettings(SECRET_KEY, token_poll_seconds=0.2)).test_client()
    token = admin.post_ok("/api/v1/tokens", {"name": "ci", "role": "reader", "whole_server": True})
    reader = Caller(client, token["secret"])
    assert reader.get(f"{PROJECT}/flags").status_code == 200
    admin.delete(f"/api/v1/tokens/{token['id']}", match="*")
    while reader.get(f"{PROJECT}/flags").status_code == 200:
        pass
    assert reader.get(f"{PROJECT}/flags").status_code == 401


def test_a_token_stays_valid_while_the_store_is_down(
    admin: Caller, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    authenticator = Authenticator(store, ApiSettings(SECRET_KEY, token_poll_seconds=0.05))
    secret = admin.post_ok(
        "/api/v1/tokens", {"name": "ci", "role": "reader", "whole_server": True}
    )["secret"]
    token = authenticator.authenticate(secret)

    def unavailable(*_: Any) -> Any:
        raise StoreUnavailable("The store cannot be used now.")

    with monkeypatch.context() as patch:
        patch.setattr(Logs, "audit_position", unavailable)
        patch.setattr(Store, "all", unavailable)
        assert authenticator.is_still_valid(token)
        assert authenticator.authenticate(secret) == token
        assert Authenticator(store, ApiSettings(SECRET_KEY)).is_still_valid(token)
    admin.delete(f"/api/v1/tokens/{token.id}", match="*")
    until(lambda: not authenticator.is_still_valid(token), "the token to be revoked")
    with pytest.raises(Unauthenticated):
        authenticator.authenticate(secret)
    authenticator.close()


def test_checking_a_known_token_does_not_ask_the_store(
    admin: Caller, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    authenticator = Authenticator(store, ApiSettings(SECRET_KEY, token_poll_seconds=60))
    token = authenticator.authenticate(ADMIN_TOKEN)

    def asked(*_: Any) -> Any:
        raise AssertionError

    monkeypatch.setattr(Connection, "read", asked)
    assert authenticator.authenticate(ADMIN_TOKEN) == token
    assert authenticator.is_still_valid(token)
    assert authenticator.token_by_id(token.id) == token
    authenticator.close()


def test_a_new_token_works_at_once_even_just_after_a_look_for_changes(
    admin: Caller, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authentication, "UNKNOWN_SECONDS", 0.5)
    authenticator = Authenticator(store, ApiSettings(SECRET_KEY, token_poll_seconds=60))
    authenticator.authenticate(ADMIN_TOKEN)
    for _ in range(2):
        token = admin.post_ok(
            "/api/v1/tokens", {"name": "ci", "role": "reader", "whole_server": True}
        )
        assert authenticator.authenticate(token["secret"]).id == token["id"]
    token = admin.post_ok("/api/v1/tokens", {"name": "ci", "role": "reader", "whole_server": True})
    assert authenticator.token_by_id(token["id"]).id == token["id"]
    authenticator.close()


def test_guesses_do_not_each_ask_the_store(
    admin: Caller, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    authenticator = Authenticator(store, ApiSettings(SECRET_KEY, token_poll_seconds=60))
    asked: list[str] = []
    look = Logs.audit_position

    def counted(logs: Logs, scope: str) -> str:
        # The application of ``admin`` looks for changes, too.
        if threading.current_thread().name.startswith("guess"):
            asked.append(scope)
        return look(logs, scope)

    def guess(number: int) -> None:
        with pytest.raises(Unauthenticated):
            authenticator.authenticate(f"tg_viewer_{number}_0123456789abcdef0123456789abcdef")

    monkeypatch.setattr(Logs, "audit_position", counted)
    monkeypatch.setattr(authentication, "UNKNOWN_SECONDS", 0.2)
    began = time.monotonic()
    with ThreadPoolExecutor(25, "guess") as threads:
        list(threads.map(guess, range(50)))
    assert 0.2 * (len(asked) - 1) <= time.monotonic() - began
    authenticator.close()


def test_a_refused_token_is_in_the_log_with_its_address(
    admin: Caller, capsys: pytest.CaptureFixture[str]
) -> None:
    guess = "tg_viewer_4f2a91c07d3e_0123456789abcdef0123456789abcdef0123456789abcdef"
    assert Caller(admin.client, guess).get(f"{PROJECT}/flags").status_code == 401
    [line] = [each for each in capsys.readouterr().out.splitlines() if "status=401" in each]
    assert "address=127.0.0.1" in line
    assert "token_id=4f2a91c07d3e" in line
    assert "0123456789abcdef" not in line


def test_tokens_are_unknown_under_another_secret_key(admin: Caller, store: Store) -> None:
    client = create_app(store, ApiSettings(b"another key")).test_client()
    assert Caller(client, ADMIN_TOKEN).get(f"{PROJECT}/flags").status_code == 401


def test_logs_contain_no_secrets(
    admin: Caller, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    token = admin.post_ok("/api/v1/tokens", {"name": "ci", "role": "writer", "whole_server": True})
    Caller(admin.client, token["secret"]).post(f"{PROJECT}/flags", CHECKOUT)
    Caller(admin.client, token["secret"] + "0").get(f"{PROJECT}/flags?cursor=hidden-in-the-query")
    shown = capsys.readouterr()
    parsed = token_secrets.parse_token(token["secret"])
    assert parsed is not None
    for text in (shown.out, shown.err, caplog.text):
        assert parsed.secret not in text
        assert ADMIN_TOKEN not in text
        assert "hidden-in-the-query" not in text
