"""The append-only logs: who did what, and what was decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec


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
