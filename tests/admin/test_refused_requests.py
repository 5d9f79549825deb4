"""Why an application gets no flags: the server lists what it refused, and from where."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from tidegate_server.store.refused_requests import MOST_KEPT, RefusedRequest
from tidegate_server.web.authentication import Authenticator

from tests.http_calls import PRODUCTION, PROJECT, Caller
from tests.people import join

REFUSED = f"{PRODUCTION}/refused-requests"
UNKNOWN = "tg_sdk_0123456789ab_0123456789abcdef0123456789abcdef"


@pytest.fixture(autouse=True)
def every_refusal_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidegate_server.web.authentication.REFUSAL_SECONDS", 0.0)


def refused(caller: Caller, address: str = REFUSED) -> list[dict[str, Any]]:
    answer = caller.get(address)
    assert answer.status_code == 200, answer.text
    assert answer.json is not None
    items: list[dict[str, Any]] = answer.json["items"]
    return items


def test_a_token_of_the_wrong_role_is_listed_with_its_name(admin: Caller) -> None:
    assert refused(admin) == []
    client = admin.token_for("client", "default", "production")
    for _ in range(2):
        assert client.get("/sdk/v1/snapshot").status_code == 403
    [found] = refused(admin)
    assert found["address"] == "127.0.0.1"
    assert found["token"] == "a client"
    assert "role sdk" in found["detail"]


def test_an_unknown_token_is_shown_to_who_may_administer_the_place(
    app: Flask, admin: Caller
) -> None:
    stranger = Caller(app.test_client(), UNKNOWN)
    assert stranger.get("/sdk/v1/snapshot").status_code == 401
    answer = stranger.post("/ofrep/v1/evaluate/flags/hello", {"context": {"targetingKey": "a"}})
    assert answer.status_code == 401
    [found] = refused(admin)
    assert found["token"] == ""
    assert "unknown" in found["detail"]
    assert UNKNOWN not in admin.get(REFUSED).text
    viewer = join(app, admin, "vera@example.com", {"role": "viewer"})
    assert refused(viewer) == []


def test_a_refusal_stays_within_the_environment_of_its_token(app: Flask, admin: Caller) -> None:
    development = admin.token_for("client", "default", "development")
    assert development.get("/sdk/v1/snapshot").status_code == 403
    assert refused(admin) == []
    viewer = join(app, admin, "vera@example.com", {"role": "viewer"})
    [found] = refused(viewer, f"{PROJECT}/environments/development/refused-requests")
    assert found["token"] == "a client"


def test_only_the_latest_are_kept(app: Flask, admin: Caller) -> None:
    store = app.extensions["tidegate"].store
    for number in range(MOST_KEPT + 5):
        store.refused_requests.note(RefusedRequest(f"10.0.0.{number}", "no"), number)
    latest = store.refused_requests.latest()
    assert len(latest) == MOST_KEPT
    assert latest[0][0].address == f"10.0.0.{MOST_KEPT + 4}"


def test_a_flood_of_guesses_is_not_written_down(
    app: Flask, admin: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidegate_server.web.authentication.REFUSAL_SECONDS", 3_600.0)
    authenticator: Authenticator = app.extensions["tidegate"].authenticator
    authenticator._noted_at = -3_600.0
    for role in ("client", "developer"):
        assert admin.token_for(role, "default", "production").get("/sdk/v1/snapshot")
    assert len(refused(admin)) == 1
