"""People who sign in, for tests of the API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.http_calls import Caller

PASSWORD = "four quiet harbour boats"
COOKIE = "tidegate-http"


@dataclass(frozen=True, slots=True)
class Browser(Caller):
    """A client of the API with a session: its own cookies, and the CSRF token of its pages."""

    csrf: str = ""
    person: Mapping[str, Any] = field(default_factory=dict)

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        match: str | None = None,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> TestResponse:
        sent = {"Tidegate-CSRF": self.csrf, **(headers or {})}
        # Of two frozen dataclasses with slots, ``super()`` without arguments does not work.
        return Caller.call(self, method, path, body, match=match, headers=sent, **more)


def browser(app: Flask, answer: TestResponse, client: FlaskClient) -> Browser:
    """Return the browser that has just signed in."""
    assert answer.status_code == 200, answer.text
    assert answer.json is not None
    return Browser(client, None, answer.json["csrf_token"], answer.json["person"])


def invited(admin: Caller, email: str, *grants: Mapping[str, Any], **more: Any) -> str:
    """Create a person, invite them, and return the link."""
    body = {"email": email, "grants": list(grants), **more}
    made = admin.post_ok("/api/v1/people", body)
    link: str = admin.post_ok(f"/api/v1/people/{made['id']}/invitation", {})["link"]
    return link


def join(app: Flask, admin: Caller, email: str, *grants: Mapping[str, Any], **more: Any) -> Browser:
    """Create a person with a password, and return their browser, signed in."""
    link = invited(admin, email, *grants, **more)
    client = app.test_client()
    body = {"invitation": link, "name": email.partition("@")[0].title(), "password": PASSWORD}
    return browser(app, client.post("/api/v1/invitations/accept", json=body), client)


def sign_in(app: Flask, email: str, password: str = PASSWORD, **more: Any) -> TestResponse:
    """Sign in with a new browser; return the answer."""
    body = {"email": email, "password": password, **more}
    return app.test_client().post("/api/v1/sign-in", json=body)


def signed_in(app: Flask, email: str, password: str = PASSWORD, **more: Any) -> Browser:
    """Sign in with a new browser that keeps its cookies."""
    client = app.test_client()
    answer = client.post("/api/v1/sign-in", json={"email": email, "password": password, **more})
    return browser(app, answer, client)
