"""Sessions end when they should, within two seconds everywhere, and are listed to their owners."""

from __future__ import annotations

from typing import Any

import pytest
import redis
from flask import Flask
from tidegate_server.application import create_app
from tidegate_server.errors import Unauthenticated
from tidegate_server.store import Store
from tidegate_server.store.connection import Connection
from tidegate_server.web import authentication
from tidegate_server.web.authentication import Authenticator
from tidegate_server.web.settings import ApiSettings

from tests.http_application import SECRET_KEY
from tests.http_calls import PROJECT, Caller, slug
from tests.people import COOKIE, PASSWORD, Browser, join, sign_in, signed_in
from tests.waiting import until

ADMIN = {"role": "admin"}
VIEWER = {"role": "viewer", "project": "default"}
HOUR_MS = 60 * 60 * 1000


@pytest.fixture
def ada(app: Flask, admin: Caller) -> Browser:
    return join(app, admin, "ada@example.com", ADMIN)


@pytest.fixture
def bob(app: Flask, admin: Caller) -> Browser:
    return join(app, admin, "bob@example.com", VIEWER)


def works(browser: Browser) -> bool:
    return browser.get("/api/v1/me").status_code == 200


def secret_of(browser: Browser) -> str:
    cookie = browser.client.get_cookie(COOKIE)
    assert cookie is not None
    return cookie.value


def at(monkeypatch: pytest.MonkeyPatch, now_ms: int) -> None:
    monkeypatch.setattr(authentication, "_now_ms", lambda: now_ms)


def test_a_session_ends_when_it_is_idle(
    app: Flask, ada: Browser, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_ms = store.now_ms()
    at(monkeypatch, now_ms + 11 * HOUR_MS)
    assert works(ada), "and so it is used again"
    app.extensions["tidegate"].authenticator._write_uses()
    at(monkeypatch, now_ms + 22 * HOUR_MS)
    assert works(ada)
    app.extensions["tidegate"].authenticator._write_uses()
    at(monkeypatch, now_ms + 35 * HOUR_MS)
    assert not works(ada)


def test_a_session_ends_even_if_it_is_used(
    app: Flask, ada: Browser, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_ms = store.now_ms()
    for hours in range(0, 7 * 24, 10):
        at(monkeypatch, now_ms + hours * HOUR_MS)
        assert works(ada), hours
        app.extensions["tidegate"].authenticator._write_uses()
    at(monkeypatch, now_ms + 7 * 24 * HOUR_MS + 1)
    assert not works(ada)


def test_the_store_forgets_a_session_by_itself(ada: Browser, raw: redis.Redis) -> None:
    keys = raw.keys("tg:*:session:*")
    assert keys
    assert all(0 < raw.pttl(key) <= 12 * HOUR_MS for key in keys)


def test_signing_out_ends_the_session_and_deletes_the_cookie(app: Flask, ada: Browser) -> None:
    secret = secret_of(ada)
    answer = ada.post("/api/v1/sign-out")
    assert answer.status_code == 200
    assert f"{COOKIE}=;" in answer.headers["Set-Cookie"]
    client = app.test_client(use_cookies=False)
    headers = {"Cookie": f"{COOKIE}={secret}"}
    assert client.get("/api/v1/me", headers=headers).status_code == 401


def test_a_person_lists_and_ends_their_sessions(app: Flask, ada: Browser) -> None:
    phone = signed_in(app, "ada@example.com")
    listed = ada.get("/api/v1/sessions").json
    assert listed is not None
    assert sorted(each["current"] for each in listed["items"]) == [False, True]
    assert {each["address"] for each in listed["items"]} == {"127.0.0.1"}
    assert all("Werkzeug" in each["device"] for each in listed["items"])
    assert "digest" not in str(listed)
    [other] = [each["id"] for each in listed["items"] if not each["current"]]
    assert ada.delete(f"/api/v1/sessions/{other}").status_code == 204
    assert not works(phone)
    assert works(ada)
    signed_in(app, "ada@example.com")
    ended = ada.delete("/api/v1/sessions").json
    assert ended == {"ended": 1}
    assert works(ada)


def test_only_who_may_do_all_that_a_person_may_sees_and_ends_their_sessions(
    app: Flask, admin: Caller, ada: Browser, bob: Browser
) -> None:
    for browser, person in ((bob, ada), (admin.token_for("admin", "default", None), ada)):
        query = f"?person={person.person['id']}"
        assert slug(browser.get(f"/api/v1/sessions{query}")) == "forbidden"
        assert slug(browser.delete(f"/api/v1/sessions{query}")) == "forbidden"
    query = f"?person={bob.person['id']}"
    listed = ada.get(f"/api/v1/sessions{query}").json
    assert listed is not None
    [session] = listed["items"]
    assert ada.delete(f"/api/v1/sessions/{session['id']}{query}").status_code == 204
    assert not works(bob)
    log = ada.get("/api/v1/audit?action=session.revoke").json
    assert log is not None
    assert log["items"][0]["target"] == bob.person["id"]


def test_the_sessions_of_everyone_are_those_that_one_may_end(
    app: Flask, admin: Caller, ada: Browser, bob: Browser
) -> None:
    def listed(reader: Browser | Caller, query: str = "?everyone=true") -> list[str]:
        found = reader.get(f"/api/v1/sessions{query}").json
        assert found is not None
        return sorted(each["email"] for each in found["items"])

    assert listed(ada) == listed(admin) == ["ada@example.com", "bob@example.com"]
    assert listed(bob) == ["bob@example.com"]
    assert listed(admin.token_for("admin", "default", None)) == ["bob@example.com"]
    assert listed(bob, "") == ["bob@example.com"]
    both = f"/api/v1/sessions?everyone=true&person={bob.person['id']}"
    assert ada.get(both).status_code == 422
    first = ada.get("/api/v1/sessions?everyone=true&limit=1").json
    assert first is not None
    assert len(listed(ada, f"?everyone=true&cursor={first['next_cursor']}")) == 1
    page = "/p/default/settings/sessions"
    assert bob.get(page).status_code == 403
    shown = ada.get(page).text
    assert "bob@example.com" in shown
    end = f"/p/default/settings/people/{bob.person['id']}/end-sessions"
    assert end in shown
    assert ">Sessions</a>" not in bob.get("/p/default/settings/environments").text


def test_a_program_has_no_sessions(admin: Caller) -> None:
    assert slug(admin.get("/api/v1/sessions")) == "forbidden"
    assert admin.get("/api/v1/sessions?person=nobody").status_code == 404
    me = admin.get("/api/v1/me").json
    assert me is not None
    assert (me["person"], me["session"], me["csrf_token"]) == (None, None, None)
    for method, path in (("POST", "/api/v1/sign-out"), ("GET", "/api/v1/me/tokens")):
        assert slug(admin.call(method, path)) == "forbidden"


def test_a_deactivated_person_is_out_at_once_and_stays_out(
    app: Flask, ada: Browser, bob: Browser
) -> None:
    token = bob.post_ok("/api/v1/me/tokens", {"name": "laptop"})["secret"]
    laptop = Caller(bob.client, token)
    assert laptop.get(f"{PROJECT}/flags").status_code == 200
    path = f"/api/v1/people/{bob.person['id']}"
    body = {"email": "bob@example.com", "name": "Bob", "grants": [VIEWER]}
    assert ada.put(path, {**body, "active": False}, match="*").status_code == 200
    assert not works(bob)
    assert slug(laptop.get(f"{PROJECT}/flags")) == "unauthenticated"
    assert ada.put(path, {**body, "active": True}, match="*").status_code == 200
    assert not works(bob), "the earlier sessions do not come back"
    assert sign_in(app, "bob@example.com").status_code == 200


def test_a_deleted_person_is_out_also_if_they_are_created_again(
    app: Flask, ada: Browser, bob: Browser
) -> None:
    token = bob.post_ok("/api/v1/me/tokens", {"name": "laptop"})["secret"]
    path = f"/api/v1/people/{bob.person['id']}"
    assert ada.delete(path, match="*").status_code == 204
    assert not works(bob)
    restored = ada.call("POST", f"{path}/history/1/restore")
    assert restored.status_code == 200, restored.text
    assert not works(bob)
    laptop = Caller(app.test_client(), token)
    assert laptop.get(f"{PROJECT}/flags").status_code == 401
    assert sign_in(app, "bob@example.com").status_code == 401, "they need an invitation"


def test_changing_the_password_ends_every_session_and_begins_a_new_one(
    app: Flask, ada: Browser
) -> None:
    phone, old_secret = signed_in(app, "ada@example.com"), secret_of(ada)
    new = "seven calm rivers bend"
    for body in (
        {"password": "not my password at all", "new_password": new},
        {"password": PASSWORD, "new_password": "short"},
    ):
        assert ada.put("/api/v1/me/password", body).status_code in (401, 422)
    assert works(phone)
    answer = ada.put("/api/v1/me/password", {"password": PASSWORD, "new_password": new})
    assert answer.status_code == 200
    assert secret_of(ada) != old_secret
    assert not works(phone)
    assert works(ada)
    assert sign_in(app, "ada@example.com").status_code == 401
    assert sign_in(app, "ada@example.com", new).status_code == 200


def test_a_session_needs_no_look_into_the_store_until_one_is_ended_elsewhere(
    app: Flask, ada: Browser, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ApiSettings(SECRET_KEY, token_poll_seconds=0.1)
    authenticator = Authenticator(store, settings)
    secret = secret_of(ada)
    assert authenticator.session(secret).person == ada.person["id"]

    def asked(*_: Any) -> Any:
        raise AssertionError

    quiet = Authenticator(store, ApiSettings(SECRET_KEY, token_poll_seconds=60))
    quiet.session(secret)
    with monkeypatch.context() as patch:
        patch.setattr(Connection, "read", asked)
        patch.setattr(Connection, "read_many", asked)
        assert quiet.session(secret).person == ada.person["id"]
        assert quiet.caller_of_person(ada.person["id"]).name == "Ada (ada@example.com)"
    ada.post("/api/v1/sign-out")

    def ended() -> bool:
        try:
            authenticator.session(secret)
        except Unauthenticated:
            return True
        return False

    until(ended, "the other process to notice")
    authenticator.close()
    quiet.close()


def test_a_taken_role_stops_working_in_another_process(
    app: Flask, ada: Browser, bob: Browser, store: Store
) -> None:
    other = create_app(store, ApiSettings(SECRET_KEY, token_poll_seconds=0.1))
    client = other.test_client()
    client.set_cookie(COOKIE, secret_of(bob))
    assert client.get(f"{PROJECT}/flags").status_code == 200
    path = f"/api/v1/people/{bob.person['id']}"
    body = {"email": "bob@example.com", "name": "Bob", "grants": []}
    assert ada.put(path, body, match="*").status_code == 200
    until(lambda: client.get(f"{PROJECT}/flags").status_code == 403, "the other process to notice")
    other.extensions["tidegate"].close()


def test_the_same_cookie_means_nothing_under_another_secret_key(ada: Browser, store: Store) -> None:
    other = create_app(store, ApiSettings(b"another key", token_poll_seconds=0))
    client = other.test_client()
    client.set_cookie(COOKIE, secret_of(ada))
    assert client.get("/api/v1/me").status_code == 401
    other.extensions["tidegate"].close()
