from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tidegate_server.domain import kill_switch
from tidegate_server.domain import release_state_machine as machine
from tidegate_server.domain.change import Refresh, Stored
from tidegate_server.domain.flags import Kill
from tidegate_server.domain.project_documents import flag_address, release_address
from tidegate_server.domain.release import State
from tidegate_server.domain.release_state_machine import Initiator
from tidegate_server.errors import NotPossible

from tests.domain.builders import (
    ANA,
    CHECKOUT_IN_PRODUCTION,
    InMemoryStore,
    guarded,
    serving,
    store_with_checkout,
    written,
)


@pytest.fixture
def store() -> InMemoryStore:
    return store_with_checkout()


def test_a_kill_serves_the_off_variant_and_starts_a_receipt(store: InMemoryStore) -> None:
    change = store.kill("It burns.")
    (refresh,) = change.refreshes
    assert refresh.killed == ("checkout",)
    assert store.flags["production"]["checkout"].killed == "off"
    assert store.targeting().kill == Kill(ANA, "It burns.", change_time(store))
    assert guarded(change) == {flag_address("checkout")}


def change_time(store: InMemoryStore) -> int:
    return store.now_ms - 1


def test_a_kill_serves_the_kill_variant(store: InMemoryStore) -> None:
    store.edit_targeting(kill_variant="on")
    store.kill()
    assert store.flags["production"]["checkout"].killed == "on"
    assert store.audits[-1].details["variant"] == "on"


def test_a_kill_affects_one_environment(store: InMemoryStore) -> None:
    store.kill()
    assert store.flags["staging"]["checkout"].killed is None


def test_a_kill_stops_the_active_release_in_the_same_commit(store: InMemoryStore) -> None:
    store.start()
    change = store.kill("It burns.")
    assert store.release().state is State.KILLED
    assert store.release().reason == "It burns."
    assert release_address("production", "rel_1") in written(change)
    assert store.audits[-1].details["release"] == "rel_1"


def test_a_second_kill_succeeds_and_keeps_the_first(store: InMemoryStore) -> None:
    store.kill("It burns.")
    first = store.targeting().kill
    change = store.kill("It still burns.", actor="bob")
    assert store.targeting().kill == first
    assert change.refreshes == ()
    assert guarded(change) == {CHECKOUT_IN_PRODUCTION}
    entry = store.audits[-1]
    assert (entry.actor, entry.action, entry.reason) == ("bob", "flag.kill", "It still burns.")
    assert entry.details["already_killed"] is True


def test_a_restore_ends_the_kill_and_pauses_the_release(store: InMemoryStore) -> None:
    store.start()
    store.kill()
    change = store.restore("Fixed.")
    assert change.refreshes[0].restored == ("checkout",)
    assert store.flags["production"]["checkout"].killed is None
    assert (store.release().state, store.release().resumes_to) == (State.PAUSED, State.RUNNING)
    assert store.audits[-1].details["kill_reason"] == "It burns."


def test_a_flag_that_is_not_killed_cannot_be_restored(store: InMemoryStore) -> None:
    with pytest.raises(NotPossible, match="not killed in production"):
        store.restore()


def test_the_flag_of_a_killed_release_that_is_rolled_back_stays_killed(
    store: InMemoryStore,
) -> None:
    store.start()
    store.kill()
    store.move(machine.roll_back(store.release(), 9, "No.", by=Initiator.PERSON))
    assert store.flags["production"]["checkout"].killed == "off"
    assert store.targeting().release is None
    store.restore()
    assert store.targeting().kill is None


@given(
    st.sampled_from(State),
    st.booleans(),
    st.sampled_from(["off", "a variant that is gone", ""]),
    st.none() | st.just("another that is gone"),
)
def test_a_kill_is_never_refused(
    state: State, enabled: bool, off_variant: str, kill_variant: str | None
) -> None:
    store = store_with_checkout()
    store.start()
    targeting = replace(
        store.targeting(),
        enabled=enabled,
        off_variant=off_variant,
        kill_variant=kill_variant,
        default=serving("gone too"),
    )
    release = replace(store.release(), state=state)
    change = kill_switch.kill(
        replace(
            store.documents,
            targetings={"production": {"checkout": Stored(targeting, 7, 0)}},
            releases={"production": {"rel_1": Stored(release, 3, 0)}},
        ),
        "production",
        "checkout",
        actor=ANA,
        reason="",
        now_ms=5,
    )
    (refresh,) = change.refreshes
    assert isinstance(refresh, Refresh)
    flag = refresh.flags["checkout"]
    assert flag is not None
    assert flag.killed == (kill_variant or off_variant)
