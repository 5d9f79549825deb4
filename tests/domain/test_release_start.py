from __future__ import annotations

import pytest
from tidegate.model import All, Opening, Rule, Serve, WeightedVariant
from tidegate_server.domain import release_state_machine as machine
from tidegate_server.domain import segment_edits
from tidegate_server.domain.flags import SegmentDefinition
from tidegate_server.domain.policy import Stage
from tidegate_server.domain.project_documents import (
    flag_address,
    policy_address,
    release_address,
    segment_address,
)
from tidegate_server.domain.release import State
from tidegate_server.domain.release_start import start_release
from tidegate_server.domain.release_state_machine import Initiator
from tidegate_server.errors import AlreadyExists, Invalid, NotFound, NotPossible, StaleRevision

from tests.domain.builders import (
    CHECKOUT_IN_PRODUCTION,
    Shelf,
    checkout,
    guarded,
    ladder,
    pointers,
    problems,
    serving,
    stocked,
    written,
)

SPLIT = Serve(split=(WeightedVariant("on", 50), WeightedVariant("off", 50)))


@pytest.fixture
def shelf() -> Shelf:
    return stocked()


def test_a_release_begins_at_its_first_stage(shelf: Shelf) -> None:
    shelf.start(now_ms=77)
    started = shelf.release()
    assert (started.state, started.stage, started.step, started.attempt) == (
        State.RUNNING,
        1,
        1,
        1,
    )
    assert (started.control, started.treatment, started.policy_revision) == ("off", "on", 1)
    assert started.started_ms == started.stage_entered_ms == started.updated_ms == 77


def test_the_snapshot_shows_its_opening_under_a_salt_of_its_own(shelf: Shelf) -> None:
    shelf.start()
    shown = shelf.flags["production"]["checkout"].release
    assert shown is not None
    assert (shown.id, shown.salt, shown.openings) == ("rel_1", "rel_1", (Opening(1, 5),))
    assert shown.report_interval == 10
    assert shelf.flags["staging"]["checkout"].release is None


def test_it_rests_on_the_flag_the_policy_and_the_policys_segments(shelf: Shelf) -> None:
    shelf.add_segment(SegmentDefinition("staff"))
    shelf.add_policy(ladder(Stage("staff", 50, ("staff",)), Stage("all", 100)))
    change = shelf.start()
    assert guarded(change) == {
        flag_address("checkout"),
        policy_address("careful"),
        segment_address("staff"),
    }
    assert written(change) == {CHECKOUT_IN_PRODUCTION, release_address("production", "rel_1")}


def test_the_audit_tells_what_was_started(shelf: Shelf) -> None:
    shelf.start(reason="faster")
    told = shelf.audits[-1]
    assert (told.action, told.target, told.reason) == ("release.start", "rel_1", "faster")
    assert told.details["percentage"] == 5
    assert told.details["treatment"] == "on"


def test_a_rule_may_be_released_instead_of_the_default_rule(shelf: Shelf) -> None:
    shelf.retarget(rules=(Rule("first", All(()), serving("on")),))
    shelf.start(rule="first", treatment="off")
    assert (shelf.release().rule, shelf.release().control) == ("first", "on")


@pytest.mark.parametrize(
    ("asked", "pointer", "words"),
    [
        ({"flag": "gone"}, "/flag", "no flag 'gone'"),
        ({"policy": "gone"}, "/policy", "create it first"),
        ({"treatment": "gone"}, "/treatment", "it has on, off"),
        ({"treatment": "off"}, "/treatment", "nothing to release"),
        ({"control": "on", "treatment": "off"}, "/control", "serves now, 'off'"),
        ({"rule": "gone"}, "/rule", "it has none"),
    ],
)
def test_what_is_not_there_is_named(
    shelf: Shelf, asked: dict[str, str], pointer: str, words: str
) -> None:
    with pytest.raises(Invalid) as caught:
        shelf.start(**asked)
    assert pointers(caught.value) == [pointer]
    assert words in problems(caught.value)[pointer]


def test_a_control_that_is_what_the_rule_serves_may_be_named(shelf: Shelf) -> None:
    shelf.start(control="off")
    assert shelf.release().control == "off"


def test_a_rule_that_serves_a_split_cannot_be_released(shelf: Shelf) -> None:
    shelf.retarget(default=SPLIT)
    with pytest.raises(Invalid, match="serves a split"):
        shelf.start()


def test_a_flag_has_one_active_release_in_an_environment(shelf: Shelf) -> None:
    shelf.start()
    with pytest.raises(NotPossible, match="active release in production already: rel_1"):
        shelf.start(release_id="rel_2")
    shelf.start("staging", release_id="rel_3")


def test_a_killed_flag_is_not_released(shelf: Shelf) -> None:
    shelf.kill()
    with pytest.raises(NotPossible, match="Restore it first"):
        shelf.start()


def test_a_flag_that_is_off_is_not_released(shelf: Shelf) -> None:
    shelf.retarget(enabled=False)
    with pytest.raises(NotPossible, match="Enable it first"):
        shelf.start()


def test_an_unknown_environment_is_not_found(shelf: Shelf) -> None:
    with pytest.raises(NotFound, match="no environment 'moon'"):
        shelf.start("moon")


def test_an_id_is_used_once(shelf: Shelf) -> None:
    shelf.start()
    shelf.move(machine.roll_back(shelf.release(), 9, "", by=Initiator.PERSON))
    with pytest.raises(AlreadyExists):
        shelf.start()


def test_of_two_starts_at_once_one_is_stale(shelf: Shelf) -> None:
    late = start_release(
        shelf.documents,
        "production",
        release_id="rel_2",
        flag="checkout",
        treatment="on",
        policy="careful",
        actor="bob",
        now_ms=1,
    )
    shelf.start()
    with pytest.raises(StaleRevision):
        shelf.commit(late)


def test_a_segment_that_goes_while_a_release_starts_stops_one_of_them(shelf: Shelf) -> None:
    shelf.add_segment(SegmentDefinition("staff"))
    shelf.add_flag(checkout(key="search"))
    deletion = segment_edits.delete_segment(shelf.documents, "staff", actor="ana")
    shelf.add_policy(ladder(Stage("staff", 50, ("staff",)), Stage("all", 100)))
    with pytest.raises(StaleRevision):
        shelf.commit(deletion)
