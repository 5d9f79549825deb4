"""A sign-in with an identity provider, through a real server and with the command line."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import httpx
import pytest

from tests.cli.calls import Tidegate, wait_until
from tests.cli.conftest import RunningServer
from tests.openid_provider import CLIENT_ID, CLIENT_SECRET, OpenIdProvider, new_rsa_key
from tests.openid_provider import running_provider as running


@pytest.fixture
def provider() -> Iterator[OpenIdProvider]:
    with running(new_rsa_key("key-1")) as provider:
        provider.user["email"] = f"{uuid4().hex[:10]}@example.com"
        yield provider


def test_a_person_signs_in_is_seen_and_is_signed_out_by_the_provider(
    checkout: Tidegate, server: RunningServer, provider: OpenIdProvider
) -> None:
    key, email = f"idp-{uuid4().hex[:8]}", provider.user["email"]
    command = ("identity-provider",)
    project = checkout.variables["TIDEGATE_PROJECT"]
    checkout.ok(
        *(*command, "create", key, "--issuer", provider.issuer, "--client-id", CLIENT_ID),
        *("--name", "Example", "--email-domain", "example.com", "--create-people"),
    )
    checkout.ok(*command, "set-secret", key, stdin=f"{CLIENT_SECRET}\n")
    checkout.ok(*command, "map", key, "devs", "--role", "developer", "--project", project)
    with httpx.Client(base_url=server.url, follow_redirects=True) as browser:
        wait_until(
            "the button is there", lambda: "Sign in with Example" in browser.get("/sign-in").text
        )
        page = browser.get(f"/sign-in/with/{key}")
        assert page.status_code == 200, page.text
        assert browser.get("/api/v1/me").json()["person"]["email"] == email
        sessions = checkout.ok("session", "list", "--person", email)
        assert key in sessions
        shown = checkout.ok("person", "show", email)
        assert "devs" in shown
        assert provider.issuer in shown
        assert browser.get(f"/p/{project}/e/production/flags").status_code == 200
        token = {"logout_token": provider.logout_token()}
        said = httpx.post(f"{server.url}/api/v1/sign-in/with/{key}/sign-out", data=token)
        assert said.status_code == 200, said.text
        wait_until("the session has ended", lambda: browser.get("/api/v1/me").status_code == 401)
        assert checkout.json("session", "list", "--person", email) == []
        identity = checkout.json("person", "show", email)["identities"][0]["id"]
        assert "nobody's now" in checkout.ok("person", "unlink", email, identity, "--yes")
    checkout.ok("person", "delete", email, "--yes")
    checkout.ok(*command, "delete", key, "--yes")
