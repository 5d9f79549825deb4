"""How many reports a token may send to this web process.

A token's bucket holds the reports of ten seconds and refills evenly. A large report costs as much
as several: one for each ``UNIT`` of its body. Each process has its own buckets, so with N web
processes a token gets at least its rate, and at most N times its rate.

Threads: ``_lock`` guards the buckets; it is held for arithmetic only.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass

from tidegate_server.errors import RateLimited

MINUTE = 60.0
BURST_SECONDS = 10.0

UNIT = 4 * 1024
"""Bytes of a body that cost as much as one report. An ordinary report is smaller."""

MAX_TOKENS = 10_000
"""How many buckets are kept. The one that was not used for longest goes first."""


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float


class ReportRates:
    """The buckets of one process.

    Args:
        per_minute: how many reports each token may send per minute.
    """

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._size = per_minute * BURST_SECONDS / MINUTE
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, token: str, size: int, now: float | None = None, *, counted: int = 0) -> None:
        """Count one report.

        Args:
            token: the id of the token that sends it.
            size: of its body, in bytes.
            now: seconds on a monotonic clock; the current time if not given.
            counted: bytes of the same report that were counted before.

        Raises:
            RateLimited: the token has sent too many; this report is not counted.
        """
        now = time.monotonic() if now is None else now
        cost = self._cost(size) - (self._cost(counted) if counted else 0.0)
        with self._lock:
            bucket = self._buckets.setdefault(token, _Bucket(self._size, now))
            self._buckets.move_to_end(token)
            if len(self._buckets) > MAX_TOKENS:
                self._buckets.popitem(last=False)
            refill = max(0.0, now - bucket.at) * self._per_minute / MINUTE
            bucket.left, bucket.at = min(self._size, bucket.left + refill), now
            if bucket.left < cost:
                seconds = math.ceil((cost - bucket.left) * MINUTE / self._per_minute)
                raise RateLimited(
                    f"This token may send {self._per_minute} reports per minute to one web "
                    f"process, and a report counts once for every {UNIT // 1024} kB; "
                    f"retry in {seconds} s. TIDEGATE_REPORTS_PER_MINUTE sets this limit.",
                    max(1, seconds),
                )
            bucket.left -= cost

    def _cost(self, size: int) -> float:
        return min(float(max(1, math.ceil(size / UNIT))), self._size)
