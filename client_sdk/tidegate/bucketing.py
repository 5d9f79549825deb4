"""How a salt and a key become a stable bucket.

``bucket = (murmur3_x86_32(utf8(salt + ":" + key), seed 0) * 100000) >> 32``, so 0..99999:
the granularity is 0.001 %. A percentage ``p`` opens the buckets below ``p * 1000``, hence
a larger percentage contains every smaller one.

Murmur3 is Austin Appleby's (SMHasher, MurmurHash3.cpp); the hash is a multiplier of a
range and not a remainder, which keeps every bucket within one part in 42,949 of equal.
"""

from __future__ import annotations

import mmh3

BUCKETS = 100_000
_HASHES = 1 << 32


def bucket(salt: str, key: str) -> int:
    """Return the bucket, 0..99999, of ``key`` under ``salt``.

    Raises:
        UnicodeEncodeError: one of them is no text. (mmh3 itself would crash the process.)
    """
    return (mmh3.hash(f"{salt}:{key}".encode(), 0, False) * BUCKETS) >> 32


def buckets_below(percentage: float) -> int:
    """Return how many buckets a percentage (0..100, three decimals) opens."""
    return round(percentage * 1000)


def hash_limit(buckets: int) -> int:
    """Return the limit L for which ``hash < L`` says what ``bucket < buckets`` says.

    ``h`` is the unsigned 32-bit hash; comparing it spares a multiplication and a shift.
    ``floor(h * 100000 / 2**32) < b`` holds exactly when ``h < ceil(b * 2**32 / 100000)``.
    """
    return -(-buckets * _HASHES // BUCKETS)


def user_hash(key: str) -> str:
    """Return the 64-bit name, as 16 hex digits, under which a failing user is reported.

    It is the first half of murmur3 x64_128 with seed 0.
    """
    # By name: mmh3 ignores the fourth argument of hash64 when it is given by position.
    # Half of a surrogate pair is no text, but must not keep an operation from ending.
    return f"{mmh3.hash64(key.encode('utf-8', 'surrogatepass'), signed=False)[0]:016x}"
