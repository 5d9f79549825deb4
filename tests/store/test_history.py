"""The commit script keeps the versions of documents, a bounded number of them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import redis
from tidegate_server.domain.change import Audit, Delete, Put
from tidegate_server.domain.projects import Environment
from tidegate_server.errors import NotKept
from tidegate_server.store import Store, commit, keys
from tidegate_server.store.history import Version

from tests.store.changes import PRODUCTION, SHOP, change, place

LIST = keys.versions(SHOP, place())


def write(store: Store, revision: int, name: str = "", size: int = 0) -> int:
    """Write the environment at a revision; returns the time."""
    document = Environment(PRODUCTION, name or f"at {revision}", "x" * size)
    audit = Audit("dana", "environment.edit", PRODUCTION, reason=f"why {revision}")
    writes = (Put(place(), document, revision - 1),)
    return store.commit(change(*writes, audit=audit), durable=False).at_ms


def delete(store: Store, revision: int) -> int:
    audit = Audit("dana", "environment.delete", PRODUCTION)
    return store.commit(change(Delete(place(), revision), audit=audit), durable=False).at_ms


def all_versions(store: Store, limit: int = 7) -> list[Version]:
    found, cursor = store.history.versions(SHOP, place(), None, limit)
    while cursor is not None:
        more, cursor = store.history.versions(SHOP, place(), cursor, limit)
        found += more
    return found


def as_written_earlier(store: Store, raw: redis.Redis, revision: int, at_ms: int) -> None:
    """Write the environment as versions did that kept no history."""
    raw.hset(
        keys.documents_at(SHOP, place()),
        PRODUCTION,
        f'{revision} {at_ms} {{"key":"production","name":"old {revision}"}}',
    )


def test_every_version_is_kept_with_its_author(store: Store) -> None:
    times = [write(store, revision) for revision in (1, 2, 3)]
    found = all_versions(store)
    assert [(each.revision, each.at_ms) for each in found] == list(
        zip((3, 2, 1), times[::-1], strict=True)
    )
    assert [each.document.name for each in found] == ["at 3", "at 2", "at 1"]
    assert (found[0].actor, found[0].action, found[0].reason) == (
        *("dana", "environment.edit"),
        "why 3",
    )
    assert [each.created for each in found] == [False, False, True]


@pytest.mark.parametrize("limit", [1, 2, 3, 4])
def test_pages_have_every_version_once(store: Store, limit: int) -> None:
    for revision in (1, 2, 3):
        write(store, revision)
    assert [each.revision for each in all_versions(store, limit)] == [3, 2, 1]


def test_a_bounded_number_is_kept(store: Store, raw: redis.Redis) -> None:
    for revision in range(1, commit.VERSIONS_KEPT + 6):
        write(store, revision)
    assert raw.llen(LIST) == commit.VERSIONS_KEPT
    assert all_versions(store, 500)[-1].revision == 6
    with pytest.raises(NotKept, match="Revision 5 of environment"):
        store.history.version(SHOP, place(), 5)


@pytest.mark.parametrize(
    ("size", "kept"), [(0, 100), (40_000, 100), (400_000, 10), (900_000, 5), (10**7, 5)]
)
def test_fewer_versions_of_a_large_document_are_kept(size: int, kept: int) -> None:
    assert commit.versions_kept(size) == kept


def test_a_large_document_gives_up_its_old_versions(store: Store) -> None:
    for revision in range(1, 9):
        write(store, revision, size=900_000)
    assert [each.revision for each in all_versions(store)] == [8, 7, 6, 5, 4]


def test_a_refused_change_leaves_no_version(store: Store) -> None:
    write(store, 1)
    with pytest.raises(Exception, match="read it again"):
        write(store, 1)
    assert len(all_versions(store)) == 1


def test_a_deletion_is_a_version_and_expires(store: Store, raw: redis.Redis) -> None:
    write(store, 1)
    delete(store, 1)
    assert [(each.revision, each.deleted) for each in all_versions(store)] == [
        (1, True),
        (1, False),
    ]
    assert store.history.version(SHOP, place(), 1).document.name == "at 1"
    remaining = raw.ttl(LIST)
    assert isinstance(remaining, int)
    assert 0 < remaining <= commit.FORGOTTEN_SECONDS
    store.commit(change(Put(place(), Environment(PRODUCTION, "again"), 0)), durable=False)
    assert raw.ttl(LIST) == -1
    assert [(each.revision, each.deleted) for each in all_versions(store)] == [
        (2, False),
        (1, True),
        (1, False),
    ]


class TestDocumentsOfEarlierVersions:
    def test_the_present_version_is_the_only_one(self, store: Store, raw: redis.Redis) -> None:
        as_written_earlier(store, raw, 4, 1_000)
        (only,) = all_versions(store)
        assert (only.revision, only.at_ms, only.actor, only.document.name) == (
            4,
            1_000,
            "",
            "old 4",
        )
        assert store.history.version(SHOP, place(), 4).document.name == "old 4"
        with pytest.raises(NotKept):
            store.history.version(SHOP, place(), 3)

    def test_it_is_kept_by_the_first_change(self, store: Store, raw: redis.Redis) -> None:
        as_written_earlier(store, raw, 4, 1_000)
        write(store, 5)
        assert [(each.revision, each.document.name) for each in all_versions(store)] == [
            (5, "at 5"),
            (4, "old 4"),
        ]

    def test_a_server_that_keeps_none_may_write_in_between(
        self, store: Store, raw: redis.Redis
    ) -> None:
        write(store, 1)
        as_written_earlier(store, raw, 2, 5_000)
        assert [each.revision for each in all_versions(store)] == [2, 1]
        write(store, 3)
        assert [each.revision for each in all_versions(store)] == [3, 2, 1]
        assert store.history.version(SHOP, place(), 2).document.name == "old 2"
        # The one that it overwrote is lost, and that is said.
        with pytest.raises(NotKept):
            store.history.version(SHOP, place(), 1)


class TestTheVersionOfATime:
    def at(self, store: Store, at_ms: int) -> Any:
        version = store.history.version_at(SHOP, place(), at_ms)
        return version and version.document.name

    def test_it_is_the_last_one_before(self, store: Store, raw: redis.Redis) -> None:
        push(raw, 1, 10, "a", created=True)
        push(raw, 2, 20, "b")
        push(raw, 2, 30, None, deleted=True)
        push(raw, 3, 40, "c", created=True)
        times = (9, 10, 19, 20, 29, 30, 39, 40, 99)
        assert [self.at(store, time) for time in times] == [
            *(None, "a", "a", "b", "b"),
            *(None, None, "c", "c"),
        ]

    def test_what_is_no_longer_kept_is_said_so(self, store: Store, raw: redis.Redis) -> None:
        push(raw, 2, 1_000, "b")
        assert self.at(store, 1_000) == "b"
        with pytest.raises(NotKept, match=r"begin at 1970-01-01T00:00:01\.000Z"):
            self.at(store, 999)

    def test_a_document_that_has_not_changed_is_known_since_its_change(
        self, store: Store, raw: redis.Redis
    ) -> None:
        as_written_earlier(store, raw, 4, 1_000)
        assert self.at(store, 1_000) == "old 4"
        with pytest.raises(NotKept):
            self.at(store, 999)

    def test_there_may_be_none(self, store: Store) -> None:
        assert self.at(store, 1_000) is None

    def test_it_is_found_beyond_the_first_page(self, store: Store, raw: redis.Redis) -> None:
        for revision in range(1, 91):
            push(raw, revision, revision * 10, f"{revision}")
        assert self.at(store, 25) == "2"


def push(raw: redis.Redis, revision: int, at_ms: int, name: str | None, **made: bool) -> None:
    """Add a version as the commit script writes it."""
    json = None if name is None else f'{{"key":"production","name":"{name}"}}'
    packed = msgspec.msgpack.encode({"at": at_ms, "json": json, **made})
    raw.lpush(LIST, f"{revision} ".encode() + packed)


def test_the_content_of_the_present_version_is_stored_once(store: Store, raw: redis.Redis) -> None:
    write(store, 1, size=100_000)
    assert raw.llen(LIST) == 1
    assert len(raw.lindex(LIST, 0) or b"") < 200
    write(store, 2)
    assert store.history.version(SHOP, place(), 1).document.description == "x" * 100_000


def test_versions_of_many_commits_are_all_there(store: Store) -> None:
    for revision in range(1, 60):
        write(store, revision)
    assert [each.revision for each in all_versions(store, 25)] == list(range(59, 0, -1))
    assert [each.document.name for each in all_versions(store, 500)][::-1] == [
        f"at {revision}" for revision in range(1, 60)
    ]
