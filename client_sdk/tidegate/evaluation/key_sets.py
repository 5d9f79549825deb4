"""Key sets: large sets of targeting keys, kept as sorted 64-bit hashes.

A set of n keys takes 8 n bytes, in one block of memory that forked processes share. Its content is
its hashes, as unsigned 64-bit integers, smallest first, each in eight bytes with the lowest first.
The SHA-256 of the content, in hexadecimal digits, is its digest, which is its name.

A key that is not in the set counts as in it if its hash is that of a key in it: with a million keys
one in 18 million million others does. The hash is a part of a SHA-256, so whoever wants such a key
has to try that many.
"""

from __future__ import annotations

import struct
import sys
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Protocol

from tidegate.context import Context
from tidegate.errors import WireError

HASH_BYTES = 8

_first_hash = struct.Struct("<Q").unpack_from
_sizes = struct.Struct("<II")


def key_hash(salted: str) -> int:
    """Return the hash of a key: the first 64 bits of the SHA-256 of its UTF-8, lowest byte first.

    Args:
        salted: the set's salt, a colon and the key.
    """
    found: int = _first_hash(sha256(salted.encode()).digest())[0]
    return found


class Hashes(Protocol):
    """Tells which hashes are in a key set."""

    def has(self, hash: int, /) -> bool:
        """Return whether a hash is in the set."""
        ...


class KeySet:
    """A whole key set; immutable.

    Args:
        digest: its digest.
        salt: what its keys are hashed with.
        content: its hashes.
    """

    __slots__ = ("__weakref__", "_hashes", "content", "digest", "salt")

    def __init__(self, digest: str, salt: str, content: bytes) -> None:
        self.digest: str = digest
        self.salt: str = salt
        self.content: bytes = content
        self._hashes: memoryview = as_hashes(content)

    def __len__(self) -> int:
        return len(self.content) // HASH_BYTES

    def has(self, hash: int) -> bool:
        """Return whether a hash is in the set."""
        hashes = self._hashes
        place = bisect_left(hashes, hash)
        return place < len(hashes) and hashes[place] == hash

    @classmethod
    def of_content(cls, digest: str, salt: str, content: bytes) -> KeySet:
        """Return the key set with a digest.

        Raises:
            WireError: the content is not what the digest names.
        """
        if sha256(content).hexdigest() != digest:
            raise WireError("", "the keys are not those of the digest")
        return cls(digest, salt, content)

    def changed(self, digest: str, changes: bytes) -> KeySet:
        """Return the set after changes.

        Args:
            digest: the digest that the set has after them.
            changes: one or more steps, each with how many hashes leave and how many join (unsigned
                32-bit integers), the hashes that leave, and those that join.

        Raises:
            WireError: the changes cannot be read, or do not lead to the digest.
        """
        left, joined = net_changes(changes)
        return KeySet.of_content(digest, self.salt, with_changes(self.content, left, joined))


def as_hashes(content: bytes) -> memoryview:
    """Return the hashes of a content, which is not copied."""
    if sys.byteorder == "big":
        swapped: array[int] = array("Q", content)
        swapped.byteswap()
        return memoryview(swapped)
    return memoryview(content).cast("Q")


def hashes_content(hashes: Iterable[int]) -> bytes:
    """Return sorted hashes as a content."""
    several = list(hashes)
    return struct.pack(f"<{len(several)}Q", *several)


def step(left: Iterable[int], joined: Iterable[int]) -> bytes:
    """Return one step of changes."""
    leaving, joining = sorted(left), sorted(joined)
    return (
        _sizes.pack(len(leaving), len(joining)) + hashes_content(leaving) + hashes_content(joining)
    )


def net_changes(changes: bytes) -> tuple[set[int], set[int]]:
    """Return the hashes that leave and those that join over all steps.

    Raises:
        WireError: it is not a sequence of steps.
    """
    left: set[int] = set()
    joined: set[int] = set()
    place = 0
    try:
        while place < len(changes):
            leaving, joining = _sizes.unpack_from(changes, place)
            place += _sizes.size
            hashes = struct.unpack_from(f"<{leaving + joining}Q", changes, place)
            place += HASH_BYTES * len(hashes)
            for each in hashes[:leaving]:
                if each in joined:
                    joined.discard(each)
                else:
                    left.add(each)
            for each in hashes[leaving:]:
                if each in left:
                    left.discard(each)
                else:
                    joined.add(each)
    except struct.error:
        raise WireError("", "the changes of the keys are cut off") from None
    return left, joined


def with_changes(content: bytes, left: set[int], joined: set[int]) -> bytes:
    """Return a content without some hashes and with others, in order."""
    hashes = as_hashes(content)
    parts: list[bytes | memoryview] = []
    whole = memoryview(content)
    begin = 0
    for hash in sorted(left | joined):
        place = bisect_left(hashes, hash)
        parts.append(whole[begin * HASH_BYTES : place * HASH_BYTES])
        is_there = place < len(hashes) and hashes[place] == hash
        begin = place + is_there
        if hash in joined:
            parts.append(struct.pack("<Q", hash))
    parts.append(whole[begin * HASH_BYTES :])
    return b"".join(parts)


def key_test(hashes: Hashes, salt: str) -> Callable[[Context], bool]:
    """Return the test of whether a context's targeting key is in a set."""
    prefix = f"{salt}:"
    has = hashes.has

    def is_member(context: Context) -> bool:
        key = context.targeting_key
        return isinstance(key, str) and has(key_hash(prefix + key))

    return is_member
