"""Stable buckets from a salt and a key.

``bucket = (murmur3_x86_32(utf8(salt + ":" + key), seed 0) * 100000) >> 32``, so 0 to 99,999:
the granularity is 0.001 %. A percentage ``p`` opens the buckets below ``p * 1000``, so a
larger percentage contains every smaller one.

Murmur3 is by Austin Appleby (SMHasher, MurmurHash3.cpp). Multiplying the hash, instead of
taking a remainder, keeps the buckets' sizes within one part in 42,949 of each other.
"""

from __future__ import annotations

import mmh3

BUCKETS = 100_000
_HASHES = 1 << 32


def bucket(salt: str, key: str) -> int:
    """Return the bucket of a key under a salt, 0 to 99,999.

    Raises:
        UnicodeEncodeError: one of them contains an unpaired surrogate. (mmh3 itself would
            crash the process.)
    """
    return (mmh3.hash(f"{salt}:{key}".encode(), 0, False) * BUCKETS) >> 32


def buckets_below(percentage: float) -> int:
    """Return how many buckets a percentage (0 to 100, three decimals) opens."""
    return round(percentage * 1000)


def hash_limit(buckets: int) -> int:
    """Return the limit L such that ``hash < L`` exactly when ``bucket < buckets``.

    Comparing the unsigned 32-bit hash saves a multiplication and a shift:
    ``floor(h * 100000 / 2**32) < b`` exactly when ``h < ceil(b * 2**32 / 100000)``.
    """
    return -(-buckets * _HASHES // BUCKETS)


def user_hash(key: str) -> str:
    """Return the hash under which a failing user is reported, as 16 hexadecimal digits.

    It is the first half of murmur3 x64_128 with seed 0.
    """
    # A keyword: mmh3 ignores the fourth argument of hash64 when it is positional.
    # surrogatepass: a key with an unpaired surrogate must not stop an operation from ending.
    return f"{mmh3.hash64(key.encode('utf-8', 'surrogatepass'), signed=False)[0]:016x}"
