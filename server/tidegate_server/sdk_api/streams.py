"""The snapshot and updates of an environment, as events for one SDK."""

from __future__ import annotations

from collections.abc import Iterator

from tidegate_server.store import Store
from tidegate_server.web.event_stream import NOTHING_TO_SEND, format_event


class UpdateSource:
    """Events of one connection: what the client missed, then every update.

    Args:
        store: the store to read.
        project: the project of the client's token.
        environment: the environment of the client's token.
        last_seen: the version of the last event that the client saw; None: it saw none.

    Raises:
        StoreUnavailable: the store cannot be reached.
    """

    def __init__(self, store: Store, project: str, environment: str, last_seen: int | None) -> None:
        self._store = store
        self._environment = (project, environment)
        self._last_seen = last_seen
        self._subscription = store.change_feed.subscribe(project, environment)
        self._version = -1

    def missed_events(self) -> Iterator[str]:
        """Yield the updates since ``last_seen``, or a snapshot if the store lacks them."""
        last_seen = self._last_seen
        if last_seen is not None and last_seen <= self._store.version(*self._environment):
            changes = self._store.changes(*self._environment, last_seen)
            if changes is not None:
                self._version = changes[-1][0] if changes else last_seen
                yield from (format_event("update", version, data) for version, data in changes)
                return
        yield self._snapshot()

    def next_event(self, timeout: float) -> str | None:
        """Wait for an update; return a snapshot instead if updates were lost."""
        update = self._subscription.get(timeout)
        if update is None:
            return None
        if update.data is None or update.version > self._version + 1:
            return self._snapshot()
        if update.version <= self._version:
            return NOTHING_TO_SEND
        self._version = update.version
        return format_event("update", update.version, update.data)

    def close(self) -> None:
        """Unsubscribe from the change feed."""
        self._subscription.close()

    def _snapshot(self) -> str:
        snapshot = self._store.snapshot(*self._environment)
        self._version = snapshot.version
        return format_event("snapshot", snapshot.version, snapshot.body.decode())
