"""The events of one open page."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from tidegate_server.store import Store
from tidegate_server.store.activity_feed import ActivityEvent, order_of
from tidegate_server.web.event_stream import NOTHING_TO_SEND, format_event

POSITION = re.compile(r"[0-9]{1,15}-[0-9]{1,15}")


class EnvironmentEvents:
    """What a page missed since it was disconnected, then everything that happens.

    Args:
        store: the store to follow.
        project, environment: what the page shows.
        last_seen: the id of the last event that the page got; None: it begins.

    Raises:
        StoreUnavailable: the store cannot be reached.
    """

    def __init__(self, store: Store, project: str, environment: str, last_seen: str | None) -> None:
        self._store = store
        self._place = (project, environment)
        self._last_seen = last_seen
        self._subscription = store.activity_feed.subscribe(project, environment)
        self._position = self._subscription.position

    def missed_events(self) -> Iterator[bytes]:
        """Yield what was committed since ``last_seen``, and then where the page is now."""
        if self._last_seen is not None:
            missed = self._store.activity_feed.missed(*self._place, self._last_seen, self._position)
            for event in missed:
                yield _text(event)
        opened = {
            "version": self._store.version(*self._place),
            "moment": self._subscription.moment,
        }
        yield format_event("open", self._position, json.dumps(opened))

    def next_event(self, timeout: float) -> bytes | None:
        """Wait for an event."""
        event = self._subscription.get(timeout)
        if event is None:
            return None
        if event.position:
            if order_of(event.position) < order_of(self._position):
                return NOTHING_TO_SEND
            if event.position == self._position == self._subscription.position:
                return NOTHING_TO_SEND
            self._position = event.position
        return _text(event)

    def close(self) -> None:
        """Unsubscribe from the activity feed."""
        self._subscription.close()


def _text(event: ActivityEvent) -> bytes:
    return format_event(event.name, event.position or None, event.data)
