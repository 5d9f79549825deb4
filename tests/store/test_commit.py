from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate import wire
from tidegate.model import Segment
from tidegate_server.domain.change import (
    Address,
    Audit,
    Change,
    Delete,
    EvidenceGeneration,
    Fence,
    Guard,
    LedgerEntry,
    Put,
    Refresh,
)
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.projects import Environment
from tidegate_server.errors import LeaseLost, StaleRevision
from tidegate_server.store import Store, commit, keys
from tidegate_server.store.embedded import EmbeddedValkey

from tests.store.changes import (
    PRODUCTION,
    SHOP,
    audit,
    change,
    everything,
    flag,
    place,
    put,
    refreshed,
)


@dataclass(frozen=True, slots=True)
class Note:
    """An entry of a ledger; its content does not matter to the store."""

    text: str


@pytest.fixture
def without_durability(raw: redis.Redis) -> Iterator[redis.Redis]:
    """The server behind the store, without waiting for its disk."""
    raw.config_set("appendfsync", "no")
    yield raw
    raw.config_set("appendfsync", "always")


def whole(*writes: Any, **more: Any) -> Change:
    """Return a change that uses every kind of write."""
    parts: dict[str, Any] = {
        "refreshes": (
            Refresh(PRODUCTION, {"checkout": flag("checkout")}, killed=("checkout",)),
            Refresh("staging", segments={"staff": Segment("staff", included=("ann",))}),
        ),
        "audit": audit(),
        "ledger": (LedgerEntry(PRODUCTION, "rel_1", Note("advance")),),
        "generations": (EvidenceGeneration(PRODUCTION, "rel_1", 2),),
    }
    return change(*writes, **(parts | more))


class TestRevisions:
    def test_a_new_document_has_revision_1_and_every_write_adds_one(self, store: Store) -> None:
        for revision in range(3):
            committed = store.commit(change(put(expected=revision, name=f"at {revision}")))
            assert committed.revisions == {place(): revision + 1}
        stored = store.get(SHOP, place())
        assert stored is not None
        assert (stored.document.name, stored.revision) == ("at 2", 3)
        assert stored.updated_ms == committed.at_ms <= store.now_ms()

    def test_a_deleted_document_does_not_exist(self, store: Store) -> None:
        store.commit(change(put()))
        committed = store.commit(change(Delete(place(), 1)))
        assert committed.revisions == {place(): 0}
        assert store.get(SHOP, place()) is None

    def test_the_revision_of_a_deleted_document_is_never_used_again(self, store: Store) -> None:
        for name in ("one", "two"):
            present = store.get(SHOP, place())
            store.commit(change(put(expected=present.revision if present else 0, name=name)))
        store.commit(change(Delete(place(), 2)))
        again = store.commit(change(put(name="another"))).revisions[place()]
        assert again > 2
        for old in range(3):
            with pytest.raises(StaleRevision):
                store.commit(change(put(expected=old, name="of the one that is gone")))

    def test_a_new_key_begins_at_1_whatever_was_deleted(self, store: Store) -> None:
        store.commit(change(put()))
        store.commit(change(Delete(place(), 1)))
        assert store.commit(change(put("never-seen"))).revisions == {place("never-seen"): 1}
        assert store.commit(change(put())).revisions == {place(): 2}

    def test_deletions_of_an_earlier_version_still_count(
        self, store: Store, raw: redis.Redis
    ) -> None:
        raw.set(keys.deleted_floor(SHOP), 7)
        assert store.commit(change(put())).revisions == {place(): 8}

    def test_deletions_in_another_scope_do_not_change_the_first_revision(
        self, store: Store
    ) -> None:
        store.commit(change(put()))
        store.commit(change(Delete(place(), 1)))
        other = Change("blog", (put(),))
        assert store.commit(other).revisions[place()] == 1

    def test_a_document_may_be_guarded_and_written(self, store: Store) -> None:
        store.commit(change(put()))
        store.commit(change(Guard(place(), 1), put(expected=1, name="guarded")))
        with pytest.raises(StaleRevision):
            store.commit(change(Guard(place(), 1), put(expected=2)))
        stored = store.get(SHOP, place())
        assert stored is not None
        assert (stored.document.name, stored.revision) == ("guarded", 2)


class TestStaleChange:
    """A change that expects an old revision writes nothing."""

    @pytest.fixture(autouse=True)
    def documents(self, store: Store) -> None:
        store.commit(whole(put(), put("staging")))
        store.commit(whole(put(expected=1)))

    @pytest.mark.parametrize(
        ("writes", "says"),
        [
            ((put("other"), put(expected=1)), "'production' is now at revision 2, not 1"),
            ((put("other"), put(expected=3)), "'production' is now at revision 2, not 3"),
            ((put("other"), put()), "'production' already exists, at revision 2"),
            ((put("other"), put("gone", 4)), "'gone' was deleted; it was at revision 4"),
            ((put("other"), Guard(place(), 1)), "'production' is now at revision 2"),
            ((put("other"), Guard(place("gone"), 1)), "'gone' was deleted"),
            ((put("other"), Delete(place(), 1)), "'production' is now at revision 2"),
            ((Delete(place("staging"), 1), Guard(place(), 0)), "'production' already exists"),
        ],
    )
    def test_writes_nothing(
        self, store: Store, raw: redis.Redis, writes: tuple[Any, ...], says: str
    ) -> None:
        before = everything(raw)
        with pytest.raises(StaleRevision) as refused:
            store.commit(whole(*writes))
        assert says in refused.value.message
        assert everything(raw) == before

    def test_names_the_environment_of_the_document(self, store: Store) -> None:
        address = Address(Kind.TARGETING, "checkout", PRODUCTION)
        with pytest.raises(StaleRevision) as refused:
            store.commit(change(Guard(address, 3)))
        assert refused.value.message.startswith(
            "The targeting 'checkout' in production was deleted"
        )


class TestCommit:
    def test_writes_everything_at_one_time_of_the_stores_clock(
        self, store: Store, raw: redis.Redis
    ) -> None:
        earliest = store.now_ms()
        committed = store.commit(whole(put(), put("staging")))
        assert earliest <= committed.at_ms <= store.now_ms()
        assert committed.versions == {PRODUCTION: 1, "staging": 1}
        both = store.get_many(SHOP, [place(), place("staging")])
        (entry,), _ = store.logs.audit(SHOP)
        (record,), _ = store.logs.ledger(SHOP, PRODUCTION, "rel_1")
        kill = store.instances.kill_receipt(SHOP, PRODUCTION, "checkout")
        times = [stored.updated_ms for stored in both if stored]
        times += [entry.at_ms, record.at_ms, kill.at_ms if kill else 0]
        assert times == [committed.at_ms] * 5
        assert store.evidence.totals(SHOP, PRODUCTION, "rel_1").generation == 2

    def test_raises_the_version_of_every_refreshed_environment_by_one(self, store: Store) -> None:
        for expected in range(1, 6):
            committed = store.commit(refreshed("checkout"))
            assert committed.versions == {PRODUCTION: expected}
            assert store.version(SHOP, PRODUCTION) == expected
        assert store.version(SHOP, "staging") == 0

    def test_adds_one_stream_event_per_refresh_with_its_changes(self, store: Store) -> None:
        segment = Segment("staff", included=("ann",))
        store.commit(
            change(refreshes=(Refresh(PRODUCTION, {"one": flag("one")}, {"staff": segment}),))
        )
        store.commit(change(refreshes=(Refresh(PRODUCTION, {"one": None}, {"staff": None}),)))
        found = store.changes(SHOP, PRODUCTION, 0)
        assert found is not None
        first, second = (wire.parse_update(msgspec.json.decode(data)) for _, data in found)
        assert [version for version, _ in found] == [first.version, second.version] == [1, 2]
        assert (first.flags, first.segments) == ({"one": flag("one")}, {"staff": segment})
        assert (second.flags, second.segments) == ({"one": None}, {"staff": None})

    def test_stores_the_snapshot_that_the_events_add_up_to(self, store: Store) -> None:
        store.commit(refreshed("one", "two"))
        store.commit(change(refreshes=(Refresh(PRODUCTION, {"one": None}),)))
        store.commit(change(refreshes=(Refresh(PRODUCTION, {"two": flag("two", 9)}),)))
        taken = store.snapshot(SHOP, PRODUCTION)
        snapshot = wire.parse_snapshot(msgspec.json.decode(taken.body))
        assert taken.version == snapshot.version == 3
        assert (snapshot.project, snapshot.environment) == (SHOP, PRODUCTION)
        assert snapshot.flags == {"two": flag("two", 9)}

    def test_keeps_a_limited_number_of_changes(
        self, store: Store, without_durability: redis.Redis, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(commit, "CHANGES_KEPT", 200)
        for _ in range(500):
            store.commit(refreshed("checkout"), durable=False)
        kept = store.changes(SHOP, PRODUCTION, 500 - 200)
        assert kept is not None
        assert [version for version, _ in kept] == list(range(301, 501))
        assert store.changes(SHOP, PRODUCTION, 0) is None

    def test_a_new_generation_forgets_the_failing_users(
        self, store: Store, raw: redis.Redis
    ) -> None:
        where = f"tg:{{{SHOP}}}:failing:{PRODUCTION}:rel_1"
        raw.sadd(where, "a" * 16)
        raw.setbit(where.replace("failing", "failing-filter"), 3, 1)
        store.commit(change(generations=(EvidenceGeneration(PRODUCTION, "rel_1", 7),)))
        assert store.evidence.totals(SHOP, PRODUCTION, "rel_1").generation == 7
        assert raw.keys("*failing*") == []

    def test_stores_any_text(self, store: Store) -> None:
        awkward = 'Ж "quoted" \\ \n\x00 } {"a": null}'
        store.commit(
            change(put(name=awkward), audit=replace(audit(), reason=awkward)),
        )
        stored = store.get(SHOP, place())
        assert stored is not None
        assert stored.document.name == awkward
        assert store.logs.audit(SHOP)[0][0].reason == awkward

    def test_loads_the_script_again_if_the_server_lost_it(
        self, store: Store, raw: redis.Redis
    ) -> None:
        store.commit(change(put()))
        raw.script_flush()
        assert store.commit(change(put(expected=1))).revisions == {place(): 2}


class TestFence:
    @pytest.fixture
    def fence(self, store: Store) -> Fence:
        taken = store.leases.acquire(SHOP, "job-1", 60_000)
        assert taken is not None
        return taken

    def test_that_is_valid_allows_the_change(self, store: Store, fence: Fence) -> None:
        assert store.commit(change(put(), fence=fence)).revisions == {place(): 1}

    @pytest.mark.parametrize("how", ["lapsed", "another's", "acquired again", "given up", "never"])
    def test_that_is_invalid_refuses_the_change(
        self, store: Store, raw: redis.Redis, fence: Fence, how: str
    ) -> None:
        if how == "never":
            raw.flushall()
        elif how == "lapsed":
            raw.hset(f"tg:{{{SHOP}}}:lease", "expires", store.now_ms())
        else:
            store.leases.release(SHOP, fence)
            if how != "given up":
                assert store.leases.acquire(
                    SHOP, "job-2" if how == "another's" else "job-1", 60_000
                )
        before = everything(raw)
        with pytest.raises(LeaseLost):
            store.commit(whole(put(), fence=fence))
        assert everything(raw) == before

    def test_is_checked_before_the_revisions(self, store: Store, fence: Fence) -> None:
        deposed = replace(fence, number=fence.number - 1)
        with pytest.raises(LeaseLost):
            store.commit(change(put(expected=99), fence=deposed))

    def test_of_another_scope_is_invalid(self, store: Store, fence: Fence) -> None:
        with pytest.raises(LeaseLost):
            store.commit(Change("blog", (put(),), fence=fence))


class TestKills:
    """Active kills and their receipts."""

    def kill(self, store: Store, **flags: Any) -> int:
        return store.commit(refreshed(**flags)).versions[PRODUCTION]

    def receipts(self, raw: redis.Redis) -> set[str]:
        fields: Any = raw.hkeys(f"tg:{{{SHOP}}}:receipts:{PRODUCTION}")
        return {each.decode() for each in fields}

    def test_a_kill_is_active_until_the_flag_is_restored(self, store: Store) -> None:
        version = self.kill(store, killed=("checkout",))
        self.kill(store)
        receipt = store.instances.kill_receipt(SHOP, PRODUCTION, "checkout")
        assert receipt is not None
        assert receipt.version == version
        assert store.instances.kill_receipt(SHOP, PRODUCTION, "search") is None
        self.kill(store, restored=("checkout",))
        assert store.instances.kill_receipt(SHOP, PRODUCTION, "checkout") is None

    @pytest.mark.parametrize("end", ["killed", "restored"])
    def test_receipts_are_deleted_with_their_kill_only(
        self, store: Store, raw: redis.Redis, end: str
    ) -> None:
        self.kill(store, killed=("check", "checkout"))
        for field_ in ("check|i1", "checkout|i1", "checkout|i2"):
            raw.hset(f"tg:{{{SHOP}}}:receipts:{PRODUCTION}", field_, "5")
        self.kill(store, **{end: ("checkout",)})
        assert self.receipts(raw) == {"check|i1"}


def test_of_two_concurrent_writes_of_a_document_exactly_one_succeeds(
    store: Store, valkey: EmbeddedValkey
) -> None:
    rounds = 60
    store.commit(change(put(name="start")))
    together = threading.Barrier(2, timeout=60)
    won: dict[str, list[int]] = {"left": [], "right": []}
    lost: dict[str, int] = {"left": 0, "right": 0}

    def race(name: str) -> None:
        mine = Store.connect(valkey.url)
        for _ in range(rounds):
            stored = mine.get(SHOP, place())
            assert stored is not None
            together.wait()
            attempt = change(
                put(expected=stored.revision, name=name), audit=Audit(name, "race.win", name)
            )
            try:
                won[name].append(mine.commit(attempt).revisions[place()])
            except StaleRevision:
                lost[name] += 1
            together.wait()
        mine.close()

    threads = [threading.Thread(target=race, args=(name,)) for name in won]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(won["left"] + won["right"]) == list(range(2, rounds + 2))
    assert sum(lost.values()) == rounds
    entries, _ = store.logs.audit(SHOP, limit=500)
    actors = [entry.actor for entry in reversed(entries)]
    winners = {revision: name for name, revisions in won.items() for revision in revisions}
    assert actors == [winners[revision] for revision in sorted(winners)]


# A model of the store, and random sequences of commits against both.

KEYS = ("a", "b", "c")
ENVIRONMENTS = (PRODUCTION, "staging")


@dataclass
class Model:
    """A model of a store's content."""

    documents: dict[str, tuple[int, str]] = field(default_factory=dict)
    deleted: dict[str, int] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    snapshots: dict[str, dict[str, int]] = field(default_factory=dict)
    events: dict[str, list[int]] = field(default_factory=dict)
    audit: list[str] = field(default_factory=list)
    ledger: list[str] = field(default_factory=list)
    generation: int = 1

    def revision(self, key: str) -> int:
        return self.documents.get(key, (0, ""))[0]

    def commit(self, new_change: Change) -> bool:
        """Make a change; return False if it is stale."""
        if any(write.expected != self.revision(write.address.key) for write in new_change.writes):
            return False
        for write in new_change.writes:
            key = write.address.key
            if isinstance(write, Put):
                before = self.revision(key) or self.deleted.pop(key, 0)
                self.documents[key] = (before + 1, write.document.name)
            elif isinstance(write, Delete) and key in self.documents:
                self.deleted[key] = self.documents.pop(key)[0]
        for refresh in new_change.refreshes:
            where = refresh.environment
            self.versions[where] = self.versions.get(where, 0) + 1
            self.events.setdefault(where, []).append(self.versions[where])
            snapshot = self.snapshots.setdefault(where, {})
            for name, held in refresh.flags.items():
                if held is None:
                    snapshot.pop(name, None)
                else:
                    snapshot[name] = held.version
        self.audit += [new_change.audit.reason] if new_change.audit else []
        self.ledger += [entry.entry.text for entry in new_change.ledger]
        for each in new_change.generations:
            self.generation = each.generation
        return True


def read(store: Store) -> Model:
    """Return the content of the real store."""
    found = store.all(SHOP, Kind.ENVIRONMENT)
    entries, _ = store.logs.audit(SHOP, limit=500)
    records, _ = store.logs.ledger(SHOP, PRODUCTION, "rel_1", limit=500)
    model = Model(
        documents={key: (each.revision, each.document.name) for key, each in found.items()},
        audit=[entry.reason for entry in reversed(entries)],
        ledger=[record.entry["text"] for record in reversed(records)],
        generation=store.evidence.totals(SHOP, PRODUCTION, "rel_1").generation,
    )
    for where in ENVIRONMENTS:
        if version := store.version(SHOP, where):
            snapshot = wire.parse_snapshot(msgspec.json.decode(store.snapshot(SHOP, where).body))
            assert snapshot.version == version
            model.versions[where] = version
            model.snapshots[where] = {key: held.version for key, held in snapshot.flags.items()}
            model.events[where] = [at for at, _ in store.changes(SHOP, where, 0) or ()]
    return model


flags = st.dictionaries(
    st.sampled_from(KEYS), st.none() | st.integers(1, 99).map(lambda v: flag("x", v)), max_size=2
)
texts = st.text(max_size=4)
DrawnWrite = tuple[str, str, int]


@st.composite
def drawn_changes(draw: st.DrawFn) -> tuple[list[DrawnWrite], Change]:
    """Draw writes, each with the error of its expected revision, and the rest of the change."""
    writes = draw(
        st.lists(
            st.tuples(
                st.sampled_from(["put", "put", "delete", "guard"]),
                st.sampled_from(KEYS),
                st.sampled_from([0] * 8 + [1, -1]),
            ),
            max_size=3,
            unique_by=lambda write: write[1],
        )
    )
    rest = Change(
        SHOP,
        (),
        refreshes=tuple(
            Refresh(where, draw(flags)) for where in ENVIRONMENTS if draw(st.booleans())
        ),
        audit=draw(st.none() | st.builds(replace, st.just(audit()), reason=texts)),
        ledger=tuple(
            LedgerEntry(PRODUCTION, "rel_1", Note(text))
            for text in draw(st.lists(texts, max_size=2))
        ),
        generations=tuple(
            EvidenceGeneration(PRODUCTION, "rel_1", number)
            for number in draw(st.lists(st.integers(1, 9), max_size=1))
        ),
    )
    return writes, rest


def build_change(writes: list[DrawnWrite], rest: Change, model: Model) -> Change:
    """Return the change with the revisions of the model."""
    resting: list[Put | Delete | Guard] = []
    for number, (kind, key, off) in enumerate(writes):
        expected = max(0, model.revision(key) + off)
        if kind == "put":
            document = Environment(key, f"{rest.audit}{number}")
            resting.append(Put(place(key), document, expected))
        else:
            resting.append((Guard if kind == "guard" else Delete)(place(key), expected))
    return replace(rest, writes=tuple(resting))


@settings(max_examples=60)
@given(sequence=st.lists(drawn_changes(), max_size=8))
def run_against_the_model(
    store: Store, raw: redis.Redis, sequence: list[tuple[list[DrawnWrite], Change]]
) -> None:
    raw.flushall()
    model = Model()
    for writes, rest in sequence:
        new_change = build_change(writes, rest, model)
        before = everything(raw)
        try:
            committed = store.commit(new_change, durable=False)
        except StaleRevision:
            assert not model.commit(new_change)
            assert everything(raw) == before
        else:
            assert model.commit(new_change)
            assert committed.revisions == {
                write.address: model.revision(write.address.key)
                for write in new_change.writes
                if not isinstance(write, Guard)
            }
            assert committed.versions == {
                refresh.environment: model.versions[refresh.environment]
                for refresh in new_change.refreshes
            }
    found = read(store)
    assert replace(found, deleted=model.deleted) == model


def test_any_sequence_of_commits_agrees_with_the_model(
    store: Store, without_durability: redis.Redis
) -> None:
    run_against_the_model(store, without_durability)
