"""Signing in: passwords, invitations, cookies, CSRF, and how guessing is slowed."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import redis
from flask import Flask
from tidegate_server.admin.sign_in import attempts
from tidegate_server.application import create_app, install_services
from tidegate_server.domain.change import Address, Audit, Change, Put
from tidegate_server.domain.kinds import Kind
from tidegate_server.store import Store
from tidegate_server.store.sign_in_attempts import Limit
from tidegate_server.web import password_hashes
from tidegate_server.web.settings import ApiSettings

from tests.http_application import ADMIN_TOKEN, SECRET_KEY
from tests.http_calls import PROJECT, Caller, pointers, raw_contents, slug
from tests.people import COOKIE, PASSWORD, Browser, browser, invited, join, sign_in, signed_in

VIEWER = {"role": "viewer", "project": "default"}
ADMIN = {"role": "admin"}


@pytest.fixture
def ada(app: Flask, admin: Caller) -> Browser:
    return join(app, admin, "ada@example.com", ADMIN)


def test_a_person_accepts_an_invitation_and_signs_in(app: Flask, ada: Browser) -> None:
    me = ada.get("/api/v1/me").json
    assert me is not None
    assert me["name"] == "Ada (ada@example.com)"
    assert me["person"]["email"] == "ada@example.com"
    assert (me["has_password"], me["has_second_factor"]) == (True, False)
    again = signed_in(app, " ADA@example.com ")
    assert again.get(f"{PROJECT}/flags").status_code == 200
    created = again.post(f"{PROJECT}/flags", {"key": "banner", "type": "boolean"})
    assert created.status_code == 201, created.text
    log = ada.get(f"{PROJECT}/audit").json
    assert log is not None
    entry = log["items"][0]
    assert (entry["actor"], entry["address"]) == ("Ada (ada@example.com)", "127.0.0.1")


def test_links_lead_to_the_address_that_people_open_whatever_the_request_says(
    app: Flask, admin: Caller, store: Store
) -> None:
    install_services(app, store, ApiSettings(SECRET_KEY, public_url="https://flags.example.com"))
    host = {"Host": "evil.example.com"}
    invitation = admin.call(
        "POST", "/api/v1/people", {"email": "bob@example.com", "grants": [VIEWER]}, headers=host
    )
    assert invitation.status_code == 201
    assert invitation.json is not None
    person = invitation.json["id"]
    made = admin.call("POST", f"/api/v1/people/{person}/invitation", {}, headers=host)
    assert made.json is not None
    assert made.json["link"].startswith("https://flags.example.com/invitation#tgi_")
    started = admin.call("POST", "/api/v1/device-sign-ins", {"host": "laptop"}, headers=host)
    assert started.json is not None
    assert started.json["verification_uri"] == "https://flags.example.com/device"


def test_an_invitation_works_once_and_only_with_its_secret(app: Flask, admin: Caller) -> None:
    link = invited(admin, "bob@example.com", VIEWER)
    assert "/invitation#tgi_" in link
    post = app.test_client().post

    def accept(text: str) -> int:
        body = {"invitation": text, "name": "Bob", "password": PASSWORD}
        return post("/api/v1/invitations/accept", json=body).status_code

    assert accept(link[:-1] + ("0" if link[-1] != "0" else "1")) == 422
    assert accept("nonsense") == 422
    assert accept(link) == 200
    assert accept(link) == 422


def test_of_several_at_once_one_accepts_an_invitation(app: Flask, admin: Caller) -> None:
    link = invited(admin, "bob@example.com", VIEWER)

    def accept(number: int) -> int:
        body = {"invitation": link, "name": f"Bob {number}", "password": PASSWORD}
        return app.test_client().post("/api/v1/invitations/accept", json=body).status_code

    with ThreadPoolExecutor(4) as threads:
        assert sorted(threads.map(accept, range(4))) == [200, 422, 422, 422]


def test_a_newer_invitation_replaces_an_older_one(app: Flask, admin: Caller) -> None:
    old = invited(admin, "bob@example.com", VIEWER)
    people = admin.get("/api/v1/people").json
    assert people is not None
    new = admin.post_ok(f"/api/v1/people/{people['items'][0]['id']}/invitation", {})["link"]
    body = {"name": "Bob", "password": PASSWORD}
    post = app.test_client().post
    refused = post("/api/v1/invitations/accept", json={**body, "invitation": old})
    assert pointers(refused) == ["/invitation"]
    accepted = post("/api/v1/invitations/accept", json={**body, "invitation": new})
    assert accepted.status_code == 200


def test_an_invitation_expires(
    app: Flask, admin: Caller, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = invited(admin, "bob@example.com", VIEWER)
    later = store.now_ms() + 8 * 24 * 60 * 60 * 1000
    monkeypatch.setattr(Store, "now_ms", lambda _: later)
    body = {"invitation": link, "name": "Bob", "password": PASSWORD}
    refused = app.test_client().post("/api/v1/invitations/accept", json=body)
    assert "expired" in refused.text


def test_an_invitation_of_somebody_deactivated_does_not_work(app: Flask, admin: Caller) -> None:
    link = invited(admin, "bob@example.com", VIEWER)
    listed = admin.get("/api/v1/people").json
    assert listed is not None
    [bob] = listed["items"]
    body = {"email": bob["email"], "grants": bob["grants"], "active": False}
    assert admin.put(f"/api/v1/people/{bob['id']}", body, match="*").status_code == 200
    refused = app.test_client().post(
        "/api/v1/invitations/accept", json={"invitation": link, "password": PASSWORD}
    )
    assert slug(refused) == "not-possible"
    assert slug(admin.post(f"/api/v1/people/{bob['id']}/invitation", {})) == "not-possible"


def linked(admin: Caller, email: str, *grants: dict[str, str]) -> tuple[str, str]:
    """Create a person, and return their path and a link that only signs them in."""
    made = admin.post_ok("/api/v1/people", {"email": email, "grants": list(grants)})
    path = f"/api/v1/people/{made['id']}"
    return path, admin.post_ok(f"{path}/invitation", {"signs_in_only": True})["link"]


def test_a_link_signs_in_once_and_sets_no_password(app: Flask, admin: Caller) -> None:
    path, link = linked(admin, "bob@example.com", VIEWER)
    assert "/sign-in/link#tgi_" in link
    client = app.test_client()
    bob = browser(app, client.post("/api/v1/sign-in/link", json={"link": link}), client)
    assert bob.get(f"{PROJECT}/flags").status_code == 200
    found = admin.get(path).json
    assert found is not None
    assert not found["has_password"]
    for text in (link, link[:-1] + ("0" if link[-1] != "0" else "1"), "nonsense"):
        refused = app.test_client().post("/api/v1/sign-in/link", json={"link": text})
        assert pointers(refused) == ["/link"]
    log = admin.get("/api/v1/audit").json
    assert log is not None
    actions = [entry["action"] for entry in log["items"]]
    assert actions[:3] == ["person.sign_in", "person.use_sign_in_link", "person.make_sign_in_link"]


def test_a_link_and_an_invitation_are_not_each_other(app: Flask, admin: Caller) -> None:
    _, link = linked(admin, "bob@example.com", VIEWER)
    body = {"invitation": link, "name": "Bob", "password": PASSWORD}
    assert pointers(app.test_client().post("/api/v1/invitations/accept", json=body)) == [
        "/invitation"
    ]
    invitation = {"link": invited(admin, "eve@example.com", VIEWER)}
    refused = app.test_client().post("/api/v1/sign-in/link", json=invitation)
    assert pointers(refused) == ["/link"]


def test_nobody_is_acted_for_with_a_link_once_they_sign_in_themselves(
    app: Flask, admin: Caller, store: Store
) -> None:
    bob = join(app, admin, "bob@example.com", VIEWER)
    path = f"/api/v1/people/{bob.person['id']}/invitation"
    refused = admin.post(path, {"signs_in_only": True})
    assert slug(refused) == "not-possible"
    assert "can sign in already" in refused.text
    # A link that is still there when its person gets a password, as no route leaves it.
    _, link = linked(admin, "eve@example.com", VIEWER)
    id = link.split("_")[1]
    stored = store.get("", Address(Kind.CREDENTIAL, id))
    assert stored is not None
    put = Put(
        Address(Kind.CREDENTIAL, id), replace(stored.document, password="a hash"), stored.revision
    )
    store.commit(Change("", (put,), audit=Audit("a test", "person.password", id)))
    assert slug(app.test_client().post("/api/v1/sign-in/link", json={"link": link})) == (
        "not-possible"
    )


def test_a_link_works_for_minutes_only(
    app: Flask, admin: Caller, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, link = linked(admin, "bob@example.com", VIEWER)
    long = {"signs_in_only": True, "expires_in": "2h"}
    refused = admin.post(f"{path}/invitation", long)
    assert pointers(refused) == ["/expires_in"]
    assert "1m to 1h" in refused.text
    later = store.now_ms() + 16 * 60 * 1000
    monkeypatch.setattr(Store, "now_ms", lambda _: later)
    assert pointers(app.test_client().post("/api/v1/sign-in/link", json={"link": link})) == [
        "/link"
    ]


def test_no_link_where_people_sign_in_with_providers_only(store: Store, admin: Caller) -> None:
    path, link = linked(admin, "bob@example.com", VIEWER)
    strict = create_app(store, ApiSettings(SECRET_KEY, password_sign_in=False))
    try:
        other = Caller(strict.test_client(), ADMIN_TOKEN)
        refused = other.post(f"{path}/invitation", {"signs_in_only": True})
        assert slug(refused) == "not-possible"
        used = strict.test_client().post("/api/v1/sign-in/link", json={"link": link})
        assert slug(used) == "forbidden"
    finally:
        strict.extensions["tidegate"].close()


@pytest.mark.parametrize(
    "password",
    [
        "short",
        "aaaaaaaaaaaaaaaaaaaa",
        "abcabcabcabcabcabc",
        "1234567890123456",
        "qwertyuiopasdfgh",
        "password123456789",
        "bobby@example.com",
        "tidegate tidegate",
        "correct horse battery staple",
        "x" * 300,
    ],
)
def test_a_weak_password_is_refused_with_the_reason(
    app: Flask, admin: Caller, password: str
) -> None:
    link = invited(admin, "bobby@example.com", VIEWER)
    body = {"invitation": link, "name": "Bobby", "password": password}
    refused = app.test_client().post("/api/v1/invitations/accept", json=body)
    assert refused.status_code == 422
    assert pointers(refused) == ["/password"]


@pytest.mark.parametrize(
    "password",
    ["four quiet harbour boats", "Grüße aus dem Moor 7", "ユニコードのパスワードは便利です"],
)
def test_any_characters_make_a_password(app: Flask, admin: Caller, password: str) -> None:
    link = invited(admin, "bob@example.com", VIEWER)
    body = {"invitation": link, "name": "Bob", "password": password}
    assert app.test_client().post("/api/v1/invitations/accept", json=body).status_code == 200
    assert sign_in(app, "bob@example.com", password).status_code == 200
    assert sign_in(app, "bob@example.com", password + " ").status_code == 401


def test_a_wrong_password_an_unknown_email_and_an_inactive_person_get_the_same_answer(
    app: Flask, admin: Caller, ada: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob = join(app, admin, "bob@example.com", VIEWER)
    path = f"/api/v1/people/{bob.person['id']}"
    admin.put(path, {"email": "bob@example.com", "active": False}, match="*")
    invited(admin, "eve@example.com", VIEWER)
    hashed: list[str] = []
    matches = password_hashes._matches

    def counted(hash: str, password: str) -> bool:
        hashed.append(hash)
        return matches(hash, password)

    monkeypatch.setattr(password_hashes, "_matches", counted)
    answers = [
        sign_in(app, email, password)
        for email, password in (
            ("ada@example.com", "four quiet harbour ships"),
            ("nobody@example.com", PASSWORD),
            ("bob@example.com", PASSWORD),
            ("eve@example.com", PASSWORD),
        )
    ]
    seen = {
        (answer.status_code, answer.json["detail"], answer.json["type"])
        for answer in answers
        if answer.json is not None
    }
    assert len(seen) == 1
    assert slug(answers[0]) == "wrong-password"
    assert len(hashed) == len(answers), "each attempt costs one hash"
    assert all("Set-Cookie" not in answer.headers for answer in answers)


def test_guesses_at_one_account_are_slowed_but_the_person_gets_in(
    app: Flask, ada: Browser, admin: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, most in (("PAIR", 3), ("ACCOUNT", 6)):
        limit = getattr(attempts, name)
        monkeypatch.setattr(attempts, name, Limit(limit.kind, most, limit.seconds))

    def guess(address: str, password: str = "some wrong password") -> int:
        return (
            app.test_client()
            .post(
                "/api/v1/sign-in",
                json={"email": "ada@example.com", "password": password},
                environ_overrides={"REMOTE_ADDR": address},
            )
            .status_code
        )

    assert sign_in(app, "ada@example.com").status_code == 200
    assert [guess("203.0.113.7") for _ in range(5)] == [401, 401, 401, 429, 429]
    assert guess("203.0.113.7", PASSWORD) == 429, "also the right password has to wait there"
    assert [guess(f"203.0.113.{n}") for n in range(10, 16)] == [401, 401, 401, 429, 429, 429]
    assert guess("203.0.113.99", PASSWORD) == 429
    assert guess("127.0.0.1", PASSWORD) == 200, "where Ada has signed in before, she gets in"
    log = admin.get("/api/v1/audit?action=person.sign_in_slowed").json
    assert log is not None
    assert [each["details"]["limit"] for each in log["items"]] == ["account", "pair"]


def test_a_limit_ends_by_itself_however_many_attempts_are_refused(
    app: Flask, ada: Browser, raw: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "PAIR", Limit("pair", 1, 60))
    for _ in range(5):
        refused = sign_in(app, "ada@example.com", "some wrong password")
    assert refused.status_code == 429
    assert 0 < int(refused.headers["Retry-After"]) <= 60
    [key] = raw.keys("*attempts:pair*")
    assert 0 < raw.ttl(key) <= 60


def test_one_address_cannot_guess_at_many_accounts(
    app: Flask, ada: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "ADDRESS", Limit("address", 3, 60))
    tried = [sign_in(app, f"person{n}@example.com").status_code for n in range(5)]
    assert tried == [401, 401, 429, 429, 429], "accepting the invitation counts, too"


def test_the_cookie_is_for_this_host_and_hidden_from_scripts(app: Flask, ada: Browser) -> None:
    plain = sign_in(app, "ada@example.com").headers["Set-Cookie"]
    assert plain.startswith(f"{COOKIE}=")
    for part in ("HttpOnly", "SameSite=Lax", "Path=/"):
        assert part in plain
    assert "Secure" not in plain
    assert "Domain" not in plain
    secure = app.test_client().post(
        "/api/v1/sign-in",
        json={"email": "ada@example.com", "password": PASSWORD},
        base_url="https://flags.example.com",
    )
    cookie = secure.headers["Set-Cookie"]
    assert cookie.startswith("__Host-tidegate=")
    assert "Secure" in cookie
    assert "Domain" not in cookie


def test_a_plain_cookie_does_not_count_over_https(app: Flask, ada: Browser) -> None:
    cookie = ada.client.get_cookie(COOKIE)
    assert cookie is not None
    headers = {"Cookie": f"{COOKIE}={cookie.value}"}
    client = app.test_client(use_cookies=False)
    assert client.get("/api/v1/me", headers=headers).status_code == 200
    over_https = client.get("/api/v1/me", headers=headers, base_url="https://localhost")
    assert over_https.status_code == 401


def test_a_session_gets_a_new_secret_at_each_sign_in(app: Flask, ada: Browser) -> None:
    planted = "a" * 43
    client = app.test_client()
    client.set_cookie(COOKIE, planted)
    body = {"email": "ada@example.com", "password": PASSWORD}
    first = client.post("/api/v1/sign-in", json=body)
    cookie = client.get_cookie(COOKIE)
    assert cookie is not None
    assert cookie.value not in (planted, "")
    client.post("/api/v1/sign-in", json=body)
    assert first.json is not None
    other = app.test_client(use_cookies=False)
    old = {"Cookie": f"{COOKIE}={cookie.value}"}
    assert other.get("/api/v1/me", headers=old).status_code == 401, "the earlier one has ended"
    fixed = {"Cookie": f"{COOKIE}={planted}"}
    assert other.get("/api/v1/me", headers=fixed).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"Tidegate-CSRF": ""},
        {"Tidegate-CSRF": "0" * 64},
        {"Tidegate-CSRF": "é"},
        {"Origin": "https://evil.example.com"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_a_change_from_another_page_is_refused(ada: Browser, headers: dict[str, str]) -> None:
    body = {"key": "banner", "type": "boolean"}
    refused = ada.post(f"{PROJECT}/flags", body, headers=headers)
    assert slug(refused) == "forbidden"
    assert ada.get(f"{PROJECT}/flags/banner").status_code == 404
    own = {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}
    assert ada.post(f"{PROJECT}/flags", body, headers=own).status_code == 201


def test_the_csrf_token_of_another_session_does_not_work(app: Flask, ada: Browser) -> None:
    other = signed_in(app, "ada@example.com")
    body = {"key": "banner", "type": "boolean"}
    refused = ada.post(f"{PROJECT}/flags", body, headers={"Tidegate-CSRF": other.csrf})
    assert slug(refused) == "forbidden"


def test_a_page_of_another_site_cannot_sign_anybody_in(app: Flask, ada: Browser) -> None:
    body = {"email": "ada@example.com", "password": PASSWORD}
    for headers in ({"Origin": "https://evil.example.com"}, {"Sec-Fetch-Site": "cross-site"}):
        refused = app.test_client().post("/api/v1/sign-in", json=body, headers=headers)
        assert slug(refused) == "forbidden"
        assert "Set-Cookie" not in refused.headers
    form = app.test_client().post("/api/v1/sign-in", data=body)
    assert form.status_code == 415


def test_a_bearer_token_needs_no_csrf_token(app: Flask, ada: Browser, admin: Caller) -> None:
    body = {"key": "banner", "type": "boolean"}
    headers = {"Origin": "https://tools.example.com"}
    assert admin.post(f"{PROJECT}/flags", body, headers=headers).status_code == 201


def test_a_wrong_token_is_not_replaced_by_the_cookie(ada: Browser) -> None:
    headers = {"Authorization": "Bearer tg_admin_x_0123456789abcdef0123456789abcdef"}
    assert ada.get("/api/v1/me", headers=headers).status_code == 401


def test_answers_to_sessions_cannot_be_framed_or_cached(app: Flask, ada: Browser) -> None:
    me, missing = ada.get("/api/v1/me"), ada.get("/api/v1/nothing")
    for answer in (me, sign_in(app, "ada@example.com"), missing, ada.get("/projects")):
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["Cache-Control"] == "no-store"
    again = ada.call("GET", "/api/v1/me", headers={"If-None-Match": me.headers["ETag"]})
    assert (again.status_code, again.headers["Cache-Control"]) == (304, "no-store")


def test_nothing_redirects_to_another_site(app: Flask, ada: Browser) -> None:
    body = {"email": "ada@example.com", "password": PASSWORD}
    answer = app.test_client().post("/api/v1/sign-in?next=https://evil.example.com", json=body)
    assert answer.status_code == 200
    assert "Location" not in answer.headers


def test_neither_the_log_nor_the_store_has_a_secret(
    app: Flask,
    admin: Caller,
    raw: redis.Redis,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    link = invited(admin, "ada@example.com", ADMIN)
    body = {"invitation": link, "name": "Ada", "password": PASSWORD}
    client = app.test_client()
    accepted = client.post("/api/v1/invitations/accept", json=body).json
    assert accepted is not None
    cookie = client.get_cookie(COOKIE)
    assert cookie is not None
    ada = Browser(client, None, accepted["csrf_token"])
    begun = ada.post_ok("/api/v1/me/second-factor", {"password": PASSWORD})
    token = ada.post_ok("/api/v1/me/tokens", {"name": "laptop"})
    sign_in(app, "ada@example.com", "another wrong password")
    shown = capsys.readouterr()
    secrets = (
        *(PASSWORD, "another wrong password", link.rpartition("_")[2], cookie.value),
        *(ada.csrf, begun["secret"], token["secret"].rpartition("_")[2]),
    )
    for where in (shown.out, shown.err, caplog.text, raw_contents(raw)):
        for secret in secrets:
            assert secret not in where
    stored = admin.get("/api/v1/audit").text
    assert "argon2" not in stored
    assert "digest" not in stored


def test_an_unused_credential_has_no_password(admin: Caller, store: Store) -> None:
    made = admin.post_ok("/api/v1/people", {"email": "bob@example.com"})
    stored = store.get("", Address(Kind.CREDENTIAL, made["id"]))
    assert stored is not None
    assert stored.document.password == ""


def test_the_log_warns_of_signing_in_over_a_network_without_https(
    app: Flask, ada: Browser, capsys: pytest.CaptureFixture[str]
) -> None:
    def warned(address: str, url: str) -> bool:
        answer = app.test_client().post(
            "/api/v1/sign-in",
            json={"email": "ada@example.com", "password": PASSWORD},
            base_url=url,
            environ_overrides={"REMOTE_ADDR": address},
        )
        assert answer.status_code == 200
        return "signed_in_without_https" in capsys.readouterr().out

    assert not warned("127.0.0.1", "http://localhost")
    assert not warned("203.0.113.7", "https://flags.example.com")
    assert warned("203.0.113.7", "http://flags.example.com")
