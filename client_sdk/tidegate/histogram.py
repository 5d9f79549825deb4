"""Histograms of values in exponential buckets.

The duration of an operation, or a value that the application reports, is counted in a bucket
whose upper bound is at most 9.1 % above it. Bucket 0 contains zero, bucket ``n`` above 0 the
values up to ``SMALLEST * 2 ** ((n - 1) / 8)``, bucket ``-n`` the same values below zero. Counts
of the same bucket add up, so histograms of many processes do too.
"""

from __future__ import annotations

from math import ceil, log2

LATENCY = "latency"
"""The measure of the durations of operations, in seconds; a reserved name."""

SMALLEST = 1e-6
"""Smaller values count as this: a microsecond, for durations in seconds."""

PER_DOUBLING = 8
LARGEST_BUCKET = 60 * PER_DOUBLING + 1
"""Larger values count as ``SMALLEST * 2 ** 60``."""


def bucket_of(value: float) -> int:
    """Return the bucket of a finite value."""
    if value == 0.0:
        return 0
    size = abs(value) / SMALLEST
    number = 1 if size <= 1.0 else min(LARGEST_BUCKET, 1 + ceil(PER_DOUBLING * log2(size)))
    return number if value > 0.0 else -number


def upper_bound(bucket: int) -> float:
    """Return the bound of a bucket that is farther from zero."""
    if bucket == 0:
        return 0.0
    size: float = SMALLEST * 2.0 ** ((abs(bucket) - 1) / PER_DOUBLING)
    return size if bucket > 0 else -size
