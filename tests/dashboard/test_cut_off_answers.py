"""What arrives cut off midway, or not at all, is not taken for an answer, whatever asked for it.

HTTP/1.0 and some proxies do not tell the end of an answer from a broken connection.
"""

from __future__ import annotations

from playwright.sync_api import Page, Route, expect

from tests.dashboard.test_pages import PLACE
from tests.dashboard.visits import Visit
from tests.http_calls import PRODUCTION, Caller


class CutOff:
    """Answers that end before a text, with a status that says that all is well."""

    def __init__(self, before: str) -> None:
        self.before = before
        self.answers = 0

    def __call__(self, route: Route) -> None:
        whole = route.fetch()
        text = whole.text()
        assert self.before in text
        self.answers += 1
        route.fulfill(response=whole, body=text.partition(self.before)[0])


def test_a_live_page_keeps_what_it_shows_and_asks_again(at: Visit, checkout: Caller) -> None:
    page = at.page
    page.clock.install()
    at.go(f"{PLACE}/flags/checkout")
    expect(page.locator(".side-foot .live")).to_be_visible()
    loads: list[Page] = []
    page.on("load", lambda loaded: loads.append(loaded))
    cut = CutOff('<ol class="ladder')
    page.route("**/flags/checkout", cut, times=1)
    with page.expect_response("**/flags/checkout"):
        checkout.post_ok(f"{PRODUCTION}/flags/checkout/kill", {"reason": "errors"})
        page.clock.run_for(1_100)
    expect(page.get_by_role("heading", name="checkout")).to_be_visible()
    page.clock.run_for(11_000)
    expect(page.get_by_text("Killed: everyone gets").first).to_be_visible()
    assert (cut.answers, loads) == (1, [])


def test_no_rule_is_lost_by_moving_another(at: Visit, checkout: Caller) -> None:
    path = f"{PRODUCTION}/flags/checkout"
    targeting = checkout.get(path)
    rules = [
        {
            "id": each,
            "when": {"attribute": "team", "operator": "equals", "value": each},
            "serve": {"variant": "on"},
        }
        for each in "abc"
    ]
    assert targeting.json is not None
    kept = ("enabled", "default", "off_variant", "prerequisites", "kill_variant")
    body = {name: targeting.json[name] for name in kept} | {"rules": rules}
    changed = checkout.put(path, body, match=targeting.headers["ETag"])
    assert changed.status_code == 200, changed.text
    page = at.page
    at.go(f"{PLACE}/flags/checkout/rules")
    names = page.get_by_label("Name", exact=True)
    page.route("**/flags/checkout/rules", CutOff('data-rule="2"'), times=1)
    names.nth(1).focus()
    with page.expect_event("requestfinished"):
        page.keyboard.press("Alt+ArrowUp")
    page.keyboard.press("Alt+ArrowUp")
    expect(page.locator("[data-moved]")).to_have_text("b is now rule 1 of 3.")
    assert "".join(each.input_value() for each in names.all()) == "bac"


def test_a_preview_that_got_no_answer_says_nothing_about_what_is_typed_now(at: Visit) -> None:
    page = at.page
    at.go(f"{PLACE}/flags/checkout/rules")
    shown = page.locator("[data-sides]")
    page.get_by_label("Everyone else: percent for on").fill("30")
    page.get_by_label("Everyone else: percent for off").fill("70")
    expect(shown).to_contain_text("Nobody was seen in the last hour")
    page.route("**/flags/checkout/rules", lambda route: route.abort())
    page.get_by_label("Everyone else: percent for off").fill("7")
    expect(shown).to_have_text("The server does not answer.")


def test_a_search_that_got_no_answer_says_so(at: Visit) -> None:
    page = at.page
    at.go(f"{PLACE}/flags")
    page.keyboard.press("Control+k")
    expect(page.get_by_role("link", name="New flag…")).to_be_visible()
    page.route("**/search?**", lambda route: route.fulfill(status=503))
    page.keyboard.type("kill")
    expect(page.get_by_text("The server does not answer.")).to_be_visible()


def test_whose_session_has_ended_is_told_so_and_not_that_the_server_is_away(at: Visit) -> None:
    page = at.page
    at.go(f"{PLACE}/flags/checkout/rules")
    page.context.clear_cookies()
    page.get_by_label("Everyone else: percent for on").fill("30")
    expect(page.locator("[data-sides]")).to_have_text("Your session has ended.")
    page.keyboard.press("Control+k")
    expect(page.locator("[data-results]")).to_have_text("Your session has ended.")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
