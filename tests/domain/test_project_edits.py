from __future__ import annotations

import pytest
from tidegate_server.domain import flag_edits, project_edits
from tidegate_server.domain.change import Address, Kind, Stored
from tidegate_server.domain.flags import SegmentDefinition
from tidegate_server.domain.project_documents import (
    environment_address,
    flag_address,
    segment_address,
)
from tidegate_server.domain.projects import Environment, Project
from tidegate_server.errors import AlreadyExists, Invalid, StaleRevision

from tests.domain.builders import Shelf, checkout, guarded, stocked, written

SHOP = Address(Kind.PROJECT, "shop")


def test_a_project_is_registered_with_the_server() -> None:
    change = project_edits.new_project(Project("shop"), actor="ana")
    assert change.scope == ""
    assert written(change) == {SHOP}
    assert change.audit is not None
    assert change.audit.action == "project.create"


def test_a_projects_key_must_fit_an_address() -> None:
    with pytest.raises(Invalid):
        project_edits.new_project(Project("My shop"), actor="ana")


def test_a_projects_name_may_change_but_not_its_key() -> None:
    before = Stored(Project("shop"), 3, 0)
    change = project_edits.edit_project(before, Project("other", name="Shop"), actor="ana")
    (write,) = change.writes
    assert (write.address, write.expected) == (SHOP, 3)
    assert write.document == Project("shop", name="Shop")  # type: ignore[union-attr]
    unchanged = project_edits.edit_project(before, Project("shop"), actor="ana")
    assert (guarded(unchanged), unchanged.audit) == ({SHOP}, None)


def test_a_new_environment_has_every_flag_and_segment() -> None:
    shelf = stocked()
    shelf.add_segment(SegmentDefinition("staff"))
    shelf.start()
    change = shelf.commit(
        project_edits.new_environment(shelf.documents, Environment("canary"), actor="ana")
    )
    flag = shelf.flags["canary"]["checkout"]
    assert (flag.version, flag.release) == (2, None)
    assert set(shelf.segments["canary"]) == {"staff"}
    assert guarded(change) == {flag_address("checkout"), segment_address("staff")}


def test_an_empty_environment_has_a_version_too() -> None:
    assert Shelf("production").versions == {"production": 1}


def test_an_environments_key_is_taken_once_and_must_fit_an_address() -> None:
    shelf = stocked()
    with pytest.raises(AlreadyExists):
        project_edits.new_environment(shelf.documents, Environment("staging"), actor="ana")
    with pytest.raises(Invalid):
        project_edits.new_environment(shelf.documents, Environment("No"), actor="ana")


def test_an_environments_name_is_no_news_for_applications() -> None:
    shelf = stocked()
    after = Environment("staging", name="Before production")
    change = shelf.commit(project_edits.edit_environment(shelf.documents, after, actor="ana"))
    assert (written(change), change.refreshes) == ({environment_address("staging")}, ())


def test_a_flag_edited_meanwhile_makes_a_new_environment_stale() -> None:
    shelf = stocked()
    late = project_edits.new_environment(shelf.documents, Environment("canary"), actor="ana")
    after = checkout(name="Checkout")
    shelf.commit(flag_edits.edit_flag(shelf.documents, after, actor="ana", now_ms=1))
    with pytest.raises(StaleRevision):
        shelf.commit(late)
