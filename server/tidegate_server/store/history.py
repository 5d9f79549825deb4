"""The versions of documents: what each revision was, and who made it, when and why.

The commit script keeps them. A document that has not changed since Tidegate keeps versions has
only its present one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tidegate_server.domain.calendar import instant_text
from tidegate_server.domain.change import Address, Kind
from tidegate_server.errors import NotKept
from tidegate_server.store import documents, keys
from tidegate_server.store.connection import Connection

PAGE = 50
"""How many versions one read of a search gets."""


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a document.

    Attributes:
        revision: its revision; of a deletion, the revision that was deleted.
        at_ms: when it was made (the store's time).
        actor, action, reason: who made it, how and why; empty if that is not known.
        created: the document did not exist before.
        position: its place in the history.
        kind: the kind of the document.
        json: the document as stored; None: this version is its deletion.
    """

    revision: int
    at_ms: int
    actor: str
    action: str
    reason: str
    created: bool
    position: str
    kind: Kind
    json: bytes | None

    @property
    def deleted(self) -> bool:
        """Whether this version is the deletion of the document."""
        return self.json is None

    @property
    def document(self) -> Any:
        """The document; None if this version is its deletion."""
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
        kept, present = self._latest(scope, address, cursor, limit + 1)
        if cursor is None and present is not None:
            kept.insert(0, present)
        return kept[:limit], kept[limit - 1].position if len(kept) > limit else None

    def version(self, scope: str, address: Address, revision: int) -> Version:
        """Return one version.

        Raises:
            NotKept: there is no such version, or it is no longer kept.
        """
        _, present = self._latest(scope, address, None, 1)
        if present is not None and present.revision == revision:
            return present
        id = f"{revision}-0"
        entries = self._connection.read("XRANGE", keys.versions(scope, address), id, id)
        for entry in entries:
            return _version(address, *entry)
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
                return None if version.deleted else version
            earliest = version
        if earliest is None or earliest.created:
            return None
        raise NotKept(
            f"What {_name(address)} was at that time is not kept; its versions begin at "
            f"{instant_text(earliest.at_ms)}."
        )

    def _all(self, scope: str, address: Address) -> Iterator[Version]:
        cursor: str | None = None
        while True:
            versions, cursor = self.versions(scope, address, cursor, PAGE)
            yield from versions
            if cursor is None:
                return

    def _latest(
        self, scope: str, address: Address, cursor: str | None, amount: int
    ) -> tuple[list[Version], Version | None]:
        """Return kept versions before a cursor, and the present one if it is not among them."""
        start = "+" if cursor is None else f"({cursor}"
        entries, stored = self._connection.read_many(
            [
                ("XREVRANGE", keys.versions(scope, address), start, "-", "COUNT", amount),
                ("HGET", keys.documents_at(scope, address), address.key),
            ],
            atomic=True,
        )
        kept = [_version(address, *entry) for entry in entries]
        if stored is None:
            return kept, None
        revision, updated_ms, json = stored.split(b" ", 2)
        if kept and kept[0].revision >= int(revision) and not kept[0].deleted:
            return kept, None
        position = f"{int(revision)}-0"
        return kept, Version(
            int(revision), int(updated_ms), "", "", "", False, position, address.kind, json
        )


def _version(address: Address, id: bytes, fields: Mapping[bytes, bytes]) -> Version:
    position = id.decode()
    return Version(
        revision=int(position.partition("-")[0]),
        at_ms=int(fields[b"at"]),
        actor=fields.get(b"actor", b"").decode(),
        action=fields.get(b"action", b"").decode(),
        reason=fields.get(b"reason", b"").decode(),
        created=fields.get(b"created") == b"1",
        position=position,
        kind=address.kind,
        json=fields.get(b"json"),
    )


def _name(address: Address) -> str:
    if address.kind is Kind.TARGETING:
        return f"flag {address.key!r} in {address.environment}"
    return f"{address.kind} {address.key!r}"
