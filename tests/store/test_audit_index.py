"""The index of an audit log: the entries about one object, however long the log is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import redis
from tidegate_server.admin.audit.schemas import AuditFilter
from tidegate_server.domain.change import ChangedDocument
from tidegate_server.domain.kinds import Kind
from tidegate_server.store import Store, audit_index, commit, keys, logs, schema_versions
from tidegate_server.store.audit_index import HOUR_MS
from tidegate_server.store.backups import restore_backup
from tidegate_server.store.logs import ALWAYS, Period

from tests.store.changes import PRODUCTION, SHOP, audit, change, everything

SHAPE_2 = Path(__file__).with_name("stored_shape_2.backup")
"""Made by Tidegate before the index: the projects ``default`` and ``blog``."""


def add(store: Store, target: str, reason: str = "", **more: Any) -> None:
    entry = replace(audit(target=target), reason=reason, **more)
    store.commit(change(audit=entry), durable=False)


def add_as_an_earlier_version(
    raw: redis.Redis, target: str, number: int, id: str = "*", action: str = "flag.kill"
) -> None:
    """Add an entry as servers do that know no index."""
    entry = f'{{"actor":"ann","action":"{action}","target":"{target}","environment":"",'
    entry += '"reason":"","details":{},"documents":[],"address":""}'
    number_and_hash = (("number", f"{number}"), ("hash", "0" * 64))
    raw.xadd(keys.audit(SHOP), dict((("at", "1"), ("entry", entry), *number_and_hash)), id)
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


def add_in_hour(raw: redis.Redis, hour: int, action: str) -> None:
    """Add an entry as of another time, as an earlier version did."""
    number = int(raw.hget(keys.audit_chain(SHOP), "number") or 0) + 1
    add_as_an_earlier_version(raw, "x", number, f"{hour * HOUR_MS + number}-0", action)


HOURS_OF_ROLES = (1, 2, 3, 12, 30, 31, 50)


@pytest.fixture
def long(store: Store, raw: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store whose log has entries about roles in a few hours of 60, and one read gets little."""
    for hour in range(60):
        add_in_hour(raw, hour, "flag.edit")
        if hour in HOURS_OF_ROLES:
            add_in_hour(raw, hour, "role.edit")
            add_in_hour(raw, hour, "flag.edit")
    monkeypatch.setattr(logs, "MAX_SCANNED", 25)
    monkeypatch.setattr(audit_index, "HOURS", 3)
    return store


def hours(entries: Iterable[logs.AuditEntry]) -> list[int]:
    return [int(entry.id.partition("-")[0]) // HOUR_MS for entry in entries]


ROLES = AuditFilter(ALWAYS, "role").matches


def test_entries_about_a_kind_are_found_without_a_look_at_other_hours(long: Store) -> None:
    entries, cursor = long.logs.audit(SHOP, kind="role", matches=ROLES)
    assert (hours(entries), cursor) == ([*HOURS_OF_ROLES[::-1]], None)
    between = long.logs.audit_between(SHOP, ALWAYS, 2, kind="role")
    assert hours(filter(ROLES, between)) == [*HOURS_OF_ROLES]
    assert long.logs.audit(SHOP, kind="webhook", matches=ROLES) == ([], None)


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
def test_pages_about_a_kind_have_every_entry_once_the_latest_first(long: Store, limit: int) -> None:
    entries, cursor = long.logs.audit(SHOP, None, limit, matches=ROLES, kind="role")
    found = hours(entries)
    while cursor is not None:
        entries, cursor = long.logs.audit(SHOP, cursor, limit, matches=ROLES, kind="role")
        found += hours(entries)
    assert found == [*HOURS_OF_ROLES[::-1]]


def test_entries_in_many_hours_are_found_with_few_looks(
    store: Store, raw: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    for hour in range(0, 400, 2):
        add_in_hour(raw, hour, "role.edit")
    store.logs.complete_index(SHOP)
    looks, send = 0, store._connection._attempt

    def count(*call: Any) -> Any:
        nonlocal looks
        looks += 1
        return send(*call)

    monkeypatch.setattr(store._connection, "_attempt", count)
    assert hours(store.logs.audit(SHOP, kind="role", limit=200)[0]) == [*range(398, -1, -2)]
    assert hours(store.logs.audit_between(SHOP, ALWAYS, kind="role")) == [*range(0, 400, 2)]
    assert looks < 50


def test_a_period_narrows_the_entries_about_a_kind(long: Store) -> None:
    third = next(
        each
        for each in long.logs.audit(SHOP, kind="role", matches=ROLES)[0]
        if hours([each]) == [3]
    )
    at_ms = int(third.id.partition("-")[0])
    for period, expected in (
        (Period(at_ms), HOURS_OF_ROLES[2:]),
        (Period(at_ms + 1), HOURS_OF_ROLES[3:]),
        (Period(at_ms, at_ms + 1), (3,)),
        (Period(None, at_ms), (1, 2)),
        (Period(13 * HOUR_MS, 30 * HOUR_MS), ()),
    ):
        latest = long.logs.audit(SHOP, period=period, kind="role", matches=ROLES)[0]
        assert hours(latest) == [*expected[::-1]]
        earliest = long.logs.audit_between(SHOP, period, kind="role")
        assert hours(filter(ROLES, earliest)) == [*expected]


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
    ann = {"email": "ann@example.com", "flag": None}
    add(store, "per_1", details=ann, action="person.edit")
    add(store, "", details={"operations": "two"}, documents=(document(Kind.SEGMENT, "staff"),))
    both = (document(Kind.FLAG, "checkout"), document(Kind.TARGETING, "checkout", PRODUCTION))
    add(store, "checkout", documents=both)
    assert indexed(raw) == {
        **{"rel_1": 1, "checkout": 2, "per_1": 1, "ann@example.com": 1, "staff": 1}
    }
    everything = store.logs.audit(SHOP)[0]
    for kind in ("flag", "person", "segment", "targeting"):
        assert raw.zcard(keys.audit_hours(SHOP, kind)) in (1, 2), "the hour may end meanwhile"
        matches = AuditFilter(ALWAYS, kind).matches
        assert store.logs.audit(SHOP, kind=kind, matches=matches) == (
            [each for each in everything if matches(each)],
            None,
        )
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


def test_the_index_loses_the_hours_that_a_full_log_loses(
    store: Store, raw: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    for hour in range(6):
        add_in_hour(raw, hour, "role.edit")
    store.logs.complete_index(SHOP)
    monkeypatch.setattr(commit, "AUDIT_KEPT", 3)
    for _ in range(2):  # two are removed at a time
        add(store, "a", action="flag.edit")
    members: Any = raw.zrange(keys.audit_hours(SHOP, "role"), 0, -1)
    assert [int(each) for each in members] == [3, 4, 5], "the last hour that lost one, and later"


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


def test_an_index_without_kinds_gets_them_in_place(store: Store, raw: redis.Redis) -> None:
    restore_backup(store, SHAPE_2, "dana", "")
    chain, hours_of_flags = keys.audit_chain("default"), keys.audit_hours("default", "flag")
    before = everything(raw)
    raw.delete(hours_of_flags)
    position, number = cast(Any, raw.hmget(chain, "index_end", "index_number"))
    raw.hdel(chain, "index_end", "index_number")
    raw.hset(chain, mapping={"indexed": position, "indexed_number": number})
    store.put_server_value(schema_versions.NAME, "3")
    assert schema_versions.upgrade(store) == 3
    assert everything(raw)[hours_of_flags.encode()] == before[hours_of_flags.encode()]
    matches = AuditFilter(ALWAYS, "flag").matches
    assert len(store.logs.audit("default", kind="flag", matches=matches)[0]) == 3


def test_positions_keep_their_order_in_the_index() -> None:
    positions = ["999-0", "1764461024123-0", "1764461024123-2", "1764461024123-10"]
    members = [audit_index.member_of(each) for each in positions]
    assert members == sorted(members)
    assert [audit_index.position_of(each.encode()) for each in members] == positions
