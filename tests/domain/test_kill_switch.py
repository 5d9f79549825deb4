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
    Shelf,
    guarded,
    serving,
    stocked,
    written,
)


@pytest.fixture
def shelf() -> Shelf:
    return stocked()


def test_a_kill_serves_the_off_variant_and_begins_a_receipt(shelf: Shelf) -> None:
    change = shelf.kill("It burns.")
    (refresh,) = change.refreshes
    assert refresh.killed == ("checkout",)
    assert shelf.flags["production"]["checkout"].killed == "off"
    assert shelf.targeting().kill == Kill(ANA, "It burns.", change_time(shelf))
    assert guarded(change) == {flag_address("checkout")}


def change_time(shelf: Shelf) -> int:
    return shelf.now_ms - 1


def test_a_kill_serves_the_variant_that_the_flag_names_for_it(shelf: Shelf) -> None:
    shelf.retarget(kill_variant="on")
    shelf.kill()
    assert shelf.flags["production"]["checkout"].killed == "on"
    assert shelf.audits[-1].details["variant"] == "on"


def test_a_kill_stays_in_its_environment(shelf: Shelf) -> None:
    shelf.kill()
    assert shelf.flags["staging"]["checkout"].killed is None


def test_a_kill_stops_the_active_release_in_the_same_commit(shelf: Shelf) -> None:
    shelf.start()
    change = shelf.kill("It burns.")
    assert shelf.release().state is State.KILLED
    assert shelf.release().reason == "It burns."
    assert release_address("production", "rel_1") in written(change)
    assert shelf.audits[-1].details["release"] == "rel_1"


def test_a_second_kill_succeeds_and_keeps_the_first(shelf: Shelf) -> None:
    shelf.kill("It burns.")
    first = shelf.targeting().kill
    change = shelf.kill("It still burns.", actor="bob")
    assert shelf.targeting().kill == first
    assert change.refreshes == ()
    assert guarded(change) == {CHECKOUT_IN_PRODUCTION}
    told = shelf.audits[-1]
    assert (told.actor, told.action, told.reason) == ("bob", "flag.kill", "It still burns.")
    assert told.details["already_killed"] is True


def test_a_restore_ends_the_kill_and_pauses_the_release(shelf: Shelf) -> None:
    shelf.start()
    shelf.kill()
    change = shelf.restore("Mended.")
    assert change.refreshes[0].restored == ("checkout",)
    assert shelf.flags["production"]["checkout"].killed is None
    assert (shelf.release().state, shelf.release().resumes_to) == (State.PAUSED, State.RUNNING)
    assert shelf.audits[-1].details["kill_reason"] == "It burns."


def test_what_is_not_killed_cannot_be_restored(shelf: Shelf) -> None:
    with pytest.raises(NotPossible, match="not killed in production"):
        shelf.restore()


def test_the_flag_of_a_killed_release_that_is_rolled_back_stays_killed(shelf: Shelf) -> None:
    shelf.start()
    shelf.kill()
    shelf.move(machine.roll_back(shelf.release(), 9, "No.", by=Initiator.PERSON))
    assert shelf.flags["production"]["checkout"].killed == "off"
    assert shelf.targeting().release is None
    shelf.restore()
    assert shelf.targeting().kill is None


@given(
    st.sampled_from(State),
    st.booleans(),
    st.sampled_from(["off", "a variant that is gone", ""]),
    st.none() | st.just("another that is gone"),
)
def test_a_kill_is_never_refused(
    state: State, enabled: bool, off_variant: str, kill_variant: str | None
) -> None:
    shelf = stocked()
    shelf.start()
    targeting = replace(
        shelf.targeting(),
        enabled=enabled,
        off_variant=off_variant,
        kill_variant=kill_variant,
        default=serving("gone too"),
    )
    release = replace(shelf.release(), state=state)
    change = kill_switch.kill(
        replace(
            shelf.documents,
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
