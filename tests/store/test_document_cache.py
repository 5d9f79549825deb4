"""Documents that a process keeps are as recent as those that it reads again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tidegate_server.domain.change import Audit, Delete, Moment, Put, Stored
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.projects import Environment
from tidegate_server.store import Store, document_cache, keys
from tidegate_server.store.document_cache import CachedDocuments, DocumentCache

from tests.store.changes import PRODUCTION, SHOP, audit, change, place, put


@pytest.fixture
def other(store: Store) -> Iterator[Store]:
    """Return the store as another server has opened it."""
    opened = Store.connect(store.url)
    yield opened
    opened.close()


def read(store: Store) -> Mapping[str, Stored]:
    return store.cached(SHOP, Kind.ENVIRONMENT).stored


def commit(store: Store, key: str, expected: int, name: str) -> None:
    writes = put(key, expected, name)
    store.commit(change(writes, audit=audit(target=key)), durable=False)


def remove_last_notice(raw: redis.Redis) -> None:
    found: Any = raw.xrevrange(keys.activity(SHOP), count=1)
    raw.xdel(keys.activity(SHOP), found[0][0])


def test_a_change_by_another_server_is_seen_at_once(store: Store, other: Store) -> None:
    commit(store, "a", 0, "first")
    assert read(store)["a"].document.name == "first"
    commit(other, "a", 1, "second")
    commit(other, "b", 0, "new")
    assert {key: each.document.name for key, each in read(store).items()} == {
        "a": "second",
        "b": "new",
    }
    other.commit(change(Delete(place("b"), 1), audit=audit()), durable=False)
    assert list(read(store)) == ["a"]


def test_without_a_change_the_same_objects_are_returned(store: Store) -> None:
    commit(store, "a", 0, "first")
    commit(store, "b", 0, "first")
    before = read(store)
    assert read(store) is before
    commit(store, "b", 1, "second")
    assert read(store)["a"] is before["a"]


def test_changes_of_other_kinds_keep_what_was_derived(store: Store) -> None:
    commit(store, "a", 0, "first")
    calls: list[int] = []

    def count(stored: Mapping[str, Stored]) -> int:
        calls.append(1)
        return len(stored)

    assert store.cached(SHOP, Kind.ENVIRONMENT).derive(count) == 1
    store.cached(SHOP, Kind.FLAG)
    other = Audit("dana", "flag.create", "x")
    store.commit(change(audit=other), durable=False)
    assert store.cached(SHOP, Kind.ENVIRONMENT).derive(count) == 1
    assert len(calls) == 1
    commit(store, "b", 0, "first")
    assert store.cached(SHOP, Kind.ENVIRONMENT).derive(count) == 2


def test_a_change_with_several_audit_entries_is_no_gap(store: Store) -> None:
    commit(store, "a", 0, "first")
    commit(store, "b", 0, "first")
    before = read(store)
    more = (audit(target="c"), audit(target="d"))
    edit = change(put("b", 1, "second"), audit=audit(target="b"), more_audit=more)
    store.commit(edit, durable=False)
    after = read(store)
    assert after["b"].document.name == "second"
    assert after["a"] is before["a"]


def test_a_commit_of_an_earlier_version_without_a_notice_is_seen(
    store: Store, raw: redis.Redis
) -> None:
    commit(store, "a", 0, "first")
    assert read(store)["a"].document.name == "first"
    commit(store, "a", 1, "second")
    remove_last_notice(raw)
    assert read(store)["a"].document.name == "second"
    # A notice that follows does not hide the one that is missing.
    commit(store, "a", 2, "third")
    remove_last_notice(raw)
    commit(store, "b", 0, "new")
    assert read(store)["a"].document.name == "third"


def test_a_restored_backup_is_seen(store: Store, raw: redis.Redis) -> None:
    commit(store, "a", 0, "first")
    names = (keys.documents(SHOP, Kind.ENVIRONMENT), keys.activity(SHOP), keys.audit_chain(SHOP))
    backup = {name: raw.dump(name) for name in names}
    commit(store, "a", 1, "second")
    assert read(store)["a"].document.name == "second"
    for name, dump in backup.items():
        raw.restore(name, 0, dump, replace=True)  # type: ignore[arg-type]
    assert read(store)["a"].document.name == "first"


def test_more_notices_than_one_read_takes_are_no_gap(
    store: Store, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(document_cache, "MOST_NOTICES", 3)
    commit(store, "a", 0, "0")
    read(store)
    for revision in range(1, 8):
        commit(other, "a", revision, str(revision))
    assert read(store)["a"].document.name == "7"


def test_documents_beyond_the_limit_are_read_and_not_kept(store: Store) -> None:
    cache = DocumentCache(store._connection, most_bytes=600)

    def stored() -> Mapping[str, Stored]:
        [found] = cache.all(SHOP, [(Kind.ENVIRONMENT, "")])
        return found.stored

    commit(store, "a", 0, "x" * 300)
    assert stored() is stored()
    commit(store, "b", 0, "x" * 300)
    found = stored()
    assert set(found) == {"a", "b"}
    assert stored() is not found
    assert cache._size == 0


def test_a_scope_without_notices_is_read_every_time(store: Store, raw: redis.Redis) -> None:
    commit(store, "a", 0, "first")
    raw.delete(keys.activity(SHOP))
    assert read(store)["a"].document.name == "first"
    assert read(store) is not read(store)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from(["put", "delete", "read", "unaudited"])),
        max_size=25,
    )
)
def test_cached_documents_equal_those_read_again(
    store: Store, steps: list[tuple[str, str]]
) -> None:
    for key, step in steps:
        present = store.all(SHOP, Kind.ENVIRONMENT).get(key)
        revision = 0 if present is None else present.revision
        entry = None if step == "unaudited" else audit(target=key)
        if step in ("put", "unaudited"):
            write = Put(place(key), Environment(key, f"after {revision}"), revision)
            store.commit(change(write, audit=entry), durable=False)
        elif step == "delete" and revision:
            store.commit(change(Delete(place(key), revision), audit=entry), durable=False)
        if step == "read":
            assert read(store) == store.all(SHOP, Kind.ENVIRONMENT)
    assert read(store) == store.all(SHOP, Kind.ENVIRONMENT)
    assert store.cached(SHOP, Kind.ENVIRONMENT, PRODUCTION).stored == {}


def test_what_is_derived_is_updated_with_the_documents_that_changed(store: Store) -> None:
    updates: list[tuple[str, ...]] = []

    def names(stored: Mapping[str, Stored]) -> dict[str, str]:
        return {key: each.document.name for key, each in stored.items()}

    def renamed(
        derived: dict[str, str],
        before: Mapping[str, Stored],
        after: Mapping[str, Stored],
        changed: Set[str],
    ) -> dict[str, str]:
        updates.append(tuple(sorted(changed)))
        kept = {key: name for key, name in derived.items() if key not in changed}
        return kept | names({key: after[key] for key in changed if key in after})

    def derived() -> dict[str, str]:
        return store.cached(SHOP, Kind.ENVIRONMENT).derive(names, renamed)

    for key in "abc":
        commit(store, key, 0, "first")
    assert derived() == dict.fromkeys("abc", "first")
    commit(store, "a", 1, "second")
    read(store)
    commit(store, "d", 0, "new")
    assert derived() == {"a": "second", "b": "first", "c": "first", "d": "new"}
    store.commit(change(Delete(place("b"), 1), audit=audit()), durable=False)
    assert derived() == {"a": "second", "c": "first", "d": "new"}
    assert derived() == derived()
    assert updates == [("a", "d"), ("b",)]


def test_what_is_derived_is_made_again_after_more_updates_than_are_known(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(document_cache, "UPDATES_KNOWN", 2)
    commit(store, "a", 0, "0")
    earlier = store.cached(SHOP, Kind.ENVIRONMENT)
    for revision in range(1, 3):
        commit(store, "a", revision, str(revision))
        assert store.cached(SHOP, Kind.ENVIRONMENT).changed_since(earlier) == {"a"}
    assert earlier.changed_since(store.cached(SHOP, Kind.ENVIRONMENT)) is None
    commit(store, "a", 3, "3")
    assert store.cached(SHOP, Kind.ENVIRONMENT).changed_since(earlier) is None


def test_readings_that_were_updated_at_once_do_not_come_from_each_other() -> None:
    def stored(*keys: str) -> dict[str, Stored]:
        return {key: Stored(key, 1, 0) for key in keys}

    def update(last: set[str], _: object, now: Mapping[str, Stored], changed: Set[str]) -> set[str]:
        return (last - changed) | (changed & now.keys())

    first = CachedDocuments(stored("a"), Moment())
    assert first.derive(set, update) == {"a"}
    # Two requests read the notices at the same time; the second finds one more.
    one = first.updated(stored("a", "b"), {"b"}, Moment(), 0)
    other = first.updated(stored("a", "b", "c"), {"b", "c"}, Moment(), 0)
    assert one.derive(set, update) == {"a", "b"}
    assert other.changed_since(one) is None
    assert other.derive(set, update) == {"a", "b", "c"}
    later = other.updated(stored("a", "b", "c", "d"), {"d"}, Moment(), 0)
    assert later.changed_since(one) is None
    assert later.changed_since(other) == {"d"}
    assert later.changed_since(first) == {"b", "c", "d"}
    assert later.derive(set, update) == {"a", "b", "c", "d"}


def test_several_kinds_are_of_one_moment(store: Store, other: Store) -> None:
    commit(store, "a", 0, "first")
    kinds = [(Kind.ENVIRONMENT, ""), (Kind.FLAG, ""), (Kind.TARGETING, PRODUCTION)]
    store.cached(SHOP, Kind.FLAG)
    commit(other, "a", 1, "second")
    environments, *others = store.cached_all(SHOP, kinds)
    assert environments.stored["a"].document.name == "second"
    assert {each.moment for each in others} == {environments.moment} == {store.moment(SHOP)}
