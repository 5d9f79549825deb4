"""The stream of an environment's changes, as server-sent events.

One generator runs per connection, in a greenlet or thread of its own, and waits on a
subscription of the process's one feed. ``Streams.close`` ends them all, so that a worker
can stop without cutting connections in the middle of an event.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

from tidegate_server.domain.tokens import Token
from tidegate_server.store import Store
from tidegate_server.web.access_control import Authenticator
from tidegate_server.web.settings import ApiSettings

RETRY_MS = (1_000, 3_000)
"""Clients that lost one server come back spread over this time."""

KEEP_ALIVE = ": keep-alive\n\n"


def event(name: str, version: int, data: str) -> str:
    """One server-sent event; ``data`` is JSON on one line."""
    return f"id: {version}\nevent: {name}\ndata: {data}\n\n"


class Streams:
    """Every stream of one process."""

    def __init__(self, store: Store, authenticator: Authenticator, settings: ApiSettings) -> None:
        self._store = store
        self._authenticator = authenticator
        self._settings = settings
        self._closing = False

    def close(self) -> None:
        """End every stream, now and from now on."""
        self._closing = True
        self._store.feed().close()

    def events(self, token: Token, last_seen: int | None) -> Iterator[str]:
        """What a client of ``token`` is sent: what it missed, then what happens.

        Args:
            token: an sdk token.
            last_seen: the version of the last event it saw; None: it knows nothing.
        """
        project, environment = str(token.project), str(token.environment)
        subscription = self._store.feed().subscribe(project, environment)
        try:
            version, missed = self._missed(project, environment, last_seen)
            # First what was missed: whoever is told anything holds its flags for confirmed.
            yield from missed
            yield f"retry: {random.randint(*RETRY_MS)}\n\n"  # noqa: S311 - only spreads load
            checked = time.monotonic()
            while not self._closing:
                update = subscription.get(self._settings.keep_alive_seconds)
                if self._closing:
                    return
                if update is None:
                    yield KEEP_ALIVE
                elif update.data is None or update.version > version + 1:
                    version, text = self._snapshot(project, environment)
                    yield text
                elif update.version > version:
                    version = update.version
                    yield event("update", version, update.data)
                if time.monotonic() - checked > self._settings.token_recheck_seconds:
                    if not self._authenticator.is_still_valid(token):
                        return
                    checked = time.monotonic()
        finally:
            subscription.close()

    def _missed(
        self, project: str, environment: str, last_seen: int | None
    ) -> tuple[int, list[str]]:
        """The version that a client has after these events, and the events."""
        if last_seen is not None and last_seen <= self._store.version(project, environment):
            changes = self._store.changes(project, environment, last_seen)
            if changes is not None:
                newest = changes[-1][0] if changes else last_seen
                return newest, [event("update", version, data) for version, data in changes]
        version, text = self._snapshot(project, environment)
        return version, [text]

    def _snapshot(self, project: str, environment: str) -> tuple[int, str]:
        found = self._store.snapshot(project, environment)
        return found.version, event("snapshot", found.version, found.body.decode())
