from __future__ import annotations

import threading
from collections.abc import Iterator

import msgspec
import pytest
import redis
from tidegate_server.domain.change import Address, Put
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.projects import Project
from tidegate_server.errors import StoreUnavailable
from tidegate_server.store import Store
from tidegate_server.store.embedded import EmbeddedValkey

from tests.store.changes import PRODUCTION, SHOP, change, place, put, refreshed


class TestDocuments:
    def test_a_document_that_was_never_written_does_not_exist(self, store: Store) -> None:
        assert store.get(SHOP, place()) is None
        assert store.all(SHOP, Kind.ENVIRONMENT) == {}
        assert store.projects() == []

    def test_several_are_read_in_the_given_order(self, store: Store) -> None:
        store.commit(change(put("a"), put("b")))
        found = store.get_many(SHOP, [place("b"), place("none"), place("a"), place("b")])
        assert [each and each.document.key for each in found] == ["b", None, "a", "b"]
        assert store.get_many(SHOP, []) == []

    def test_all_returns_the_documents_of_one_scope_and_environment(self, store: Store) -> None:
        store.commit(change(put("a"), put("b")))
        store.commit(change(put("c"), scope="blog"))
        targeting = Address(Kind.ENVIRONMENT, "d", PRODUCTION)
        store.commit(change(Put(targeting, put("d").document, 0)))
        assert set(store.all(SHOP, Kind.ENVIRONMENT)) == {"a", "b"}
        assert set(store.all("blog", Kind.ENVIRONMENT)) == {"c"}
        assert set(store.all(SHOP, Kind.ENVIRONMENT, PRODUCTION)) == {"d"}
        assert store.all(SHOP, Kind.FLAG) == {}

    def test_projects_are_listed(self, store: Store) -> None:
        for key in ("shop", "blog"):
            address = Address(Kind.PROJECT, key)
            store.commit(change(Put(address, Project(key), 0), scope=""))
        assert store.projects() == ["blog", "shop"]

    def test_several_are_read_at_one_moment(self, store: Store, valkey: EmbeddedValkey) -> None:
        store.commit(change(put("a", name="0"), put("b", name="0")))
        stop = threading.Event()

        def write_both() -> None:
            writer = Store.connect(valkey.url)
            revision = 1
            while not stop.is_set():
                name = str(revision)
                both = change(put("a", revision, name), put("b", revision, name))
                revision = writer.commit(both, durable=False).revisions[place("a")]
            writer.close()

        thread = threading.Thread(target=write_both)
        thread.start()
        try:
            seen: set[int] = set()
            while len(seen) < 50:
                a, b = store.get_many(SHOP, [place("a"), place("b")])
                assert a is not None
                assert b is not None
                assert (a.document.name, a.revision) == (b.document.name, b.revision)
                seen.add(a.revision)
        finally:
            stop.set()
            thread.join()


class TestSnapshots:
    def test_an_environment_without_changes_is_empty_at_version_0(self, store: Store) -> None:
        taken = store.snapshot(SHOP, PRODUCTION)
        assert taken.version == store.version(SHOP, PRODUCTION) == 0
        assert msgspec.json.decode(taken.body) == {
            "schema": 1,
            "project": SHOP,
            "environment": PRODUCTION,
            "version": 0,
            "flags": {},
            "segments": {},
        }

    def test_flags_and_segments_may_have_the_same_key(self, store: Store) -> None:
        store.commit(refreshed("one:two"))
        body = msgspec.json.decode(store.snapshot(SHOP, PRODUCTION).body)
        assert list(body["flags"]) == ["one:two"]


class TestChanges:
    @pytest.fixture(autouse=True)
    def three(self, store: Store) -> None:
        for _ in range(3):
            store.commit(refreshed("checkout"))

    @pytest.mark.parametrize(("after", "versions"), [(0, [1, 2, 3]), (1, [2, 3]), (3, []), (9, [])])
    def test_after_a_version_are_returned_in_order(
        self, store: Store, after: int, versions: list[int]
    ) -> None:
        found = store.changes(SHOP, PRODUCTION, after)
        assert found is not None
        assert [version for version, _ in found] == versions
        assert [msgspec.json.decode(data)["version"] for _, data in found] == versions

    def test_that_are_no_longer_kept_require_a_snapshot(
        self, store: Store, raw: redis.Redis
    ) -> None:
        where = f"tg:{{{SHOP}}}:changes:{PRODUCTION}"
        raw.xtrim(where, maxlen=1, approximate=False)
        assert store.changes(SHOP, PRODUCTION, 0) is None
        assert store.changes(SHOP, PRODUCTION, 2) is not None
        raw.xtrim(where, maxlen=0, approximate=False)
        assert store.changes(SHOP, PRODUCTION, 2) is None
        assert store.changes(SHOP, PRODUCTION, 3) == []


class TestSingleValues:
    def test_the_first_value_is_kept(self, store: Store) -> None:
        assert store.get_server_value("fingerprint") is None
        assert store.put_server_value_once("fingerprint", "first") == "first"
        assert store.put_server_value_once("fingerprint", "second") == "first"
        assert store.get_server_value("fingerprint") == "first"


class TestDurability:
    @pytest.fixture
    def slow_disk(self, raw: redis.Redis) -> Iterator[None]:
        """A server that does not write to its disk immediately."""
        raw.config_set("appendfsync", "no")
        yield
        raw.config_set("appendfsync", "always")

    @pytest.mark.usefixtures("slow_disk")
    def test_a_commit_that_the_disk_does_not_confirm_is_reported_as_such(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(store, "_durable_ms", 20)
        with pytest.raises(StoreUnavailable) as unconfirmed:
            store.commit(change(put()))
        assert "Read again before you repeat it" in unconfirmed.value.message
        assert store.get(SHOP, place()) is not None

    @pytest.mark.usefixtures("slow_disk")
    def test_a_commit_without_durability_does_not_wait_for_the_disk(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(store, "_durable_ms", 20)
        assert store.commit(change(put()), durable=False).revisions == {place(): 1}


def test_the_time_is_the_servers(store: Store, raw: redis.Redis) -> None:
    seconds, micros = raw.time()
    assert store.now_ms() >= seconds * 1000 + micros // 1000


def test_threads_may_share_a_store(store: Store) -> None:
    answers: list[int] = []

    def work(number: int) -> None:
        for revision in range(10):
            store.commit(change(put(f"e{number}", revision)), durable=False)
            found = store.get(SHOP, place(f"e{number}"))
            answers.append(found.revision if found else 0)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == sorted([*range(1, 11)] * 8)
