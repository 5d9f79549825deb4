"""The hashes of uploaded keys, in chunks: collecting them, and comparing them with those before.

The store keeps a key set (``tidegate.evaluation.key_sets``) in chunks, by the highest bits of the
hashes. So a million keys are sorted and compared a thousand at a time, in a few megabytes, and a
change of ten keys writes at most ten chunks.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256

from tidegate.evaluation.key_sets import HASH_BYTES, hashes_content, step

from tidegate_server.domain.flags import MAX_UPLOADED_KEYS
from tidegate_server.errors import Invalid

CHUNK_BITS = 10
CHUNKS = 1 << CHUNK_BITS

CHUNKS_AT_ONCE = 8
"""How many chunks are compared without a pause: a few milliseconds' work."""

SPARE_KEYS = 200_000
"""How many repeated keys are collected before repetitions are removed."""

MAX_STEP_HASHES = 100_000
"""Changes of more hashes are not kept as a step: SDKs then read the whole key set."""


class Mode(StrEnum):
    """What an upload does to the keys of a list."""

    ADD = "add"
    REMOVE = "remove"
    REPLACE = "replace"


class KeyHashes:
    """The hashes of the keys of one upload, without repetitions.

    Args:
        most: how many different keys there may be.
    """

    def __init__(self, most: int = MAX_UPLOADED_KEYS) -> None:
        self._most = most
        self._chunks = [bytearray() for _ in range(CHUNKS)]
        self._collected = 0
        self._tidy_at = most + SPARE_KEYS
        self.keys = 0
        """How many keys were added, repetitions included."""

    def add(self, digest: bytes) -> None:
        """Add a key by the SHA-256 of its salted text.

        Raises:
            Invalid: there are too many different keys.
        """
        self._chunks[digest[7] << 2 | digest[6] >> 6] += digest[:HASH_BYTES]
        self.keys += 1
        self._collected += 1
        if self._collected >= self._tidy_at:
            self._remove_repetitions()

    def chunk(self, number: int) -> list[int]:
        """Return the hashes of a chunk, sorted."""
        content = self._chunks[number]
        return sorted(set(struct.unpack(f"<{len(content) // HASH_BYTES}Q", content)))

    def _remove_repetitions(self) -> None:
        for number in range(CHUNKS):
            self._chunks[number] = bytearray(hashes_content(self.chunk(number)))
        self._collected = sum(map(len, self._chunks)) // HASH_BYTES
        if self._collected > self._most:
            raise too_many_keys()
        self._tidy_at = self._collected + SPARE_KEYS


def too_many_keys() -> Invalid:
    """Return the error for a list with too many keys."""
    return Invalid(
        f"A list can have {MAX_UPLOADED_KEYS:,} different keys at most. Spread the others over "
        "further segments, and name those in a condition of this one."
    )


@dataclass(slots=True)
class Difference:
    """What an upload makes of a list.

    Attributes:
        digest: the digest of the new key set; of the empty one if ``count`` is 0.
        count: how many keys it has.
        added, removed: how many keys join and leave.
        chunks: how many of its chunks are not empty.
        changed: the chunks that differ from before, by number; empty ones, too.
    """

    digest: str = ""
    count: int = 0
    added: int = 0
    removed: int = 0
    chunks: int = 0
    changed: dict[int, bytes] = field(default_factory=dict)
    _left: list[int] = field(default_factory=list)
    _joined: list[int] = field(default_factory=list)

    @property
    def step(self) -> bytes | None:
        """The step of changes from the key set before; None: it would be too large."""
        hashes = self.added + self.removed
        if hashes > MAX_STEP_HASHES or hashes * 4 > self.count:
            return None
        return step(self._left, self._joined)

    def note(self, number: int, before: bytes, after: bytes) -> None:
        """Note what a chunk becomes."""
        self.count += len(after) // HASH_BYTES
        self.chunks += bool(after)
        if after == before:
            return
        self.changed[number] = after
        old, new = _hashes(before), _hashes(after)
        left, joined = old - new, new - old
        self.removed += len(left)
        self.added += len(joined)
        if self.added + self.removed <= MAX_STEP_HASHES:
            self._left += left
            self._joined += joined


def compare(
    uploaded: KeyHashes,
    mode: Mode,
    before: Iterable[bytes],
    pause: Callable[[], None] = lambda: None,
) -> Difference:
    """Compare an upload with the key set before, chunk by chunk.

    Args:
        uploaded: the keys.
        mode: what to do with them.
        before: the content of each chunk of the key set before.
        pause: called again and again, to let others work.

    Raises:
        Invalid: the list would have too many keys.
    """
    difference = Difference()
    digest = sha256()
    for number, content in enumerate(before):
        keys = uploaded.chunk(number)
        if mode is Mode.REPLACE:
            after = hashes_content(keys)
        elif not keys:
            after = content
        elif mode is Mode.ADD:
            after = hashes_content(sorted(_hashes(content).union(keys)))
        else:
            after = hashes_content(sorted(_hashes(content).difference(keys)))
        digest.update(after)
        difference.note(number, content, after)
        if number % CHUNKS_AT_ONCE == 0:
            pause()
    if difference.count > MAX_UPLOADED_KEYS:
        raise too_many_keys()
    difference.digest = digest.hexdigest()
    return difference


def chunk_of(hash: int) -> int:
    """Return the number of the chunk that a hash belongs to."""
    return hash >> (64 - CHUNK_BITS)


def _hashes(content: bytes) -> set[int]:
    return set(struct.unpack(f"<{len(content) // HASH_BYTES}Q", content))
