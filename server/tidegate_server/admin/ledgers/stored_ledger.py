"""Read a release's ledger from the store, entry by entry."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from tidegate_server.errors import NotPossible
from tidegate_server.ledger.entry import Entry
from tidegate_server.ledger.replay import RecordedEntry
from tidegate_server.store import Store
from tidegate_server.store.logs import LedgerRecord

PAGE = 100
"""Entries per read."""


def read_ledger(
    store: Store, project: str, environment: str, release: str, after: str | None = None
) -> Iterator[RecordedEntry]:
    """Yield the entries of a release that follow the id ``after``, the oldest first.

    Raises:
        NotPossible: this version cannot read an entry.
    """
    while page := store.logs.ledger_after(project, environment, release, after, PAGE):
        yield from map(read_entry, page)
        after = page[-1].id


def read_entry(record: LedgerRecord) -> RecordedEntry:
    """Return an entry with its parts.

    Fields that the entry's version did not have yet take their defaults; fields that this
    version does not know are left out.

    Raises:
        NotPossible: a later version wrote it, with a value that this one does not know.
    """
    try:
        return RecordedEntry(record.id, msgspec.convert(record.entry, Entry), record.entry)
    except msgspec.ValidationError as error:
        raise NotPossible(
            f"Entry {record.id} of the ledger cannot be read ({error}). Another version of "
            "Tidegate wrote it; that version can."
        ) from None
