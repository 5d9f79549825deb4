"""The pages of the dashboard in a browser, against budgets; baseline: the budget.

Needs Linux (it reads ``/proc``), and Debian's package ``chromium`` or ``chromium-headless-shell``.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import TypeAlias
from urllib.parse import urlsplit

import tidegate
import urllib3
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from tidegate_server.dashboard import assets

from examples.shop.admin import Admin
from scripts.bench.measure import Quantiles, Result, benchmark, compare_values
from scripts.bench.places import ENVIRONMENT_PATH, HTTP, require_success, server

FLAGS = 1_000
VISITS = 11
USABLE_SECONDS = 0.3
MOST_BYTES = 60_000
OPEN_PAGES, REAL_PAGES = 200, 20
IDLE_SECONDS = 20.0
IDLE_SHARE = 5.0
"""How much of a core, in percent, ``OPEN_PAGES`` may cost."""

LIVE_SECONDS = 12.0
LEAST_SHIFT = 0.0001
"""A layout shift below this is none: it is less than a pixel of a page that moves by a pixel."""

PLACE = "/p/default/e/production"
LIVE_PAGES = tuple(
    f"{PLACE}/{page}" for page in ("flags", "flags/checkout", "releases", "instances")
)
Cookie: TypeAlias = tuple[str, str]
POLICY = {
    "key": "bench",
    "interval": "1s",
    "stages": [
        {"percentage": 50, "min_duration": "10m", "min_samples": 1_000_000},
        {"percentage": 100, "min_duration": "0s", "min_samples": 10},
    ],
    "bake": "10m",
}

SHIFTS = """
window.shifted = 0;
new PerformanceObserver((list) => {
  for (const each of list.getEntries()) window.shifted += each.value;
}).observe({ type: "layout-shift", buffered: true });
"""
TIMES = """() => {
  const [visit] = performance.getEntriesByType("navigation");
  const { requestStart, responseStart, domContentLoadedEventEnd } = visit;
  return [responseStart - requestStart, domContentLoadedEventEnd - responseStart];
}"""


@benchmark
def bytes_of_assets() -> Iterator[Result]:
    """The bytes of all styles and of all scripts."""
    for kind, suffix in (("styles", ".css"), ("scripts", ".js")):
        found = assets.all_assets().items()
        size = sum(len(each.content) for name, each in found if name.endswith(suffix))
        yield compare_values(f"all {kind}", size, "the budget", MOST_BYTES, unit="B")


@benchmark
def pages() -> Iterator[Result]:
    """Pages of a server with 1,000 flags: first byte to usable, and what moves in a live page."""
    with server() as (url, admin):
        release = _fill(url, admin)
        with _browser(url, admin) as context, _traffic(url):
            page = context.new_page()
            for name, path in (
                (f"the list of {FLAGS:,} flags", f"{PLACE}/flags"),
                ("a flag", f"{PLACE}/flags/flag-0001"),
                ("a live release", f"{PLACE}/releases/{release}"),
                ("the audit log", "/p/default/audit"),
            ):
                first, usable = _visits(page, url + path)
                yield Quantiles(f"{name}: first byte", tuple(first))
                yield compare_values(
                    f"{name}: first byte to usable", median(usable), "the budget", USABLE_SECONDS
                )
            shifted = _shift(page, f"{url}{PLACE}/releases/{release}")
            yield compare_values(
                "layout shift of a live release", shifted, "none", LEAST_SHIFT, unit="of the page"
            )


@benchmark
def idle_pages() -> Iterator[Result]:
    """What the server spends while nothing happens: on the streams of pages, and on real pages.

    A page that is open and idle holds one stream of events. Chromium has memory for some, each in a
    profile of its own: a profile has six connections to a server.
    """
    with server() as (url, admin):
        admin.create("flags", {"key": "checkout", "type": "boolean"})
        time.sleep(5)
        alone = _busy_share(url)
        with _streams(url, OPEN_PAGES):
            cost = _busy_share(url) - alone
        yield _of_a_core(f"the streams of {OPEN_PAGES} idle pages", cost)
        others = OPEN_PAGES - REAL_PAGES
        with _chromium() as chromium, _streams(url, others):
            for number, cookie in enumerate(_sign_in(url, admin, REAL_PAGES)):
                _open_live_page(chromium, url, cookie, LIVE_PAGES[number % len(LIVE_PAGES)])
            cost = _busy_share(url) - alone
        says = f"{REAL_PAGES} idle pages in Chromium and the streams of {others}"
        yield _of_a_core(says, cost)


def _of_a_core(what: str, share: float) -> Result:
    return compare_values(f"{what}, of a core", max(0.0, share), "the budget", IDLE_SHARE, unit="%")


@contextmanager
def _streams(url: str, amount: int) -> Iterator[None]:
    """Hold streams of events open, as idle pages do."""
    with ExitStack() as streams:
        pool = streams.enter_context(
            urllib3.PoolManager(headers=HTTP.headers, maxsize=amount, retries=False)
        )
        for _ in range(amount):
            stream = pool.request("GET", f"{url}{ENVIRONMENT_PATH}/events", preload_content=False)
            require_success(stream)
            streams.callback(stream.close)
        time.sleep(5)
        yield


def _open_live_page(chromium: Browser, url: str, cookie: Cookie, path: str) -> None:
    """Open a page in a profile of its own, and wait until it listens."""
    context = _signed_in(chromium, url, cookie)
    page = context.new_page()
    page.goto(url + path)
    page.locator(".live").wait_for(state="visible")


def _fill(url: str, admin: Admin) -> str:
    """Make the flags, a policy and a release, and return the release's id."""
    documents = [
        {
            **{"key": f"flag-{number:04}", "type": "boolean", "tags": ["shop"]},
            "description": "What the page after the payment shows to customers.",
        }
        for number in range(FLAGS)
    ]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda each: admin.create("flags", each), documents))
    targeting = {"enabled": True, "off_variant": "off", "default": {"variant": "off"}}
    address = f"{url}{ENVIRONMENT_PATH}/flags/flag-0000"
    require_success(
        HTTP.request("PUT", address, json=targeting, headers={**HTTP.headers, "If-Match": "*"})
    )
    admin.create("policies", POLICY)
    return admin.start_release("flag-0000", "on", "bench", "the benchmark").id


@contextmanager
def _browser(url: str, admin: Admin) -> Iterator[BrowserContext]:
    """Open a browser in which a person is signed in."""
    with _chromium() as chromium:
        [cookie] = _sign_in(url, admin, 1)
        context = _signed_in(chromium, url, cookie)
        context.add_init_script(SHIFTS)
        yield context


@contextmanager
def _chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("chromium-headless-shell"),
            args=["--no-sandbox", "--disable-gpu"],
        )
        yield chromium
        chromium.close()


def _sign_in(url: str, admin: Admin, people: int) -> Iterator[Cookie]:
    """Yield the session of each of some people, as the name and the value of a cookie."""
    for number in range(people):
        link = admin.invite(f"bench-{number}@example.com", f"Bench {number}", "/").link
        signed_in = urllib3.request("POST", f"{url}/api/v1/sign-in/link", json={"link": link})
        require_success(signed_in)
        name, _, value = signed_in.headers["Set-Cookie"].partition(";")[0].partition("=")
        yield name, value


def _signed_in(chromium: Browser, url: str, cookie: Cookie) -> BrowserContext:
    context = chromium.new_context(viewport={"width": 1440, "height": 900})
    context.add_cookies([{"name": cookie[0], "value": cookie[1], "url": url}])
    return context


@contextmanager
def _traffic(url: str) -> Iterator[None]:
    """Let an application use the released flag, so that the numbers of its release move."""
    body = {
        **{"name": "bench", "role": "sdk", "project": "default", "environment": "production"},
    }
    made = HTTP.request("POST", f"{url}/api/v1/tokens", json=body)
    require_success(made)
    client, stop = tidegate.Client(url, made.json()["secret"]), threading.Event()

    def visit() -> None:
        number = 0
        while not stop.wait(0.005):
            number += 1
            with client.operation(f"user-{number % 5_000}"):
                client.boolean("flag-0000", False)

    thread = threading.Thread(target=visit)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        client.close()


def _visits(page: Page, address: str) -> tuple[list[float], list[float]]:
    """Return, of each visit, the seconds until the first byte, and from there until usable."""
    page.goto(address)
    first, usable = [], []
    for _ in range(VISITS):
        page.goto(address)
        times: list[float] = page.evaluate(TIMES)
        first.append(times[0] / 1000)
        usable.append(times[1] / 1000)
    return first, usable


def _shift(page: Page, address: str) -> float:
    """Return how far a page moved while its numbers changed: the sum of its layout shifts."""
    page.goto(address)
    before = page.locator("#evidence").inner_html()
    page.wait_for_timeout(LIVE_SECONDS * 1000)
    if page.locator("#evidence").inner_html() == before:
        raise RuntimeError("The numbers of the release did not move.")
    shifted: float = page.evaluate("window.shifted")
    return shifted


def _busy_share(url: str) -> float:
    """Return how much of a core the server's processes use, in percent."""
    before, began = _busy_seconds(url), time.monotonic()
    time.sleep(IDLE_SECONDS)
    return 100 * (_busy_seconds(url) - before) / (time.monotonic() - began)


def _busy_seconds(url: str) -> float:
    """Return the processor time of the server's process and of all that it has started."""
    mark = f"TIDEGATE_PORT={urlsplit(url).port}".encode()
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    own: set[int] = set()
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        pid = int(folder.name)
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                own.add(pid)
        except OSError:
            continue  # it has ended, or is not ours
        parents[pid], ticks[pid] = int(fields[1]), int(fields[11]) + int(fields[12])
    for pid in sorted(parents):
        if parents[pid] in own:
            own.add(pid)
    return sum(ticks.get(pid, 0) for pid in own) / os.sysconf("SC_CLK_TCK")
