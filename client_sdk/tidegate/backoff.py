"""Wait times between retries."""

from __future__ import annotations

from dataclasses import dataclass

from tidegate.random_numbers import RANDOM

MAX_DOUBLINGS = 30
"""Keeps the power small; any limit is reached long before."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential wait times: each failure in a row doubles the wait, up to a limit.

    Attributes:
        first_s: the wait after the first failure, in seconds.
        longest_s: the limit, in seconds.
        jitter: the share of each wait that is random, 0 to 1. With 0.5 a wait lies between
            half of its length and all of it, so that many clients do not retry at once.
    """

    first_s: float
    longest_s: float
    jitter: float = 0.0

    def wait_s(self, failures: int) -> float:
        """Return the wait in seconds after a number of failures in a row, at least one."""
        doublings = min(failures - 1, MAX_DOUBLINGS)
        wait = min(self.first_s * 2.0**doublings, self.longest_s)
        if not self.jitter:
            return wait
        return wait * RANDOM.uniform(1.0 - self.jitter, 1.0)
