"""Murmur3 from its definition (Austin Appleby, SMHasher), to compare with."""

from __future__ import annotations

from collections.abc import Callable

_32 = 0xFFFFFFFF
_64 = 0xFFFFFFFFFFFFFFFF


def _rotate(value: int, by: int, bits: int) -> int:
    return (value << by | value >> (bits - by)) & (1 << bits) - 1


def x86_32(data: bytes, seed: int = 0) -> int:
    """Return the 32-bit hash of the 32-bit variant."""
    h = seed
    for at in range(0, len(data), 4):
        block = data[at : at + 4]
        k = int.from_bytes(block, "little") * 0xCC9E2D51 & _32
        h ^= _rotate(k, 15, 32) * 0x1B873593 & _32
        if len(block) == 4:
            h = (_rotate(h, 13, 32) * 5 + 0xE6546B64) & _32
    h ^= len(data)
    h = (h ^ h >> 16) * 0x85EBCA6B & _32
    h = (h ^ h >> 13) * 0xC2B2AE35 & _32
    return h ^ h >> 16


def x64_128(data: bytes, seed: int = 0) -> tuple[int, int]:
    """Return both halves of the 128-bit hash of the 64-bit variant."""
    c1, c2 = 0x87C37B91114253D5, 0x4CF5AD432745937F
    h1 = h2 = seed
    for at in range(0, len(data), 16):
        block = data[at : at + 16]
        k1 = int.from_bytes(block[:8], "little")
        k2 = int.from_bytes(block[8:], "little")
        h1 ^= _rotate(k1 * c1 & _64, 31, 64) * c2 & _64
        if len(block) == 16:
            h1 = ((_rotate(h1, 27, 64) + h2) * 5 + 0x52DCE729) & _64
        h2 ^= _rotate(k2 * c2 & _64, 33, 64) * c1 & _64
        if len(block) == 16:
            h2 = ((_rotate(h2, 31, 64) + h1) * 5 + 0x38495AB5) & _64
    h1 ^= len(data)
    h2 ^= len(data)
    h1 = (h1 + h2) & _64
    h2 = (h2 + h1) & _64
    h1, h2 = _mix(h1), _mix(h2)
    h1 = (h1 + h2) & _64
    return h1, (h2 + h1) & _64


def _mix(h: int) -> int:
    h = (h ^ h >> 33) * 0xFF51AFD7ED558CCD & _64
    h = (h ^ h >> 33) * 0xC4CEB9FE1A85EC53 & _64
    return h ^ h >> 33


def verification(hash: Callable[[bytes, int], bytes]) -> int:
    """Return SMHasher's verification value of a hash function.

    It hashes keys of 0, 1, ... 255 bytes with the seed 256 minus their length, and then all
    these hashes together with the seed 0. The value is the first four bytes of the result.
    """
    hashes = b"".join(hash(bytes(range(length)), 256 - length) for length in range(256))
    return int.from_bytes(hash(hashes, 0)[:4], "little")
