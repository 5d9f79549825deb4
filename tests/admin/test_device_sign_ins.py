"""A program on a device gets a token once a person approves its code, and only then."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from tidegate_server.admin.device_sign_ins import service
from tidegate_server.domain.device_sign_ins import ALPHABET, parse_user_code
from tidegate_server.store import Store, device_sign_ins
from tidegate_server.store.sign_in_attempts import Limit
from tidegate_server.web.token_secrets import secret_digest
from werkzeug.test import TestResponse

from tests.http_calls import PROJECT, Caller, pointers, slug
from tests.people import Browser, join

DEVICES = "/api/v1/device-sign-ins"


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let programs ask as often as they like."""
    monkeypatch.setattr(device_sign_ins, "TOO_SOON_MS", 1)


@pytest.fixture
def ada(app: Flask, admin: Caller) -> Browser:
    return join(app, admin, "ada@example.com", {"role": "developer", "project": "default"})


@pytest.fixture
def eve(app: Flask, admin: Caller) -> Browser:
    return join(app, admin, "eve@example.com", {"role": "viewer", "project": "default"})


def begin(app: Flask, **more: Any) -> dict[str, Any]:
    answer = app.test_client().post(DEVICES, json={"host": "laptop", **more})
    assert answer.status_code == 200, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.json is not None
    return dict(answer.json)


def ask(app: Flask, started: dict[str, Any]) -> TestResponse:
    body = {"device_code": started["device_code"]}
    return app.test_client().post(f"{DEVICES}/token", json=body)


def approve(person: Browser, started: dict[str, Any]) -> TestResponse:
    return person.post(f"{DEVICES}/{started['user_code']}/approve")


def test_a_program_gets_one_token_of_the_person_who_approves_its_code(
    app: Flask, admin: Caller, ada: Browser
) -> None:
    started = begin(app, expires_in="2h")
    assert started["verification_uri"] == "http://localhost/device"
    assert started["verification_uri_complete"].endswith(f"/device?code={started['user_code']}")
    assert slug(ask(app, started)) == "authorization-pending"
    shown = ada.get(f"{DEVICES}/{started['user_code'].lower().replace('-', '')}").json
    assert shown is not None
    assert (shown["host"], shown["address"]) == ("laptop", "127.0.0.1")
    assert (shown["token_expires_in"], shown["permissions"]) == ("2h", None)
    assert approve(ada, started).status_code == 200
    answer = ask(app, started)
    assert (answer.status_code, answer.headers["Cache-Control"]) == (201, "no-store")
    token = answer.json
    assert token is not None
    assert (token["name"], token["owner"]) == ("tidegate on laptop", "ada@example.com")
    program = Caller(app.test_client(), token["secret"])
    me = program.get("/api/v1/me").json
    assert me is not None
    assert me["person"]["email"] == "ada@example.com"
    assert program.post(f"{PROJECT}/flags", {"key": "a", "type": "boolean"}).status_code == 201
    assert slug(program.get("/api/v1/people")) == "forbidden", "ada is no admin"
    assert slug(ask(app, started)) == "expired-token", "a code works once"
    log = admin.get("/api/v1/audit?limit=10").json
    assert log is not None
    entries = {each["action"]: each for each in reversed(log["items"])}
    assert entries["person.approve_device"]["details"] == {"host": "laptop", "address": "127.0.0.1"}
    assert entries["token.create"]["reason"] == "approved for laptop at 127.0.0.1"


def test_a_token_may_do_less_than_its_person(app: Flask, ada: Browser) -> None:
    started = begin(app, permissions=["read"])
    approve(ada, started)
    token = ask(app, started).json
    assert token is not None
    program = Caller(app.test_client(), token["secret"])
    assert program.get(f"{PROJECT}/flags").status_code == 200
    refused = program.post(f"{PROJECT}/flags", {"key": "a", "type": "boolean"})
    assert slug(refused) == "forbidden"


def test_the_first_decision_counts(app: Flask, ada: Browser, eve: Browser) -> None:
    started = begin(app)
    assert eve.post(f"{DEVICES}/{started['user_code']}/refuse").status_code == 200
    assert slug(approve(ada, started)) == "not-found"
    assert slug(ask(app, started)) == "access-denied"
    assert slug(ask(app, started)) == "expired-token"


def test_of_two_who_ask_at_once_one_gets_the_token(app: Flask, ada: Browser) -> None:
    started = begin(app)
    approve(ada, started)
    assert sorted(ask(app, started).status_code for _ in range(3)) == [201, 400, 400]


def test_a_code_is_approved_by_people_in_their_browsers_only(
    app: Flask, admin: Caller, ada: Browser
) -> None:
    started = begin(app)
    path = f"{DEVICES}/{started['user_code']}"
    for call in (admin.get(path), admin.post(f"{path}/approve")):
        assert slug(call) == "forbidden", "a token makes no token of its own"
    stranger = Caller(app.test_client(), None)
    assert slug(stranger.post(f"{path}/approve")) == "unauthenticated"
    forged = Browser(ada.client, None, "x", ada.person)
    assert slug(forged.post(f"{path}/approve")) == "forbidden", "a form of another page"
    assert slug(ask(app, started)) == "authorization-pending"


def test_nobody_gets_a_token_of_somebody_who_has_left(
    app: Flask, admin: Caller, ada: Browser
) -> None:
    started = begin(app)
    approve(ada, started)
    path = f"/api/v1/people/{ada.person['id']}"
    person = admin.get(path)
    assert person.json is not None
    body = {"email": "ada@example.com", "name": "Ada", "grants": [], "active": False}
    assert admin.put(path, body, match=person.headers["ETag"]).status_code == 200
    assert slug(ask(app, started)) == "unauthenticated"


def test_guesses_at_codes_are_slowed(
    app: Flask, ada: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "CODES", Limit("device-code", 3, 60))
    guesses = [ada.get(f"{DEVICES}/BBBB-BBB{letter}").status_code for letter in "BCDFG"]
    assert guesses == [404, 404, 404, 429, 429]


def test_one_address_cannot_fill_the_store_with_codes(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "BEGUN", Limit("device", 2, 60))
    client = app.test_client()
    begun = [client.post(DEVICES, json={"host": "laptop"}).status_code for _ in range(4)]
    assert begun == [200, 200, 429, 429]


def test_a_program_that_asks_too_often_waits_longer(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_sign_ins, "TOO_SOON_MS", 60_000)
    started = begin(app)
    found = [slug(ask(app, started)) for _ in range(3)]
    assert found == ["authorization-pending", "slow-down", "slow-down"]


def test_a_code_expires(app: Flask, ada: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_sign_ins, "VALID_MS", 1)
    started = begin(app)
    found = slug(ask(app, started))
    while found == "authorization-pending":  # the store forgets it after a millisecond
        found = slug(ask(app, started))
    assert found == "expired-token"
    assert slug(approve(ada, started)) == "not-found"


def test_unknown_codes_and_bad_requests_are_refused(app: Flask, ada: Browser) -> None:
    client = app.test_client()
    assert slug(client.post(f"{DEVICES}/token", json={"device_code": "x"})) == "expired-token"
    assert pointers(client.post(DEVICES, json={})) == ["/host"]
    assert pointers(client.post(DEVICES, json={"host": "a\u202eb"})) == ["/host"]
    too_long = client.post(DEVICES, json={"host": "a", "expires_in": "1000d"})
    assert pointers(too_long) == ["/expires_in"]
    assert slug(ada.get(f"{DEVICES}/nonsense")) == "not-found"


def test_the_store_has_digests_only(app: Flask, store: Store, raw: Any) -> None:
    started = begin(app)
    kept = b" ".join(key + (raw.get(key) or b"") for key in raw.keys("*device*"))
    assert kept
    assert started["device_code"].encode() not in kept
    assert secret_digest(b"", started["device_code"]).encode() not in kept, "keyed digests only"


@pytest.mark.parametrize("text", ["bcdf-ghjk", "BCDFGHJK", " bcdf ghjk "])
def test_codes_are_read_as_people_write_them(text: str) -> None:
    assert parse_user_code(text) == "BCDF-GHJK"


@pytest.mark.parametrize("text", ["", "BCDF-GHJ", "BCDF-GHJKL", "AEIO-UAEI", "ÀCDF-GHJK"])
def test_other_texts_are_no_codes(text: str) -> None:
    assert parse_user_code(text) is None


def test_no_code_is_a_word() -> None:
    assert set("AEIOUY").isdisjoint(ALPHABET)
