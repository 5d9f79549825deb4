"""Committing what a pure function made of the documents as they were read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tidegate_server.domain.change import Address, Change, Put, Stored
from tidegate_server.errors import NotFound, StaleRevision
from tidegate_server.store import Store

ATTEMPTS = 20
"""How often a change is made anew when another one came between reading and writing."""


@dataclass(frozen=True, slots=True)
class CommittedChange:
    """A change that was committed, and what it wrote."""

    store: Store
    change: Change
    revisions: Mapping[Address, int]
    at_ms: int

    def stored(self, address: Address) -> Stored:
        """A document as this change left it, written or, when nothing was new, as it was.

        Raises:
            NotFound: the change left it as it was, and since then it was deleted.
        """
        for write in self.change.writes:
            if isinstance(write, Put) and write.address == address:
                return Stored(write.document, self.revisions[address], self.at_ms)
        present = self.store.get(self.change.scope, address)
        if present is None:
            raise NotFound(f"There is no {address.kind.value} {address.key!r} any more.")
        return present


def commit_with_retry(store: Store, make: Callable[[], Change]) -> CommittedChange:
    """Read, make the change and commit it; again, when something changed in between.

    ``make`` reads afresh each time. What it raises itself, such as a stale ``If-Match``,
    is final; only a commit that met another one is tried again.

    Raises:
        StaleRevision: other changes came first every time.
    """
    for attempt in range(1, ATTEMPTS + 1):
        change = make()
        try:
            committed = store.commit(change)
        except StaleRevision:
            if attempt == ATTEMPTS:
                raise
            continue
        return CommittedChange(store, change, committed.revisions, committed.at_ms)
    raise AssertionError("unreachable")
