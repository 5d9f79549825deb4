"""Links show one thing, to whoever has them, until they expire or are revoked."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from flask import Flask

from tests.http_calls import PRODUCTION, PROJECT, Caller, pointers, raw_contents

SHARES = f"{PRODUCTION}/shares"


@pytest.fixture
def id(release: str) -> str:
    return release.rpartition("/")[2]


def make(caller: Caller, **body: Any) -> dict[str, Any]:
    made: dict[str, Any] = caller.post_ok(SHARES, body)
    return made


def path(link: str) -> str:
    return "/" + link.partition("//")[2].partition("/")[2]


def test_a_report_opens_without_signing_in(checkout: Caller, app: Flask, id: str) -> None:
    link = make(checkout, kind="report", release=id)["link"]
    page = app.test_client().get(path(link))
    assert page.status_code == 200
    assert "Open to 5\u00a0% of everyone" in page.text
    assert page.headers["X-Robots-Tag"] == "noindex, nofollow"
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert page.headers["Cache-Control"] == "no-store"
    assert "Set-Cookie" not in page.headers
    assert 'href="/p/' not in page.text


def test_a_link_opens_nothing_else(checkout: Caller, app: Flask, id: str) -> None:
    link = path(make(checkout, kind="report", release=id)["link"])
    visitor = app.test_client()
    secret = link.rpartition("/")[2]
    assert visitor.get(link[:-1] + ("0" if link[-1] != "0" else "1")).status_code == 404
    assert visitor.get(link.replace("/shared/", "/badge/") + ".svg").status_code == 404
    for address in (f"{PRODUCTION}/releases/{id}", f"{PROJECT}/flags"):
        answer = visitor.get(address, headers={"Authorization": f"Bearer {secret}"})
        assert answer.status_code == 401


def test_a_revoked_and_an_expired_link_are_dead(
    checkout: Caller, app: Flask, raw: redis.Redis, id: str
) -> None:
    made = make(checkout, kind="report", release=id)
    assert checkout.delete(f"{SHARES}/{made['id']}").status_code == 204
    assert app.test_client().get(path(made["link"])).status_code == 404
    short = make(checkout, kind="report", release=id, lasts="1ms")
    page = app.test_client().get(path(short["link"]))
    assert page.status_code == 404
    actions = [
        entry["action"]
        for entry in checkout.get(f"{PROJECT}/audit?limit=3").json["items"]  # type: ignore[index]
    ]
    assert actions == ["share.create", "share.revoke", "share.create"]


def test_the_secret_is_kept_nowhere(
    checkout: Caller, raw: redis.Redis, id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    link = make(checkout, kind="report", release=id)["link"]
    secret = link.rpartition("/")[2]
    for end in ("", "/", "/more", ".svg"):
        checkout.client.get(path(link) + end)
    assert secret not in raw_contents(raw)
    assert secret not in checkout.get(SHARES).text
    logged = capsys.readouterr()
    assert secret not in logged.out + logged.err


def test_a_badge_shows_the_state_and_may_be_cached(checkout: Caller, app: Flask, id: str) -> None:
    links = [
        make(checkout, kind="badge", release=id, lasts=None)["link"],
        make(checkout, kind="badge", flag="checkout", lasts=None)["link"],
    ]
    for link in links:
        shown = app.test_client().get(path(link))
        assert shown.status_code == 200
        assert shown.mimetype == "image/svg+xml"
        assert shown.headers["Cache-Control"] == "public, max-age=60"
        assert "checkout: running, 5\u00a0%" in shown.text
    checkout.post_ok(f"{PRODUCTION}/flags/checkout/kill", {"reason": "errors"})
    assert "checkout: killed" in app.test_client().get(path(links[1])).text


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"kind": "report"}, "/release"),
        ({"kind": "report", "flag": "checkout"}, "/release"),
        ({"kind": "report", "release": "{id}", "lasts": None}, "/lasts"),
        ({"kind": "report", "release": "{id}", "lasts": "91d"}, "/lasts"),
    ],
)
def test_what_cannot_be_shared_is_refused(
    checkout: Caller, id: str, body: dict[str, Any], field: str
) -> None:
    filled = {name: id if value == "{id}" else value for name, value in body.items()}
    refused = checkout.post(SHARES, filled)
    assert (refused.status_code, pointers(refused)) == (422, [field])


def test_who_may_only_read_shares_nothing(checkout: Caller, id: str) -> None:
    viewer = checkout.token_for("viewer", "default", "production")
    assert viewer.post(SHARES, {"kind": "report", "release": id}).status_code == 403
    assert viewer.get(SHARES).status_code == 200


def test_the_page_makes_and_revokes_links(checkout: Caller, id: str) -> None:
    address = f"/p/default/e/production/releases/{id}/share"
    headers = {"Authorization": f"Bearer {checkout.token}"}
    assert "Make a link" in checkout.get(address).text
    made = checkout.client.post(address, data={"kind": "report", "lasts": "1d"}, headers=headers)
    assert "/shared/default/" in made.text
    [share] = checkout.get(SHARES).json["items"]  # type: ignore[index]
    gone = checkout.client.post(address, data={"revoke": share["id"]}, headers=headers)
    assert gone.status_code == 303
    assert checkout.get(SHARES).json["items"] == []  # type: ignore[index]


def test_a_badge_of_a_flag_is_made_on_its_page(app: Flask, checkout: Caller) -> None:
    address = "/p/default/e/production/flags/checkout/share"
    headers = {"Authorization": f"Bearer {checkout.token}"}
    made = checkout.client.post(address, data={"reason": "for the README"}, headers=headers)
    assert "/badge/default/" in made.text
    badge = made.text.partition('id="secret">')[2].partition("<")[0]
    shown = app.test_client().get(urlsplit(badge).path)
    assert shown.mimetype == "image/svg+xml"
    assert "checkout" in shown.text
    [share] = checkout.get(SHARES).json["items"]  # type: ignore[index]
    assert (share["release"], share["flag"], share["kind"]) == ("", "checkout", "badge")
    gone = checkout.client.post(address, data={"revoke": share["id"]}, headers=headers)
    assert gone.status_code == 303
    assert app.test_client().get(urlsplit(badge).path).status_code == 404
