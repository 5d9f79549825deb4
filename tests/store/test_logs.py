from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import pytest
import redis
from tidegate_server.domain.change import LedgerEntry
from tidegate_server.store import Store, commit
from tidegate_server.store.logs import AuditEntry

from tests.store.changes import PRODUCTION, SHOP, audit, change

RELEASE = "rel_1"
Page = Callable[..., tuple[list[Any], str | None]]


@dataclass(frozen=True, slots=True)
class Note:
    """An entry of a ledger; its content does not matter to the store."""

    number: int


def add_audit_entries(store: Store, amount: int) -> None:
    for number in range(amount):
        store.commit(change(audit=replace(audit(), target=f"{number}")), durable=False)


def add_decisions(store: Store, amount: int) -> None:
    """Add several entries with the same time in one commit."""
    entries = tuple(LedgerEntry(PRODUCTION, RELEASE, Note(number)) for number in range(amount))
    store.commit(change(ledger=entries), durable=False)


def pages(page: Page, limit: int) -> list[list[Any]]:
    """Return all pages in order."""
    found, cursor = page(limit=limit)
    all_ = [found]
    while cursor is not None:
        found, cursor = page(cursor=cursor, limit=limit)
        all_.append(found)
    return all_


@pytest.mark.parametrize("limit", [1, 2, 3, 6, 7, 8])
def test_pages_of_the_audit_log_have_every_entry_once_the_latest_first(
    store: Store, limit: int
) -> None:
    add_audit_entries(store, 7)
    read = pages(lambda **how: store.logs.audit(SHOP, **how), limit)
    assert [entry.target for page in read for entry in page] == ["6", "5", "4", "3", "2", "1", "0"]
    assert all(len(page) == limit for page in read[:-1])
    assert 0 < len(read[-1]) <= limit


@pytest.mark.parametrize("limit", [1, 3, 7, 100])
def test_pages_of_a_ledger_have_every_entry_once_even_of_one_time(store: Store, limit: int) -> None:
    add_decisions(store, 7)
    read = pages(lambda **how: store.logs.ledger(SHOP, PRODUCTION, RELEASE, **how), limit)
    assert [record.entry["number"] for page in read for record in page] == [6, 5, 4, 3, 2, 1, 0]
    assert len({record.at_ms for page in read for record in page}) == 1


def test_an_empty_log_is_one_empty_page(store: Store) -> None:
    assert store.logs.audit(SHOP) == ([], None)
    assert store.logs.ledger(SHOP, PRODUCTION, RELEASE) == ([], None)
    assert store.logs.ledger_after(SHOP, PRODUCTION, RELEASE, None, 10) == []
    assert store.logs.ledger_length(SHOP, PRODUCTION, RELEASE) == 0


def test_new_entries_do_not_shift_later_pages(store: Store) -> None:
    add_audit_entries(store, 4)
    first, cursor = store.logs.audit(SHOP, limit=2)
    add_audit_entries(store, 3)
    second, end = store.logs.audit(SHOP, cursor=cursor, limit=2)
    assert [entry.target for entry in first + second] == ["3", "2", "1", "0"]
    assert end is None


def test_an_audit_entry_keeps_every_field(store: Store) -> None:
    written = replace(
        audit(), environment=PRODUCTION, reason="why", details={"stage": 2, "skipped": None}
    )
    committed = store.commit(change(audit=written))
    (entry,), _ = store.logs.audit(SHOP)
    assert entry == AuditEntry(
        entry.id,
        committed.at_ms,
        {
            "actor": written.actor,
            "action": written.action,
            "target": written.target,
            "environment": PRODUCTION,
            "reason": "why",
            "details": {"stage": 2, "skipped": None},
            "documents": [],
            "address": "",
        },
        entry.link,
    )
    assert entry.link is not None


def test_ids_increase_with_time(store: Store) -> None:
    add_audit_entries(store, 5)
    entries, _ = store.logs.audit(SHOP)
    places = [tuple(map(int, entry.id.split("-"))) for entry in reversed(entries)]
    assert all(earlier < later for earlier, later in pairwise(places))


def test_every_scope_has_its_own_audit_log(store: Store) -> None:
    add_audit_entries(store, 1)
    store.commit(change(audit=audit(target="elsewhere"), scope=""))
    assert [entry.target for entry in store.logs.audit("")[0]] == ["elsewhere"]
    assert [entry.target for entry in store.logs.audit(SHOP)[0]] == ["0"]


def test_a_ledger_is_read_in_order_after_any_entry(store: Store) -> None:
    add_decisions(store, 5)
    first = store.logs.ledger_after(SHOP, PRODUCTION, RELEASE, None, 2)
    rest = store.logs.ledger_after(SHOP, PRODUCTION, RELEASE, first[-1].id, 10)
    assert [record.entry["number"] for record in first + rest] == [0, 1, 2, 3, 4]
    assert store.logs.ledger_length(SHOP, PRODUCTION, RELEASE) == 5


def test_a_ledger_keeps_a_limited_number_of_decisions(
    store: Store, raw: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit, "LEDGER_KEPT", 200)
    for _ in range(5):
        add_decisions(store, 100)
    assert 200 <= store.logs.ledger_length(SHOP, PRODUCTION, RELEASE) < 500
    latest, _ = store.logs.ledger(SHOP, PRODUCTION, RELEASE, limit=200)
    assert [record.entry["number"] for record in latest] == [*range(99, -1, -1)] * 2
