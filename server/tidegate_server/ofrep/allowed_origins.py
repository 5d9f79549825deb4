"""The allowed origins of environments: which web pages may read evaluations.

A CORS preflight request carries no token, and a request with an unknown token names no
environment. For both, an origin is allowed if any environment allows it. The response to a
request with a token is shared with the allowed origins of the token's environment only.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress

from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.projects import ANY_ORIGIN, Environment
from tidegate_server.errors import StoreUnavailable
from tidegate_server.ofrep.environment_cache import EnvironmentKey
from tidegate_server.store import Store


class AllowedOrigins:
    """A cache of every environment's allowed origins.

    Threads: ``_lock`` is held while the store is read. One thread reads for all, and only the first
    reading keeps the others waiting: later they go on with the origins that they know.

    Args:
        store: the store with the environments.
        cache_seconds: how long the cache is used before it is read again.
    """

    def __init__(self, store: Store, cache_seconds: float) -> None:
        self._store = store
        self._cache_seconds = cache_seconds
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._origins: Mapping[EnvironmentKey, frozenset[str]] = {}

    def allows(self, origin: str, environment: EnvironmentKey | None) -> bool:
        """Return whether an environment allows an origin; None: whether any environment does.

        While the store is unreachable, the origins that were read last stay allowed.
        """
        origins = self._current()
        if environment is not None:
            return _contains(origins.get(environment, frozenset()), origin)
        return any(_contains(allowed, origin) for allowed in origins.values())

    def _current(self) -> Mapping[EnvironmentKey, frozenset[str]]:
        if time.monotonic() - self._read_at < self._cache_seconds:
            return self._origins
        is_known = self._read_at != float("-inf")
        if not self._lock.acquire(blocking=not is_known):
            return self._origins
        try:
            if time.monotonic() - self._read_at >= self._cache_seconds:
                with suppress(StoreUnavailable):
                    self._origins = dict(self._read())
                self._read_at = time.monotonic()
            return self._origins
        finally:
            self._lock.release()

    def _read(self) -> Iterator[tuple[EnvironmentKey, frozenset[str]]]:
        for project in self._store.projects():
            for key, stored in self._store.all(project, Kind.ENVIRONMENT).items():
                environment: Environment = stored.document
                yield (project, key), frozenset(environment.allowed_origins)


def _contains(allowed: frozenset[str], origin: str) -> bool:
    return origin in allowed or ANY_ORIGIN in allowed
