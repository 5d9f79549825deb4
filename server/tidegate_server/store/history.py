"""The versions of documents: what each revision was, and who made it, when and why.

The commit script keeps them. A document that has not changed since Tidegate keeps versions has
only its present one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from tidegate_server.domain.calendar import instant_text
from tidegate_server.domain.change import Address
from tidegate_server.domain.kinds import Kind
from tidegate_server.errors import NotKept
from tidegate_server.store import documents, keys
from tidegate_server.store.connection import Connection

CHUNK = 20
"""How many versions one read gets."""


class Made(msgspec.Struct, frozen=True):
    """How a version was made, as the commit script writes it.

    Attributes:
        at: when, in milliseconds (the store's time).
        actor, action, reason: who made it, how and why; empty if that is not known.
        created: the document did not exist before.
        deleted: this version is the deletion of the document.
        json: the document; None for the latest version and for a deletion.
    """

    at: int
    actor: str = ""
    action: str = ""
    reason: str = ""
    created: bool = False
    deleted: bool = False
    json: str | None = None


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a document.

    Attributes:
        kind: the kind of the document.
        revision: its revision; of a deletion, the revision that was deleted.
        made: who made it, when and why.
        json: the document as stored; None: this version is its deletion, or what it was is not
            kept.
    """

    kind: Kind
    revision: int
    made: Made
    json: str | bytes | None

    @property
    def at_ms(self) -> int:
        """When it was made (the store's time)."""
        return self.made.at

    @property
    def actor(self) -> str:
        """Who made it; empty if that is not known."""
        return self.made.actor

    @property
    def action(self) -> str:
        """How it was made, as in the audit log; empty if that is not known."""
        return self.made.action

    @property
    def reason(self) -> str:
        """Why it was made."""
        return self.made.reason

    @property
    def created(self) -> bool:
        """Whether the document did not exist before."""
        return self.made.created

    @property
    def deleted(self) -> bool:
        """Whether this version is the deletion of the document."""
        return self.made.deleted

    @property
    def position(self) -> tuple[int, bool]:
        """Its place in the history; later versions have greater ones."""
        return self.revision, self.deleted

    @property
    def document(self) -> Any:
        """The document; None if this version has none."""
        return None if self.json is None else documents.decode_json(self.kind, self.json)


class History:
    """Reads the versions of documents. Use ``Store.history``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def versions(
        self, scope: str, address: Address, cursor: str | None, limit: int
    ) -> tuple[list[Version], str | None]:
        """Return versions, the latest first, and the cursor of the next page.

        There is none if the document never existed, or was deleted long ago.
        """
        found: list[Version] = []
        for version in self._all(scope, address):
            if cursor is not None and version.position >= _parse_cursor(cursor):
                continue
            if len(found) == limit:
                revision, deleted = found[-1].position
                return found, f"{revision}-{int(deleted)}"
            found.append(version)
        return found, None

    def version(self, scope: str, address: Address, revision: int) -> Version:
        """Return one version.

        Raises:
            NotKept: there is no such version, or it is no longer kept.
        """
        for version in self._all(scope, address):
            if version.revision == revision and version.json is not None:
                return version
            if version.revision < revision:
                break
        raise NotKept(
            f"Revision {revision} of {_name(address)} is not kept; its history lists what is."
        )

    def version_at(self, scope: str, address: Address, at_ms: int) -> Version | None:
        """Return the version of a time; None if the document did not exist then.

        Raises:
            NotKept: the version of that time is not kept.
        """
        earliest: Version | None = None
        for version in self._all(scope, address):
            if version.at_ms <= at_ms:
                if version.json is None and not version.deleted:
                    break
                return None if version.deleted else version
            earliest = version
        if earliest is None or earliest.created:
            return None
        raise NotKept(
            f"What {_name(address)} was at that time is not kept; its versions begin at "
            f"{instant_text(earliest.at_ms)}."
        )

    def _all(self, scope: str, address: Address) -> Iterator[Version]:
        """Yield every version, the latest first, with the present one in any case."""
        versions, start = keys.versions(scope, address), 0
        entries, stored = self._connection.read_many(
            [
                ("LRANGE", versions, 0, CHUNK - 1),
                ("HGET", keys.documents_at(scope, address), address.key),
            ],
            atomic=True,
        )
        revision, updated_ms, json = (b"0", b"0", None)
        if stored is not None:
            revision, updated_ms, json = stored.split(b" ", 2)
        present = Version(address.kind, int(revision), Made(int(updated_ms)), json)
        latest: Version | None = None
        while entries:
            for entry in entries:
                version = _version(address.kind, entry)
                if latest is None and json is not None and version.position < present.position:
                    yield present
                if latest is not None and version.position >= latest.position:
                    continue  # another commit came between two reads
                latest = version
                if version.position == present.position:
                    version = replace(version, json=json)
                yield version
            start += len(entries)
            if len(entries) < CHUNK:
                break
            entries = self._connection.read("LRANGE", versions, start, start + CHUNK - 1)
        if latest is None and json is not None:
            yield present


def _version(kind: Kind, entry: bytes) -> Version:
    revision, _, packed = entry.partition(b" ")
    made = msgspec.msgpack.decode(packed, type=Made)
    return Version(kind, int(revision), made, made.json)


def _parse_cursor(cursor: str) -> tuple[int, bool]:
    revision, _, deleted = cursor.partition("-")
    return int(revision), deleted != "0"


def _name(address: Address) -> str:
    if address.kind is Kind.TARGETING:
        return f"flag {address.key!r} in {address.environment}"
    return f"{address.kind.words} {address.key!r}"
