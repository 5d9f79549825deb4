from __future__ import annotations

import pytest
from tidegate_server.domain import policy_edits
from tidegate_server.domain.flags import SegmentDefinition
from tidegate_server.domain.policy import Stage
from tidegate_server.domain.project_documents import segment_address
from tidegate_server.errors import Invalid, NotFound

from tests.domain.builders import Shelf, guarded, ladder, stocked


@pytest.fixture
def shelf() -> Shelf:
    return stocked()


def test_a_policy_is_no_news_for_applications(shelf: Shelf) -> None:
    versions = dict(shelf.versions)
    shelf.add_policy(ladder(bake_ms=0))
    assert shelf.versions == versions
    assert shelf.audits[-1].action == "policy.edit"
    assert shelf.audits[-1].details["changed"] == "bake_ms"


def test_a_policy_rests_on_the_segments_of_its_stages(shelf: Shelf) -> None:
    shelf.add_segment(SegmentDefinition("staff"))
    policy = ladder(Stage("", 50, ("staff",)), Stage("", 100))
    change = shelf.commit(policy_edits.put_policy(shelf.documents, policy, actor="ana"))
    assert guarded(change) == {segment_address("staff")}
    stored = shelf.documents.policy("careful")
    assert [stage.name for stage in stored.document.stages] == ["stage-1", "stage-2"]
    assert stored.revision == 2


def test_writing_the_same_again_only_guards(shelf: Shelf) -> None:
    shelf.add_policy(ladder())
    assert shelf.documents.policy("careful").revision == 1


def test_a_policy_that_cannot_be_is_not_written(shelf: Shelf) -> None:
    with pytest.raises(Invalid):
        shelf.add_policy(ladder(Stage("a", 100)))


def test_a_policy_may_go_although_a_release_started_under_it(shelf: Shelf) -> None:
    shelf.start()
    shelf.commit(policy_edits.delete_policy(shelf.documents, "careful", actor="ana"))
    assert shelf.release().policy == ladder()
    with pytest.raises(NotFound):
        policy_edits.delete_policy(shelf.documents, "careful", actor="ana")
