"""Events of OpenFeature, as its handlers hear them."""

from __future__ import annotations

import threading
from collections.abc import Callable

from openfeature import api
from openfeature.event import EventDetails, ProviderEvent


class Heard:
    """What was heard of the kinds of events that are listened to, in the order of its coming."""

    def __init__(self) -> None:
        self._more = threading.Condition()
        self._handlers: list[tuple[ProviderEvent, Callable[[EventDetails], None]]] = []
        self.events: list[tuple[ProviderEvent, EventDetails]] = []

    def listen(self, *kinds: ProviderEvent) -> None:
        for kind in kinds:
            handler = self._noting(kind)
            self._handlers.append((kind, handler))
            api.add_handler(kind, handler)

    def forget(self) -> None:
        """Hear no more."""
        for kind, handler in self._handlers:
            api.remove_handler(kind, handler)
        self._handlers.clear()

    def kinds(self) -> list[ProviderEvent]:
        return [kind for kind, _ in self.events]

    def wait_for(self, kind: ProviderEvent) -> EventDetails:
        """The first event of a kind, as soon as it comes."""
        with self._more:
            assert self._more.wait_for(lambda: kind in self.kinds(), 20), self.events
            return self.events[self.kinds().index(kind)][1]

    def _noting(self, kind: ProviderEvent) -> Callable[[EventDetails], None]:
        def note(details: EventDetails) -> None:
            with self._more:
                self.events.append((kind, details))
                self._more.notify_all()

        return note
