"""The commit script keeps the hash chain of each audit log, whoever commits at the same time."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest
import redis
from tidegate_server.domain.audit_chain import START, Verification, verify
from tidegate_server.store import Store, commit, keys
from tidegate_server.store.logs import ALWAYS

from tests.store.changes import SHOP, audit, change


def verified(store: Store, scope: str = SHOP) -> Verification:
    chain = store.logs.audit_chain(scope)
    entries = (each.chained() for each in store.logs.audit_between(scope, ALWAYS))
    return verify(entries, chain.head, chain.anchor)


def add(store: Store, amount: int, scope: str = SHOP) -> None:
    for number in range(amount):
        entry = replace(audit(), target=f"{number}", reason="für 1.5 €", details={"a": [1.5, 1e22]})
        store.commit(change(audit=entry, scope=scope), durable=False)


def test_every_commit_continues_the_chain(store: Store) -> None:
    assert verified(store) == Verification(0, 0, START)
    add(store, 7)
    result = verified(store)
    assert (result.broken, result.chained, result.latest.number) == (None, 7, 7)


def test_each_log_has_its_own_chain(store: Store) -> None:
    add(store, 2)
    add(store, 3, scope="")
    assert (verified(store).chained, verified(store, "").chained) == (2, 3)


def test_concurrent_commits_do_not_fork_the_chain(store: Store) -> None:
    threads = [threading.Thread(target=add, args=(store, 25)) for _ in range(6)]
    for thread in threads:
        thread.start()
    store.commit_many([change(audit=audit()) for _ in range(25)], durable=False)
    for thread in threads:
        thread.join()
    result = verified(store)
    assert (result.broken, result.chained) == (None, 175)


def test_entries_of_earlier_versions_stay_unchained(store: Store, raw: redis.Redis) -> None:
    old = b'{"actor":"ann","action":"flag.kill","target":"x","environment":"","reason":"",'
    raw.xadd(keys.audit(SHOP), {"at": "1", "entry": old + b'"details":{}}'})
    add(store, 2)
    result = verified(store)
    assert (result.broken, result.unchained, result.chained) == (None, 1, 2)
    assert store.logs.audit(SHOP)[0][-1].documents == ()


def test_a_full_log_loses_its_oldest_entries_and_keeps_an_anchor(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(store, 8)
    monkeypatch.setattr(commit, "AUDIT_KEPT", 5)
    for kept in (7, 6, 5, 5):
        add(store, 1)
        assert len(store.logs.audit(SHOP)[0]) == kept
        assert verified(store).broken is None
    assert store.logs.audit_chain(SHOP).anchor.number == 7


def test_a_changed_entry_is_found(store: Store, raw: redis.Redis) -> None:
    add(store, 5)
    stream = keys.audit(SHOP)
    entries: Any = raw.xrange(stream)
    raw.delete(stream)
    for number, (id, fields) in enumerate(entries):
        if number == 2:
            fields = {**fields, b"entry": fields[b"entry"].replace(b"dana", b"eve")}
        raw.xadd(stream, fields, id=id)
    assert verified(store).broken == entries[2][0].decode()
