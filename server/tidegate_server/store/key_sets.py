"""Key sets: the keys that were uploaded to segments, as hashes, in chunks.

A key set is written as a draft that nobody reads. The commit script makes it the key set of a
segment's list; it is never changed after that. One that a list no longer has is kept for a while,
for SDKs that are reading it and for people who want it back.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tidegate.evaluation.key_sets import KeySet
from tidegate.wire import DIGEST_DIGITS

from tidegate_server.domain.key_hashes import CHUNKS, chunk_of
from tidegate_server.errors import NotKept
from tidegate_server.store import keys
from tidegate_server.store.commit import KEY_SET_SECONDS
from tidegate_server.store.connection import Command, Connection

SLICE = 32
"""How many chunks one command reads or writes: a quarter of a megabyte of the largest key set."""

DRAFT_SECONDS = 600
MAX_STEPS = 50
"""How many changes of a key set, one after the other, are looked for."""

SIZE = "size"
"""The field beside the chunks with the size of all of them."""


@dataclass(frozen=True, slots=True)
class StoredHashes:
    """One key set in the store; each question reads one chunk. Implements ``Hashes`` of the SDK."""

    key_sets: KeySets
    project: str
    digest: str
    owner: str = ""
    """Whose keys they are, for an error: ``segment crew``."""

    def has(self, hash: int) -> bool:
        """Return whether a hash is in the set.

        Raises:
            NotKept: the set is not kept, or not any more.
        """
        try:
            chunk = self.key_sets.chunk(self.project, self.digest, chunk_of(hash))
        except NotKept:
            raise not_kept(self.digest, self.owner) from None
        return KeySet(self.digest, "", chunk).has(hash)


class KeySets:
    """The key sets of a store. Use ``Store.key_sets``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def chunks(self, project: str, digest: str) -> Iterator[list[bytes]]:
        """Yield the chunks of a key set, several at a time; all that is in memory at once.

        Raises:
            NotKept: it is not kept, or not any more.
        """
        key = keys.key_set(project, digest)
        for first in range(0, CHUNKS, SLICE):
            names = [_field(number) for number in range(first, first + SLICE)]
            exists, found = self._connection.read_many(
                [("EXISTS", key), ("HMGET", key, *names)], atomic=True
            )
            if not exists:
                raise not_kept(digest)
            yield [each or b"" for each in found]

    def content(self, project: str, digest: str) -> bytes:
        """Return all hashes of a key set.

        Raises:
            NotKept: it is not kept, or not any more.
        """
        return b"".join(each for several in self.chunks(project, digest) for each in several)

    def chunk(self, project: str, digest: str, number: int) -> bytes:
        """Return one chunk of a key set.

        Raises:
            NotKept: it is not kept, or not any more.
        """
        key = keys.key_set(project, digest)
        exists, found = self._connection.read_many(
            [("EXISTS", key), ("HGET", key, _field(number))], atomic=True
        )
        if not exists:
            raise not_kept(digest)
        return found or b""

    def size(self, project: str, digest: str) -> int:
        """Return the size of a key set, in bytes.

        Raises:
            NotKept: it is not kept, or not any more.
        """
        found = self._connection.read("HGET", keys.key_set(project, digest), SIZE)
        if found is None:
            raise not_kept(digest)
        return int(found)

    def write_draft(
        self, project: str, before: str | None, changed: Mapping[int, bytes], size: int
    ) -> Iterator[str]:
        """Write a key set as a draft, from the one before and the chunks that differ.

        Args:
            project: the project.
            before: the digest of the key set before; None: the draft has only ``changed``.
            changed: chunks by number; empty ones are left out.
            size: of the new key set, in bytes.

        Yields:
            The draft's id after each slice, so that the caller can let others work.

        Raises:
            NotKept: the one before is not kept.
        """
        draft = secrets.token_hex(16)
        key = keys.key_set_draft(project, draft)
        expire = ("EXPIRE", key, DRAFT_SECONDS)
        if before is not None:
            copy = ("COPY", keys.key_set(project, before), key)
            copied, _ = self._connection.write_many([copy, expire])
            if not copied:
                raise not_kept(before)
        numbers = list(changed)
        for first in range(0, len(numbers), SLICE):
            several = {_field(each): changed[each] for each in numbers[first : first + SLICE]}
            full = [part for pair in several.items() if pair[1] for part in pair]
            empty = [field for field, chunk in several.items() if not chunk]
            commands: list[Command] = [("HSET", key, SIZE, size, *full)]
            if empty:
                commands.append(("HDEL", key, *empty))
            self._connection.write_many([*commands, expire])
            yield draft

    def put_step(self, project: str, digest: str, before: str, step: bytes) -> None:
        """Keep the changes that lead from one key set to another, for a while."""
        key = keys.key_set_step(project, digest)
        self._connection.write("SET", key, before.encode() + step, "EX", KEY_SET_SECONDS)

    def steps(self, project: str, digest: str, since: str, most: int) -> bytes | None:
        """Return the changes from one key set to another.

        Args:
            project: the project.
            digest: the key set to reach.
            since: the key set to start from.
            most: how many bytes of changes are worth it.

        Returns:
            One step after the other; None if there are too many, or some are not kept.
        """
        found: list[bytes] = []
        size = 0
        while digest != since:
            kept = self._connection.read("GET", keys.key_set_step(project, digest))
            if kept is None:
                return None
            digest = kept[:DIGEST_DIGITS].decode()
            found.append(kept[DIGEST_DIGITS:])
            size += len(found[-1])
            if size > most or len(found) > MAX_STEPS:
                return None
        return b"".join(reversed(found))


def not_kept(digest: str, owner: str = "") -> NotKept:
    """Return the error for a key set that is not kept.

    Args:
        digest: its name.
        owner: whose keys they are, in words; empty: the caller knows.
    """
    which = f"The keys that {owner} had then" if owner else "These uploaded keys"
    return NotKept(f"{which} are not kept, or not any more (the key set {digest[:12]}…).")


def _field(number: int) -> str:
    return f"{number:03x}"
