"""A store in which planned operations see what the operations before them would write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from tidegate_server.domain.change import Address, Change, Guard, Put, Stored
from tidegate_server.domain.kinds import Kind
from tidegate_server.errors import NotPossible
from tidegate_server.store import Store
from tidegate_server.store.document_cache import CachedDocuments


class PendingStore(Store):
    """Reads like a store, and keeps changes instead of committing them.

    A document that is written here keeps the revision that is stored, because all changes become
    one commit. A document that does not exist in the store has the revision 0.

    Attributes:
        pending: the changes, in order.
        server_values: the single values to write before the commit.
    """

    def __init__(self, store: Store) -> None:
        # All doors of the store, without another connection.
        self.__dict__.update(store.__dict__)
        self._store = store
        self.pending: list[Change] = []
        self.server_values: dict[str, str] = {}
        self._written: dict[tuple[str, Address], Stored | None] = {}

    def keep(self, change: Change) -> None:
        """Keep a change; the reads that follow see what it writes."""
        self.pending.append(change)
        now_ms = self.now_ms()
        for write in change.writes:
            if not isinstance(write, Guard):
                stored = (
                    Stored(write.document, write.expected, now_ms)
                    if isinstance(write, Put)
                    else None
                )
                self._written[change.scope, write.address] = stored

    def get(self, scope: str, address: Address) -> Stored | None:
        """Return a document; None if it does not exist."""
        if (scope, address) in self._written:
            return self._written[scope, address]
        return self._store.get(scope, address)

    def get_many(self, scope: str, addresses: Sequence[Address]) -> list[Stored | None]:
        """Return several documents of a scope."""
        found = self._store.get_many(scope, addresses)
        return [
            self._written.get((scope, address), stored)
            for address, stored in zip(addresses, found, strict=True)
        ]

    def all(self, scope: str, kind: Kind, environment: str = "") -> dict[str, Stored]:
        """Return every document of a kind, by key."""
        stored = self._store.all(scope, kind, environment)
        return self._with_written(stored, scope, kind, environment)

    def cached_all(
        self, scope: str, kinds: Sequence[tuple[Kind, str]]
    ) -> Sequence[CachedDocuments]:
        """Return every document of several kinds."""
        return [
            CachedDocuments(self._with_written(dict(each.stored), scope, *kind), each.moment)
            if any(self._is_of(place, scope, *kind) for place in self._written)
            else each
            for kind, each in zip(kinds, self._store.cached_all(scope, kinds), strict=True)
        ]

    def all_of(self, scope: str, kinds: Sequence[tuple[Kind, str]]) -> list[dict[str, Stored]]:
        """Return every document of several kinds, each by key."""
        found = self._store.all_of(scope, kinds)
        return [
            self._with_written(documents, scope, *each)
            for each, documents in zip(kinds, found, strict=True)
        ]

    def keys(self, scope: str, kind: Kind, environment: str = "") -> list[str]:
        """Return the key of every document of a kind, in order."""
        return sorted(self.all(scope, kind, environment))

    def put_server_value_once(self, name: str, value: str) -> str:
        """Keep a single value, to be written before the commit."""
        return self.server_values.setdefault(name, value)

    def commit(self, change: Change, durable: bool = True) -> NoReturn:
        """Refuse: an operation that commits by another way cannot be planned."""
        raise NotPossible("This operation cannot be planned; do it at once.")

    def commit_many(self, changes: Sequence[Change], durable: bool = True) -> NoReturn:
        """Refuse, as ``commit`` does."""
        raise NotPossible("This operation cannot be planned; do it at once.")

    def _with_written(
        self, documents: dict[str, Stored], scope: str, kind: Kind, environment: str
    ) -> dict[str, Stored]:
        for place, stored in self._written.items():
            if not self._is_of(place, scope, kind, environment):
                continue
            if stored is None:
                documents.pop(place[1].key, None)
            else:
                documents[place[1].key] = stored
        return documents

    @staticmethod
    def _is_of(place: tuple[str, Address], scope: str, kind: Kind, environment: str) -> bool:
        where, address = place
        return (where, address.kind, address.environment) == (scope, kind, environment)
