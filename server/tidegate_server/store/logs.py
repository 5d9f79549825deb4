"""The append-only logs: the audit log and the ledgers of releases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from tidegate_server.store import keys
from tidegate_server.store.connection import Connection


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who did what, when and why; ``id`` is the entry's position in the log."""

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
    """One stored decision of a release; ``id`` is its position in the ledger."""

    id: str
    at_ms: int
    entry: Mapping[str, Any]


class Logs:
    """The audit log of every project and of the server, and the ledger of every release."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def audit(
        self, scope: str, cursor: str | None = None, limit: int = 100
    ) -> tuple[list[AuditEntry], str | None]:
        """Return entries of the audit log, the latest first, and the cursor of the next page."""
        entries, next_cursor = self._page(keys.audit(scope), cursor, limit)
        return [_audit_entry(*entry) for entry in entries], next_cursor

    def audit_between(
        self, scope: str, from_ms: int, to_ms: int, page: int = 500
    ) -> Iterator[AuditEntry]:
        """Return the entries of a period, the earliest first, read page by page."""
        start = str(from_ms)
        while True:
            entries = self._range(keys.audit(scope), start, str(to_ms), page)
            yield from (_audit_entry(*entry) for entry in entries)
            if len(entries) < page:
                return
            start = f"({entries[-1][0].decode()}"

    def ledger(
        self,
        project: str,
        environment: str,
        release: str,
        cursor: str | None = None,
        limit: int = 100,
    ) -> tuple[list[LedgerRecord], str | None]:
        """Return decisions of a release, the latest first, and the cursor of the next page."""
        entries, next_cursor = self._page(keys.ledger(project, environment, release), cursor, limit)
        return [_ledger_record(*entry) for entry in entries], next_cursor

    def ledger_after(
        self, project: str, environment: str, release: str, after: str | None, limit: int
    ) -> list[LedgerRecord]:
        """Return decisions of a release, the earliest first, from the one after an id."""
        start = "-" if after is None else f"({after}"
        entries = self._range(keys.ledger(project, environment, release), start, "+", limit)
        return [_ledger_record(*entry) for entry in entries]

    def ledger_length(self, project: str, environment: str, release: str) -> int:
        """Return how many decisions a release's ledger has."""
        return int(self._connection.read("XLEN", keys.ledger(project, environment, release)))

    def _range(self, key: str, start: str, end: str, limit: int) -> list[Any]:
        entries: list[Any] = self._connection.read("XRANGE", key, start, end, "COUNT", limit)
        return entries

    def _page(self, key: str, cursor: str | None, limit: int) -> tuple[list[Any], str | None]:
        start = "+" if cursor is None else f"({cursor}"
        entries = self._connection.read("XREVRANGE", key, start, "-", "COUNT", limit + 1)
        page = entries[:limit]
        return page, page[-1][0].decode() if len(entries) > limit else None


def _audit_entry(id: bytes, fields: Mapping[bytes, bytes]) -> AuditEntry:
    return AuditEntry(
        id=id.decode(), at_ms=int(fields[b"at"]), **msgspec.json.decode(fields[b"entry"])
    )


def _ledger_record(id: bytes, fields: Mapping[bytes, bytes]) -> LedgerRecord:
    return LedgerRecord(id.decode(), int(fields[b"at"]), msgspec.json.decode(fields[b"entry"]))
