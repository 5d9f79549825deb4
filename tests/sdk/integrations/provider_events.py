"""Records the events that OpenFeature's handlers receive."""

from __future__ import annotations

import threading
from collections.abc import Callable

from openfeature import api
from openfeature.event import EventDetails, ProviderEvent


class ProviderEvents:
    """The events of the kinds listened to, in the order in which they arrived."""

    def __init__(self) -> None:
        self._arrived = threading.Condition()
        self._handlers: list[tuple[ProviderEvent, Callable[[EventDetails], None]]] = []
        self.events: list[tuple[ProviderEvent, EventDetails]] = []

    def listen(self, *kinds: ProviderEvent) -> None:
        for kind in kinds:
            handler = self._recording(kind)
            self._handlers.append((kind, handler))
            api.add_handler(kind, handler)

    def stop(self) -> None:
        """Remove the handlers."""
        for kind, handler in self._handlers:
            api.remove_handler(kind, handler)
        self._handlers.clear()

    def kinds(self) -> list[ProviderEvent]:
        return [kind for kind, _ in self.events]

    def wait_for(self, kind: ProviderEvent) -> EventDetails:
        """Return the first event of a kind, waiting for it."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: kind in self.kinds(), 20), self.events
            return self.events[self.kinds().index(kind)][1]

    def _recording(self, kind: ProviderEvent) -> Callable[[EventDetails], None]:
        def record(details: EventDetails) -> None:
            with self._arrived:
                self.events.append((kind, details))
                self._arrived.notify_all()

        return record
