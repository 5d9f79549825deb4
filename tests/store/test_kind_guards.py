"""A commit that guards a kind fails if any document of the kind was written since it was read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import redis
from tidegate_server.domain.change import Address, Delete, Guard, KindGuard, Moment, Put
from tidegate_server.domain.flags import FlagDefinition
from tidegate_server.domain.kinds import Kind
from tidegate_server.errors import StaleRevision
from tidegate_server.store import Store, commit, keys

from tests.store.changes import PRODUCTION, SHOP, audit, change, place, put

FLAG = Address(Kind.FLAG, "checkout")


def commit_notice(store: Store, key: str, expected: int = 0) -> None:
    store.commit(change(put(key, expected), audit=audit(target=key)), durable=False)


def write(store: Store, moment: Moment, kind: Kind = Kind.ENVIRONMENT, where: str = "") -> None:
    """Write a flag, if no document of a kind was written since a moment."""
    present = store.get(SHOP, FLAG)
    expected = 0 if present is None else present.revision
    flag = Put(FLAG, FlagDefinition("checkout", "boolean", (), ""), expected)
    guard = KindGuard(kind, where, moment)
    store.commit(change(flag, kind_guards=(guard,), audit=audit()), durable=False)


def test_what_was_written_before_the_moment_does_not_matter(store: Store) -> None:
    write(store, store.moment(SHOP))
    commit_notice(store, "a")
    write(store, store.moment(SHOP))


@pytest.mark.parametrize("is_new", [True, False])
def test_a_document_that_is_written_after_the_moment_makes_the_commit_stale(
    store: Store, is_new: bool
) -> None:
    commit_notice(store, "a")
    moment = store.moment(SHOP)
    commit_notice(store, "b" if is_new else "a", 0 if is_new else 1)
    before = store.version(SHOP, PRODUCTION)
    with pytest.raises(StaleRevision, match="changed among the environments; read again"):
        write(store, moment)
    assert (store.get(SHOP, FLAG), store.version(SHOP, PRODUCTION)) == (None, before)


def test_a_deletion_after_the_moment_makes_the_commit_stale(store: Store) -> None:
    commit_notice(store, "a")
    moment = store.moment(SHOP)
    store.commit(change(Delete(place("a"), 1), audit=audit()), durable=False)
    with pytest.raises(StaleRevision):
        write(store, moment)


def test_documents_of_other_kinds_and_environments_do_not_matter(store: Store) -> None:
    commit_notice(store, "a")
    moment = store.moment(SHOP)
    commit_notice(store, "b")
    store.commit(change(Guard(place("a"), 1)), durable=False)
    write(store, moment, Kind.SEGMENT)
    write(store, moment, Kind.TARGETING, PRODUCTION)
    with pytest.raises(StaleRevision):
        write(store, moment, Kind.FLAG)


def test_the_first_moment_of_a_scope_is_before_every_document(store: Store) -> None:
    moment = store.moment(SHOP)
    assert moment == Moment()
    commit_notice(store, "a")
    with pytest.raises(StaleRevision):
        write(store, moment)
    write(store, moment, Kind.SEGMENT)


@pytest.mark.parametrize("notices_after", [0, 1])
def test_a_commit_of_an_earlier_version_without_a_notice_makes_the_commit_stale(
    store: Store, raw: redis.Redis, notices_after: int
) -> None:
    commit_notice(store, "a")
    moment = store.moment(SHOP)
    commit_notice(store, "a", 1)
    found: Any = raw.xrevrange(keys.activity(SHOP), count=1)
    raw.xdel(keys.activity(SHOP), found[0][0])
    for number in range(notices_after):
        store.commit(change(Delete(place("x"), 0), audit=audit(target=f"{number}")), durable=False)
    with pytest.raises(StaleRevision):
        write(store, moment, Kind.SEGMENT)


def test_a_moment_whose_notice_is_gone_makes_the_commit_stale(
    store: Store, raw: redis.Redis
) -> None:
    commit_notice(store, "a")
    moment = store.moment(SHOP)
    commit_notice(store, "b")
    raw.xdel(keys.activity(SHOP), moment.notice)
    with pytest.raises(StaleRevision):
        write(store, moment, Kind.SEGMENT)


def test_more_notices_than_are_looked_at_make_the_commit_stale(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit_notice(store, "a")
    moment = store.moment(SHOP)
    monkeypatch.setattr(commit, "ACTIVITY_KEPT", 3)
    commit_notice(store, "b")
    write(store, moment, Kind.SEGMENT)
    with pytest.raises(StaleRevision):
        write(store, moment, Kind.SEGMENT)


def test_a_backup_that_is_restored_makes_the_commit_stale(store: Store) -> None:
    commit_notice(store, "a")
    moment = store.moment(SHOP)
    with pytest.raises(StaleRevision):
        write(store, replace(moment, hash="0" * 64), Kind.SEGMENT)
