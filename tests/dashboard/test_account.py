"""The reader's own account: password, second factor, recovery codes, sessions and tokens."""

from __future__ import annotations

import pyotp
import pytest
from flask import Flask
from playwright.sync_api import Browser, Page, expect

from tests.admin.test_me import add_second_factor
from tests.dashboard.visits import DESK, PHONE, Visit, visit
from tests.http_calls import Caller
from tests.people import PASSWORD, join, signed_in

GRANT = {"role": "developer", "project": "default", "environment": None}
NEW_PASSWORD = "seven loud river barges"


def button(page: Page, name: str) -> None:
    page.get_by_role("button", name=name).click()


def add_app(at: Visit) -> list[str]:
    """Add a second factor, with a wrong password and a wrong code first; return its codes."""
    page = at.page
    page.get_by_role("link", name="Add a second factor…").click()
    page.get_by_label("Password").fill("not my password at all")
    button(page, "Go on")
    expect(page.locator("#password-error")).to_have_text("The password is wrong.")
    page.get_by_label("Password").fill(PASSWORD)
    button(page, "Go on")
    expect(page.get_by_role("img", name="QR code for an authenticator app")).to_be_visible()
    at.check()
    secret = page.locator("#secret").inner_text()
    page.get_by_label("Code").fill("000000")
    button(page, "Turn it on")
    expect(page.locator("#code-error")).to_contain_text("This one-time code is wrong.")
    assert page.locator("#secret").inner_text() == secret
    page.get_by_label("Code").fill(pyotp.TOTP(secret).now())
    button(page, "Turn it on")
    expect(page.get_by_text("They are shown only once.")).to_be_visible()
    at.check()
    codes = page.locator("#secret").inner_text().split()
    page.get_by_role("link", name="I have kept them").click()
    return codes


@pytest.mark.parametrize(
    ("size", "script"), [(DESK, True), (PHONE, False)], ids=["desk", "phone without script"]
)
def test_a_person_keeps_their_account(
    chromium: Browser, port: int, app: Flask, admin: Caller, size: dict[str, int], script: bool
) -> None:
    join(app, admin, "ada@example.com", GRANT)
    with visit(chromium, port, size, java_script_enabled=script) as at:
        page = at.page
        at.sign_in("ada@example.com")
        at.go("/you")
        expect(page.get_by_role("row").filter(has_text="developer")).to_contain_text(
            "all of default"
        )
        codes = add_app(at)
        expect(page.get_by_text("10 recovery codes left")).to_be_visible()

        button(page, "Sign out")
        page.get_by_label("Email").fill("ada@example.com")
        page.get_by_label("Password").fill(PASSWORD)
        button(page, "Sign in")
        expect(page.get_by_label("One-time code")).to_be_focused()
        expect(page.get_by_label("Password")).to_be_hidden()
        page.get_by_label("One-time code").fill("000000")
        button(page, "Sign in")
        expect(page.get_by_role("alert")).to_be_visible()
        page.get_by_label("One-time code").fill(codes[0])
        button(page, "Sign in")
        at.go("/you")
        expect(page.get_by_text("9 recovery codes left")).to_be_visible()

        page.get_by_role("link", name="Change password…").click()
        page.get_by_label("Your present password").fill(PASSWORD)
        page.get_by_label("New password").fill("short")
        button(page, "Change it")
        expect(page.locator("#new_password-error")).to_contain_text("at least 15 characters")
        page.get_by_label("Your present password").fill(PASSWORD)
        page.get_by_label("New password").fill(NEW_PASSWORD)
        button(page, "Change it")
        expect(page.get_by_role("heading", name="How you sign in")).to_be_visible()

        page.get_by_role("link", name="Remove second factor…").click()
        page.get_by_label("Password").fill(NEW_PASSWORD)
        button(page, "Remove it")
        expect(page.get_by_role("link", name="Add a second factor…")).to_be_visible()


def test_sessions_and_tokens_are_made_and_ended(
    chromium: Browser, port: int, app: Flask, admin: Caller
) -> None:
    join(app, admin, "ada@example.com", GRANT)
    elsewhere = signed_in(app, "ada@example.com")
    with visit(chromium, port, PHONE) as at:
        page = at.page
        at.sign_in("ada@example.com")
        at.go("/")
        page.get_by_role("button", name="Menu").click()
        page.get_by_role("link", name="You", exact=True).click()
        expect(page.get_by_text("this one", exact=True)).to_have_count(1)
        page.get_by_role("link", name="End all others…").click()
        button(page, "End all others")
        expect(page.get_by_role("link", name="End all others…")).to_be_hidden()
        assert elsewhere.get("/api/v1/me").status_code == 401

        page.get_by_role("link", name="Make one…").click()
        page.get_by_label("Name").fill("laptop")
        page.get_by_text("Less than you may").click()
        page.get_by_role("checkbox", name="read").check()
        button(page, "Make it")
        secret = page.locator("#secret").inner_text()
        at.check()
        laptop = Caller(app.test_client(), secret)
        assert laptop.get("/api/v1/projects/default/flags").status_code == 200
        refused = laptop.post("/api/v1/projects/default/flags", {"key": "x", "type": "boolean"})
        assert refused.status_code == 403
        page.get_by_role("link", name="I have kept it").click()
        assert secret not in page.content()
        page.get_by_role("link", name="Delete…").click()
        expect(page.get_by_text("It never works again.")).to_be_visible()
        button(page, "Delete")
        assert laptop.get("/api/v1/me").status_code == 401


def test_who_uses_a_token_is_not_offered_to_change_the_account(app: Flask, admin: Caller) -> None:
    ada = join(app, admin, "ada@example.com", GRANT)
    made = ada.post_ok("/api/v1/me/tokens", {"name": "laptop"})
    laptop = Caller(app.test_client(), made["secret"])
    page = laptop.get("/you").text
    for path in ("/you/password", "/you/second-factor", "/you/tokens/new"):
        assert f'href="{path}"' not in page
        assert "You use a token." in laptop.get(path).text
    body = {"password": PASSWORD, "new_password": NEW_PASSWORD}
    assert laptop.call("POST", "/you/password", data=body).status_code == 403
    assert laptop.call("POST", "/you/second-factor", data=body).status_code == 403
    assert laptop.call("POST", "/you/tokens/new", data={"name": "x"}).status_code == 403
    assert "A program, with a token." in admin.get("/you").text


@pytest.mark.parametrize("way", ["sign-in", "invitation"])
def test_a_right_password_is_kept_until_the_code_is_typed(
    app: Flask, admin: Caller, way: str
) -> None:
    ada = join(app, admin, "ada@example.com", GRANT)
    _, codes, _ = add_second_factor(ada)
    link = admin.post_ok(f"/api/v1/people/{ada.person['id']}/invitation", {})["link"]
    form = {"email": "ada@example.com", "invitation": link}
    stranger = app.test_client()
    first = stranger.post(f"/{way}", data={**form, "password": PASSWORD})
    assert PASSWORD not in first.text
    kept = first.text.partition('name="kept" value="')[2].partition('"')[0]
    other = {**form, "email": "eve@example.com", "invitation": "tgi_x"}
    assert stranger.post(f"/{way}", data={**other, "kept": kept}).status_code != 303
    changed = stranger.post(f"/{way}", data={**form, "kept": kept[:-4] + "AAAA", "code": codes[0]})
    assert changed.status_code != 303
    right = stranger.post(f"/{way}", data={**form, "kept": kept, "code": codes[0]})
    assert right.status_code == 303, right.text
