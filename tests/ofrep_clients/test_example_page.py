"""The example page in a real browser: it follows its flag and reports outcomes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.ofrep_clients.browser import PATIENCE_MS, browser, bundle, pages
from tests.ofrep_clients.server import Server, Shop
from tests.waiting import until

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "web"


@dataclass(frozen=True, slots=True)
class Visit:
    """The example page, open in a browser."""

    page: Page
    shop: Shop
    page_errors: list[str]

    def shows(self, id: str, text: str) -> None:
        expect(self.page.locator(f"#{id}")).to_have_text(text, timeout=PATIENCE_MS)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


@pytest.fixture
def visit(chromium: Browser, server: Server, tmp_path: Path) -> Iterator[Visit]:
    shop = server.shop()
    shop.add({"key": "fast-checkout", "type": "boolean", "client_side": True})
    site, source = tmp_path / "site", tmp_path / "source"
    shutil.copytree(EXAMPLE, source, ignore=shutil.ignore_patterns("node_modules", "bundle.js"))
    settings = (source / "settings.js").read_text()
    for placeholder, value in (
        ("http://127.0.0.1:8080", server.url),
        ("tg_client_...", shop.token("client")),
    ):
        assert placeholder in settings
        settings = settings.replace(placeholder, value)
    (source / "settings.js").write_text(settings)
    site.mkdir()
    bundle(source / "shop.js", site / "bundle.js")
    shutil.copy(source / "index.html", site)
    with pages(site) as origin:
        shop.allow(origin)
        context = chromium.new_context()
        page = context.new_page()
        page_errors: list[str] = []
        page.on("pageerror", lambda error: page_errors.append(str(error)))

        def opened() -> bool:
            page.goto(origin)
            page.wait_for_function("document.getElementById('steps').textContent != 'Loading'")
            return page.evaluate("fetched") is True

        page.add_init_script(
            """
            window.fetched = false;
            const original = window.fetch;
            window.fetch = async (...args) => {
              const response = await original(...args);
              window.fetched ||= response.status === 200;
              return response;
            };
            """
        )
        until(opened)
        yield Visit(page, shop, page_errors)
        context.close()


def test_a_page_changes_without_a_reload(visit: Visit) -> None:
    visit.shows("steps", "Step 1 of 3")
    visit.page.evaluate("window.neverReloaded = true")
    visit.shop.serve("fast-checkout", "on")
    visit.shows("steps", "Pay now")
    visit.shop.server.call("POST", f"{visit.shop.production}/flags/fast-checkout/kill", {})
    visit.shows("steps", "Step 1 of 3")
    assert visit.page.evaluate("window.neverReloaded") is True
    assert visit.page_errors == []


def test_a_failure_on_a_page_is_an_error_of_its_arm(visit: Visit) -> None:
    shop = visit.shop
    release = shop.release(
        flag="fast-checkout",
        stages=[{"percentage": 100}],
        checks=[{"metric": "error_rate", "compare": "absolute", "threshold": 0.99}],
    )
    visit.shows("steps", "Pay now")
    visit.page.click("#pay")
    visit.shows("paid", "Paid at once.")
    visit.page.evaluate("Object.defineProperty(navigator, 'onLine', { get: () => false })")
    visit.page.click("#pay")
    visit.shows("paid", "Not paid: you are offline.")

    def counted() -> dict[str, int]:
        progress = shop.state(release)["progress"]
        reported = progress["client"] if progress else None
        treatment: dict[str, int] = reported["treatment"] if reported else {"outcomes": 0}
        return treatment

    until(lambda: counted()["outcomes"] == 2)
    assert (counted()["errors"], counted()["failing"]) == (1, 1)
    assert visit.page_errors == []
