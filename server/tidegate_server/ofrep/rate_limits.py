"""Rate limits of tokens: how many evaluation requests each may make per minute.

Each limited token has a token bucket, which holds the requests of one minute and refills evenly.
Each process has its own buckets, because shared ones would cost a write to the store for each
request. So with N web processes a token gets at least its limit, and at most N times its limit.
"""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass

from tidegate_server.domain.tokens import Token
from tidegate_server.errors import RateLimited

MINUTE = 60.0
MOST_BUCKETS = 10_000
TOLERANCE = 1e-6
"""The tolerance for rounding errors."""


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float


class RateLimits:
    """The token buckets of one process.

    Threads: ``_lock`` guards the buckets; it is held for arithmetic only.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._buckets: dict[str, _Bucket] = {}

    def take(self, token: Token, now: float | None = None) -> None:
        """Count one request of a token.

        Args:
            token: the token; without a limit, its requests are not counted.
            now: seconds on a monotonic clock; the current time if not given.

        Raises:
            RateLimited: the bucket is empty; this request is not counted.
        """
        limit = token.rate_limit
        if limit is None:
            return
        wait = self._wait(token.id, limit, time.monotonic() if now is None else now)
        if wait > 0:
            seconds = max(1, math.ceil(wait - TOLERANCE))
            raise RateLimited(
                f"The token may make {limit} evaluation requests per minute; retry in {seconds} s.",
                seconds,
            )

    def _wait(self, id: str, limit: int, now: float) -> float:
        with self._lock:
            bucket = self._buckets.get(id)
            if bucket is None:
                if len(self._buckets) >= MOST_BUCKETS:
                    self._buckets.clear()  # bounded memory; every bucket is full again
                bucket = self._buckets[id] = _Bucket(float(limit), now)
            filled = bucket.left + (now - bucket.at) * limit / MINUTE
            bucket.left, bucket.at = min(float(limit), filled), now
            if bucket.left < 1.0 - TOLERANCE:
                return (1.0 - bucket.left) * MINUTE / limit
            bucket.left -= 1.0
            return 0.0
