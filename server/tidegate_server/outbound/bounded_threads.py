"""Threads for work that waits for others: so many for each key, so many in all.

What one key's work does, however long it hangs, takes no lane from another key until all of
them together are used up.

Threads: daemons, started for one piece of work and gone after it, so that a process never
waits for them when it ends. The lock guards the counts only.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Hashable

import structlog

log = structlog.get_logger("tidegate.policy_job")


class Lanes:
    """Runs work, or says that there is no room for it now.

    Args:
        name: of the threads.
        each: how many pieces of work one key may have at a time.
        most: how many there may be in all.
    """

    def __init__(self, name: str, each: int, most: int) -> None:
        self._name = name
        self._each = each
        self._most = most
        self._busy: Counter[Hashable] = Counter()
        self._lock = threading.Lock()

    def start(self, key: Hashable, work: Callable[[], None]) -> bool:
        """Run work in a thread of its own, unless the key's lanes or all of them are taken."""
        with self._lock:
            if self._busy[key] >= self._each or self._busy.total() >= self._most:
                return False
            self._busy[key] += 1
        thread = threading.Thread(target=self._run, args=(key, work), name=self._name, daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the machine has no thread left
            self._free(key)
            return False
        return True

    def _run(self, key: Hashable, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:
            log.exception("work in a lane failed", lane=str(key))
        finally:
            self._free(key)

    def _free(self, key: Hashable) -> None:
        with self._lock:
            self._busy[key] -= 1
            if not self._busy[key]:
                del self._busy[key]
