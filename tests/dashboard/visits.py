"""A person at a real browser, and what the browser complained of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import Browser, Page, Response

from tests.ofrep_clients.browser import PATIENCE_MS
from tests.people import PASSWORD

DESK = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}
SMALL_PHONE = {"width": 360, "height": 640}

# A page may hold no style or script of its own, so nothing else can report a violation.
WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
  window.violations.push(`${event.violatedDirective} ${event.blockedURI}`);
});
"""


@dataclass
class Visit:
    """A person at a browser, and what the browser complained of."""

    page: Page
    origin: str
    complaints: list[str] = field(default_factory=list)

    def note_error(self, message: str) -> None:
        """Note what a script failed with, unless a page was left before it had faded in."""
        if "Transition was" not in message:
            self.complaints.append(message)

    def go(self, address: str) -> Response | None:
        return self.page.goto(self.origin + address)

    def sign_in(self, email: str) -> None:
        """Sign in as a person with the usual password, without opening a page."""
        body = {"email": email, "password": PASSWORD}
        answer = self.page.request.post(f"{self.origin}/api/v1/sign-in", data=body)
        assert answer.ok, answer.text()

    def check(self) -> None:
        """Check that the browser has complained of nothing, and that nothing overflows."""
        assert self.complaints == [], self.complaints
        assert self.page.evaluate("window.violations ?? []") == []
        width = self.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert width <= 0


@contextmanager
def visit(chromium: Browser, port: int, size: dict[str, int], **options: Any) -> Iterator[Visit]:
    """Open a browser of its own for a person; at the end nothing may be wrong.

    Nothing moves, unless ``reduced_motion="no-preference"``: drawing motion takes most of the time.
    """
    options = {"viewport": size, "reduced_motion": "reduce", **options}
    context = chromium.new_context(**options)
    context.set_default_timeout(PATIENCE_MS)
    context.add_init_script(WATCH)
    page = context.new_page()
    at = Visit(page, f"http://127.0.0.1:{port}")
    page.on("pageerror", lambda error: at.note_error(str(error)))
    page.on(
        "console",
        lambda message: (
            at.complaints.append(message.text)
            if message.type in ("error", "warning")
            and "Failed to load resource" not in message.text
            else None
        ),
    )
    yield at
    at.check()
    context.close()
