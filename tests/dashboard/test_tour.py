"""The tour: two simulated releases, step by step, with and without a script."""

from __future__ import annotations

import pytest
from flask import Flask
from playwright.sync_api import Browser, expect

from tests.dashboard.visits import DESK, PHONE, visit
from tests.http_calls import Caller
from tests.people import join

ADA = "ada@example.com"
TOUR = "/p/default/e/production/begin/tour"


@pytest.fixture(autouse=True)
def ada(app: Flask, admin: Caller) -> None:
    join(app, admin, ADA, {"role": "admin"})


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_both_stories_are_told_by_links_alone(
    chromium: Browser, port: int, size: dict[str, int]
) -> None:
    with visit(chromium, port, size, java_script_enabled=False) as at:
        page = at.page
        at.sign_in(ADA)
        at.go("/")
        page.get_by_role("link", name="Watch it on simulated traffic").click()
        expect(page.get_by_text("A person has started the release.")).to_be_visible()
        expect(page.get_by_role("button", name="Play")).to_be_hidden()
        told = []
        while (following := page.get_by_role("link", name="Next").locator("visible=true")).count():
            told.append(page.locator("#says").inner_text())
            expect(page.get_by_text("Simulated", exact=True)).to_be_visible()
            with page.expect_navigation():  # else the next one may be looked for in between
                following.click()
        expect(page.get_by_text("Rolled back at 10:")).to_be_visible()
        assert "so the policy completed the release" in "".join(told)
        assert "The policy took it back by itself" in page.locator("#says").inner_text()
        page.get_by_role("link", name="Begin with your own").locator("visible=true").click()
        expect(page.get_by_role("heading", name="Make a flag")).to_be_visible()


def test_it_plays_by_itself_until_it_is_paused(chromium: Browser, port: int) -> None:
    with visit(chromium, port, DESK, reduced_motion="no-preference") as at:
        page = at.page
        at.sign_in(ADA)
        page.clock.install()
        at.go(f"{TOUR}?story=healthy&scene=2")
        expect(page.get_by_role("button", name="Pause")).to_be_visible()
        page.clock.run_for(8_000)
        expect(page.get_by_text("Scene 3 of")).to_be_visible()
        page.get_by_role("button", name="Pause").click()
        page.clock.run_for(20_000)
        expect(page.get_by_text("Scene 3 of")).to_be_visible()
        # Who steps, steps on alone.
        page.get_by_role("link", name="Next").click()
        expect(page.get_by_text("Scene 4 of")).to_be_visible()
        expect(page.get_by_role("button", name="Play")).to_be_visible()


def test_it_stands_still_where_motion_is_unwelcome(chromium: Browser, port: int) -> None:
    with visit(chromium, port, DESK, reduced_motion="reduce") as at:
        page = at.page
        at.sign_in(ADA)
        page.clock.install()
        at.go(TOUR)
        expect(page.get_by_role("button", name="Play")).to_be_visible()
        page.clock.run_for(30_000)
        expect(page.get_by_text("Scene 1 of")).to_be_visible()
        page.get_by_role("button", name="Play").click()
        page.clock.run_for(8_000)
        expect(page.get_by_text("Scene 2 of")).to_be_visible()
