"""Waiting for what must happen, without saying how soon."""

from __future__ import annotations

import time
from collections.abc import Callable

import urllib3

PATIENCE_SECONDS = 60.0


def until(
    condition: Callable[[], bool], what: str = "it", seconds: float = PATIENCE_SECONDS
) -> None:
    """Return when the condition holds; fail when that takes longer than anybody would wait."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited too long: {what}"
        time.sleep(0.01)


def soon(condition: Callable[[], bool], what: str) -> None:
    """Wait for what a client does at once, and not as late as its longest pauses end."""
    until(condition, what, 20.0)


def ready(url: str) -> bool:
    """Whether a Prometheus or an Alertmanager says that it is ready."""
    try:
        return urllib3.request("GET", f"{url}/-/ready", retries=False).status == 200
    except urllib3.exceptions.HTTPError:
        return False
