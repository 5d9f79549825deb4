"""The index of an audit log: the entries about one object, however long the log is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis
from tidegate_server.admin.audit.schemas import AuditFilter
from tidegate_server.domain.change import ChangedDocument, Kind
from tidegate_server.store import Store, audit_index, commit, keys, logs, schema_versions
from tidegate_server.store.backups import restore_backup
from tidegate_server.store.logs import ALWAYS, Period

from tests.store.changes import PRODUCTION, SHOP, audit, change

SHAPE_2 = Path(__file__).with_name("stored_shape_2.backup")
"""Made by Tidegate before the index: the projects ``default`` and ``blog``."""


def add(store: Store, target: str, reason: str = "", **more: Any) -> None:
    entry = replace(audit(target=target), reason=reason, **more)
    store.commit(change(audit=entry), durable=False)


def add_as_an_earlier_version(raw: redis.Redis, target: str, number: int) -> None:
    """Add an entry as servers do that know no index."""
    entry = f'{{"actor":"ann","action":"flag.kill","target":"{target}","environment":"",'
    entry += '"reason":"","details":{},"documents":[],"address":""}'
    number_and_hash = (("number", f"{number}"), ("hash", "0" * 64))
    raw.xadd(keys.audit(SHOP), dict((("at", "1"), ("entry", entry), *number_and_hash)))
    raw.hset(keys.audit_chain(SHOP), mapping=dict(number_and_hash))


def document(kind: Kind, key: str, environment: str = "") -> ChangedDocument:
    return ChangedDocument(kind, key, environment, 1, ())


def reasons(store: Store, about: str, **how: Any) -> list[str]:
    return [entry.reason for entry in store.logs.audit(SHOP, about=about, **how)[0]]


def indexed(raw: redis.Redis) -> dict[str, int]:
    """Return how many entries each name has in the index."""
    start = keys.audit_of(SHOP, "")
    names: Any = raw.keys(f"{start}*")
    return {name.decode().removeprefix(start): raw.zcard(name) for name in names}


def test_entries_about_one_object_are_found_without_a_look_at_the_others(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "MAX_SCANNED", 3)
    for number in range(3):
        add(store, "checkout", f"{number}")
        for _ in range(10):
            add(store, "other")
    assert reasons(store, "checkout") == ["2", "1", "0"]
    assert store.logs.audit(SHOP, about="checkout")[1] is None
    assert [entry.reason for entry in store.logs.audit_between(SHOP, ALWAYS, about="checkout")] == [
        *("0", "1", "2")
    ]
    assert reasons(store, "nothing") == []


@pytest.mark.parametrize("limit", [1, 2, 3, 6, 7, 8])
def test_pages_about_one_object_have_every_entry_once_the_latest_first(
    store: Store, limit: int
) -> None:
    many = tuple(replace(audit(target="a"), reason=f"{number}") for number in range(1, 12, 2))
    store.commit(change(audit=replace(audit(target="b"), reason="0"), more_audit=many))
    add(store, "a", "13")
    found, cursor = store.logs.audit(SHOP, limit=limit, about="a")
    pages = [found]
    while cursor is not None:
        found, cursor = store.logs.audit(SHOP, cursor, limit, about="a")
        pages.append(found)
    read = [entry.reason for page in pages for entry in page]
    assert read == ["13", "11", "9", "7", "5", "3", "1"]
    assert all(len(page) == limit for page in pages[:-1])
    between = list(store.logs.audit_between(SHOP, ALWAYS, limit, about="a"))
    assert [entry.reason for entry in between] == read[::-1]


def test_a_period_and_a_condition_narrow_the_entries_about_one_object(store: Store) -> None:
    for number in range(6):
        add(store, "a", f"{number}")
        add(store, "b", f"{number}")
        at_ms = store.logs.audit(SHOP, limit=1)[0][0].at_ms
        while store.now_ms() == at_ms:
            pass
    entries = store.logs.audit(SHOP, about="a")[0]
    third = entries[2]
    assert reasons(store, "a", period=Period(from_ms=third.at_ms)) == ["5", "4", "3"]
    assert reasons(store, "a", period=Period(before_ms=third.at_ms)) == ["2", "1", "0"]
    odd = reasons(store, "a", limit=2, matches=lambda entry: int(entry.reason) % 2)
    assert odd == ["5", "3"]


def test_a_period_may_end_or_begin_after_every_time_of_the_index(store: Store) -> None:
    add(store, "a", "now")
    later = 10**13 + 123  # in the year 2286
    for period in (Period(before_ms=later), Period(from_ms=0, before_ms=25 * later)):
        assert reasons(store, "a", period=period) == ["now"]
        between = store.logs.audit_between(SHOP, period, about="a")
        assert [entry.reason for entry in between] == ["now"]
    assert reasons(store, "a", period=Period(from_ms=later)) == []
    assert list(store.logs.audit_between(SHOP, Period(from_ms=later), about="a")) == []


def test_the_index_knows_an_entry_by_all_that_a_filter_finds_it_by(
    store: Store, raw: redis.Redis
) -> None:
    add(store, "rel_1", details={"flag": "checkout", "stage": 2})
    add(store, "per_1", details={"email": "ann@example.com", "flag": None})
    add(store, "", details={"operations": "two"}, documents=(document(Kind.SEGMENT, "staff"),))
    both = (document(Kind.FLAG, "checkout"), document(Kind.TARGETING, "checkout", PRODUCTION))
    add(store, "checkout", documents=both)
    assert indexed(raw) == {
        **{"rel_1": 1, "checkout": 2, "per_1": 1, "ann@example.com": 1, "staff": 1}
    }
    everything = store.logs.audit(SHOP)[0]
    for name in indexed(raw):
        wanted = [each for each in everything if AuditFilter(ALWAYS, key=name).matches(each)]
        assert store.logs.audit(SHOP, about=name) == (wanted, None)


def test_the_index_loses_what_a_full_log_loses(
    store: Store, raw: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(8):
        add(store, f"{number % 4}", f"{number}")
    monkeypatch.setattr(commit, "AUDIT_KEPT", 5)
    for number in range(8, 12):
        add(store, "a", f"{number}")
    assert indexed(raw) == {"3": 1, "a": 4}
    assert reasons(store, "3") == ["7"]
    for number in range(12, 14):
        add(store, "a", f"{number}")
    assert indexed(raw) == {"a": 5}
    assert reasons(store, "a") == ["13", "12", "11", "10", "9"]


def test_entries_that_servers_of_an_earlier_version_add_are_found(
    store: Store, raw: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_index, "STEP", 2)
    add(store, "a", "first")
    for number in range(2, 7):
        add_as_an_earlier_version(raw, "a", number)
    add(store, "a", "last")
    assert indexed(raw) == {"a": 1}
    assert reasons(store, "a") == ["last", *[""] * 5, "first"]
    assert indexed(raw) == {"a": 7}
    add(store, "a", "more")
    assert indexed(raw) == {"a": 8}


def test_an_entry_that_an_earlier_version_has_removed_is_left_out(
    store: Store, raw: redis.Redis
) -> None:
    for number in range(4):
        add(store, "a", f"{number}")
    removed = store.logs.audit(SHOP)[0][1].id
    raw.xdel(keys.audit(SHOP), removed)
    assert reasons(store, "a", limit=2) == ["3"]
    assert reasons(store, "a") == ["3", "1", "0"]
    entries = store.logs.audit_between(SHOP, ALWAYS, 2, about="a")
    assert [entry.reason for entry in entries] == ["0", "1", "3"]


def test_a_store_without_an_index_gets_it_in_place(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_index, "STEP", 2)
    restore_backup(store, SHAPE_2, "dana", "")
    assert schema_versions.stored_version(store) == schema_versions.CURRENT
    connection = store._connection
    assert int(connection.read("ZCARD", keys.audit_of("default", "checkout"))) == 3
    found = store.logs.audit("default", about="checkout")[0]
    assert [entry.action for entry in found] == ["flag.restore", "flag.kill", "flag.create"]
    assert [entry.target for entry in store.logs.audit("blog", about="theme")[0]] == ["theme"]
    [created] = store.logs.audit("", about="blog", matches=lambda each: each.actor != "dana")[0]
    assert created.action == "project.create"


def test_positions_keep_their_order_in_the_index() -> None:
    positions = ["999-0", "1764461024123-0", "1764461024123-2", "1764461024123-10"]
    members = [audit_index.member_of(each) for each in positions]
    assert members == sorted(members)
    assert [audit_index.position_of(each.encode()) for each in members] == positions
