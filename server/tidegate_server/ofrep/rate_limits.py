"""Rate limits of tokens: how many evaluation requests each may make per minute.

All visitors of a page share its token, so a limit for the token alone would be a weapon: one
visitor could use it up. Each limited token therefore has a bucket for itself, one for each client
address (of ``client`` tokens), and one for each targeting key at an address. A bucket holds the
requests of one minute and refills evenly.

While the token has more than half of its requests left, any request passes, and uses up the parts
of its address and its targeting key. Below that, a request passes only if these have requests left
too. So one address or one user can use up half of the token's requests, and others go on.

Each process has its own buckets, because shared ones would cost a write to the store for each
request. So with N web processes a token gets at least its limit, and at most N times its limit.

Threads: ``_lock`` guards all buckets; it is held for arithmetic only.
"""

from __future__ import annotations

import hashlib
import math
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TypeAlias

from tidegate_server.domain.permissions import Role
from tidegate_server.domain.tokens import Token
from tidegate_server.errors import RateLimited
from tidegate_server.web.trusted_proxies import network_of

MINUTE = 60.0
TOLERANCE = 1e-6
"""The tolerance for rounding errors."""

ADDRESS_SHARE = 0.1
"""The part of a token's limit that one address has, and half of it for one targeting key there."""

LEAST_PART = 5.0
"""The least requests per minute of an address or a targeting key, so that a page can load."""

MAX_TOKENS = 10_000
MAX_PARTS = 50_000
"""How many buckets are kept. The one that was not used for longest goes first; it is full again
after a minute, so forgetting it then changes nothing."""

Part: TypeAlias = bytes
"""A digest that identifies an address, or a targeting key at an address, of a token."""


@dataclass(slots=True)
class _Bucket:
    """A token bucket: ``left`` requests at the time ``at``, and ``size`` when it is full."""

    size: float
    left: float
    at: float

    def refill(self, now: float) -> None:
        """Add what has come in until now; ``size`` comes in each minute."""
        elapsed = max(0.0, now - self.at)
        self.left, self.at = min(self.size, self.left + elapsed * self.size / MINUTE), now

    @property
    def has_one(self) -> bool:
        """Whether a request is left."""
        return self.left >= 1.0 - TOLERANCE

    @property
    def wait(self) -> float:
        """The seconds until a request is left."""
        return max(0.0, (1.0 - self.left) * MINUTE / self.size)


class RateLimits:
    """The buckets of one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tokens: OrderedDict[str, _Bucket] = OrderedDict()
        self._parts: OrderedDict[Part, _Bucket] = OrderedDict()

    def check(self, token: Token, address: str | None = None, now: float | None = None) -> None:
        """Refuse a request that has no chance, before anything of it is read.

        Raises:
            RateLimited: the token, or the address, has no request left.
        """
        limit = token.rate_limit
        if limit is None:
            return
        now = time.monotonic() if now is None else now
        with self._lock:
            whole = self._token_bucket(token.id, limit, now)
            of_address = self._of_address(token, address, now)
            if not whole.has_one:
                raise _refusal(limit, "The token", whole)
            if not _is_plentiful(whole) and of_address is not None and not of_address.has_one:
                raise _refusal(limit, "This address", of_address)

    def take(
        self,
        token: Token,
        address: str | None = None,
        targeting_key: str | None = None,
        now: float | None = None,
    ) -> None:
        """Count one request.

        Args:
            token: the token; without a limit, its requests are not counted.
            address: the client's address; None: unknown.
            targeting_key: the user that the request is about; None: unknown.
            now: seconds on a monotonic clock; the current time if not given.

        Raises:
            RateLimited: the token, the address or the targeting key has no request left. This
                request is not counted.
        """
        limit = token.rate_limit
        if limit is None:
            return
        now = time.monotonic() if now is None else now
        with self._lock:
            whole = self._token_bucket(token.id, limit, now)
            of_address = self._of_address(token, address, now)
            of_key = self._of_key(token, address, targeting_key, now)
            if not whole.has_one:
                raise _refusal(limit, "The token", whole)
            own = [part for part in (of_key, of_address) if part is not None]
            short = next((part for part in own if not part.has_one), None)
            if short is None:
                for part in own:
                    part.left -= 1.0
            elif not _is_plentiful(whole):
                name = "This targeting key" if short is of_key else "This address"
                raise _refusal(limit, name, short)
            whole.left -= 1.0

    def _token_bucket(self, id: str, limit: int, now: float) -> _Bucket:
        bucket = self._tokens.get(id)
        if bucket is None or bucket.size != limit:
            bucket = self._tokens[id] = _Bucket(float(limit), float(limit), now)
            if len(self._tokens) > MAX_TOKENS:
                self._tokens.popitem(last=False)
        self._tokens.move_to_end(id)
        bucket.refill(now)
        return bucket

    def _of_address(self, token: Token, address: str | None, now: float) -> _Bucket | None:
        # The requests of an application's own servers come from a few addresses.
        if address is None or token.role is not Role.CLIENT:
            return None
        return self._part(token, "address", (network_of(address),), ADDRESS_SHARE, now)

    def _of_key(
        self, token: Token, address: str | None, key: str | None, now: float
    ) -> _Bucket | None:
        if key is None:
            return None
        # At an address: nobody can use up the part of somebody else, whose key may be known.
        place = "" if address is None or token.role is not Role.CLIENT else network_of(address)
        return self._part(token, "key", (place, key), ADDRESS_SHARE / 2, now)

    def _part(
        self, token: Token, kind: str, names: tuple[str, ...], share: float, now: float
    ) -> _Bucket:
        assert token.rate_limit is not None
        size = max(min(token.rate_limit, LEAST_PART), token.rate_limit * share)
        text = "\0".join((token.id, kind, *names))
        part = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        bucket = self._parts.get(part)
        if bucket is None or bucket.size != size:
            bucket = self._parts[part] = _Bucket(size, size, now)
            if len(self._parts) > MAX_PARTS:
                self._parts.popitem(last=False)
        self._parts.move_to_end(part)
        bucket.refill(now)
        return bucket


def _is_plentiful(whole: _Bucket) -> bool:
    return whole.left > whole.size / 2


def _refusal(limit: int, name: str, bucket: _Bucket) -> RateLimited:
    seconds = max(1, math.ceil(bucket.wait - TOLERANCE))
    allowed = "" if name == "The token" else f", and this part of it {bucket.size:g}"
    return RateLimited(
        f"{name} has no evaluation requests left: the token may make {limit} per minute{allowed}. "
        f"Retry in {seconds} s.",
        seconds,
    )
