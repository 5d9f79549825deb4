"""A segment opens a release no further than its policy or a person allows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tidegate import Client, Context
from tidegate.model import All, InSegment, NoneOf, Snapshot
from tidegate.wire import to_wire
from tidegate_server.domain import release_state_machine as machine
from tidegate_server.domain import segment_edits
from tidegate_server.domain.flags import SegmentDefinition
from tidegate_server.domain.policy import Stage
from tidegate_server.domain.release import Release
from tidegate_server.domain.release_gates import ApprovalGate, Freeze, Windows
from tidegate_server.domain.release_state_machine import Initiator
from tidegate_server.errors import Invalid, StaleRevision

from tests.domain.builders import InMemoryStore, make_policy, pointers, store_with_checkout

STAFF = SegmentDefinition("staff", included=("ana",), excluded=("eve",))
STAGES = (Stage("inside", 50, ("staff",)), Stage("half", 50), Stage("all", 100))


def store_with_release(*stages: Stage, **policy: Any) -> InMemoryStore:
    """Return a store with a release that is open to the segment staff."""
    store = store_with_checkout()
    store.add_segment(STAFF)
    store.add_policy(make_policy(*(stages or STAGES), **policy))
    store.start()
    return store


def refused(store: InMemoryStore, segment: SegmentDefinition) -> list[str]:
    """Return the fields for which a new form of a segment is refused."""
    with pytest.raises(Invalid) as caught:
        store.add_segment(segment)
    return pointers(caught.value)


@pytest.fixture
def store() -> InMemoryStore:
    return store_with_release()


def test_the_condition_of_an_open_segment_does_not_change(store: InMemoryStore) -> None:
    assert refused(store, replace(STAFF, when=All(()))) == ["/when"]
    store.move(machine.advance(store.release(), 2_000, "healthy"))
    store.add_segment(replace(STAFF, when=All(())))  # the next stage opened as much to everyone


def test_single_keys_may_join_an_open_segment_while_the_release_may_open(
    store: InMemoryStore,
) -> None:
    store.add_segment(replace(STAFF, included=("ana", "bob"), excluded=()))


def person_pauses(release: Release) -> Release:
    return machine.pause(release, 2_000, "Lunch.", by=Initiator.PERSON)


def person_stops(release: Release) -> Release:
    return machine.pause(release, 2_000, "Stop.", stop=True, by=Initiator.PERSON)


def policy_holds(release: Release) -> Release:
    return machine.hold(release, 2_000, "no data")


@pytest.mark.parametrize("stop", [person_pauses, person_stops, policy_holds])
def test_nobody_joins_a_segment_that_a_stopped_release_has_open(
    store: InMemoryStore, stop: Callable[[Release], Release]
) -> None:
    store.move(stop(store.release()))
    assert refused(store, replace(STAFF, included=("ana", "bob"))) == ["/included"]
    assert refused(store, replace(STAFF, excluded=())) == ["/excluded"]
    store.add_segment(replace(STAFF, included=(), excluded=("eve", "bob"), name="Staff"))


def test_nobody_joins_a_segment_while_its_release_is_killed(store: InMemoryStore) -> None:
    store.kill()
    assert refused(store, replace(STAFF, included=("ana", "bob"))) == ["/included"]


def test_nobody_joins_a_segment_during_a_freeze() -> None:
    freeze = Windows(freeze=(Freeze("1970-01-01", "1970-01-02", "holidays"),))
    store = store_with_release(windows=freeze)
    with pytest.raises(Invalid, match="holidays"):
        store.add_segment(replace(STAFF, included=("ana", "bob")))


def test_nobody_joins_a_segment_of_a_stage_that_needs_an_approval() -> None:
    first = replace(STAGES[0], approval=ApprovalGate())
    store = store_with_release(first, *STAGES[1:])
    with pytest.raises(Invalid, match="needs an approval"):
        store.add_segment(replace(STAFF, included=("ana", "bob")))


def test_a_segment_within_an_open_segment_counts_too() -> None:
    store = store_with_checkout()
    store.add_segment(SegmentDefinition("robots", included=("r2",)))
    store.add_segment(SegmentDefinition("staff", when=NoneOf((InSegment("robots"),))))
    store.add_policy(make_policy(*STAGES))
    store.start()
    assert refused(store, SegmentDefinition("robots", when=NoneOf(()), included=("r2",))) == [
        "/when"
    ]
    store.move(person_pauses(store.release()))
    assert refused(store, SegmentDefinition("robots")) == ["/included"]  # r2 would join staff


def test_a_draft_is_open_to_no_segment() -> None:
    store = store_with_checkout()
    store.add_segment(STAFF)
    store.add_policy(make_policy(*STAGES))
    store.start(draft=True)
    store.add_segment(replace(STAFF, when=All(())))


def test_a_segment_and_a_pause_at_once_make_one_of_them_stale(store: InMemoryStore) -> None:
    late = segment_edits.put_segment(
        store.documents, replace(STAFF, included=("ana", "bob")), actor="ana", now_ms=1
    )
    store.move(person_pauses(store.release()))
    with pytest.raises(StaleRevision):
        store.commit(late)


def test_a_key_that_one_segment_excludes_is_open_through_another() -> None:
    store = store_with_checkout()
    store.add_segment(STAFF)
    store.add_segment(SegmentDefinition("beta", included=("eve",)))
    store.add_policy(make_policy(Stage("inside", 99.9, ("staff", "beta")), *STAGES[1:]))
    store.start()
    flags, segments = store.flags["production"], store.segments["production"]
    snapshot = Snapshot("shop", "production", 1, flags=flags, segments=segments)
    client = Client.offline(to_wire(snapshot))
    assert client.boolean("checkout", False, Context("eve"))
    assert not client.boolean("checkout", False, Context("zoe"))
