"""A change of a protected environment in real browsers: each role sees and does its part."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from flask import Flask
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import expect

from tests.admin.guarded import ON, proposed, protect, targeting
from tests.dashboard.visits import DESK, PHONE, Visit, visit
from tests.http_calls import PRODUCTION, Caller
from tests.people import join

FLAG = "/p/default/e/production/flags/checkout"
ROLES = ("developer", "release_manager", "responder", "viewer")


@pytest.fixture
def people(
    app: Flask, chromium: Chromium, port: int, checkout: Caller
) -> Iterator[dict[str, Visit]]:
    """Return a browser of a person of each role; the viewer has a phone, and no script."""
    with ExitStack() as stack:
        found = {}
        for role in ROLES:
            join(app, checkout, f"{role}@example.com", {"role": role})
            plain = role == "viewer"
            size = PHONE if plain else DESK
            at = stack.enter_context(visit(chromium, port, size, java_script_enabled=not plain))
            at.sign_in(f"{role}@example.com")
            found[role] = at
        protect(checkout)
        yield found


def propose(at: Visit, why: str) -> str:
    """Propose to serve on to everyone, in the form of the rules; return the request's address."""
    page = at.page
    at.go(f"{FLAG}/rules")
    expect(page.get_by_text("production is protected: another person approves")).to_be_visible()
    page.get_by_label("Everyone else: percent for on").fill("100")
    page.get_by_label("Everyone else: percent for off").fill("")
    page.get_by_label("Why", exact=False).fill(why)
    page.get_by_role("button", name="Propose it").click()
    expect(page.get_by_role("heading", name=why)).to_be_visible()
    return page.url.removeprefix(at.origin)


def buttons(at: Visit, address: str) -> set[str]:
    """Return which buttons the page of a request offers."""
    at.go(address)
    shown = at.page.locator("main button:visible").all_inner_texts()
    return {each.strip() for each in shown}


def test_each_role_does_its_part(people: dict[str, Visit], checkout: Caller) -> None:
    address = propose(people["developer"], "the sale begins")
    assert buttons(people["developer"], address) == {"Withdraw", "Say it"}
    assert buttons(people["viewer"], address) == {"Say it"}
    expect(people["viewer"].page.get_by_text("Waits for another person.")).to_be_visible()
    assert "Approve" not in buttons(people["responder"], address)
    assert {"Approve", "Reject"} <= buttons(people["release_manager"], address)

    manager = people["release_manager"].page
    expect(manager.locator("del").first).to_have_text("off")
    expect(manager.locator("ins").first).to_have_text("on")
    manager.get_by_label("Comment").fill("also on the phone?")
    manager.get_by_role("button", name="Say it").click()
    expect(manager.get_by_text("also on the phone?")).to_be_visible()
    manager.get_by_label("Why").fill("looks right")
    manager.get_by_role("button", name="Approve").click()
    expect(manager.get_by_text("Approved; it can be applied.")).to_be_visible()
    assert targeting(checkout)["default"] == {"variant": "off"}

    developer = people["developer"].page
    people["developer"].go(address)
    expect(developer.get_by_text("looks right")).to_be_visible()
    expect(developer.get_by_text("also on the phone?")).to_be_visible()
    developer.get_by_role("button", name="Apply it now").click()
    expect(developer.get_by_text("Applied by")).to_be_visible()
    assert targeting(checkout)["default"] == ON
    assert buttons(people["release_manager"], address) <= {"Say it"}


def test_a_kill_and_its_restore_do_not_end_a_request(
    people: dict[str, Visit], checkout: Caller
) -> None:
    address = propose(people["developer"], "the sale begins")
    manager, developer = people["release_manager"], people["developer"]
    manager.go(address)
    manager.page.get_by_role("button", name="Approve").click()
    expect(manager.page.get_by_text("Approved; it can be applied.")).to_be_visible()
    flag = f"{PRODUCTION}/flags/checkout"
    checkout.post_ok(f"{flag}/kill", {"reason": "customers are charged twice"})
    developer.go(address)
    expect(developer.page.get_by_text("checkout in production is killed.")).to_be_visible()
    says = "It can be applied when somebody has restored it."
    expect(developer.page.get_by_text(says)).to_be_visible()
    assert "Propose it again" not in buttons(developer, address)
    checkout.post_ok(f"{flag}/restore", {"reason": "it was the bank"})
    developer.go(address)
    expect(developer.page.get_by_text("is killed.")).to_be_hidden()
    expect(developer.page.get_by_text("has changed since")).to_be_hidden()
    developer.page.get_by_role("button", name="Apply it now").click()
    expect(developer.page.get_by_text("Applied by")).to_be_visible()
    assert targeting(checkout)["default"] == ON


def test_a_conflict_is_shown_with_the_way_to_the_form(
    people: dict[str, Visit], checkout: Caller
) -> None:
    address = propose(people["developer"], "the sale begins")
    body = targeting(checkout, kill_variant="off")
    why = {"Tidegate-Propose": "for kills"}
    path = f"{PRODUCTION}/flags/checkout"
    other = proposed(checkout.put(path, body, match="*", headers=why))
    manager = people["release_manager"]
    request = f"/p/default{other.removeprefix('/api/v1/projects/default')}"
    manager.go(request)
    manager.page.get_by_role("button", name="Approve").click()
    expect(manager.page.get_by_text("Approved; it can be applied.")).to_be_visible()
    assert checkout.post(f"{other}/apply", {}).status_code == 200
    at = people["developer"]
    at.go(address)
    expect(at.page.get_by_text("What it changes has changed since.")).to_be_visible()
    expect(at.page.get_by_text("Targeting checkout in production: revision")).to_be_visible()
    at.page.get_by_role("link", name="as it is now").click()
    expect(at.page.get_by_role("heading", name="checkout", exact=True)).to_be_visible()

    assert "Propose it again" not in buttons(manager, address)
    assert "Propose it again" in buttons(at, address)
    changed = at.page.get_by_role("listitem").filter(has_text="kill variant")
    expect(changed).to_contain_text("off")
    at.page.get_by_role("button", name="Propose it again").click()
    expect(at.page.get_by_text("Proposed again; its approvals begin anew.")).to_be_visible()
    expect(at.page.get_by_text("What it changes has changed since.")).to_be_hidden()
    expect(at.page.get_by_text("Waits for another person.")).to_be_visible()
