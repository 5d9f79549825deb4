"""The breaker: what a process does while the store does not answer.

The first command that gets no answer in time opens the breaker. From then on every command is
refused at once, so that no request waits for its own timeout; a thread asks the store again and
again, and closes the breaker when it answers. A store that refuses connections needs no breaker:
its refusal comes at once.

Threads: ``_lock`` guards the change from closed to open. The thread that asks the store begins with
an opening and ends with it (a greenlet under gevent).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from tidegate_server.process_metrics import (
    STORE_BREAKER_OPEN,
    STORE_BREAKER_OPENED,
    STORE_REFUSED,
)

log = structlog.get_logger("tidegate.store")

PAUSE_SECONDS = 0.2
"""The time between two questions whether the store answers again."""


class Breaker:
    """Whether the store answers, as far as this process knows.

    Args:
        ask: sends one command with a short timeout; raises ``RedisError`` if that fails.
        on_answer: called when the store answers again, before the breaker closes.
    """

    def __init__(self, ask: Callable[[], None], on_answer: Callable[[], None]) -> None:
        self._ask = ask
        self._on_answer = on_answer
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self.is_open = False

    def refuse(self) -> None:
        """Count a command that is refused because the breaker is open."""
        STORE_REFUSED.inc()

    def open(self) -> None:
        """Refuse commands until the store answers again."""
        with self._lock:
            if self.is_open or self._closing.is_set():
                return
            self.is_open = True
            STORE_BREAKER_OPEN.set(1)
            STORE_BREAKER_OPENED.inc()
            threading.Thread(
                target=self._wait_for_answer, name="store-breaker", daemon=True
            ).start()
        log.warning("store_does_not_answer")

    def close(self) -> None:
        """End the thread."""
        self._closing.set()

    def _wait_for_answer(self) -> None:
        began = time.monotonic()
        while not self._closing.wait(PAUSE_SECONDS):
            try:
                self._ask()
            except RedisTimeoutError:
                continue
            except RedisError:
                pass  # an answer, or a refusal that comes at once
            break
        self._on_answer()
        with self._lock:
            self.is_open = False
            STORE_BREAKER_OPEN.set(0)
        log.info("store_answers", after_seconds=round(time.monotonic() - began, 1))
