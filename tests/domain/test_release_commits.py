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
    InMemoryStore,
    guarded,
    make_policy,
    serving,
    store_with_checkout,
    written,
)

GERMANS = Rule("germans", Comparison("country", "equals", "DE"), serving("off"))
WHERE = release_address("production", "rel_1")


@pytest.fixture
def store() -> InMemoryStore:
    store = store_with_checkout()
    store.start()
    return store


def audited(store: InMemoryStore) -> dict[str, object]:
    return dict(store.audits[-1].details)


def test_an_advance_updates_the_snapshot(store: InMemoryStore) -> None:
    change = store.move(machine.advance(store.release(), 9, "evidence"), "release.advance")
    shown = store.flags["production"]["checkout"].release
    assert shown is not None
    assert (shown.stage, shown.step, shown.openings) == (2, 2, (Opening(2, 50),))
    assert written(change) == {WHERE}
    assert guarded(change) == {CHECKOUT_IN_PRODUCTION, flag_address("checkout")}


def test_the_audit_log_describes_a_transition(store: InMemoryStore) -> None:
    store.move(machine.advance(store.release(), 9, "A is 12"), "release.advance")
    entry = store.audits[-1]
    assert (entry.action, entry.target, entry.environment) == (
        "release.advance",
        "rel_1",
        "production",
    )
    assert entry.reason == "A is 12"
    assert audited(store) == {
        "flag": "checkout",
        "state_before": "running",
        "state": "running",
        "stage_before": 1,
        "stage": 2,
        "stage_name": "half",
        "percentage_before": 5,
        "percentage": 50,
        "step": 2,
        "stage_basis": "evidence",
        "stopped": False,
    }


def test_a_pause_does_not_change_the_snapshot(store: InMemoryStore) -> None:
    version = store.versions["production"]
    change = store.move(machine.pause(store.release(), 9, "lunch", by=Initiator.PERSON))
    assert (change.refreshes, store.versions["production"]) == ((), version)
    assert store.release().state is State.PAUSED


def test_an_unchanged_release_is_only_guarded(store: InMemoryStore) -> None:
    entries = len(store.audits)
    change = store.move(store.release())
    assert guarded(change) == {WHERE}
    assert (len(change.writes), len(store.audits)) == (1, entries)


def test_a_completed_release_serves_the_treatment_to_everyone(store: InMemoryStore) -> None:
    version = store.flags["production"]["checkout"].version
    store.move(machine.complete(store.release(), 9, "enough", by=Initiator.PERSON))
    flag = store.flags["production"]["checkout"]
    assert (flag.default, flag.release, flag.version) == (serving("on"), None, version + 1)
    assert store.targeting().release is None
    assert audited(store)["percentage"] == 100


def test_a_release_that_is_rolled_back_serves_the_control(store: InMemoryStore) -> None:
    store.move(machine.roll_back(store.release(), 9, "E is 120"))
    flag = store.flags["production"]["checkout"]
    assert (flag.default, flag.release) == (serving("off"), None)
    assert audited(store)["percentage"] == 0


def test_the_end_of_a_release_changes_the_released_rule() -> None:
    store = store_with_checkout()
    store.edit_targeting(rules=(GERMANS,))
    store.start(rule="germans")
    store.move(machine.complete(store.release(), 9, "", by=Initiator.PERSON))
    assert store.targeting().rules == (replace(GERMANS, serve=serving("on")),)
    assert store.targeting().default == serving("off")


def test_a_new_release_can_start_after_the_last_one_ended(store: InMemoryStore) -> None:
    store.move(machine.roll_back(store.release(), 9, ""))
    store.start(release_id="rel_2")
    assert store.release().id == "rel_2"


def test_the_second_of_two_concurrent_changes_is_stale(store: InMemoryStore) -> None:
    running = store.release()
    old = store.documents
    store.move(machine.pause(running, 9, "", by=Initiator.PERSON))
    late = release_change(
        old,
        "production",
        old.releases["production"]["rel_1"],
        machine.advance(running, 9, ""),
        actor="policy",
        action="release.advance",
    )
    with pytest.raises(StaleRevision):
        store.commit(late)


def test_an_advance_and_an_edit_of_the_flag_do_not_overwrite_each_other(
    store: InMemoryStore,
) -> None:
    old = store.documents
    after = replace(old.flag("checkout").document, name="Fast checkout")
    edit = flag_edits.edit_flag(old, after, actor="ana", now_ms=9)
    store.move(machine.advance(store.release(), 9, ""))
    with pytest.raises(StaleRevision):
        store.commit(edit)


def test_a_release_that_is_no_longer_active_cannot_change(store: InMemoryStore) -> None:
    running = store.release()
    store.move(machine.roll_back(running, 9, ""))
    with pytest.raises(NotPossible, match="no longer the active release"):
        store.move(machine.advance(running, 10, ""))


def test_a_release_keeps_the_policy_it_started_under(store: InMemoryStore) -> None:
    store.add_policy(make_policy(bake_ms=1))
    assert store.release().policy.bake_ms == 3_600_000
    assert store.release().policy_revision == 1
