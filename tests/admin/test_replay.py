"""Ledgers are replayed over HTTP, whole or in parts."""

from __future__ import annotations

from dataclasses import replace

import pytest
import redis
from tidegate_server.admin.ledgers.stored_ledger import read_entry
from tidegate_server.domain.change import Change, LedgerEntry
from tidegate_server.ledger.entry import Entry
from tidegate_server.store import Store
from tidegate_server.store.keys import ledger as ledger_key

from tests.decisions.random_releases import random_ledger
from tests.http_calls import Caller, pointers, slug


def write_ledger(store: Store, release: str, ledger: list[Entry]) -> None:
    id = release.rpartition("/")[2]
    for start in range(0, len(ledger), 50):
        some = ledger[start : start + 50]
        entries = tuple(LedgerEntry("production", id, each) for each in some)
        store.commit(Change("default", (), ledger=entries), durable=False)


def test_the_replay_of_an_empty_ledger_agrees(checkout: Caller, release: str) -> None:
    answer = checkout.get(f"{release}/replay").json
    assert answer == {
        "agrees": True,
        "ledger": 0,
        "entries": 0,
        "decisions": 0,
        "skipped": 0,
        "moves": 0,
        "differing": 0,
        "differences": [],
        "next_cursor": None,
    }


def test_a_ledger_agrees_with_its_replay(checkout: Caller, release: str, store: Store) -> None:
    write_ledger(store, release, random_ledger(1))
    response = checkout.get(f"{release}/replay")
    answer = response.json
    assert answer is not None
    assert answer["agrees"] is True
    assert (answer["ledger"], answer["decisions"], answer["next_cursor"]) == (300, 300, None)
    assert answer["moves"] > 0
    etag = response.headers["ETag"]
    assert checkout.get(f"{release}/replay", headers={"If-None-Match": etag}).status_code == 304


def test_a_long_ledger_is_replayed_in_parts(checkout: Caller, release: str, store: Store) -> None:
    write_ledger(store, release, random_ledger(1))
    first = checkout.get(f"{release}/replay?limit=10").json
    assert first is not None
    assert (first["entries"], first["agrees"]) == (240, True)
    second = checkout.get(f"{release}/replay?limit=10&cursor={first['next_cursor']}").json
    assert second is not None
    assert (second["entries"], second["decisions"], second["next_cursor"]) == (60, 60, None)
    assert second["agrees"] is True


def test_differences_are_shown_with_both_values(
    checkout: Caller, release: str, store: Store
) -> None:
    ledger = random_ledger(2, windows=30)
    wrong = replace(ledger[12].decision, log_evidence=0.5)
    ledger[12] = replace(ledger[12], decision=wrong)
    write_ledger(store, release, ledger)
    answer = checkout.get(f"{release}/replay").json
    assert answer is not None
    assert (answer["agrees"], answer["differing"]) == (False, 1)
    [difference] = answer["differences"]
    assert difference["field"] == "decision.log_evidence"
    assert (difference["window"], difference["recorded"]) == (13, 0.5)
    assert difference["recomputed"] != 0.5


def test_an_unreadable_entry_of_a_later_version_is_refused(
    checkout: Caller, release: str, store: Store
) -> None:
    id = release.rpartition("/")[2]
    write_ledger(store, release, random_ledger(2, windows=3))
    [*_, first], _ = store.logs.ledger("default", "production", id)
    entry = {**first.entry, "decision": {**first.entry["decision"], "action": "teleport"}}
    store.commit(
        Change("default", (), ledger=(LedgerEntry("production", id, entry),)), durable=False
    )
    refused = checkout.get(f"{release}/replay")
    assert (refused.status_code, slug(refused)) == (409, "not-possible")
    assert "Another version of Tidegate wrote it" in refused.text
    assert read_entry(first).entry.decision.window == 1


def test_a_cursor_of_another_list_is_refused(checkout: Caller, release: str) -> None:
    refused = checkout.get(f"{release}/replay?cursor=Y2hlY2tvdXQ")
    assert refused.status_code == 422
    assert pointers(refused) == ["/cursor"]


@pytest.mark.parametrize("limit", ["0", "20001", "many"])
def test_an_invalid_limit_is_refused(checkout: Caller, release: str, limit: str) -> None:
    assert checkout.get(f"{release}/replay?limit={limit}").status_code == 422


def test_the_replay_of_an_unknown_release_is_not_found(checkout: Caller) -> None:
    path = "/api/v1/projects/default/environments/production/releases/rel_none/replay"
    assert checkout.get(path).status_code == 404


def test_a_trimmed_ledger_is_replayed_from_its_first_checkpoint(
    checkout: Caller, release: str, store: Store, raw: redis.Redis
) -> None:
    write_ledger(store, release, random_ledger(1))
    id = release.rpartition("/")[2]
    raw.xtrim(ledger_key("default", "production", id), maxlen=100, approximate=False)
    answer = checkout.get(f"{release}/replay").json
    assert answer is not None
    assert (answer["entries"], answer["skipped"], answer["decisions"]) == (100, 40, 60)
    assert answer["agrees"] is True


def test_holds_in_a_row_are_listed_as_one(checkout: Caller, release: str, store: Store) -> None:
    ledger = random_ledger(1)
    write_ledger(store, release, ledger)
    assert checkout.get(f"{release}/ledger/holds?limit=0").status_code == 422
    decisions = holds = 0
    cursor = ""
    while cursor is not None:
        page = checkout.get(f"{release}/ledger/holds?limit=100&cursor={cursor}").json
        assert page is not None
        decisions += sum(each["decisions"] for each in page["items"])
        holds += len(page["items"])
        began = [each["began_at"] for each in page["items"]]
        assert began == sorted(began, reverse=True)
        cursor = page["next_cursor"]
    held = [each for each in ledger if each.decision.action == "hold"]
    assert decisions == len(held)
    assert 0 < holds < len(held)
