"""The keys of pages: each does one thing, and the list of keys has all."""

from __future__ import annotations

import re
from itertools import permutations
from pathlib import Path

import pytest
import tidegate_server.dashboard
from flask import Flask
from playwright.sync_api import Browser, expect
from tidegate_server.dashboard import shell
from tidegate_server.dashboard.pages.release_actions import ACTIONS
from tidegate_server.dashboard.shortcuts import GO, LEADER, SHORTCUTS

from tests.dashboard.visits import DESK, visit
from tests.http_calls import Caller
from tests.people import join

ADA = "ada@example.com"
PLACE = "/p/default/e/production"
TEMPLATES = Path(tidegate_server.dashboard.__file__).with_name("templates")
SEQUENCES = [sequence.split(" ") for each in SHORTCUTS for sequence in each.sequences]


def test_no_shortcut_is_another_or_its_beginning() -> None:
    for one, other in permutations(SEQUENCES, 2):
        assert other[: len(one)] != one, f"{one} and {other}"


def test_every_page_of_the_navigation_has_a_key() -> None:
    assert [name for name, _, _ in shell.PAGES] == list(GO)


def test_the_list_has_every_key_that_a_page_has() -> None:
    listed = {sequence[0] for sequence in SEQUENCES if len(sequence) == 1}
    used = {each.key for each in ACTIONS.values() if each.key}
    for template in TEMPLATES.glob("*.html"):
        used |= set(re.findall(r'data-key="([^"{]+)"', template.read_text()))
    assert used
    assert used <= listed


@pytest.fixture
def ada(app: Flask, checkout: Caller) -> Caller:
    join(app, checkout, ADA, {"role": "admin"})
    return checkout


def test_each_page_is_a_letter_away(chromium: Browser, port: int, ada: Caller) -> None:
    with visit(chromium, port, DESK) as at:
        page = at.page
        at.sign_in(ADA)
        at.go(f"{PLACE}/flags")
        titles = {name: title for name, title, _ in shell.PAGES}
        for name, key in GO.items():
            page.keyboard.press(LEADER)
            page.keyboard.press(key)
            current = page.locator(".nav [aria-current=page]")
            expect(current).to_contain_text(titles[name])
            page.wait_for_load_state()  # its script has run, which hears the next keys
            at.check()


def test_keys_are_listed_and_in_the_palette(chromium: Browser, port: int, ada: Caller) -> None:
    with visit(chromium, port, DESK) as at:
        page = at.page
        at.sign_in(ADA)
        at.go(f"{PLACE}/flags")
        page.keyboard.press("?")
        listed = page.get_by_role("dialog", name="Keys")
        for name, key in GO.items():
            row = listed.get_by_role("row").filter(has_text=name)
            expect(row.first).to_contain_text(f"{LEADER} {key}")
        page.keyboard.press("Escape")
        page.keyboard.press("/")
        palette = page.get_by_role("dialog", name="Search and commands")
        palette.get_by_role("searchbox").fill("settings")
        hit = palette.get_by_role("link", name="Settings")
        expect(hit.locator("kbd")).to_have_text([LEADER, GO["settings"]])
        at.check()
