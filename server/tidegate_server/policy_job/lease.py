"""Which projects this process leads, and under which fencing number.

There is one lease for each project. It is renewed after a fifth of its lifetime. A process
that slept longer than its lease still takes itself for the leader, until a commit is refused.
"""

from __future__ import annotations

import time

import structlog

from tidegate_server.domain.change import Fence
from tidegate_server.store import Store

log = structlog.get_logger("tidegate.policy_job")

TTL_MS = 5_000


class Leases:
    """The leases of one process.

    Args:
        store: holds the leases.
        holder: the name of this process; no other may have it.
        ttl_ms: how long a lease lasts unless it is renewed.
    """

    def __init__(self, store: Store, holder: str, ttl_ms: int = TTL_MS) -> None:
        self._store = store
        self._holder = holder
        self._ttl_ms = ttl_ms
        self._renew_after_seconds = ttl_ms / 5_000
        self._fences: dict[str, Fence] = {}
        self._renewed: dict[str, float] = {}

    def fence(self, project: str) -> Fence | None:
        """Return the fence for commits to a project; None while another process leads it.

        Raises:
            StoreUnavailable: the lease cannot be read or renewed.
        """
        now = time.monotonic()
        current = self._fences.get(project)
        if current is not None and now - self._renewed[project] < self._renew_after_seconds:
            return current
        fence = self._store.leases.acquire(project, self._holder, self._ttl_ms)
        if fence is None:
            if current is not None:
                self.lose(project)
            return None
        if current is None or current.number != fence.number:
            log.info("leading", scope=project, holder=self._holder, fence=fence.number)
        self._fences[project] = fence
        self._renewed[project] = now
        return fence

    def lose(self, project: str) -> None:
        """Drop the fence of a project that another process leads now."""
        if self._fences.pop(project, None) is not None:
            log.info("deposed", scope=project, holder=self._holder)

    def release(self) -> None:
        """Release every lease, so that another process can lead at once."""
        for project, fence in list(self._fences.items()):
            self._store.leases.release(project, fence)
        self._fences.clear()
