"""The application on a real store, new for every test, and one browser for all of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.http_application import *  # noqa: F403
from tests.ofrep_clients.browser import browser


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """Return a browser; a visit has a profile of its own in it."""
    with browser() as opened:
        yield opened
