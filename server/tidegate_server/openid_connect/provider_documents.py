"""The metadata and the public keys of identity providers, kept for a while.

Each process keeps its own. A key that is not known yet is looked for at once, but not more often
than ``KEY_SEARCH_SECONDS``, so that forged tokens cause no storm of requests. While a provider
cannot be reached, what was read last goes on counting for a day.

Threads and greenlets share an object. One lock for each document is held while it is read.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import structlog
from joserfc.jwk import KeySet

from tidegate_server.errors import ProviderFailed
from tidegate_server.openid_connect.key_sets import parse_key_set
from tidegate_server.openid_connect.metadata import (
    ProviderMetadata,
    metadata_url,
    parse_metadata,
)
from tidegate_server.outbound.http_client import HttpClient

TIMEOUT_S = 5.0
MAX_BYTES = 256 * 1024
FRESH_SECONDS = 3600.0
STALE_SECONDS = 24 * 3600.0
FAILED_SECONDS = 5.0
"""How long after a failure nobody asks again."""

KEY_SEARCH_SECONDS = 60.0
MAX_KEPT = 50

Value = TypeVar("Value")

log = structlog.stdlib.get_logger(__name__)


@dataclass(slots=True)
class _Kept(Generic[Value]):
    """A document, when it was read, and what went wrong at the last try. Times are monotonic."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    value: Value | None = None
    read_at: float = 0.0
    failed_at: float | None = None
    problem: str = ""
    searched_at: float | None = None


class ProviderDocuments:
    """Reads and keeps what identity providers publish.

    Args:
        http: sends the requests.
    """

    def __init__(self, http: HttpClient) -> None:
        self._http = http
        self._metadata: dict[str, _Kept[ProviderMetadata]] = {}
        self._keys: dict[str, _Kept[KeySet]] = {}

    def metadata(self, issuer: str) -> ProviderMetadata:
        """Return what a provider says about itself.

        Raises:
            ProviderFailed: it cannot be read, or is not usable.
        """

        def read() -> ProviderMetadata:
            return parse_metadata(issuer, self._get(metadata_url(issuer)))

        return _fresh(_kept(self._metadata, issuer), read)

    def keys(self, metadata: ProviderMetadata, id: str | None) -> KeySet:
        """Return the public keys of a provider, read again if the key with an id is not there.

        Raises:
            ProviderFailed: they cannot be read.
        """
        kept = _kept(self._keys, metadata.jwks_uri)

        def read() -> KeySet:
            return parse_key_set(self._get(metadata.jwks_uri))

        known = _fresh(kept, read)
        if id is None or any(key.kid == id for key in known):
            return known
        with kept.lock:
            now = time.monotonic()
            if kept.value is not None and kept.value is not known:
                return kept.value  # another request has just looked
            if kept.searched_at is not None and now - kept.searched_at < KEY_SEARCH_SECONDS:
                return known
            kept.searched_at = now
            _read(kept, read)
            return kept.value or known

    def _get(self, url: str) -> bytes:
        result = self._http.request(
            "GET",
            url,
            timeout_s=TIMEOUT_S,
            headers={"Accept": "application/json"},
            max_bytes=MAX_BYTES + 1,
        )
        if result.status is None:
            # What exactly happened would tell whoever chose the address about the network here.
            log.warning("identity_provider_not_reached", url=url, problem=result.detail)
            raise ProviderFailed(f"{url}: {result.problem}; the server's log says more")
        if not result.succeeded:
            raise ProviderFailed(f"{url} answered {result.status}")
        if len(result.body) > MAX_BYTES:
            raise ProviderFailed(f"{url} answered with more than {MAX_BYTES // 1024} kB")
        return result.body


def _kept(known: dict[str, _Kept[Value]], name: str) -> _Kept[Value]:
    found = known.get(name)
    if found is None:
        if len(known) >= MAX_KEPT:
            known.clear()
        found = known.setdefault(name, _Kept())
    return found


def _fresh(kept: _Kept[Value], read: Callable[[], Value]) -> Value:
    """Return a document that is fresh, or was once, if it cannot be read now."""
    now = time.monotonic()
    if kept.value is not None and now - kept.read_at < FRESH_SECONDS:
        return kept.value
    with kept.lock:
        now = time.monotonic()
        fresh = kept.value is not None and now - kept.read_at < FRESH_SECONDS
        failed = kept.failed_at is not None and now - kept.failed_at < FAILED_SECONDS
        if not fresh and not failed:
            _read(kept, read)
        if kept.value is not None and now - kept.read_at < STALE_SECONDS:
            return kept.value
        raise ProviderFailed(kept.problem)


def _read(kept: _Kept[Value], read: Callable[[], Value]) -> None:
    """Read a document, or note why it cannot be read; call it with the lock held."""
    try:
        kept.value = read()
    except ProviderFailed as error:
        kept.failed_at, kept.problem = time.monotonic(), error.message
    else:
        kept.read_at, kept.failed_at = time.monotonic(), None
