"""Commit a change that a pure function makes from the documents as they were read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tidegate_server.admin.presented_documents import with_changed_documents
from tidegate_server.domain.change import Address, Change, Put, Stored
from tidegate_server.errors import NotFound, StaleRevision
from tidegate_server.store import Store

ATTEMPTS = 20
"""How often a change is made again when another commit came between reading and writing."""


@dataclass(frozen=True, slots=True)
class CommittedChange:
    """A committed change, and the revisions it wrote."""

    store: Store
    change: Change
    revisions: Mapping[Address, int]
    at_ms: int

    def stored(self, address: Address) -> Stored:
        """Return a document as this change left it, whether or not the change wrote it.

        Raises:
            NotFound: the change did not write it, and it has been deleted since.
        """
        for write in self.change.writes:
            if isinstance(write, Put) and write.address == address:
                return Stored(write.document, self.revisions[address], self.at_ms)
        stored = self.store.get(self.change.scope, address)
        if stored is None:
            raise NotFound(f"The {address.kind.value} {address.key!r} no longer exists.")
        return stored


def commit_with_retry(store: Store, make_change: Callable[[], Change]) -> CommittedChange:
    """Make a change and commit it; repeat both if another commit came in between.

    Args:
        store: where to commit.
        make_change: reads the documents again each time. An error that it raises, such as a
            stale ``If-Match``, is final.

    Raises:
        StaleRevision: other commits came first every time.
    """
    for attempt in range(1, ATTEMPTS + 1):
        change = with_changed_documents(make_change())
        try:
            committed = store.commit(change)
        except StaleRevision:
            if attempt == ATTEMPTS:
                raise
            continue
        return CommittedChange(store, change, committed.revisions, committed.at_ms)
    raise AssertionError("unreachable")
