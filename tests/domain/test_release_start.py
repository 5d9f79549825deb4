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
    InMemoryStore,
    checkout,
    guarded,
    make_policy,
    pointers,
    problems,
    serving,
    store_with_checkout,
    written,
)

SPLIT = Serve(split=(WeightedVariant("on", 50), WeightedVariant("off", 50)))


@pytest.fixture
def store() -> InMemoryStore:
    return store_with_checkout()


def test_a_release_begins_at_its_first_stage(store: InMemoryStore) -> None:
    store.start(now_ms=77)
    started = store.release()
    assert (started.state, started.stage, started.step, started.attempt) == (
        State.RUNNING,
        1,
        1,
        1,
    )
    assert (started.control, started.treatment, started.policy_revision) == ("off", "on", 1)
    assert started.started_ms == started.stage_entered_ms == started.updated_ms == 77


def test_the_snapshot_has_the_opening_and_the_salt_of_the_release(store: InMemoryStore) -> None:
    store.start()
    shown = store.flags["production"]["checkout"].release
    assert shown is not None
    assert (shown.id, shown.salt, shown.openings) == ("rel_1", "rel_1", (Opening(1, 5),))
    assert shown.report_interval == 10
    assert store.flags["staging"]["checkout"].release is None


def test_a_start_guards_the_flag_the_policy_and_its_segments(store: InMemoryStore) -> None:
    store.add_segment(SegmentDefinition("staff"))
    store.add_policy(make_policy(Stage("staff", 50, ("staff",)), Stage("all", 100)))
    change = store.start()
    assert guarded(change) == {
        flag_address("checkout"),
        policy_address("careful"),
        segment_address("staff"),
    }
    assert written(change) == {CHECKOUT_IN_PRODUCTION, release_address("production", "rel_1")}


def test_the_audit_log_describes_a_start(store: InMemoryStore) -> None:
    store.start(reason="faster")
    entry = store.audits[-1]
    assert (entry.action, entry.target, entry.reason) == ("release.start", "rel_1", "faster")
    assert entry.details["percentage"] == 5
    assert entry.details["treatment"] == "on"


def test_a_rule_can_be_released_instead_of_the_default_rule(store: InMemoryStore) -> None:
    first = Rule("first", All(()), serving("on"))
    store.edit_targeting(rules=(first,), off_variant="on")
    store.start(rule="first", treatment="off")
    assert (store.release().rule, store.release().control) == ("first", "on")


@pytest.mark.parametrize(
    ("arguments", "pointer", "words"),
    [
        ({"flag": "gone"}, "/flag", "no flag 'gone'"),
        ({"policy": "gone"}, "/policy", "create it first"),
        ({"treatment": "gone"}, "/treatment", "it has on, off"),
        ({"treatment": "off"}, "/treatment", "nothing to release"),
        ({"control": "on", "treatment": "off"}, "/control", "serves now, 'off'"),
        ({"rule": "gone"}, "/rule", "it has none"),
    ],
)
def test_missing_things_are_refused_by_name(
    store: InMemoryStore, arguments: dict[str, str], pointer: str, words: str
) -> None:
    with pytest.raises(Invalid) as caught:
        store.start(**arguments)
    assert pointers(caught.value) == [pointer]
    assert words in problems(caught.value)[pointer]


def test_the_control_can_be_named_if_the_rule_serves_it(store: InMemoryStore) -> None:
    store.start(control="off")
    assert store.release().control == "off"


def test_a_rule_that_serves_a_split_cannot_be_released(store: InMemoryStore) -> None:
    store.edit_targeting(default=SPLIT)
    with pytest.raises(Invalid, match="serves a split"):
        store.start()


def test_a_flag_has_one_active_release_in_an_environment(store: InMemoryStore) -> None:
    store.start()
    with pytest.raises(NotPossible, match="active release in production already: rel_1"):
        store.start(release_id="rel_2")
    store.start("staging", release_id="rel_3")


def test_a_killed_flag_cannot_be_released(store: InMemoryStore) -> None:
    store.kill()
    with pytest.raises(NotPossible, match="Restore it first"):
        store.start()


def test_a_disabled_flag_cannot_be_released(store: InMemoryStore) -> None:
    store.edit_targeting(enabled=False)
    with pytest.raises(NotPossible, match="Enable it first"):
        store.start()


def test_an_unknown_environment_is_not_found(store: InMemoryStore) -> None:
    with pytest.raises(NotFound, match="no environment 'moon'"):
        store.start("moon")


def test_a_release_id_is_unique(store: InMemoryStore) -> None:
    store.start()
    store.move(machine.roll_back(store.release(), 9, "", by=Initiator.PERSON))
    with pytest.raises(AlreadyExists):
        store.start()


def test_one_of_two_concurrent_starts_is_stale(store: InMemoryStore) -> None:
    late = start_release(
        store.documents,
        "production",
        release_id="rel_2",
        flag="checkout",
        treatment="on",
        policy="careful",
        actor="bob",
        now_ms=1,
    )
    store.start()
    with pytest.raises(StaleRevision):
        store.commit(late)


def test_a_start_and_a_deletion_of_its_segment_cannot_both_succeed(store: InMemoryStore) -> None:
    store.add_segment(SegmentDefinition("staff"))
    store.add_flag(checkout(key="search"))
    deletion = segment_edits.delete_segment(store.documents, "staff", actor="ana")
    store.add_policy(make_policy(Stage("staff", 50, ("staff",)), Stage("all", 100)))
    with pytest.raises(StaleRevision):
        store.commit(deletion)
