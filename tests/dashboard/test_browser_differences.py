"""What Safari and Firefox do in another way than Chromium, brought about in Chromium."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.dashboard.visits import SMALL_PHONE, Visit
from tests.http_calls import PRODUCTION, Caller

PLACE = "/p/default/e/production"
RELEASE = {"flag": "checkout", "treatment": "on", "policy": "careful"}

NO_FOCUS_BY_MOUSE = "addEventListener('mousedown', (event) => event.preventDefault(), true);"
"""In Safari a link, a button or a summary that is pressed gets no focus."""

FIELDS = ":is(input, select, textarea):not(:is([type=hidden], [type=checkbox], [type=radio]))"


def test_a_page_that_is_seen_again_asks_at_once(at: Visit, checkout: Caller) -> None:
    """WebKit keeps a page for Back, and ends what the page was asking for when it is left."""
    page = at.page
    page.clock.install()
    at.go(f"{PLACE}/flags/checkout")
    expect(page.locator(".side-foot .live")).to_be_visible()
    page.route("**/flags/checkout", lambda route: route.abort(), times=1)
    with page.expect_event("requestfailed"):
        checkout.post_ok(f"{PRODUCTION}/flags/checkout/kill", {"reason": "errors"})
    page.clock.pause_at(page.evaluate("Date.now()") / 1_000 + 0.5)
    at.complaints.clear()
    for hidden in ("true", "false"):
        page.evaluate(
            f"Object.defineProperty(document, 'hidden', {{ configurable: true, value: {hidden} }});"
            "document.dispatchEvent(new Event('visibilitychange'))"
        )
    page.clock.run_for(1_100)
    expect(page.get_by_text("Killed: everyone gets").first).to_be_visible()


@pytest.mark.parametrize("let_go", ["there", "elsewhere"])
def test_a_part_stays_while_something_in_it_is_pressed(
    at: Visit, checkout: Caller, let_go: str
) -> None:
    page = at.page
    page.add_init_script(NO_FOCUS_BY_MOUSE)
    at.go(f"{PLACE}/flags")
    expect(page.locator(".side-foot .live")).to_be_visible()
    rows = page.locator("[data-live=rows]")
    rows.get_by_role("link", name="checkout").hover()
    page.mouse.down()
    with page.expect_response(lambda each: "x-live" in each.request.headers) as asked:
        checkout.post_ok(f"{PRODUCTION}/releases", RELEASE)
    assert "Running" in asked.value.text()
    if let_go == "there":
        page.mouse.up()
        expect(page.get_by_role("heading", name="checkout")).to_be_visible()
        return
    page.wait_for_timeout(300)
    expect(rows.get_by_text("Running")).to_be_hidden()
    page.mouse.move(900, 880)
    page.mouse.up()
    expect(rows.get_by_text("Running")).to_be_visible()


def test_a_hold_counts_for_what_it_sent_only(at: Visit, checkout: Caller) -> None:
    page = at.page
    at.go(f"{PLACE}/flags/checkout/kill")
    page.get_by_label("Why").fill("customers cannot pay")
    page.get_by_label("Incident").fill("no link")
    page.get_by_role("button", name="Hold to kill").hover()
    page.mouse.down()
    page.wait_for_timeout(1_000)
    page.mouse.up()
    # The browser refuses what is no link; then it is sent with another button.
    page.get_by_label("Incident").fill("")
    page.get_by_role("button", name="Kill", exact=True).click()
    expect(page.get_by_text("Type checkout to kill it, or hold the button.")).to_be_visible()
    assert "killed by" not in page.content()


def test_escape_leaves_the_palette_at_once(at: Visit) -> None:
    page = at.page
    at.go(f"{PLACE}/flags")
    page.keyboard.press("/")
    palette = page.get_by_role("dialog", name="Search and commands")
    palette.get_by_role("searchbox").fill("checkout")
    page.keyboard.press("Escape")
    expect(palette).to_be_hidden()


@pytest.mark.parametrize(
    "page", [f"{PLACE}/flags/checkout/kill", f"{PLACE}/flags/checkout/rules", f"{PLACE}/flags"]
)
def test_a_phone_does_not_enlarge_a_page_for_its_fields(at: Visit, page: str) -> None:
    """Safari of an iPhone does, for a field with letters of less than 16 pixels."""
    at.page.set_viewport_size(SMALL_PHONE)  # type: ignore[arg-type]
    at.go(page)
    sizes = at.page.locator(FIELDS).evaluate_all(
        "fields => fields.map((field) => parseFloat(getComputedStyle(field).fontSize))"
    )
    assert sizes
    assert min(sizes) >= 16
