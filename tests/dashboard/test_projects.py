"""People find their projects, make one, and go from one to another, on a desk and on a phone."""

from __future__ import annotations

import pytest
from flask import Flask
from playwright.sync_api import Browser, expect

from tests.dashboard.visits import DESK, PHONE, visit
from tests.http_calls import Caller
from tests.people import join

ADA = "ada@example.com"


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_a_project_is_made_and_found_again(
    chromium: Browser, port: int, app: Flask, admin: Caller, size: dict[str, int]
) -> None:
    join(app, admin, ADA, {"role": "admin"})
    with visit(chromium, port, size) as at:
        page = at.page
        at.sign_in(ADA)
        at.go("/")
        switcher = page.locator("button.place").locator("visible=true")
        switcher.click()
        page.get_by_role("link", name="All projects").click()
        page.locator("#key").fill("shop")
        page.get_by_label("Name").fill("The shop")
        page.get_by_label("Environments").fill("production, sta/ging")
        page.get_by_role("button", name="Make it").click()
        expect(page.get_by_text("sta/ging is no key")).to_be_visible()
        assert page.get_by_label("Name").input_value() == "The shop"
        page.get_by_label("Environments").fill("production, staging")
        page.get_by_role("button", name="Make it").click()
        expect(page.get_by_text("shop is made.")).to_be_visible()
        expect(switcher).to_contain_text("shop")

        # Another environment of this project, then the other project, and back to where it was.
        switcher.click()
        page.get_by_role("link", name="staging").click()
        expect(switcher).to_contain_text("staging")
        switcher.click()
        page.get_by_role("link", name="default", exact=True).click()
        expect(switcher).to_contain_text("default")
        at.go("/")
        expect(page.get_by_role("heading", name="Projects")).to_be_visible()
        expect(page.get_by_role("row", name="The shop")).to_contain_text("staging")
        at.check()


def test_who_may_see_one_project_never_meets_the_list(
    chromium: Browser, port: int, app: Flask, admin: Caller
) -> None:
    admin.post_ok("/api/v1/projects", {"key": "shop"})
    join(app, admin, ADA, {"role": "viewer", "project": "default"})
    with visit(chromium, port, DESK) as at:
        at.sign_in(ADA)
        at.go("/")
        assert "/p/default/e/production" in at.page.url
        at.go("/projects")
        expect(at.page.get_by_role("row", name="default")).to_be_visible()
        expect(at.page.get_by_text("shop")).to_be_hidden()
        expect(at.page.get_by_role("button", name="Make it")).to_be_hidden()


def test_a_project_without_environments_leads_to_where_they_are_made(
    chromium: Browser, port: int, app: Flask, admin: Caller
) -> None:
    admin.post_ok("/api/v1/projects", {"key": "bare"})
    join(app, admin, ADA, {"role": "admin", "project": "bare"})
    with visit(chromium, port, PHONE) as at:
        page = at.page
        at.sign_in(ADA)
        at.go("/")
        page.locator("#key").fill("production")
        page.get_by_role("button", name="Make it").click()
        expect(page.get_by_text("production is made.")).to_be_visible()
        at.go("/p/bare")
        assert "/p/bare/e/production" in page.url
        at.check()
