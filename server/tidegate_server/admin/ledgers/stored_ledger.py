"""Read a release's ledger from the store, entry by entry."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from tidegate_server.decisions.decision import Decision, from_log
from tidegate_server.errors import NotPossible
from tidegate_server.ledger.entry import Entry, ReleaseStatus
from tidegate_server.ledger.holds import HoldDecision
from tidegate_server.ledger.replay import RecordedEntry
from tidegate_server.store import Store
from tidegate_server.store.logs import LedgerRecord

PAGE = 100
"""Entries per read."""


@dataclass(frozen=True, slots=True)
class _Share:
    share: float


@dataclass(frozen=True, slots=True)
class _Strata:
    strata: tuple[_Share, ...]


@dataclass(frozen=True, slots=True)
class _HoldEntry:
    """The part of an entry that the runs of holds need: without the counts and the checkpoint."""

    at_ms: int
    window: _Strata
    after: ReleaseStatus
    decision: Decision


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


def read_hold(record: LedgerRecord) -> HoldDecision:
    """Return what the runs of holds need of an entry.

    Raises:
        NotPossible: a later version wrote it, with a value that this one does not know.
    """
    try:
        entry = msgspec.convert(record.entry, _HoldEntry)
    except msgspec.ValidationError as error:
        raise _unreadable(record, error) from None
    return hold_decision(entry)


def hold_decision(entry: Entry | _HoldEntry) -> HoldDecision:
    """Return what the runs of holds need of an entry."""
    decision = entry.decision
    compares = decision.rollback_at > 0.0
    has_control = any(0.0 < each.share < 1.0 for each in entry.window.strata)
    return HoldDecision(
        at_ms=entry.at_ms,
        stage=entry.after.stage,
        step=entry.after.step,
        action=decision.action,
        state=entry.after.state,
        reason=decision.reason,
        evidence=from_log(decision.log_evidence) if compares else None,
        advance=from_log(decision.log_advance) if compares and has_control else None,
    )


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
        raise _unreadable(record, error) from None


def _unreadable(record: LedgerRecord, error: msgspec.ValidationError) -> NotPossible:
    return NotPossible(
        f"Entry {record.id} of the ledger cannot be read ({error}). Another version of "
        "Tidegate wrote it; that version can."
    )
