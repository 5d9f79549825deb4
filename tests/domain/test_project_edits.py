from __future__ import annotations

import pytest
from tidegate_server.domain import flag_edits, project_edits
from tidegate_server.domain.change import Address, Stored
from tidegate_server.domain.flags import SegmentDefinition
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.project_documents import (
    environment_address,
)
from tidegate_server.domain.projects import Environment, Project
from tidegate_server.errors import AlreadyExists, Invalid, StaleRevision

from tests.domain.builders import (
    InMemoryStore,
    checkout,
    guarded,
    guarded_kinds,
    store_with_checkout,
    written,
)

SHOP = Address(Kind.PROJECT, "shop")


def test_a_project_is_created_in_the_scope_of_the_server() -> None:
    change = project_edits.new_project(Project("shop"), actor="ana")
    assert change.scope == ""
    assert written(change) == {SHOP}
    assert change.audit is not None
    assert change.audit.action == "project.create"


def test_an_invalid_project_key_is_refused() -> None:
    with pytest.raises(Invalid):
        project_edits.new_project(Project("My shop"), actor="ana")


def test_a_project_can_be_renamed_but_keeps_its_key() -> None:
    before = Stored(Project("shop"), 3, 0)
    change = project_edits.edit_project(before, Project("other", name="Shop"), actor="ana")
    (write,) = change.writes
    assert (write.address, write.expected) == (SHOP, 3)
    assert write.document == Project("shop", name="Shop")  # type: ignore[union-attr]
    unchanged = project_edits.edit_project(before, Project("shop"), actor="ana")
    assert (guarded(unchanged), unchanged.audit) == ({SHOP}, None)


def test_a_new_environment_has_every_flag_and_segment() -> None:
    store = store_with_checkout()
    store.add_segment(SegmentDefinition("staff"))
    store.start()
    change = store.commit(
        project_edits.new_environment(store.documents, Environment("canary"), actor="ana")
    )
    flag = store.flags["canary"]["checkout"]
    assert (flag.version, flag.release) == (2, None)
    assert set(store.segments["canary"]) == {"staff"}
    assert guarded_kinds(change) == {(Kind.FLAG, ""), (Kind.SEGMENT, "")}


def test_a_flag_and_an_environment_that_are_created_at_once_know_each_other() -> None:
    store = store_with_checkout()
    present = store.documents
    store.add_flag(checkout(key="search"))
    with pytest.raises(StaleRevision):
        store.commit(project_edits.new_environment(present, Environment("canary"), actor="ana"))
    present = store.documents
    store.commit(project_edits.new_environment(store.documents, Environment("canary"), actor="ana"))
    late = flag_edits.new_flag(present, checkout(key="late"), actor="ana")
    with pytest.raises(StaleRevision):
        store.commit(late)


def test_a_new_environment_without_flags_has_a_version() -> None:
    assert InMemoryStore("production").versions == {"production": 1}


def test_an_environment_key_is_unique_and_valid() -> None:
    store = store_with_checkout()
    with pytest.raises(AlreadyExists):
        project_edits.new_environment(store.documents, Environment("staging"), actor="ana")
    with pytest.raises(Invalid):
        project_edits.new_environment(store.documents, Environment("No"), actor="ana")


def test_the_name_of_an_environment_does_not_change_its_snapshot() -> None:
    store = store_with_checkout()
    after = Environment("staging", name="Before production")
    change = store.commit(project_edits.edit_environment(store.documents, after, actor="ana"))
    assert (written(change), change.refreshes) == ({environment_address("staging")}, ())


def test_a_concurrent_edit_of_a_flag_makes_a_new_environment_stale() -> None:
    store = store_with_checkout()
    late = project_edits.new_environment(store.documents, Environment("canary"), actor="ana")
    after = checkout(name="Checkout")
    store.commit(flag_edits.edit_flag(store.documents, after, actor="ana", now_ms=1))
    with pytest.raises(StaleRevision):
        store.commit(late)
