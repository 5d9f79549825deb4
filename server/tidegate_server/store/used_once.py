"""What counts once: the state of a sign-in, the id of a logout token."""

from __future__ import annotations

from tidegate_server.store import keys
from tidegate_server.store.connection import Connection


class UsedOnce:
    """Remembers for a while what was used. Use ``Store.used_once``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def first(self, kind: str, name: str, seconds: int) -> bool:
        """Return whether something is used for the first time in so many seconds, and note it."""
        key = keys.used_once(kind, name)
        return self._connection.write("SET", key, 1, "NX", "EX", max(1, seconds)) is not None
