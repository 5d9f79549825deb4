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

from tests.domain.builders import Shelf, guarded, ladder, serving, stocked

STAFF = SegmentDefinition("staff", included=("ana",))
USES_STAFF = Rule("staff-first", All((InSegment("staff"),)), serving("on"))


@pytest.fixture
def shelf() -> Shelf:
    shelf = stocked()
    shelf.add_segment(STAFF)
    return shelf


def test_a_segment_is_in_every_environment(shelf: Shelf) -> None:
    assert set(shelf.segments) == {"production", "staging"}
    assert shelf.segments["staging"]["staff"].included == ("ana",)
    assert shelf.audits[-1].action == "segment.create"


def test_a_segment_rests_on_those_it_names_directly_or_not(shelf: Shelf) -> None:
    shelf.add_segment(SegmentDefinition("b", InSegment("staff")))
    change = shelf.commit(
        segment_edits.put_segment(
            shelf.documents, SegmentDefinition("c", InSegment("b")), actor="ana"
        )
    )
    assert guarded(change) == {segment_address("b"), segment_address("staff")}


def test_words_for_people_are_not_news_for_applications(shelf: Shelf) -> None:
    version = shelf.versions["production"]
    shelf.add_segment(replace(STAFF, name="Our staff"))
    assert shelf.versions["production"] == version
    assert shelf.audits[-1].action == "segment.edit"
    assert shelf.audits[-1].details["changed"] == "name"


def test_writing_the_same_again_only_guards(shelf: Shelf) -> None:
    told = len(shelf.audits)
    shelf.add_segment(STAFF)
    assert len(shelf.audits) == told


def test_of_two_edits_that_would_close_a_circle_together_one_is_stale(shelf: Shelf) -> None:
    shelf.add_segment(SegmentDefinition("b"))
    late = segment_edits.put_segment(
        shelf.documents, SegmentDefinition("b", InSegment("staff")), actor="ana"
    )
    shelf.add_segment(SegmentDefinition("staff", InSegment("b")))
    with pytest.raises(StaleRevision):
        shelf.commit(late)


def test_a_segment_that_nobody_names_may_go(shelf: Shelf) -> None:
    shelf.commit(segment_edits.delete_segment(shelf.documents, "staff", actor="ana"))
    assert shelf.segments == {"production": {}, "staging": {}}


def test_whoever_names_a_segment_is_told(shelf: Shelf) -> None:
    shelf.retarget(rules=(USES_STAFF,))
    shelf.add_segment(SegmentDefinition("b", InSegment("staff")))
    shelf.add_policy(ladder(Stage("inside", 50, ("staff",)), Stage("all", 100)))
    shelf.start()
    with pytest.raises(NotPossible) as caught:
        segment_edits.delete_segment(shelf.documents, "staff", actor="ana")
    assert caught.value.message == (
        "Segment 'staff' is used by rule staff-first of flag checkout in production, segment b, "
        "stage inside of policy careful, stage inside of release rel_1 in production. "
        "End that first."
    )


def test_a_release_that_has_ended_needs_no_segment(shelf: Shelf) -> None:
    shelf.add_policy(ladder(Stage("inside", 50, ("staff",)), Stage("all", 100)))
    shelf.start()
    shelf.add_policy(ladder())
    shelf.move(machine.roll_back(shelf.release(), 9, ""))
    shelf.commit(segment_edits.delete_segment(shelf.documents, "staff", actor="ana"))


def test_a_rule_that_names_it_meanwhile_stops_a_deletion(shelf: Shelf) -> None:
    deletion = segment_edits.delete_segment(shelf.documents, "staff", actor="ana")
    shelf.retarget("staging", rules=(USES_STAFF,))
    with pytest.raises(StaleRevision):
        shelf.commit(deletion)


def test_a_deletion_meanwhile_stops_a_rule_that_names_it(shelf: Shelf) -> None:
    after = replace(shelf.targeting(), rules=(USES_STAFF,))
    late = flag_edits.edit_targeting(shelf.documents, "production", after, actor="ana")
    shelf.commit(segment_edits.delete_segment(shelf.documents, "staff", actor="ana"))
    with pytest.raises(StaleRevision):
        shelf.commit(late)


def test_an_unknown_segment_is_not_found(shelf: Shelf) -> None:
    with pytest.raises(NotFound):
        segment_edits.delete_segment(shelf.documents, "gone", actor="ana")


def test_a_segment_that_cannot_be_is_not_written(shelf: Shelf) -> None:
    with pytest.raises(Invalid):
        segment_edits.put_segment(shelf.documents, SegmentDefinition("No"), actor="ana")
