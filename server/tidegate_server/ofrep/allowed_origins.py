"""Which pages' browsers may read answers: the allowed origins of environments.

A preflight carries no token, and a request with an unknown one names no environment: there an
origin is allowed that any environment allows. The answer to a request with a token is shared
with the origins of the token's environment only.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress

from tidegate_server.domain.change import Kind
from tidegate_server.domain.projects import ANY_ORIGIN, Environment
from tidegate_server.errors import StoreUnavailable
from tidegate_server.store import Store

Place = tuple[str, str]


class Origins:
    """Reads every environment's allowed origins, again when what was read is old.

    Threads: ``_lock`` is held while the store is read, so that one reads for all who wait.

    Args:
        store: where environments are.
        cache_seconds: how long what was read is good.
    """

    def __init__(self, store: Store, cache_seconds: float) -> None:
        self._store = store
        self._cache_seconds = cache_seconds
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._allowed: Mapping[Place, frozenset[str]] = {}

    def allow(self, origin: str, place: Place | None) -> bool:
        """Whether pages of an origin may read answers of an environment; None: of any."""
        allowed = self._present()
        if place is not None:
            return _holds(allowed.get(place, frozenset()), origin)
        return any(_holds(each, origin) for each in allowed.values())

    def _present(self) -> Mapping[Place, frozenset[str]]:
        with self._lock:
            if time.monotonic() - self._read_at >= self._cache_seconds:
                # What was allowed before an outage still is; the next reading is due as ever.
                with suppress(StoreUnavailable):
                    self._allowed = dict(self._read())
                self._read_at = time.monotonic()
            return self._allowed

    def _read(self) -> Iterator[tuple[Place, frozenset[str]]]:
        for project in self._store.scopes():
            for key, stored in self._store.all(project, Kind.ENVIRONMENT).items():
                environment: Environment = stored.document
                yield (project, key), frozenset(environment.allowed_origins)


def _holds(allowed: frozenset[str], origin: str) -> bool:
    return origin in allowed or ANY_ORIGIN in allowed
