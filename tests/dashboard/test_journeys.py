"""People in a real browser: they sign in, make a flag, release it, stop it, and see it stop."""

from __future__ import annotations

import pytest
import tidegate
from flask import Flask
from playwright.sync_api import Browser, Page, Route, expect

from tests.admin.test_instances import report
from tests.dashboard.test_pages import EMPTY_PAGES, FULL_PAGES
from tests.dashboard.visits import DESK, PHONE, SMALL_PHONE, Visit, visit
from tests.http_calls import PRODUCTION, PROJECT, Caller
from tests.people import PASSWORD, invited

PLACE = "/p/default/e/production"
ADMIN = {"role": "admin"}


def accept(at: Visit, link: str) -> None:
    """Accept an invitation: set a name and a password, and sign in."""
    at.go(f"/invitation?next={PLACE}/flags#" + link.rpartition("#")[2])
    expect(at.page.locator("[data-invitation]")).to_be_hidden()
    assert "#" not in at.page.url
    at.page.get_by_label("Your name").fill("Ada")
    at.page.get_by_label("Password").fill(PASSWORD)
    at.page.get_by_role("button", name="Begin").click()
    expect(at.page.get_by_role("heading", name="Flags")).to_be_visible()


def hold(page: Page, milliseconds: int) -> None:
    page.get_by_role("button", name="Hold to kill").hover()
    page.mouse.down()
    page.wait_for_timeout(milliseconds)
    page.mouse.up()


def make_flag(at: Visit) -> None:
    at.page.get_by_role("link", name="New flag").first.click()
    at.page.locator("#key").fill("fast-checkout")
    at.page.get_by_label("Description").fill("Pay in one step")
    at.page.get_by_role("button", name="Make it").click()
    expect(at.page.get_by_role("heading", name="fast-checkout")).to_be_visible()


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_make_release_kill_and_restore(
    chromium: Browser, port: int, admin: Caller, app: Flask, size: dict[str, int]
) -> None:
    link = invited(admin, "ada@example.com", ADMIN)
    token = admin.post_ok(
        "/api/v1/tokens",
        {"name": "shop", "role": "sdk", "project": "default", "environment": "production"},
    )["secret"]
    with visit(chromium, port, size, reduced_motion="no-preference") as at:
        page = at.page
        accept(at, link)
        expect(page.get_by_text("No flag yet")).to_be_visible()
        make_flag(at)
        expect(page.get_by_text("Everyone gets off.")).to_be_visible()

        at.go("/p/default/policies/new?from=standard")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("heading", name="standard")).to_be_visible()

        at.go(f"{PLACE}/releases/new?flag=fast-checkout")
        page.get_by_label("Why").fill("one-step payment")
        page.get_by_role("button", name="Start").click()
        expect(page.get_by_text("Open to 1 % of everyone")).to_be_visible()

        client = tidegate.Client(at.origin, token)
        assert client.wait_until_ready(60)
        at.go(f"{PLACE}/flags/fast-checkout")
        page.get_by_role("link", name="Kill").locator("visible=true").first.click()
        page.get_by_label("Why").fill("customers cannot pay")
        hold(page, 200)
        expect(page.get_by_text("Let go too early: nothing happened.")).to_be_visible()
        assert admin.get(f"{PROJECT}/environments/production/flags/fast-checkout").json
        hold(page, 1_000)
        expect(page.get_by_text("Killed: everyone gets off.")).to_be_visible()
        # The receipt comes by itself, from a process that has applied the kill.
        expect(page.get_by_text("1 of 1 live process", exact=True)).to_be_visible()

        at.go("/p/default/policies")
        expect(page.get_by_role("region", name="Incident").first).to_contain_text("fast-checkout")
        if size == PHONE:
            page.get_by_text("fast-checkout is killed.").locator("visible=true").click()
        page.get_by_role("link", name="Restore…").first.click()
        page.get_by_role("button", name="Restore, paused").click()
        expect(page.get_by_text("Say what was fixed")).to_be_visible()
        page.get_by_label("What was fixed").fill("the new gateway answers again")
        page.get_by_role("button", name="Restore, paused").click()
        expect(page.get_by_text("Its release: paused.")).to_be_visible()
        client.close()


def test_kills_take_one_line_of_a_phone_and_a_tap_shows_the_rest(
    chromium: Browser, port: int, checkout: Caller
) -> None:
    link = invited(checkout, "ada@example.com", ADMIN)
    for key in ("pay-by-link", "pay-later"):
        checkout.post_ok(f"{PROJECT}/flags", {"key": key, "type": "boolean"})
    reason = "cards are refused since the new gateway went live, and support has 40 calls"
    with visit(chromium, port, SMALL_PHONE) as at:
        page = at.page
        accept(at, link)
        banners = page.locator("#banners")
        for killed, says in (
            ("checkout", "checkout is killed."),
            ("pay-by-link", "2 kills are in force."),
            ("pay-later", "3 kills are in force."),
        ):
            checkout.post_ok(f"{PRODUCTION}/flags/{killed}/kill", {"reason": reason})
            at.go("/p/default/policies")
            line = page.get_by_text(says).locator("visible=true")
            expect(line).to_be_visible()
            box = banners.bounding_box()
            assert box is not None
            assert box["height"] <= 60
            expect(page.get_by_text(reason).locator("visible=true")).to_have_count(0)
            line.click()
            expect(page.get_by_text(reason).locator("visible=true").first).to_be_visible()
            expect(page.get_by_role("link", name="Restore…").first).to_be_visible()
            at.check()
        expect(page.get_by_text("1 more kill in force.").locator("visible=true")).to_be_visible()
        page.set_viewport_size(DESK)  # type: ignore[arg-type]
        expect(page.get_by_text(reason).locator("visible=true")).to_have_count(2)


def test_code_is_read_to_its_end_by_keys_beside_the_button_that_copies_it(
    chromium: Browser, port: int, checkout: Caller
) -> None:
    link = invited(checkout, "ada@example.com", ADMIN)
    with visit(chromium, port, SMALL_PHONE) as at:
        accept(at, link)
        at.go(f"{PLACE}/begin?flag=checkout&with=javascript&step=connect")
        code = at.page.locator(".code:has(> .copy)").nth(1)
        text, button = code.locator("pre"), code.locator(".copy")
        text.focus()
        before = button.bounding_box()
        assert text.evaluate("pre => { pre.scrollLeft = 10_000; return pre.scrollLeft }") > 0
        assert button.bounding_box() == before
        assert before is not None
        assert before["x"] >= text.evaluate(
            "pre => { const all = document.createRange(); all.selectNodeContents(pre);"
            " return all.getBoundingClientRect().right }"
        )


def test_a_release_is_stopped_with_the_keyboard_alone(
    chromium: Browser, port: int, checkout: Caller, release: str
) -> None:
    link = invited(checkout, "ada@example.com", ADMIN)
    with visit(chromium, port, DESK) as at:
        page = at.page
        accept(at, link)
        page.keyboard.press("Control+k")
        page.keyboard.type("kill check", delay=20)
        expect(page.get_by_role("link", name="Kill checkout…")).to_be_visible()
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Kill checkout in production?")).to_be_visible()
        page.keyboard.type("by key")
        page.get_by_label("Type checkout to kill it").focus()
        page.keyboard.type("checkout")
        page.keyboard.press("Enter")
        expect(page.get_by_text("Killed: everyone gets")).to_be_visible()


def test_a_link_signs_in_with_one_button(chromium: Browser, port: int, admin: Caller) -> None:
    made = admin.post_ok("/api/v1/people", {"email": "bob@example.com", "grants": [ADMIN]})
    path = f"/api/v1/people/{made['id']}/invitation"
    link = admin.post_ok(path, {"signs_in_only": True})["link"].rpartition("#")[2]
    with visit(chromium, port, PHONE) as at:
        at.go(f"/sign-in/link?next={PLACE}/flags#{link}")
        assert "#" not in at.page.url
        at.page.get_by_role("button", name="Sign in").click()
        expect(at.page.get_by_role("heading", name="Flags")).to_be_visible()
        at.go(f"/sign-in/link#{link}")
        at.page.get_by_role("button", name="Sign in").click()
        expect(at.page.get_by_text("This link does not work: it was used")).to_be_visible()


def test_everything_works_without_a_script(chromium: Browser, port: int, admin: Caller) -> None:
    link = invited(admin, "ada@example.com", ADMIN)
    with visit(chromium, port, PHONE, java_script_enabled=False) as at:
        page = at.page
        at.go(f"/invitation?next={PLACE}/flags")
        page.get_by_label("Invitation").fill(link)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Begin").click()
        make_flag(at)
        at.go(f"{PLACE}/flags/fast-checkout/rules")
        page.get_by_role("button", name="Rule", exact=True).click()
        page.get_by_label("Attribute").fill("country")
        page.get_by_label("Value").fill("DE")
        page.get_by_label("Rule 1: percent for on").fill("100")
        page.get_by_label("Why").fill("Germany first")
        page.get_by_role("button", name="Save").last.click()
        expect(page.get_by_text("country is DE")).to_be_visible()
        at.go(f"{PLACE}/flags/fast-checkout/kill")
        page.get_by_label("Why").fill("no script")
        page.get_by_label("Type fast-checkout to kill it").fill("something else")
        page.get_by_role("button", name="Kill", exact=True).click()
        expect(
            page.get_by_text("Type fast-checkout to kill it, or hold the button.")
        ).to_be_visible()
        page.get_by_label("Type fast-checkout to kill it").fill("fast-checkout")
        page.get_by_role("button", name="Kill", exact=True).click()
        expect(page.get_by_text("Killed: everyone gets off.")).to_be_visible()


def test_no_page_is_wider_than_a_small_phone(
    chromium: Browser, port: int, checkout: Caller, release: str
) -> None:
    link = invited(checkout, "ada@example.com", ADMIN)
    live = f"{PLACE}/releases/{release.rpartition('/')[2]}"
    with visit(chromium, port, SMALL_PHONE) as at:
        accept(at, link)
        for address in (*EMPTY_PAGES, *FULL_PAGES, live, f"{live}/rollback", f"{live}/replay"):
            at.go(address)
            at.check()


def test_the_present_tab_is_in_view_on_a_phone(chromium: Browser, port: int, admin: Caller) -> None:
    link = invited(admin, "ada@example.com", ADMIN)
    with visit(chromium, port, SMALL_PHONE) as at:
        accept(at, link)
        at.go("/p/default/settings/hooks")
        expect(at.page.locator(".tabbar [aria-current]")).to_be_in_viewport(ratio=1)


def test_a_page_says_when_it_is_not_live(chromium: Browser, port: int, checkout: Caller) -> None:
    link = invited(checkout, "ada@example.com", ADMIN)
    with visit(chromium, port, DESK) as at:
        accept(at, link)
        page, banner = at.page, at.page.get_by_text("Not live.")
        expect(page.locator(".side-foot .live")).to_be_visible()
        expect(banner).to_be_hidden()
        page.clock.install()
        page.route("**/events", lambda route: route.fulfill(status=502))
        page.reload()
        page.wait_for_timeout(300)
        expect(banner).to_be_hidden()
        page.clock.run_for(10_100)
        expect(banner).to_be_visible()
        page.unroute("**/events")
        page.clock.run_for(30_000)
        expect(banner).to_be_hidden()
        expect(page.locator(".side-foot .live")).to_be_visible()


def test_what_somebody_else_changed_is_not_overwritten(
    chromium: Browser, port: int, checkout: Caller
) -> None:
    link = invited(checkout, "ada@example.com", ADMIN)
    with visit(chromium, port, DESK) as at:
        page = at.page
        accept(at, link)
        at.go(f"{PLACE}/flags/checkout/rules")
        address = f"{PROJECT}/environments/production/flags/checkout"
        before = checkout.get(address)
        assert before.json is not None
        other = {
            name: before.json[name] for name in ("off_variant", "default", "rules", "prerequisites")
        }
        saved = checkout.put(address, {**other, "enabled": False}, match=before.headers["ETag"])
        assert saved.status_code == 200
        page.get_by_label("Why").fill("mine")
        page.get_by_role("button", name="Save").last.click()
        expect(page.get_by_text("changed it while you edited")).to_be_visible()
        assert page.get_by_label("Why").input_value() == "mine"
        after = checkout.get(address).json
        assert after is not None
        assert after["enabled"] is False


def test_a_viewer_is_not_offered_a_kill_and_told_why(
    chromium: Browser, port: int, checkout: Caller
) -> None:
    link = invited(checkout, "vera@example.com", {"role": "viewer"})
    with visit(chromium, port, DESK) as at:
        accept(at, link)
        at.go(f"{PLACE}/flags/checkout")
        expect(at.page.get_by_role("link", name="Kill")).to_have_count(0)
        at.go(f"{PLACE}/flags/checkout/kill")
        expect(at.page.get_by_text("This needs the permission kill")).to_be_visible()


def test_the_wrong_password_says_nothing_of_the_person(
    chromium: Browser, port: int, admin: Caller
) -> None:
    link = invited(admin, "ada@example.com", ADMIN)
    with visit(chromium, port, DESK) as at:
        page = at.page
        accept(at, link)
        at.go("/you")
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("button", name="Sign in")).to_be_visible()
        at.go("/p/default/audit?action=flag.kill")
        answers = []
        for email in ("ada@example.com", "nobody@example.com"):
            page.get_by_label("Email").fill(email)
            page.get_by_label("Password").fill("not the password")
            page.get_by_role("button", name="Sign in").click()
            answers.append(page.get_by_role("alert").inner_text())
        assert answers[0] == answers[1]
        page.get_by_label("Email").fill("ada@example.com")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", name="Audit")).to_be_visible()
        assert page.url.endswith("/p/default/audit?action=flag.kill")


@pytest.mark.parametrize("what", ["a commit", "a report"])
def test_a_page_shows_what_happened_while_it_was_loading(
    chromium: Browser, port: int, checkout: Caller, sdk: Caller, what: str
) -> None:
    link = invited(checkout, "ada@example.com", ADMIN)

    def late(route: Route) -> None:
        if what == "a commit":
            checkout.post_ok(f"{PRODUCTION}/flags/checkout/kill", {"reason": "errors"})
        else:
            report(sdk)
        route.continue_()

    with visit(chromium, port, DESK) as at:
        accept(at, link)
        at.page.route("**/production/events", late, times=1)
        at.go(f"{PLACE}/flags/checkout" if what == "a commit" else f"{PLACE}/instances")
        shown = "Killed: everyone gets" if what == "a commit" else "web-1"
        expect(at.page.get_by_text(shown).first).to_be_visible()
