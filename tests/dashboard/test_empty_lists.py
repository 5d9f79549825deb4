"""Every list that is empty says what it would show, in a sentence, and offers one thing to do."""

from __future__ import annotations

import pytest
from flask import Flask
from playwright.sync_api import Browser, expect

from tests.dashboard.visits import DESK, PHONE, Visit, visit
from tests.http_calls import Caller
from tests.people import join

ADA = "ada@example.com"
PLACE = "/p/default/e/production"
EMPTY = (
    (f"{PLACE}/flags", "A flag stands in the code", "Begin with one", "Open a feature"),
    (f"{PLACE}/flags?archived=true", "No flag is archived", "All flags", "Flags"),
    (
        f"{PLACE}/releases",
        "A release opens a variant to a few",
        "Start a release…",
        "Start a release",
    ),
    ("/p/default/segments", "A segment such as", "New segment", "New segment"),
    ("/p/default/policies", "A policy says to whom", "Begin with the standard one", "New policy"),
    (
        f"{PLACE}/instances",
        "An application appears here",
        "Connect one.",
        "Open a feature",
    ),
    ("/p/default/audit?actor=nobody", "Nothing fits", "All entries", "Audit"),
)
"""Each list, what it says, its action, and the heading of the page to which that leads."""


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_an_empty_list_explains_itself_and_leads_on(
    chromium: Browser, port: int, app: Flask, admin: Caller, size: dict[str, int]
) -> None:
    join(app, admin, ADA, {"role": "admin"})
    with visit(chromium, port, size) as at:
        at.sign_in(ADA)
        for address, says, action, leads_to in EMPTY:
            check_list(at, address, says, action, leads_to)


def check_list(at: Visit, address: str, says: str, action: str, leads_to: str) -> None:
    at.go(address)
    empty = at.page.locator(".empty, .status")
    expect(empty).to_contain_text(says)
    link = empty.get_by_role("link")
    expect(link).to_have_count(1)
    expect(link).to_have_text(action)
    link.click()
    expect(at.page.get_by_role("heading", level=1)).to_contain_text(leads_to)


def test_a_list_of_releases_that_is_empty_fills_by_itself(
    chromium: Browser, port: int, app: Flask, checkout: Caller
) -> None:
    join(app, checkout, ADA, {"role": "admin"})
    with visit(chromium, port, PHONE) as at:
        at.sign_in(ADA)
        at.go(f"{PLACE}/releases")
        expect(at.page.locator(".side-foot .live")).to_be_attached()
        body = {"flag": "checkout", "treatment": "on", "policy": "careful"}
        checkout.post_ok("/api/v1/projects/default/environments/production/releases", body)
        expect(at.page.get_by_role("link", name="checkout")).to_be_visible()
