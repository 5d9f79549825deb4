"""Commit a change that a pure function makes from the documents as they were read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tidegate_server.admin.evaluation_counts.earlier_flags import forget_earlier_flags
from tidegate_server.admin.guarded_changes import require_approvals
from tidegate_server.admin.pending_store import PendingStore
from tidegate_server.admin.presented_documents import with_changed_documents
from tidegate_server.domain.change import Address, Change, Put, Stored
from tidegate_server.errors import NotFound, StaleRevision
from tidegate_server.store import Store

ATTEMPTS = 20
"""How often a change is made again when another commit came between reading and writing."""


@dataclass(frozen=True, slots=True)
class CommittedChange:
    """A committed change, the revisions it wrote, and the new versions of environments."""

    store: Store
    change: Change
    revisions: Mapping[Address, int]
    versions: Mapping[str, int]
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
            raise NotFound(f"The {address.kind.words} {address.key!r} no longer exists.")
        return stored


def commit_with_retry(
    store: Store,
    make_change: Callable[[], Change],
    prepare: Callable[[Store, Change], Change] = require_approvals,
) -> CommittedChange:
    """Make a change and commit it; repeat both if another commit came in between.

    Args:
        store: where to commit; a pending store keeps the change instead.
        make_change: reads the documents again each time. An error that it raises, such as a
            stale ``If-Match``, is final.
        prepare: returns what to commit of the change; raises if it may not be made.

    Raises:
        StaleRevision: other commits came first every time.
        ApprovalRequired: a protected environment lets other people approve this change.
    """
    if isinstance(store, PendingStore):
        change = make_change()
        store.keep(change)
        revisions = {write.address: write.expected + 1 for write in change.writes}
        return CommittedChange(store, change, revisions, {}, store.now_ms())
    for attempt in range(1, ATTEMPTS + 1):
        change = with_changed_documents(make_change())
        try:
            prepared = prepare(store, change)
            forget_earlier_flags(store, prepared)
            committed = store.commit(prepared)
        except StaleRevision:
            if attempt == ATTEMPTS:
                raise
            continue
        return CommittedChange(
            store, change, committed.revisions, committed.versions, committed.at_ms
        )
    raise AssertionError("unreachable")
