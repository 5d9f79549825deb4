"""How many requests for evaluations a token may make.

A token bucket for each limited token: it holds a minute's worth of requests and fills evenly.
Every process keeps buckets of its own, since a shared one would cost a write to the store's
disk for each request: behind N web processes a token gets at least its limit, and at most N
times as much.
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
GRAIN = 1e-6
"""What sums of fractions may be off by."""


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float


class RateLimits:
    """The buckets of one process.

    Threads: ``_lock`` guards the buckets; it is held for arithmetic only.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._buckets: dict[str, _Bucket] = {}

    def take(self, token: Token, now: float | None = None) -> None:
        """Count one request of a token.

        Args:
            token: whose request it is; one without a limit is not counted.
            now: seconds on a clock that never goes back; the present when not given.

        Raises:
            RateLimited: it has made as many as it may; this one is not counted.
        """
        limit = token.rate_limit
        if limit is None:
            return
        wait = self._wait(token.id, limit, time.monotonic() if now is None else now)
        if wait > 0:
            seconds = max(1, math.ceil(wait - GRAIN))
            raise RateLimited(
                f"The token may make {limit} requests for evaluations a minute; "
                f"the next one is let through in {seconds} s.",
                seconds,
            )

    def _wait(self, id: str, limit: int, now: float) -> float:
        with self._lock:
            bucket = self._buckets.get(id)
            if bucket is None:
                if len(self._buckets) >= MOST_BUCKETS:
                    self._buckets.clear()  # whoever made so many tokens meets full buckets again
                bucket = self._buckets[id] = _Bucket(float(limit), now)
            filled = bucket.left + (now - bucket.at) * limit / MINUTE
            bucket.left, bucket.at = min(float(limit), filled), now
            if bucket.left < 1.0 - GRAIN:
                return (1.0 - bucket.left) * MINUTE / limit
            bucket.left -= 1.0
            return 0.0
