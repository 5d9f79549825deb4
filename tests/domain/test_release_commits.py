from __future__ import annotations

from dataclasses import replace

import pytest
from tidegate.model import Comparison, Opening, Rule
from tidegate_server.domain import flag_edits
from tidegate_server.domain import release_state_machine as machine
from tidegate_server.domain.project_documents import flag_address, release_address
from tidegate_server.domain.release import State
from tidegate_server.domain.release_commits import release_change
from tidegate_server.domain.release_state_machine import Initiator
from tidegate_server.errors import NotPossible, StaleRevision

from tests.domain.builders import (
    CHECKOUT_IN_PRODUCTION,
    Shelf,
    guarded,
    ladder,
    serving,
    stocked,
    written,
)

GERMANS = Rule("germans", Comparison("country", "equals", "DE"), serving("off"))
WHERE = release_address("production", "rel_1")


@pytest.fixture
def shelf() -> Shelf:
    shelf = stocked()
    shelf.start()
    return shelf


def audited(shelf: Shelf) -> dict[str, object]:
    return dict(shelf.audits[-1].details)


def test_an_advance_shows_the_wider_opening(shelf: Shelf) -> None:
    change = shelf.move(machine.advance(shelf.release(), 9, "evidence"), "release.advance")
    shown = shelf.flags["production"]["checkout"].release
    assert shown is not None
    assert (shown.stage, shown.step, shown.openings) == (2, 2, (Opening(2, 50),))
    assert written(change) == {WHERE}
    assert guarded(change) == {CHECKOUT_IN_PRODUCTION, flag_address("checkout")}


def test_the_audit_tells_what_a_move_did(shelf: Shelf) -> None:
    shelf.move(machine.advance(shelf.release(), 9, "A is 12"), "release.advance")
    told = shelf.audits[-1]
    assert (told.action, told.target, told.environment) == (
        "release.advance",
        "rel_1",
        "production",
    )
    assert told.reason == "A is 12"
    assert audited(shelf) == {
        "flag": "checkout",
        "state_before": "running",
        "state": "running",
        "stage_before": 1,
        "stage": 2,
        "stage_name": "half",
        "percentage_before": 5,
        "percentage": 50,
        "step": 2,
        "stopped": False,
    }


def test_a_pause_shows_nothing_new_to_applications(shelf: Shelf) -> None:
    version = shelf.versions["production"]
    change = shelf.move(machine.pause(shelf.release(), 9, "lunch", by=Initiator.PERSON))
    assert (change.refreshes, shelf.versions["production"]) == ((), version)
    assert shelf.release().state is State.PAUSED


def test_what_did_not_change_is_only_guarded(shelf: Shelf) -> None:
    told = len(shelf.audits)
    change = shelf.move(shelf.release())
    assert guarded(change) == {WHERE}
    assert (len(change.writes), len(shelf.audits)) == (1, told)


def test_a_completed_release_leaves_its_treatment_to_everyone(shelf: Shelf) -> None:
    version = shelf.flags["production"]["checkout"].version
    shelf.move(machine.complete(shelf.release(), 9, "enough", by=Initiator.PERSON))
    flag = shelf.flags["production"]["checkout"]
    assert (flag.default, flag.release, flag.version) == (serving("on"), None, version + 1)
    assert shelf.targeting().release is None
    assert audited(shelf)["percentage"] == 100


def test_a_release_that_is_rolled_back_leaves_the_control(shelf: Shelf) -> None:
    shelf.move(machine.roll_back(shelf.release(), 9, "E is 120"))
    flag = shelf.flags["production"]["checkout"]
    assert (flag.default, flag.release) == (serving("off"), None)
    assert audited(shelf)["percentage"] == 0


def test_a_release_of_a_rule_ends_in_that_rule() -> None:
    shelf = stocked()
    shelf.retarget(rules=(GERMANS,))
    shelf.start(rule="germans")
    shelf.move(machine.complete(shelf.release(), 9, "", by=Initiator.PERSON))
    assert shelf.targeting().rules == (replace(GERMANS, serve=serving("on")),)
    assert shelf.targeting().default == serving("off")


def test_a_new_release_may_start_once_the_last_has_ended(shelf: Shelf) -> None:
    shelf.move(machine.roll_back(shelf.release(), 9, ""))
    shelf.start(release_id="rel_2")
    assert shelf.release().id == "rel_2"


def test_whoever_comes_second_is_stale(shelf: Shelf) -> None:
    seen = shelf.release()
    old = shelf.documents
    shelf.move(machine.pause(seen, 9, "", by=Initiator.PERSON))
    late = release_change(
        old,
        "production",
        old.releases["production"]["rel_1"],
        machine.advance(seen, 9, ""),
        actor="policy",
        action="release.advance",
    )
    with pytest.raises(StaleRevision):
        shelf.commit(late)


def test_an_advance_and_an_edit_of_the_flag_do_not_overwrite_each_other(shelf: Shelf) -> None:
    old = shelf.documents
    after = replace(old.flag("checkout").document, name="Fast checkout")
    edit = flag_edits.edit_flag(old, after, actor="ana", now_ms=9)
    shelf.move(machine.advance(shelf.release(), 9, ""))
    with pytest.raises(StaleRevision):
        shelf.commit(edit)


def test_a_release_that_the_targeting_does_not_name_is_not_moved(shelf: Shelf) -> None:
    running = shelf.release()
    shelf.move(machine.roll_back(running, 9, ""))
    with pytest.raises(NotPossible, match="no longer the active release"):
        shelf.move(machine.advance(running, 10, ""))


def test_the_policy_a_release_started_under_is_kept(shelf: Shelf) -> None:
    shelf.add_policy(ladder(bake_ms=1))
    assert shelf.release().policy.bake_ms == 3_600_000
    assert shelf.release().policy_revision == 1
