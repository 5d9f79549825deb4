"""One's own account: second factors that work once, and tokens that can do no more than their
owner."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyotp
import pytest
from flask import Flask
from tidegate_server.admin.sign_in import attempts
from tidegate_server.store import Store
from tidegate_server.store.sign_in_attempts import Limit

from tests.http_calls import PRODUCTION, PROJECT, Caller, pointers, slug
from tests.people import PASSWORD, Browser, join, sign_in, signed_in

ADMIN = {"role": "admin"}
VIEWER = {"role": "viewer", "project": "default"}


@pytest.fixture
def ada(app: Flask, admin: Caller) -> Browser:
    return join(app, admin, "ada@example.com", ADMIN)


def add_second_factor(ada: Browser) -> tuple[pyotp.TOTP, list[str], int]:
    """Return the app, the recovery codes, and the time of the code that was used."""
    begun = ada.post_ok("/api/v1/me/second-factor", {"password": PASSWORD})
    assert begun["uri"].startswith("otpauth://totp/Tidegate:ada%40example.com?secret=")
    app, now_s = pyotp.TOTP(begun["secret"]), int(time.time())
    confirmed = ada.post_ok("/api/v1/me/second-factor/confirm", {"code": app.at(now_s)})
    return app, confirmed["recovery_codes"], now_s


def test_a_second_factor_is_needed_once_it_is_confirmed(
    app: Flask, ada: Browser, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = ada.post_ok("/api/v1/me/second-factor", {"password": PASSWORD})
    assert sign_in(app, "ada@example.com").status_code == 200, "not confirmed yet"
    wrong = ada.post("/api/v1/me/second-factor/confirm", {"code": "000000"})
    assert slug(wrong) == "wrong-password"
    device, now_s = pyotp.TOTP(begun["secret"]), int(time.time())
    code = device.at(now_s)
    ada.post_ok("/api/v1/me/second-factor/confirm", {"code": code})
    assert slug(sign_in(app, "ada@example.com")) == "second-factor-required"
    assert slug(sign_in(app, "ada@example.com", "some wrong password")) == "wrong-password"
    assert slug(sign_in(app, "ada@example.com", code=code)) == "wrong-password", "a code used"
    later = now_s + 30
    monkeypatch.setattr(Store, "now_ms", lambda _: later * 1000)
    assert sign_in(app, "ada@example.com", code=device.at(later)).status_code == 200
    again = sign_in(app, "ada@example.com", code=device.at(later))
    assert slug(again) == "wrong-password", "no code works twice"
    before = sign_in(app, "ada@example.com", code=device.at(later - 30))
    assert slug(before) == "wrong-password", "nor one before the last"


def test_a_recovery_code_works_once(app: Flask, ada: Browser) -> None:
    _, codes, _ = add_second_factor(ada)
    assert len({*codes}) == 10
    given = codes[0].upper().replace("-", " ")
    assert sign_in(app, "ada@example.com", recovery_code=given).status_code == 200
    again = sign_in(app, "ada@example.com", recovery_code=codes[0])
    assert slug(again) == "wrong-password"
    me = ada.get("/api/v1/me").json
    assert me is not None
    assert (me["has_second_factor"], me["recovery_codes_left"]) == (True, 9)
    new = ada.post_ok("/api/v1/me/recovery-codes", {"password": PASSWORD})["recovery_codes"]
    assert slug(sign_in(app, "ada@example.com", recovery_code=codes[1])) == "wrong-password"
    assert sign_in(app, "ada@example.com", recovery_code=new[1]).status_code == 200


def test_of_several_at_once_one_uses_a_recovery_code(app: Flask, ada: Browser) -> None:
    _, codes, _ = add_second_factor(ada)

    def use(_: int) -> int:
        return sign_in(app, "ada@example.com", recovery_code=codes[0]).status_code

    with ThreadPoolExecutor(4) as threads:
        assert sorted(threads.map(use, range(4))) == [200, 401, 401, 401]


def test_the_account_is_changed_only_with_the_password(app: Flask, ada: Browser) -> None:
    add_second_factor(ada)
    for path in ("second-factor", "second-factor/remove", "recovery-codes"):
        refused = ada.post(f"/api/v1/me/{path}", {"password": "some wrong password"})
        assert slug(refused) == "wrong-password", path
    assert slug(ada.post("/api/v1/me/second-factor", {"password": PASSWORD})) == "not-possible"
    removed = ada.post("/api/v1/me/second-factor/remove", {"password": PASSWORD})
    assert removed.status_code == 204
    assert sign_in(app, "ada@example.com").status_code == 200
    codes = ada.post("/api/v1/me/recovery-codes", {"password": PASSWORD})
    assert slug(codes) == "not-possible"


def test_an_admin_resets_a_lost_second_factor(app: Flask, admin: Caller, ada: Browser) -> None:
    add_second_factor(ada)
    path = f"/api/v1/people/{ada.person['id']}/second-factor"
    local = admin.token_for("admin", "default", None)
    assert slug(local.delete(path)) == "forbidden"
    assert admin.delete(path).status_code == 204
    assert ada.get("/api/v1/me").status_code == 401
    assert sign_in(app, "ada@example.com").status_code == 200


def test_a_token_of_ones_own_does_no_more_than_its_owner_may_now(
    app: Flask, admin: Caller, ada: Browser
) -> None:
    admin.post_ok(f"{PROJECT}/flags", {"key": "checkout", "type": "boolean"})
    bob = join(app, admin, "bob@example.com", {"role": "developer", "project": "default"})
    made = bob.post_ok("/api/v1/me/tokens", {"name": "laptop"})
    assert made["expires_at"] is not None
    laptop = Caller(app.test_client(), made["secret"])
    assert laptop.post(f"{PROJECT}/flags", {"key": "b", "type": "boolean"}).status_code == 201
    log = admin.get(f"{PROJECT}/audit").json
    assert log is not None
    assert log["items"][0]["actor"] == (f"Bob (bob@example.com) by token laptop ({made['id']})")
    assert slug(laptop.post(f"{PRODUCTION}/flags/checkout/kill")) == "forbidden"
    assert slug(laptop.get("/api/v1/people")) == "forbidden"
    path = f"/api/v1/people/{bob.person['id']}"
    body = {"email": "bob@example.com", "name": "Bob", "grants": [VIEWER]}
    assert ada.put(path, body, match="*").status_code == 200
    assert slug(laptop.post(f"{PROJECT}/flags", {"key": "c", "type": "boolean"})) == "forbidden"
    assert laptop.get(f"{PROJECT}/flags").status_code == 200


def test_a_token_of_ones_own_may_be_narrower(app: Flask, admin: Caller, ada: Browser) -> None:
    admin.post_ok(f"{PROJECT}/flags", {"key": "checkout", "type": "boolean"})
    body = {
        "name": "alarm",
        "permissions": ["read", "kill"],
        "project": "default",
        "environment": "production",
    }
    alarm = Caller(app.test_client(), ada.post_ok("/api/v1/me/tokens", body)["secret"])
    assert alarm.post(f"{PRODUCTION}/flags/checkout/kill").status_code == 200
    development = f"{PROJECT}/environments/development"
    assert slug(alarm.post(f"{development}/flags/checkout/kill")) == "forbidden"
    assert slug(alarm.get("/api/v1/people")) == "forbidden"


def test_a_token_cannot_make_tokens_of_ones_own_or_change_the_account(
    app: Flask, ada: Browser
) -> None:
    made = ada.post_ok("/api/v1/me/tokens", {"name": "laptop"})
    laptop = Caller(app.test_client(), made["secret"])
    refused = [
        laptop.post("/api/v1/me/tokens", {"name": "more"}),
        laptop.put("/api/v1/me/password", {"password": PASSWORD, "new_password": "x" * 20}),
        laptop.post("/api/v1/me/second-factor", {"password": PASSWORD}),
        laptop.post("/api/v1/sign-out"),
    ]
    assert [slug(each) for each in refused] == ["forbidden"] * len(refused)
    listed = laptop.get("/api/v1/me/tokens").json
    assert listed is not None
    assert [each["id"] for each in listed["items"]] == [made["id"]]
    assert laptop.delete(f"/api/v1/me/tokens/{made['id']}").status_code == 204
    assert laptop.get("/api/v1/me").status_code == 401


def test_nobody_else_gets_or_deletes_a_token_of_ones_own(
    app: Flask, admin: Caller, ada: Browser
) -> None:
    made = ada.post_ok("/api/v1/me/tokens", {"name": "laptop"})
    bob = join(app, admin, "bob@example.com", ADMIN)
    assert slug(bob.post(f"/api/v1/tokens/{made['id']}/rotate", {})) == "forbidden"
    assert bob.delete(f"/api/v1/me/tokens/{made['id']}").status_code == 404
    assert bob.get("/api/v1/me/tokens").json == {"items": [], "next_cursor": None}
    assert bob.delete(f"/api/v1/tokens/{made['id']}", match="*").status_code == 204


def test_nobody_rotates_a_token_that_may_do_more_than_they(admin: Caller, app: Flask) -> None:
    keeper = admin.post_ok(
        "/api/v1/tokens",
        {
            "name": "keeper",
            "role": "custom",
            "permissions": ["administer", "read"],
            "whole_server": True,
        },
    )
    caller = Caller(app.test_client(), keeper["secret"])
    refused = caller.post("/api/v1/tokens/bootstrap/rotate", {"overlap": "1h"})
    assert slug(refused) == "forbidden"


def test_the_tokens_that_a_person_makes_for_programs_outlive_them(
    app: Flask, admin: Caller, ada: Browser
) -> None:
    body = {"name": "ci", "role": "viewer", "project": "default"}
    made = ada.post_ok("/api/v1/tokens", body)
    assert made["created_by"] == "Ada (ada@example.com)"
    join(app, admin, "bob@example.com", ADMIN)
    assert admin.delete(f"/api/v1/people/{ada.person['id']}", match="*").status_code == 204
    assert Caller(app.test_client(), made["secret"]).get(f"{PROJECT}/flags").status_code == 200


def test_the_tokens_and_sessions_of_one_person_are_one_approver(
    app: Flask, admin: Caller, ada: Browser
) -> None:
    ci = ada.post_ok("/api/v1/tokens", {"name": "ci", "role": "admin", "whole_server": True})
    laptop = ada.post_ok("/api/v1/me/tokens", {"name": "laptop"})
    authenticator = app.extensions["tidegate"].authenticator
    callers = [
        authenticator.caller_of(authenticator.authenticate(each["secret"])) for each in (ci, laptop)
    ]
    callers.append(authenticator.caller_of_person(ada.person["id"]))
    assert {each.answerable for each in callers} == {ada.person["id"]}
    assert [each.known_as for each in callers] == ["ci", "ada@example.com", "ada@example.com"]
    assert signed_in(app, "ada@example.com").person["id"] == ada.person["id"]


def test_an_invitation_does_not_replace_the_second_factor(
    app: Flask, admin: Caller, ada: Browser
) -> None:
    _, codes, _ = add_second_factor(ada)
    link = admin.post_ok(f"/api/v1/people/{ada.person['id']}/invitation", {})["link"]
    body = {"invitation": link, "name": "Ada", "password": "seven calm rivers bend"}
    post = app.test_client().post
    without = post("/api/v1/invitations/accept", json=body)
    assert slug(without) == "second-factor-required"
    wrong = post("/api/v1/invitations/accept", json={**body, "code": "000000"})
    assert slug(wrong) == "wrong-password"
    assert sign_in(app, "ada@example.com", recovery_code=codes[0]).status_code == 200
    accepted = post("/api/v1/invitations/accept", json={**body, "recovery_code": codes[1]})
    assert accepted.status_code == 200
    assert sign_in(app, "ada@example.com").status_code == 401


def test_codes_are_guessed_slowly_however_many_addresses_guess(
    app: Flask, admin: Caller, ada: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "CODE", Limit("code", 2, 60))
    _, codes, _ = add_second_factor(ada)
    link = admin.post_ok(f"/api/v1/people/{ada.person['id']}/invitation", {})["link"]
    client, number = app.test_client(), 0

    def send(path: str, body: dict[str, Any], address: str = "") -> str:
        nonlocal number
        number += 1
        where = {"REMOTE_ADDR": address or f"203.0.113.{number}"}
        answer = client.post(path, json=body, environ_overrides=where)
        return "" if answer.status_code == 200 else slug(answer)

    accept = {"invitation": link, "name": "Ada", "password": "seven calm rivers bend"}
    wrong = {**accept, "code": "000000"}
    # Who sends no code guesses none.
    assert {send("/api/v1/invitations/accept", accept) for _ in range(4)} == {
        "second-factor-required"
    }
    tried = [send("/api/v1/invitations/accept", wrong) for _ in range(3)]
    assert tried == ["wrong-password", "wrong-password", "rate-limited"]
    password = {"email": "ada@example.com", "password": PASSWORD, "recovery_code": codes[0]}
    assert send("/api/v1/sign-in", password) == "rate-limited"
    assert send("/api/v1/sign-in", password, "127.0.0.1") == "", "Ada has signed in there before"
    log = admin.get("/api/v1/audit?action=person.sign_in_slowed").json
    assert log is not None
    assert [each["details"]["limit"] for each in log["items"]] == ["code"]


def test_a_name_cannot_look_like_somebody_elses_in_the_audit(app: Flask, admin: Caller) -> None:
    body = {"email": "eve@example.com", "name": "Ada (ada@example.com)"}
    assert pointers(admin.post("/api/v1/people", body)) == ["/name"]
    made = admin.post_ok("/api/v1/people", {"email": "eve@example.com"})
    link = admin.post_ok(f"/api/v1/people/{made['id']}/invitation", {})["link"]
    accept = {"invitation": link, "name": body["name"], "password": PASSWORD}
    refused = app.test_client().post("/api/v1/invitations/accept", json=accept)
    assert pointers(refused) == ["/name"]


def test_the_audit_is_filtered_by_the_email_also_for_a_persons_own_tokens(
    app: Flask, ada: Browser
) -> None:
    made = ada.post_ok("/api/v1/me/tokens", {"name": "laptop"})
    laptop = Caller(app.test_client(), made["secret"])
    laptop.post_ok(f"{PROJECT}/flags", {"key": "banner", "type": "boolean"})
    for actor in ("ada@example.com", "Ada", made["id"], "Ada (ada@example.com)"):
        found = ada.get(f"{PROJECT}/audit", query_string={"actor": actor}).json
        assert found is not None
        assert [each["action"] for each in found["items"]] == ["flag.create"], actor
