"""A form that is shown again has the focus where its reader goes on, never at its top."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask
from playwright.sync_api import Browser, Page, expect
from tidegate_server.dashboard import rule_forms, variant_forms
from tidegate_server.dashboard.rule_forms import (
    ConditionLine,
    PrerequisiteLine,
    RuleForm,
    TargetingForm,
)
from tidegate_server.dashboard.variant_forms import VariantLine

from tests.dashboard.test_pages import PLACE
from tests.dashboard.visits import SMALL_PHONE, Visit, visit
from tests.http_calls import PRODUCTION, PROJECT, Caller
from tests.people import join

ADA = "ada@example.com"


@pytest.fixture
def at(chromium: Browser, port: int, checkout: Caller, app: Flask) -> Iterator[Visit]:
    join(app, checkout, ADA, {"role": "admin"})
    with visit(chromium, port, SMALL_PHONE) as opened:
        opened.sign_in(ADA)
        yield opened


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).locator("visible=true").last.click()


def focused_in_view(page: Page, name: str) -> None:
    """Expect that a field or button has the focus, and that a reader sees it."""
    field = page.locator(f"[name='{name}'], button[value='{name}']").locator("visible=true")
    expect(field).to_be_focused()
    expect(field).to_be_in_viewport()


def test_rules_go_on_where_a_line_was_added_and_at_the_first_mistake(at: Visit) -> None:
    page = at.page
    at.go(f"{PLACE}/flags/checkout/rules")
    press(page, "Rule")
    focused_in_view(page, "rule-0-line-0-attribute")
    press(page, "Condition")
    focused_in_view(page, "rule-0-line-1-attribute")
    press(page, "Rule")
    focused_in_view(page, "rule-1-line-0-attribute")
    press(page, "Remove")
    focused_in_view(page, "rule-0-id")
    page.locator("[name='rule-0-line-0-attribute']").fill("country")
    press(page, "Save")
    focused_in_view(page, "rule-0-line-0-value")
    page.locator("[name='rule-0-line-0-value']").fill("DE")
    press(page, "Remove condition 2")
    focused_in_view(page, "rule-0-line-0-attribute")
    page.get_by_label("Rule 1: percent for on", exact=True).fill("100")
    press(page, "Preview")
    focused_in_view(page, "preview")


def test_a_segment_and_variants_go_on_where_a_line_was_added(at: Visit) -> None:
    page = at.page
    at.go("/p/default/segments/new")
    expect(page.locator("#key")).to_be_focused()
    page.locator("#key").fill("germans")
    press(page, "Condition")
    focused_in_view(page, "rule-0-line-0-attribute")
    press(page, "Save")
    focused_in_view(page, "rule-0-line-0-attribute")
    at.go(f"{PLACE}/flags/checkout/edit")
    press(page, "Variant")
    focused_in_view(page, "variants-2-key")


def test_what_is_wrong_with_the_whole_form_has_the_focus(at: Visit, checkout: Caller) -> None:
    page = at.page
    at.go("/p/default/segments/new")
    page.locator("#key").fill("germans")
    checkout.post_ok(f"{PROJECT}/segments", {"key": "germans", "included": ["ann"]})
    press(page, "Save")
    expect(page.get_by_role("alert")).to_be_focused()


def test_a_page_that_is_opened_keeps_its_own_focus(at: Visit, checkout: Caller) -> None:
    page = at.page
    checkout.post_ok(f"{PRODUCTION}/flags/checkout/kill", {"reason": "errors"})
    at.go(f"{PLACE}/flags/checkout/restore")
    expect(page.get_by_label("What was fixed")).to_be_focused()
    page.locator("#url").fill("no link")
    page.get_by_label("What was fixed").fill("the gateway answers")
    press(page, "Restore")
    expect(page.locator("#url")).to_be_focused()


@pytest.mark.parametrize(
    ("button", "goes_on"),
    [
        ("add-rule", "rule-1-line-0-attribute"),
        ("remove-rule 1", "rule-1-id"),
        ("remove-rule 2", "rule-1-id"),
        ("add-line 1", "rule-1-line-0-attribute"),
        ("remove-line 1 3", "rule-1-line-0-attribute"),
        ("remove-line 0 0", "add-line 0"),
        ("remove-line 7 0", ""),
        ("add-prerequisite", "prerequisite-0-flag"),
        ("remove-prerequisite 4", "prerequisite-0-flag"),
        ("preview", "preview"),
        ("save", ""),
    ],
)
def test_each_button_of_rules_has_a_place_to_go_on(button: str, goes_on: str) -> None:
    rules = (RuleForm("a", lines=()), RuleForm("b", lines=(ConditionLine(),)))
    form = TargetingForm(True, "off", "", {}, rules, (PrerequisiteLine(),))
    assert rule_forms.goes_on_at(form, button) == goes_on


def test_without_a_line_left_the_button_that_adds_one_has_the_focus() -> None:
    form = TargetingForm(True, "off", "", {}, ())
    assert rule_forms.goes_on_at(form, "remove-rule 0") == "add-rule"
    assert rule_forms.goes_on_at(form, "remove-prerequisite 0") == "add-prerequisite"
    assert variant_forms.goes_on_at((), "remove-variant 0") == "add-variant"
    assert variant_forms.goes_on_at((VariantLine("on"),), "remove-variant 1") == "variants-0-key"
