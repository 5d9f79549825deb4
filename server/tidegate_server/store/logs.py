"""The append-only logs: the audit log and the ledgers of releases."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, TypeAlias

import msgspec

from tidegate_server.domain.audit_chain import START, ChainedEntry, Link
from tidegate_server.store import audit_index, keys
from tidegate_server.store.connection import Connection

ENTRY_ID = re.compile(r"[0-9]{1,20}-[0-9]{1,20}")
"""The form of an entry's position in a log."""

SCAN_PAGE = 500
"""How many entries of the audit log one read gets."""

MAX_SCANNED = 10_000
"""How many entries of the audit log one request looks at."""


MOST_SPANS = 16
"""How many ranges of the audit log one read gets, where each has few entries."""


@dataclass(frozen=True, slots=True)
class Period:
    """A time from ``from_ms`` to before ``before_ms``; None: without this end."""

    from_ms: int | None = None
    before_ms: int | None = None

    @property
    def is_empty(self) -> bool:
        """Whether it ends before it begins."""
        if self.from_ms is None or self.before_ms is None:
            return False
        return self.from_ms >= self.before_ms

    def start_id(self) -> str:
        """Return the first position in a log that belongs to it."""
        return "-" if self.from_ms is None else str(max(0, self.from_ms))

    def end_id(self) -> str:
        """Return the last position in a log that belongs to it."""
        return "+" if self.before_ms is None else str(max(0, self.before_ms - 1))


ALWAYS = Period()


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who did what, when and why.

    Attributes:
        id: the entry's position in the log.
        at_ms: when (the store's time).
        content: the fields of ``domain.change.Audit``, as stored.
        link: its place in the hash chain; None: an earlier version added it.
    """

    id: str
    at_ms: int
    content: Mapping[str, Any]
    link: Link | None = None

    @property
    def actor(self) -> str:
        """Who."""
        return str(self.content["actor"])

    @property
    def action(self) -> str:
        """What, as ``noun.verb``."""
        return str(self.content["action"])

    @property
    def target(self) -> str:
        """The key of what it was done to."""
        return str(self.content["target"])

    @property
    def environment(self) -> str:
        """Where; empty: not in one environment."""
        return str(self.content["environment"])

    @property
    def reason(self) -> str:
        """Why."""
        return str(self.content["reason"])

    @property
    def details(self) -> Mapping[str, Any]:
        """More about it."""
        details: Mapping[str, Any] = self.content["details"]
        return details

    @property
    def documents(self) -> Sequence[Mapping[str, Any]]:
        """How documents changed, each as ``domain.change.ChangedDocument``."""
        documents: Sequence[Mapping[str, Any]] = self.content.get("documents", ())
        return documents

    @property
    def address(self) -> str | None:
        """From which address; empty: from none. None: an earlier version did not note it."""
        address: str | None = self.content.get("address")
        return address

    def chained(self) -> ChainedEntry:
        """Return the entry as the hash chain sees it."""
        return ChainedEntry(self.id, self.at_ms, self.content, self.link)


@dataclass(frozen=True, slots=True)
class AuditChain:
    """The ends of an audit log's hash chain: the latest link, and the last one that was removed."""

    head: Link = START
    anchor: Link = START


@dataclass(frozen=True, slots=True)
class LedgerRecord:
    """One stored decision of a release; ``id`` is its position in the ledger."""

    id: str
    at_ms: int
    entry: Mapping[str, Any]


Place: TypeAlias = tuple[str, AuditEntry | None]
"""A position in a log with its entry; None: there is none any more."""


class Logs:
    """The audit log of every project and of the server, and the ledger of every release."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def audit(
        self,
        scope: str,
        cursor: str | None = None,
        limit: int = 100,
        period: Period = ALWAYS,
        matches: Callable[[AuditEntry], bool] | None = None,
        about: str | None = None,
        kind: str | None = None,
    ) -> tuple[list[AuditEntry], str | None]:
        """Return entries of the audit log, the latest first, and the cursor of the next page.

        A call reads at most ``MAX_SCANNED`` entries: if few match, a page has fewer than ``limit``,
        or none, and a cursor nevertheless. ``about`` is the key, the id or the email of what they
        are about: a call reads these entries only, however long the log is. ``kind`` is the kind
        of object that ``matches`` looks for: a call reads only hours with one, unless ``about``
        says more.
        """
        found: list[AuditEntry] = []
        scanned, size = 0, limit
        while True:
            size = min(size, MAX_SCANNED - scanned)
            entries = self._latest(scope, about, kind, cursor, period, size + 1)
            for position, entry in entries[:size]:
                scanned += 1
                if entry is not None and (matches is None or matches(entry)):
                    if len(found) == limit:
                        return found, cursor
                    found.append(entry)
                cursor = position
            if len(entries) <= size:
                return found, None
            if scanned >= MAX_SCANNED or matches is None:
                return found, cursor
            size = SCAN_PAGE

    def complete_index(self, scope: str) -> None:
        """Index all entries of an audit log that servers of an earlier version have added."""
        audit_index.complete(self._connection, scope)

    def audit_entry(self, scope: str, id: str) -> AuditEntry | None:
        """Return an entry of the audit log by its position; None: it has none there."""
        if not ENTRY_ID.fullmatch(id):
            return None
        entries = self._range(keys.audit(scope), id, id, 1)
        return _audit_entry(*entries[0]) if entries else None

    def audit_position(self, scope: str) -> str:
        """Return the id of the last entry of an audit log; empty: there is none."""
        entries = self._connection.read("XREVRANGE", keys.audit(scope), "+", "-", "COUNT", 1)
        return str(entries[0][0].decode()) if entries else ""

    def audit_between(
        self,
        scope: str,
        period: Period,
        page: int = SCAN_PAGE,
        about: str | None = None,
        kind: str | None = None,
    ) -> Iterator[AuditEntry]:
        """Return the entries of a period, the earliest first, read page by page.

        ``about`` is the key, the id or the email of what they are about. With ``kind``, hours
        without an entry about such an object are left out.
        """
        start = period.start_id()
        while True:
            entries = self._earliest(scope, about, kind, start, period.end_id(), page)
            yield from (entry for _, entry in entries if entry is not None)
            if len(entries) < page:
                return
            start = f"({entries[-1][0]}"

    def audit_chain(self, scope: str) -> AuditChain:
        """Return the ends of the hash chain of an audit log."""
        names = ("number", "hash", "removed_number", "removed_hash")
        values = self._connection.read("HMGET", keys.audit_chain(scope), *names)
        return AuditChain(_link(*values[:2]) or START, _link(*values[2:]) or START)

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

    def _latest(
        self,
        scope: str,
        about: str | None,
        kind: str | None,
        cursor: str | None,
        period: Period,
        limit: int,
    ) -> Sequence[Place]:
        start = period.start_id()
        end = period.end_id() if cursor is None else f"({cursor}"
        if about is not None:
            found = audit_index.latest(self._connection, scope, about, start, end, limit)
            return self._at(scope, found)
        spans: Iterable[tuple[str, str]] = [(start, end)]
        if kind is not None:
            spans = audit_index.latest_spans(self._connection, scope, kind, start, end)
        return self._in_spans("XREVRANGE", scope, ((last, first) for first, last in spans), limit)

    def _earliest(
        self, scope: str, about: str | None, kind: str | None, start: str, end: str, limit: int
    ) -> Sequence[Place]:
        if about is not None:
            found = audit_index.earliest(self._connection, scope, about, start, end, limit)
            return self._at(scope, found)
        spans: Iterable[tuple[str, str]] = [(start, end)]
        if kind is not None:
            spans = audit_index.earliest_spans(self._connection, scope, kind, start, end)
        return self._in_spans("XRANGE", scope, spans, limit)

    def _in_spans(
        self, command: str, scope: str, spans: Iterable[tuple[str, str]], limit: int
    ) -> Sequence[Place]:
        """Return the first entries in ranges of a log; more and more ranges in one round trip."""
        found: list[Place] = []
        rest, size, log = iter(spans), 1, keys.audit(scope)
        while len(found) < limit and (some := list(islice(rest, size))):
            count = limit - len(found)
            read = [(command, log, *span, "COUNT", count) for span in some]
            entries = chain.from_iterable(self._connection.read_many(read))
            found += (_place(*entry) for entry in islice(entries, count))
            size = min(2 * size, MOST_SPANS)
        return found

    def _at(self, scope: str, positions: Sequence[str]) -> Sequence[Place]:
        """Return the entries at these positions; an entry may have been removed meanwhile."""
        log = keys.audit(scope)
        found = self._connection.read_many([("XRANGE", log, each, each) for each in positions])
        return [
            _place(*entries[0]) if entries else (position, None)
            for position, entries in zip(positions, found, strict=True)
        ]

    def _range(self, key: str, start: str, end: str, limit: int) -> list[Any]:
        entries: list[Any] = self._connection.read("XRANGE", key, start, end, "COUNT", limit)
        return entries

    def _range_back(self, key: str, start: str, end: str, limit: int) -> list[Any]:
        entries: list[Any] = self._connection.read("XREVRANGE", key, end, start, "COUNT", limit)
        return entries

    def _page(self, key: str, cursor: str | None, limit: int) -> tuple[list[Any], str | None]:
        end = "+" if cursor is None else f"({cursor}"
        entries = self._range_back(key, "-", end, limit + 1)
        page = entries[:limit]
        return page, page[-1][0].decode() if len(entries) > limit else None


def _place(id: bytes, fields: Mapping[bytes, bytes]) -> Place:
    entry = _audit_entry(id, fields)
    return entry.id, entry


def _audit_entry(id: bytes, fields: Mapping[bytes, bytes]) -> AuditEntry:
    return AuditEntry(
        id=id.decode(),
        at_ms=int(fields[b"at"]),
        content=msgspec.json.decode(fields[b"entry"]),
        link=_link(fields.get(b"number"), fields.get(b"hash")),
    )


def _link(number: bytes | None, hash: bytes | None) -> Link | None:
    return None if number is None or hash is None else Link(int(number), hash.decode())


def _ledger_record(id: bytes, fields: Mapping[bytes, bytes]) -> LedgerRecord:
    return LedgerRecord(id.decode(), int(fields[b"at"]), msgspec.json.decode(fields[b"entry"]))
