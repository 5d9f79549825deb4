"""Server-sent events that tell OpenFeature clients to evaluate their flags again.

An event names the last change that the client could notice. Several changes at once are one
event.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from tidegate_server.ofrep.environment_cache import CachedEnvironment, Change
from tidegate_server.ofrep.flag_views import Audience
from tidegate_server.web.event_stream import NOTHING_TO_SEND, format_event

REFETCH = "refetchEvaluation"


class ChangeEventSource:
    """Events of one connection.

    Args:
        environment: the environment to follow.
        audience: only changes that this audience could notice are sent.
        last_seen: the version that the client has seen; -1: none.
    """

    def __init__(self, environment: CachedEnvironment, audience: Audience, last_seen: int) -> None:
        self._environment = environment
        self._audience = audience
        self._last_seen = last_seen
        self._listener = environment.listen()

    def missed_events(self) -> Iterator[bytes]:
        """Yield one event if the flags changed after ``last_seen``.

        A version that is newer than the server's is of a store that was restored since.
        """
        flags = self._environment.current()
        change = flags.last_changes[self._audience]
        last_seen, self._last_seen = self._last_seen, change.version
        if change.version > last_seen or last_seen > flags.compiled.version:
            yield change_event(change)

    def next_event(self, timeout: float) -> bytes | None:
        """Wait for a change; say nothing of changes that the audience cannot notice."""
        changed = self._listener.wait(timeout)
        change = self._environment.current().last_changes[self._audience]
        if change.version != self._last_seen:
            self._last_seen = change.version
            return change_event(change)
        return NOTHING_TO_SEND if changed else None

    def close(self) -> None:
        """Stop listening."""
        self._listener.close()


def change_event(change: Change) -> bytes:
    """Return the bytes of an event: evaluate again, because of this change."""
    data = {"type": REFETCH, "etag": f'"{change.version}"', "lastModified": int(change.time)}
    return format_event("message", change.version, json.dumps(data))
