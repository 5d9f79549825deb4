from __future__ import annotations

import pytest
from tidegate_server.domain import policy_edits
from tidegate_server.domain.flags import SegmentDefinition
from tidegate_server.domain.policy import Stage
from tidegate_server.domain.project_documents import segment_address
from tidegate_server.errors import Invalid, NotFound

from tests.domain.builders import InMemoryStore, guarded, make_policy, store_with_checkout


@pytest.fixture
def store() -> InMemoryStore:
    return store_with_checkout()


def test_a_policy_does_not_change_snapshots(store: InMemoryStore) -> None:
    versions = dict(store.versions)
    store.add_policy(make_policy(bake_ms=0))
    assert store.versions == versions
    assert store.audits[-1].action == "policy.edit"
    assert store.audits[-1].details["changed"] == "bake_ms"


def test_a_policy_guards_the_segments_of_its_stages(store: InMemoryStore) -> None:
    store.add_segment(SegmentDefinition("staff"))
    policy = make_policy(Stage("", 50, ("staff",)), Stage("", 100))
    change = store.commit(policy_edits.put_policy(store.documents, policy, actor="ana"))
    assert guarded(change) == {segment_address("staff")}
    stored = store.documents.policy("careful")
    assert [stage.name for stage in stored.document.stages] == ["stage-1", "stage-2"]
    assert stored.revision == 2


def test_an_equal_replacement_only_guards(store: InMemoryStore) -> None:
    store.add_policy(make_policy())
    assert store.documents.policy("careful").revision == 1


def test_an_invalid_policy_is_not_written(store: InMemoryStore) -> None:
    with pytest.raises(Invalid):
        store.add_policy(make_policy(Stage("a", 100)))


def test_the_policy_of_an_active_release_can_be_deleted(store: InMemoryStore) -> None:
    store.start()
    store.commit(policy_edits.delete_policy(store.documents, "careful", actor="ana"))
    assert store.release().policy == make_policy()
    with pytest.raises(NotFound):
        policy_edits.delete_policy(store.documents, "careful", actor="ana")
