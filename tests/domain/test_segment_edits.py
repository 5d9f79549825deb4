from __future__ import annotations

from dataclasses import replace

import pytest
from tidegate.model import All, InSegment, Rule
from tidegate_server.domain import flag_edits, segment_edits
from tidegate_server.domain import release_state_machine as machine
from tidegate_server.domain.flags import SegmentDefinition
from tidegate_server.domain.policy import Stage
from tidegate_server.domain.project_documents import segment_address
from tidegate_server.errors import Invalid, NotFound, NotPossible, StaleRevision

from tests.domain.builders import InMemoryStore, guarded, make_policy, serving, store_with_checkout

STAFF = SegmentDefinition("staff", included=("ana",))
USES_STAFF = Rule("staff-first", All((InSegment("staff"),)), serving("on"))


@pytest.fixture
def store() -> InMemoryStore:
    store = store_with_checkout()
    store.add_segment(STAFF)
    return store


def test_a_segment_is_created_in_every_environment(store: InMemoryStore) -> None:
    assert set(store.segments) == {"production", "staging"}
    assert store.segments["staging"]["staff"].included == ("ana",)
    assert store.audits[-1].action == "segment.create"


def test_a_segment_guards_those_it_names_directly_or_indirectly(store: InMemoryStore) -> None:
    store.add_segment(SegmentDefinition("b", InSegment("staff")))
    change = store.commit(
        segment_edits.put_segment(
            store.documents, SegmentDefinition("c", InSegment("b")), actor="ana", now_ms=1
        )
    )
    assert guarded(change) == {segment_address("b"), segment_address("staff")}


def test_a_description_does_not_change_snapshots(store: InMemoryStore) -> None:
    version = store.versions["production"]
    store.add_segment(replace(STAFF, name="Our staff"))
    assert store.versions["production"] == version
    assert store.audits[-1].action == "segment.edit"
    assert store.audits[-1].details["changed"] == "name"


def test_an_equal_replacement_only_guards(store: InMemoryStore) -> None:
    entries = len(store.audits)
    store.add_segment(STAFF)
    assert len(store.audits) == entries


def test_one_of_two_edits_that_would_form_a_cycle_is_stale(store: InMemoryStore) -> None:
    store.add_segment(SegmentDefinition("b"))
    late = segment_edits.put_segment(
        store.documents, SegmentDefinition("b", InSegment("staff")), actor="ana", now_ms=1
    )
    store.add_segment(SegmentDefinition("staff", InSegment("b")))
    with pytest.raises(StaleRevision):
        store.commit(late)


def test_an_unused_segment_can_be_deleted(store: InMemoryStore) -> None:
    store.commit(segment_edits.delete_segment(store.documents, "staff", actor="ana"))
    assert store.segments == {"production": {}, "staging": {}}


def test_a_segment_in_use_cannot_be_deleted(store: InMemoryStore) -> None:
    store.edit_targeting(rules=(USES_STAFF,))
    store.add_segment(SegmentDefinition("b", InSegment("staff")))
    store.add_policy(make_policy(Stage("inside", 50, ("staff",)), Stage("all", 100)))
    store.start()
    with pytest.raises(NotPossible) as caught:
        segment_edits.delete_segment(store.documents, "staff", actor="ana")
    assert caught.value.message == (
        "Segment 'staff' is used by rule staff-first of flag checkout in production, segment b, "
        "stage inside of policy careful, stage inside of release rel_1 in production. "
        "End that first."
    )


def test_an_ended_release_does_not_use_its_segments(store: InMemoryStore) -> None:
    store.add_policy(make_policy(Stage("inside", 50, ("staff",)), Stage("all", 100)))
    store.start()
    store.add_policy(make_policy())
    store.move(machine.roll_back(store.release(), 9, ""))
    store.commit(segment_edits.delete_segment(store.documents, "staff", actor="ana"))


def test_a_concurrent_rule_prevents_the_deletion_of_its_segment(store: InMemoryStore) -> None:
    deletion = segment_edits.delete_segment(store.documents, "staff", actor="ana")
    store.edit_targeting("staging", rules=(USES_STAFF,))
    with pytest.raises(StaleRevision):
        store.commit(deletion)


def test_a_concurrent_deletion_prevents_a_rule_that_names_the_segment(store: InMemoryStore) -> None:
    after = replace(store.targeting(), rules=(USES_STAFF,))
    late = flag_edits.edit_targeting(store.documents, "production", after, actor="ana", now_ms=1)
    store.commit(segment_edits.delete_segment(store.documents, "staff", actor="ana"))
    with pytest.raises(StaleRevision):
        store.commit(late)


def test_an_unknown_segment_is_not_found(store: InMemoryStore) -> None:
    with pytest.raises(NotFound):
        segment_edits.delete_segment(store.documents, "gone", actor="ana")


def test_an_invalid_segment_is_not_written(store: InMemoryStore) -> None:
    with pytest.raises(Invalid):
        segment_edits.put_segment(store.documents, SegmentDefinition("No"), actor="ana", now_ms=1)
