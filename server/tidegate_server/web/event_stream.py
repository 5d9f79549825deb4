"""Server-sent events: streams that stay open until they are not allowed any more.

Each connection has its own generator, in its own greenlet or thread. ``EventStreams.close`` ends
them all between two events, so that a worker can stop without cutting an event in half.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Protocol

from flask import Response, stream_with_context
from tidegate.random_numbers import RANDOM

from tidegate_server.domain.tokens import Token
from tidegate_server.process_metrics import STREAMS
from tidegate_server.web.authentication import Authenticator
from tidegate_server.web.settings import ApiSettings

CONTENT_TYPE = "text/event-stream"
HEADERS = {"Content-Type": CONTENT_TYPE, "X-Accel-Buffering": "no"}
"""Of every stream."""

RETRY_MS = (1_000, 3_000)
"""How long clients wait before they reconnect; random, so that they do not come all at once."""

KEEP_ALIVE = b": keep-alive\n\n"

NOTHING_TO_SEND = b""
"""An event that the client must not see."""


class EventSource(Protocol):
    """The events of one connection."""

    def missed_events(self) -> Iterable[bytes]:
        """Return the events that the client missed before it connected."""

    def next_event(self, timeout: float) -> bytes | None:
        """Wait for an event, ``timeout`` seconds at most.

        Returns:
            The bytes of the event, ``NOTHING_TO_SEND``, or None if nothing happened.
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

    def response(
        self, still_allowed: Token | Callable[[], bool], open_source: Callable[[], EventSource]
    ) -> Response:
        """Return a response that streams a source's events.

        Args:
            still_allowed: the stream ends when this token is deleted; or when this function, which
                is called from time to time, returns False.
            open_source: called when the client begins to read.
        """
        if isinstance(still_allowed, Token):
            check = partial(self._authenticator.is_still_valid, still_allowed)
            events = self.events(check, open_source)
        else:
            events = stream_with_context(self.events(still_allowed, open_source))
        return Response(events, headers=HEADERS)

    def events(
        self, still_allowed: Callable[[], bool], open_source: Callable[[], EventSource]
    ) -> Iterator[bytes]:
        """Yield a source's events; the arguments are those of ``response``."""
        source = open_source()
        STREAMS.inc()
        try:
            # Missed events come first: a client takes any byte as a sign that its flags are new.
            retry = f"retry: {RANDOM.randint(*RETRY_MS)}\n\n"
            yield b"".join(source.missed_events()) + retry.encode()
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
                    if not still_allowed():
                        return
                    checked_at = time.monotonic()
        finally:
            STREAMS.dec()
            source.close()


def format_event(name: str, id: int | str | None, data: str) -> bytes:
    """Return the bytes of an event; ``data`` is JSON on one line, an ``id`` of None is left out."""
    beginning = "" if id is None else f"id: {id}\n"
    return f"{beginning}event: {name}\ndata: {data}\n\n".encode()
