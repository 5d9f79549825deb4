"""The application on a real store, new for every test, and one browser for all of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask
from playwright.sync_api import Browser

from tests.dashboard.visits import DESK, Visit, visit
from tests.http_application import *  # noqa: F403
from tests.http_calls import Caller
from tests.ofrep_clients.browser import browser
from tests.people import join

ADMIN = "ada@example.com"


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """Return a browser; a visit has a profile of its own in it."""
    with browser() as opened:
        yield opened


@pytest.fixture
def at(chromium: Browser, port: int, checkout: Caller, app: Flask) -> Iterator[Visit]:
    """Return an admin at a desk. Modules whose people are others have a fixture of their own."""
    join(app, checkout, ADMIN, {"role": "admin"})
    with visit(chromium, port, DESK) as opened:
        opened.sign_in(ADMIN)
        yield opened
