"""Threads for work that waits for other servers, limited per key and in total.

However long the work of one key hangs, it blocks other keys only once it and they together
reach the total.

Threads: daemons, one for each piece of work, so that a process never waits for them when it
ends. The lock guards the counts only.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Hashable

import structlog

log = structlog.get_logger("tidegate.policy_job")


class BoundedThreads:
    """Threads that run work as long as neither limit is reached.

    Args:
        name: the name of the threads.
        max_per_key: how many threads one key may have at a time.
        max_total: how many threads there may be in total.
    """

    def __init__(self, name: str, max_per_key: int, max_total: int) -> None:
        self._name = name
        self._max_per_key = max_per_key
        self._max_total = max_total
        self._running: Counter[Hashable] = Counter()
        self._lock = threading.Lock()

    def start(self, key: Hashable, work: Callable[[], None]) -> bool:
        """Run work in a new thread; return False if a limit is reached or no thread starts."""
        with self._lock:
            if self._running[key] >= self._max_per_key or self._running.total() >= self._max_total:
                return False
            self._running[key] += 1
        thread = threading.Thread(target=self._run, args=(key, work), name=self._name, daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system cannot start another thread
            self._release(key)
            return False
        return True

    def _run(self, key: Hashable, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:
            log.exception("thread_work_failed", key=str(key))
        finally:
            self._release(key)

    def _release(self, key: Hashable) -> None:
        with self._lock:
            self._running[key] -= 1
            if not self._running[key]:
                del self._running[key]
