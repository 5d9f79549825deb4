"""Distributions of values in buckets that grow by the same factor.

An operation's duration, or a value that the application reports, is counted in a bucket
whose upper bound is at most 9.1 % above it. Buckets are numbered: 0 holds zero, ``n`` above
0 holds values up to ``SMALLEST * 2 ** ((n - 1) / 8)``, ``-n`` the same values below zero.
Counts of the same bucket add, so distributions of many processes do.
"""

from __future__ import annotations

from math import ceil, log2

LATENCY = "latency"
"""The measure of operations' durations, in seconds; no other value has this name."""

SMALLEST = 1e-6
"""What is nearer to zero is counted as this: a microsecond, for durations in seconds."""

PER_DOUBLING = 8
LARGEST_BUCKET = 60 * PER_DOUBLING + 1
"""Values beyond ``SMALLEST * 2 ** 60`` are counted as that."""


def bucket_of(value: float) -> int:
    """Return the number of a value's bucket. The value is finite."""
    if value == 0.0:
        return 0
    size = abs(value) / SMALLEST
    number = 1 if size <= 1.0 else min(LARGEST_BUCKET, 1 + ceil(PER_DOUBLING * log2(size)))
    return number if value > 0.0 else -number


def upper_bound(bucket: int) -> float:
    """Return the largest size of a bucket's values, with their sign."""
    if bucket == 0:
        return 0.0
    size: float = SMALLEST * 2.0 ** ((abs(bucket) - 1) / PER_DOUBLING)
    return size if bucket > 0 else -size
