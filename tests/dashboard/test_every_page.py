"""What holds on every page: it is accessible in both themes and sizes, nothing overflows, nothing
is refused by its own security policy, it works without a script, and looking changes nothing.

With ``TIDEGATE_SCREENSHOTS=1`` each page is also drawn, into ``build/screenshots``.
"""

from __future__ import annotations

import html
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser

from tests.dashboard.every_page import MISSING, PAGES, TO_PROVIDERS
from tests.dashboard.filled_server import FilledServer, filled_server, hostilely, plainly
from tests.dashboard.visits import DESK, SMALL_PHONE, Visit, visit
from tests.http_calls import stored_documents

STANDARDS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
ALL = {"type": "tag", "values": STANDARDS}
COLOURS = {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}
"""The rules that a theme can break: what the others say does not depend on it."""

Theme = Literal["light", "dark"]
LOOKS: tuple[tuple[str, dict[str, int], Theme, dict[str, Any]], ...] = (
    ("desk-light", DESK, "light", ALL),
    ("desk-dark", DESK, "dark", COLOURS),
    ("phone-dark", SMALL_PHONE, "dark", ALL),
    ("phone-light", SMALL_PHONE, "light", COLOURS),
)
"""How long runs look at each page, and by which rules; other runs use all rules, in one look."""

EVERY_PAGE = (*PAGES, MISSING)

SCREENSHOTS = Path(__file__).parents[2] / "build" / "screenshots"

FORMS = """
forms => forms.map((form) => [
  form.getAttribute("method") ?? "get",
  form.getAttribute("action") ?? "",
  form.querySelectorAll("input[name=csrf_token]").length,
])
"""


@pytest.fixture(scope="module")
def server() -> Iterator[FilledServer]:
    with filled_server(shop=plainly, hostile=hostilely) as filled:
        yield filled


@contextmanager
def visit_by_owner(
    chromium: Browser, server: FilledServer, project: str, size: dict[str, int], **options: Any
) -> Iterator[Visit]:
    with visit(chromium, server.port, size, **options) as opened:
        opened.sign_in(f"owner@{project}.example")
        yield opened


@pytest.fixture(scope="module")
def at(chromium: Browser, server: FilledServer) -> Iterator[Visit]:
    with visit_by_owner(chromium, server, "shop", DESK) as opened:
        yield opened


@pytest.fixture(scope="module")
def at_hostile(chromium: Browser, server: FilledServer) -> Iterator[Visit]:
    with visit_by_owner(chromium, server, "hostile", DESK) as opened:
        yield opened


@pytest.fixture(scope="module")
def without_script(chromium: Browser, server: FilledServer) -> Iterator[Visit]:
    with visit_by_owner(chromium, server, "shop", SMALL_PHONE, java_script_enabled=False) as opened:
        yield opened


def violations(at: Visit, **only: Any) -> list[str]:
    """Return what axe finds, each with where and how to mend it; ``only`` as axe's ``runOnly``."""
    # Its source is half a megabyte: a page gets it once.
    if not at.page.evaluate("'axe' in window"):
        at.page.evaluate(Axe().axe_script)
    options = {"runOnly": only, "resultTypes": ["violations"], "preload": False}
    found = at.page.evaluate("async (each) => (await axe.run(document, each)).violations", options)
    return [
        f"{each['id']}: {node['html'][:300]} {node['failureSummary']}"
        for each in found
        for node in each["nodes"]
    ]


def draw(at: Visit, page: str, name: str) -> None:
    if os.environ.get("TIDEGATE_SCREENSHOTS") != "1":
        return
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    file = re.sub(r"[^\w]+", "-", page.replace("{project}/e/{environment}/", "")).strip("-")
    at.page.screenshot(path=SCREENSHOTS / f"{file}-{name}.png", full_page=True)


@pytest.mark.parametrize(
    "looks", ["one", pytest.param("every", marks=pytest.mark.long)], ids="{} look".format
)
@pytest.mark.parametrize("page", EVERY_PAGE)
def test_a_page_is_accessible_and_fits(
    at: Visit, server: FilledServer, page: str, looks: str
) -> None:
    """One look at each page, the next one at the next page: together, pages share their parts."""
    only = LOOKS[EVERY_PAGE.index(page) % len(LOOKS)][0]
    show(at, DESK, "light")
    answer = at.go(server.address(page))
    assert answer is not None
    assert answer.status == (404 if page == MISSING else 200)
    # The page stays loaded: only its size and its theme change.
    for name, size, theme, rules in LOOKS:
        show(at, size, theme)
        at.check()
        if looks == "every":
            assert violations(at, **rules) == [], name
        elif name == only:
            assert violations(at, **ALL) == [], name
        draw(at, page, name)


def show(at: Visit, size: dict[str, int], theme: Theme) -> None:
    """Give the window a size, and the page the theme that the system would have."""
    at.page.set_viewport_size(size)  # type: ignore[arg-type]
    at.page.emulate_media(color_scheme=theme)


@pytest.mark.parametrize("page", EVERY_PAGE)
def test_hostile_texts_are_only_texts(at_hostile: Visit, server: FilledServer, page: str) -> None:
    at_hostile.go(server.address(page, "hostile"))
    at_hostile.check()
    assert at_hostile.page.evaluate("typeof hacked") == "undefined"
    assert at_hostile.page.evaluate(
        "[...document.querySelectorAll('[href], [src], [action]')].filter((each) =>"
        " /^\\s*javascript:/i.test(each.getAttribute('href') ?? each.getAttribute('src') ??"
        " each.getAttribute('action'))).length"
    ) == 0  # fmt: skip


@pytest.mark.parametrize("page", [each for each in PAGES if re.search("/settings/[^/]+/", each)])
def test_the_page_of_one_thing_in_the_settings_leads_back_to_their_list(
    server: FilledServer, page: str
) -> None:
    crumbs = _read(server, server.address(page)).partition('aria-label="Breadcrumb"')[2]
    back = server.address("/".join(page.split("/")[:5]))
    assert f'href="{back}"' in crumbs.partition("</nav>")[0]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_works_without_a_script(
    without_script: Visit, server: FilledServer, page: str
) -> None:
    without_script.go(server.address(page))
    document = without_script.page
    assert document.locator("main h1").is_visible()
    for method, action, tokens in document.locator("form").evaluate_all(FORMS):
        assert method.lower() in ("get", "post")
        assert action.startswith(("/", "")), action
        assert "//" not in action
        if method.lower() == "post":
            assert tokens == 1 or "/p/" not in page


def test_nothing_changes_by_looking(server: FilledServer) -> None:
    """Every link of every page is followed."""
    before = stored_documents(server.store)
    addresses = {
        html.unescape(address)
        for page in PAGES
        for address in re.findall(r'<a [^>]*href="([^"#]+)', _read(server, server.address(page)))
    }
    assert len(addresses) > len(PAGES)
    for address in sorted(addresses):
        if not address.startswith(("?", TO_PROVIDERS)):
            assert address.startswith("/"), address
            assert not address.startswith("//"), address
            _read(server, address)
    assert stored_documents(server.store) == before


def _read(server: FilledServer, address: str) -> str:
    answer = server.admin.get(address, follow_redirects=True)
    assert answer.status_code == 200, address
    return answer.text
