"""Wait for a condition. The time limits are generous: they only end tests that hang."""

from __future__ import annotations

import time
from collections.abc import Callable

import urllib3

PATIENCE_SECONDS = 60.0


def until(
    condition: Callable[[], bool], what: str = "it", seconds: float = PATIENCE_SECONDS
) -> None:
    """Return when the condition holds; fail if it does not within the time limit."""
    deadline = time.monotonic() + seconds
    pause = 0.01
    while not condition():
        assert time.monotonic() < deadline, f"waited too long: {what}"
        time.sleep(pause)
        # Who asks all the time delays what it waits for.
        pause = min(0.05, pause * 1.1)


def soon(condition: Callable[[], bool], what: str) -> None:
    """Wait for what a client does immediately: the limit is shorter than its longest pauses."""
    until(condition, what, 20.0)


def ready(url: str) -> bool:
    """Return whether a Prometheus or Alertmanager server is ready."""
    try:
        return urllib3.request("GET", f"{url}/-/ready", retries=False).status == 200
    except urllib3.exceptions.HTTPError:
        return False
