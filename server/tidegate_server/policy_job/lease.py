"""Which scopes this process leads, and under which fencing number.

One lease per scope. It is renewed after a fifth of its time; a process that slept
through its lease still believes in it, and learns better when a commit is refused.
"""

from __future__ import annotations

import time

import structlog

from tidegate_server.domain.change import Fence
from tidegate_server.store import Store

log = structlog.get_logger("tidegate.policy_job")

TTL_MS = 5_000


class Leases:
    """The leases that one holder has."""

    def __init__(self, store: Store, holder: str, ttl_ms: int = TTL_MS) -> None:
        self._store = store
        self._holder = holder
        self._ttl_ms = ttl_ms
        self._renew_after_seconds = ttl_ms / 5_000
        self._fences: dict[str, Fence] = {}
        self._renewed: dict[str, float] = {}

    def fence(self, scope: str) -> Fence | None:
        """The fence to commit under; None while another process leads the scope.

        Raises:
            StoreUnavailable: nobody knows who leads.
        """
        now = time.monotonic()
        held = self._fences.get(scope)
        if held is not None and now - self._renewed[scope] < self._renew_after_seconds:
            return held
        fence = self._store.acquire_lease(scope, self._holder, self._ttl_ms)
        if fence is None:
            if held is not None:
                self.lost(scope)
            return None
        if held is None or held.number != fence.number:
            log.info("leading", scope=scope, holder=self._holder, fence=fence.number)
        self._fences[scope] = fence
        self._renewed[scope] = now
        return fence

    def lost(self, scope: str) -> None:
        """Another process leads now: never use the old number again."""
        if self._fences.pop(scope, None) is not None:
            log.info("deposed", scope=scope, holder=self._holder)

    def give_up(self) -> None:
        """Let another process lead at once; at the end of a run."""
        for scope, fence in list(self._fences.items()):
            self._store.release_lease(scope, fence)
        self._fences.clear()
