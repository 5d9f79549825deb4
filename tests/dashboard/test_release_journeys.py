"""A person watches real traffic decide a release, stops one with a thumb, and prints a report."""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
import tidegate
from flask import Flask
from playwright.sync_api import Browser, expect
from tidegate_server import policy_job
from tidegate_server.domain.change import Address
from tidegate_server.domain.kinds import Kind
from tidegate_server.policy_job import PolicyJob
from tidegate_server.store import Store
from werkzeug.serving import make_server

from tests.dashboard.release_states import States, release_states
from tests.dashboard.visits import DESK, PHONE, SMALL_PHONE, visit
from tests.http_application import SECRET_KEY
from tests.http_calls import PRODUCTION, PROJECT, Caller
from tests.ofrep_clients.browser import PATIENCE_MS
from tests.people import join
from tests.policy_job.deployment import Clock, Sdk

ADMIN = {"role": "admin"}
EMAIL = "ada@example.com"
SHEETS = 2
WINDOWS = (
    *((9, 0, 1, 0), (90, 1, 9, 0), (950, 2, 50, 0), (95_000, 900, 5_000, 1)),
    *((9_500, 12, 500, 9), (950_000, 4_000, 50_000, 12), (95, 0, 5, 0)),
)
"""Of each evaluation: operations and failing users without the treatment, and with it."""

SLOW = {
    "key": "slow",
    "interval": "1s",
    "stages": [
        {"percentage": percentage, "min_duration": "1h", "min_samples": 500}
        for percentage in (5, 100)
    ],
}
SHIFTS = """
window.shifts = [];
new PerformanceObserver((list) => {
  window.shifts.push(...list.getEntries().map((each) => each.value));
}).observe({ type: "layout-shift", buffered: true });
"""
PLACES = """() => [
  ...document.querySelectorAll(
    "main :is([data-live], section, figure, h2, h3, dt, dd, svg.bar, svg.chart, svg.gauge), .btn"
  ),
].map((each) => {
  const { x, y, width } = each.getBoundingClientRect();
  return `${each.localName} ${each.id} at ${Math.round(x)}, ${Math.round(y)}, ${Math.round(width)}`;
})"""


@pytest.fixture(scope="module")
def states() -> Iterator[States]:
    with release_states() as made:
        join(made.app, made.admin, EMAIL, ADMIN)
        yield made


@contextmanager
def serving(app: Flask) -> Iterator[int]:
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def traffic(port: int, admin: Caller, store: Store, flag: str) -> Iterator[None]:
    """Run a policy job, and an application whose operations fail with the treatment."""
    body = {"role": "sdk", "project": "default", "environment": "production"}
    token = admin.post_ok("/api/v1/tokens", {"name": "shop", **body})["secret"]
    client = tidegate.Client(f"http://127.0.0.1:{port}", token)
    stop = threading.Event()
    draw = random.Random(4)

    def visitors() -> None:
        client.wait_until_ready(60)
        while not stop.wait(0.05):
            for _ in range(20):
                with client.operation(tidegate.Context(f"user-{draw.randrange(10_000)}")) as done:
                    failed = client.boolean(flag, False) and draw.random() < 0.6
                    if failed:
                        done.fail()
            client.flush()

    threads = [
        threading.Thread(target=visitors),
        threading.Thread(target=policy_job.run, args=(store, stop, SECRET_KEY)),
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        client.close()


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_a_person_watches_a_broken_release_being_rolled_back(
    chromium: Browser,
    port: int,
    checkout: Caller,
    app: Flask,
    store: Store,
    release: str,
    size: dict[str, int],
) -> None:
    join(app, checkout, EMAIL, ADMIN)
    address = f"/p/default/e/production/releases/{release.rpartition('/')[2]}"
    with visit(chromium, port, size) as at:
        page = at.page
        at.sign_in(EMAIL)
        at.go(address)
        expect(page.get_by_text("Open to 5 % of everyone")).to_be_visible()
        with traffic(port, checkout, store, "checkout"):
            # The page has been loaded once; what follows comes to it by itself.
            outcome = page.locator(".says b")
            expect(outcome).to_contain_text("Rolled back by the policy", timeout=PATIENCE_MS)
        expect(page.get_by_role("heading", name="What is left to do")).to_be_visible()
        expect(page.get_by_role("link", name="Start again…")).to_be_visible()
        at.check()


def test_nothing_moves_while_live_numbers_do(
    chromium: Browser, port: int, checkout: Caller, app: Flask, store: Store
) -> None:
    join(app, checkout, EMAIL, ADMIN)
    checkout.post_ok(f"{PROJECT}/policies", SLOW)
    body = {"flag": "checkout", "treatment": "on", "policy": "slow"}
    watched = Watched(store, checkout.post_ok(f"{PRODUCTION}/releases", body)["id"])
    for window in WINDOWS[:2]:
        watched.evaluate(*window)
    with visit(chromium, port, DESK) as at:
        at.sign_in(EMAIL)
        at.page.context.add_init_script(SHIFTS)
        pages = []
        # So tall that all of the page is in sight: what is not moves unseen.
        for width in (1440, 1024, 390):
            page = at.page.context.new_page()
            page.set_viewport_size({"width": width, "height": 8_000})
            page.goto(f"{at.origin}/p/default/e/production/releases/{watched.id}")
            expect(page.locator(".side-foot .live[hidden]")).to_have_count(0)
            pages.append(page)
        places = [page.evaluate(PLACES) for page in pages]
        for window in WINDOWS[2:]:
            watched.evaluate(*window)
            for page, before in zip(pages, places, strict=True):
                done = page.get_by_text(re.compile(f"{watched.operations:,} operations that"))
                expect(done).to_be_visible(timeout=PATIENCE_MS)
                assert page.evaluate(PLACES) == before
        for page in pages:
            assert page.evaluate("window.shifts") == []
            page.close()


@dataclass
class Watched:
    """A release whose application reports what a test says, and which a policy job evaluates."""

    store: Store
    id: str
    operations: int = 0

    def __post_init__(self) -> None:
        self._sdk = Sdk(self.store, "default", "a" * 32)
        self._clock = Clock(self.store.now_ms())
        self._job = PolicyJob(self.store, "job", self._clock, secret_key=SECRET_KEY)

    def evaluate(self, without: int, failed_without: int, with_it: int, failed: int) -> None:
        """Report operations and failing users of both arms, and let the policy job look."""
        stored = self.store.get("default", Address(Kind.RELEASE, self.id, "production"))
        assert stored is not None
        self._sdk.report(stored.document, (without, failed_without), (with_it, failed))
        self.operations += without + with_it
        self._clock.now_ms += 10_000
        self._job.tick()


def test_a_release_is_stopped_fully_with_a_thumb(chromium: Browser, states: States) -> None:
    with serving(states.app) as port, visit(chromium, port, PHONE) as at:
        page = at.page
        at.sign_in(EMAIL)
        at.go(states.page("too-few"))
        out = page.get_by_role("region", name="Ways out")
        expect(out.get_by_role("link", name="Pause")).to_be_visible()
        page.get_by_role("button", name="More").click()
        page.get_by_role("dialog", name="More").get_by_role("link", name="Full stop…").click()
        expect(page.get_by_text("Nothing automatic happens, not even a rollback,")).to_be_visible()
        page.get_by_label("Why").fill("hands off while we look")
        page.get_by_role("button", name="Full stop").click()
        expect(page.get_by_text("not even a rollback happens.")).to_be_visible()
        expect(out.get_by_role("link", name="Resume")).to_be_visible()


def test_a_hold_counts_where_the_button_is_half_below_the_edge(
    chromium: Browser, port: int, checkout: Caller, app: Flask
) -> None:
    join(app, checkout, EMAIL, ADMIN)
    with visit(chromium, port, PHONE) as at:
        page = at.page
        at.sign_in(EMAIL)
        at.go("/p/default/e/production/flags/checkout/kill")
        page.get_by_label("Why").fill("customers cannot pay")
        button = page.get_by_role("button", name="Hold to kill").bounding_box()
        assert button is not None
        top = round(button["y"])
        page.set_viewport_size({"width": PHONE["width"], "height": top + 16})
        page.mouse.move(button["x"] + 40, top + 8)
        page.mouse.down()
        page.wait_for_timeout(1_000)
        page.mouse.up()
        expect(page.get_by_text("Killed: everyone gets off.")).to_be_visible()
        # What was done is not said over the way out.
        toast = page.locator(".toast").bounding_box()
        ways_out = page.get_by_role("region", name="Ways out").bounding_box()
        assert toast is not None
        assert ways_out is not None
        assert toast["y"] + toast["height"] <= ways_out["y"]


def test_a_tag_is_killed_in_one_hold(
    chromium: Browser, port: int, checkout: Caller, app: Flask
) -> None:
    join(app, checkout, EMAIL, ADMIN)
    for key in ("pay-by-link", "pay-later"):
        checkout.post_ok(f"{PROJECT}/flags", {"key": key, "type": "boolean", "tags": ["payments"]})
    with visit(chromium, port, PHONE) as at:
        page = at.page
        at.sign_in(EMAIL)
        at.go("/p/default/e/production/flags/pay-later/kill")
        page.get_by_role("link", name="payments").click()
        page.get_by_role("button", name="Errors").click()
        page.get_by_role("button", name="Hold to kill").hover()
        page.mouse.down()
        page.wait_for_timeout(1_000)
        page.mouse.up()
        expect(page.get_by_role("heading", name="Kills in force")).to_be_visible()
        said = page.get_by_text("2 flags with the tag payments are killed.")
        # In the table of kills, and in the line of the incident; a phone may show one of them only.
        expect(said.filter(visible=True).first).to_be_visible()
    for key in ("pay-by-link", "pay-later"):
        killed = checkout.get(f"{PRODUCTION}/flags/{key}").json
        assert killed is not None
        assert killed["killed"]["reason"] == "Errors"


def test_an_open_table_makes_no_page_wider_than_a_small_phone(
    chromium: Browser, states: States
) -> None:
    with serving(states.app) as port, visit(chromium, port, SMALL_PHONE) as at:
        at.sign_in(EMAIL)
        at.go(states.page("rolled-back"))
        tables = at.page.locator("details:has(> table)")
        assert tables.count()
        tables.evaluate_all("tables => tables.forEach((each) => (each.open = true))")
        at.check()


@pytest.mark.parametrize("name", ["rolled-back", "completed"])
def test_a_report_prints_on_two_sheets(chromium: Browser, states: States, name: str) -> None:
    with (
        serving(states.app) as port,
        visit(chromium, port, DESK, color_scheme="dark") as at,
    ):
        at.sign_in(EMAIL)
        at.go(states.page(name))
        printed = at.page.pdf(format="A4", print_background=True)
        assert 1 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= SHEETS
        at.page.emulate_media(media="print")
        expect(at.page.get_by_text(states.ids[name])).to_be_visible()
        expect(at.page.get_by_role("link", name="Start again…")).to_be_hidden()
        canvas = "getComputedStyle(document.documentElement).getPropertyValue('--canvas')"
        assert at.page.evaluate(canvas).strip() == "#fff"
