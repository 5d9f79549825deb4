"""The stream that tells clients to evaluate again, as server-sent events.

One generator runs per connection, in a greenlet or thread of its own, and waits for a bell of
the environment's resident. Events name the last change that the client could notice; several
changes that come at once are one event.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator

from tidegate_server.domain.tokens import Token
from tidegate_server.ofrep.environment_cache import Notice, Resident
from tidegate_server.ofrep.flag_views import Audience
from tidegate_server.sdk_api.streams import KEEP_ALIVE, RETRY_MS
from tidegate_server.web.access_control import Authenticator
from tidegate_server.web.settings import ApiSettings

REFETCH = "refetchEvaluation"


class Notices:
    """Every stream of notices of one process."""

    def __init__(self, authenticator: Authenticator, settings: ApiSettings) -> None:
        self._authenticator = authenticator
        self._settings = settings
        self._closing = False

    def close(self) -> None:
        """End every stream, as soon as its resident rings."""
        self._closing = True

    def events(
        self, resident: Resident, audience: Audience, token: Token, known: int
    ) -> Iterator[str]:
        """What a client is sent: whether it missed something, then what happens.

        Args:
            resident: the environment's.
            audience: whose changes count.
            token: the stream ends when it is deleted.
            known: the version that the client has seen.
        """
        listener = resident.listen()
        try:
            yield f"retry: {random.randint(*RETRY_MS)}\n\n"  # noqa: S311 - only spreads load
            served = resident.served()
            notice = served.notices[audience]
            if notice.version > known or known > served.compiled.version:
                yield event(notice)
            told = notice.version
            checked = time.monotonic()
            while not self._closing:
                rang = listener.wait(self._settings.keep_alive_seconds)
                if self._closing:
                    return
                notice = resident.served().notices[audience]
                if notice.version != told:
                    told = notice.version
                    yield event(notice)
                elif not rang:
                    yield KEEP_ALIVE
                if time.monotonic() - checked > self._settings.token_recheck_seconds:
                    if not self._authenticator.is_still_valid(token):
                        return
                    checked = time.monotonic()
        finally:
            listener.close()


def event(notice: Notice) -> str:
    """One event: something changed, evaluate again."""
    data = {"type": REFETCH, "etag": f'"{notice.version}"', "lastModified": int(notice.at)}
    return f"id: {notice.version}\nevent: message\ndata: {json.dumps(data)}\n\n"
