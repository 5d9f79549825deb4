"""The sessions that one process has seen, kept in memory so that a check asks the store nothing.

Threads and greenlets share a cache. Each operation is one access to a dictionary.
"""

from __future__ import annotations

from tidegate_server.domain.sessions import Session

MAX_KEPT = 10_000
KEPT_MS = 5 * 60 * 1000
"""How long a session is kept without reading it again."""


class SessionCache:
    """Sessions by digest, and those that were used since the last look."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Session, int]] = {}
        self._uses: dict[str, tuple[Session, int]] = {}
        self._ended = -1

    def get(self, digest: str, now_ms: int) -> Session | None:
        """Return a session; None: it has to be read from the store.

        One that was idle for too long here may be in use in another process.
        """
        session, read_ms = self._kept.get(digest, (None, 0))
        if session is None or now_ms - read_ms >= KEPT_MS:
            return None
        used_ms = self._uses.get(digest, (session, session.last_seen_ms))[1]
        idle_until_ms = max(used_ms, session.last_seen_ms) + session.idle_ms
        return None if min(idle_until_ms, session.expires_ms) <= now_ms else session

    def use(self, digest: str, session: Session, now_ms: int) -> None:
        """Keep a session, and note that it is used now."""
        if digest not in self._kept and len(self._kept) >= MAX_KEPT:
            self._kept.clear()
        kept, _ = self._kept.get(digest, (None, 0))
        if kept is not session:
            self._kept[digest] = (session, now_ms)
        self._uses[digest] = (session, now_ms)

    def forget_if_ended(self, ended: int) -> None:
        """Forget all sessions if any was ended since the last call."""
        if ended != self._ended:
            self._kept.clear()
            self._ended = ended

    def taken_uses(self) -> dict[str, tuple[Session, int]]:
        """Return the sessions that were used since the last call, and when."""
        uses, self._uses = self._uses, {}
        return uses
