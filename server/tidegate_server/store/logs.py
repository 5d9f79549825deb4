"""The append-only logs: who did what, and what was decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from tidegate_server.errors import NotPossible
from tidegate_server.ledger.entry import Entry
from tidegate_server.ledger.replay import Recorded


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who did what to what, when and why; ``id`` is its place in the log."""

    id: str
    at_ms: int
    actor: str
    action: str
    target: str
    environment: str
    reason: str
    details: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LedgerRecord:
    """One decision of a release as it was written; ``id`` is its place in the ledger."""

    id: str
    at_ms: int
    entry: Mapping[str, Any]


def audit_entry(id: bytes, fields: Mapping[bytes, bytes]) -> AuditEntry:
    """Return an entry of the audit stream."""
    return AuditEntry(
        id=id.decode(), at_ms=int(fields[b"at"]), **msgspec.json.decode(fields[b"entry"])
    )


def ledger_record(id: bytes, fields: Mapping[bytes, bytes]) -> LedgerRecord:
    """Return an entry of a ledger stream."""
    return LedgerRecord(id.decode(), int(fields[b"at"]), msgspec.json.decode(fields[b"entry"]))


def recorded(record: LedgerRecord) -> Recorded:
    """Return an entry of a ledger with its parts.

    Fields that the entry's version did not have yet take their defaults, and those that this
    version does not know are left out.

    Raises:
        NotPossible: a later version wrote it, with a word that this one does not know.
    """
    try:
        return Recorded(record.id, msgspec.convert(record.entry, Entry), record.entry)
    except msgspec.ValidationError as error:
        raise NotPossible(
            f"Entry {record.id} of the ledger cannot be read ({error}). Another version of "
            "Tidegate wrote it; that version can."
        ) from None
