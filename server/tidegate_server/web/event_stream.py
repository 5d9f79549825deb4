"""Server-sent events: streams that stay open until their token is deleted or the process ends.

Each connection has its own generator, in its own greenlet or thread. ``EventStreams.close`` ends
them all between two events, so that a worker can stop without cutting an event in half.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from flask import Response, stream_with_context

from tidegate_server.domain.tokens import Token
from tidegate_server.web.authentication import Authenticator
from tidegate_server.web.settings import ApiSettings

CONTENT_TYPE = "text/event-stream"

RETRY_MS = (1_000, 3_000)
"""How long clients wait before they reconnect; random, so that they do not come all at once."""

KEEP_ALIVE = ": keep-alive\n\n"

NOTHING_TO_SEND = ""
"""An event that the client must not see."""


class EventSource(Protocol):
    """The events of one connection."""

    def missed_events(self) -> Iterable[str]:
        """Return the events that the client missed before it connected."""

    def next_event(self, timeout: float) -> str | None:
        """Wait for an event, ``timeout`` seconds at most.

        Returns:
            The text of the event, ``NOTHING_TO_SEND``, or None if nothing happened.
        """

    def close(self) -> None:
        """Stop waiting for events."""


class EventStreams:
    """The open streams of one process."""

    def __init__(self, authenticator: Authenticator, settings: ApiSettings) -> None:
        self._authenticator = authenticator
        self._settings = settings
        self._closing = False

    def close(self) -> None:
        """End every stream when its source wakes up; new streams send missed events only."""
        self._closing = True

    def response(self, token: Token, open_source: Callable[[], EventSource]) -> Response:
        """Return a response that streams a source's events.

        Args:
            token: the stream ends when this token is deleted.
            open_source: called when the client begins to read.
        """
        events = stream_with_context(self._events(token, open_source))
        response = Response(events, content_type=CONTENT_TYPE)
        response.headers["X-Accel-Buffering"] = "no"
        return response

    def _events(self, token: Token, open_source: Callable[[], EventSource]) -> Iterator[str]:
        source = open_source()
        try:
            # Missed events come first: a client takes any byte as a sign that its flags are new.
            yield from source.missed_events()
            yield f"retry: {random.randint(*RETRY_MS)}\n\n"  # noqa: S311 - only spreads load
            checked_at = time.monotonic()
            while not self._closing:
                event = source.next_event(self._settings.keep_alive_seconds)
                if self._closing:
                    return
                if event is None:
                    yield KEEP_ALIVE
                elif event != NOTHING_TO_SEND:
                    yield event
                if time.monotonic() - checked_at > self._settings.token_recheck_seconds:
                    if not self._authenticator.is_still_valid(token):
                        return
                    checked_at = time.monotonic()
        finally:
            source.close()


def format_event(name: str, version: int, data: str) -> str:
    """Return the text of an event; ``data`` is JSON on one line."""
    return f"id: {version}\nevent: {name}\ndata: {data}\n\n"
