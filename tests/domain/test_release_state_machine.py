from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tidegate_server.domain import release_state_machine as machine
from tidegate_server.domain.policy import Stage
from tidegate_server.domain.release import LIVE_STATES, Approval, Release, State
from tidegate_server.domain.release_gates import ApprovalGate, Rollback, RollbackTo
from tidegate_server.domain.release_state_machine import MOVES, Move, Mover
from tidegate_server.domain.snapshot import present_openings
from tidegate_server.errors import NotPossible

from tests.domain.builders import ladder

GATE = ApprovalGate(count=1)
RETRIES = Rollback(to=RollbackTo.PREVIOUS_STAGE, cooldown_ms=1_000, max_retries=2)


def agree(present: Release, at_ms: int, reason: str, *, by: Mover = Mover.PERSON) -> Release:
    approval = Approval(f"bob ({at_ms})", "bob", at_ms, reason)
    return machine.approve(present, approval, by=by)


STEPS: dict[Move, Callable[..., Release]] = {
    Move.BEGIN: machine.begin,
    Move.ASK: machine.ask,
    Move.APPROVE: agree,
    Move.COOL_DOWN: machine.cool_down,
    Move.RETRY: machine.retry,
    Move.ADVANCE: machine.advance,
    Move.RETREAT: machine.retreat,
    Move.HOLD: machine.hold,
    Move.GO_ON: machine.go_on,
    Move.PAUSE: machine.pause,
    Move.RESUME: machine.resume,
    Move.COMPLETE: machine.complete,
    Move.ROLL_BACK: machine.roll_back,
    Move.KILL: machine.kill,
    Move.RESTORE: machine.restore,
}


COVERED = {State.HOLDING, State.AWAITING_APPROVAL, State.PAUSED, State.KILLED}


def release(state: State = State.RUNNING, stage: int = 1, **changes: object) -> Release:
    beneath = State.BAKING if stage == 3 else State.RUNNING
    covered = state in COVERED
    made = Release(
        id="rel_1",
        flag="checkout",
        rule=None,
        control="off",
        treatment="on",
        salt="rel_1",
        policy=ladder(),
        policy_revision=1,
        state=state,
        stage=stage,
        step=1,
        reason="",
        started_by="ana",
        started_ms=0,
        stage_entered_ms=0,
        updated_ms=0,
        resumes_to=beneath if covered else None,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def test_an_advance_opens_the_next_stage_and_begins_its_time() -> None:
    after = machine.advance(release(), 9, "evidence")
    assert (after.stage, after.step, after.state) == (2, 2, State.RUNNING)
    assert (after.stage_entered_ms, after.updated_ms, after.reason) == (9, 9, "evidence")


def test_an_advance_onto_the_last_stage_bakes() -> None:
    assert machine.advance(release(stage=2), 9, "").state is State.BAKING


def test_nobody_advances_beyond_the_last_stage() -> None:
    held = release(State.HOLDING, stage=3)
    with pytest.raises(NotPossible, match=r"last stage already \(3 of 3\)"):
        machine.advance(held, 9, "", by=Mover.PERSON)


def test_a_person_who_advances_a_holding_release_ends_the_hold() -> None:
    after = machine.advance(release(State.HOLDING), 9, "", by=Mover.PERSON)
    assert (after.state, after.resumes_to) == (State.RUNNING, None)


def test_a_retreat_goes_back_one_stage_under_a_new_step() -> None:
    after = machine.retreat(release(State.BAKING, stage=3, step=3), 9, "errors rise")
    assert (after.stage, after.step, after.state) == (2, 4, State.RUNNING)
    assert after.stage_entered_ms == 9


def test_a_paused_release_that_retreats_stays_paused() -> None:
    after = machine.retreat(release(State.PAUSED, stage=3), 9, "")
    assert (after.state, after.resumes_to, after.stage) == (State.PAUSED, State.RUNNING, 2)


def test_there_is_no_retreat_from_the_first_stage() -> None:
    with pytest.raises(NotPossible, match="first stage"):
        machine.retreat(release(), 9, "")


def test_a_hold_is_left_for_the_state_it_interrupted() -> None:
    held = machine.hold(release(State.BAKING, stage=3), 5, "no data")
    assert (held.state, held.reason) == (State.HOLDING, "no data")
    assert machine.go_on(held, 6, "data is back").state is State.BAKING


def test_holding_for_the_same_reason_changes_nothing() -> None:
    held = machine.hold(release(), 5, "no data")
    assert machine.hold(held, 6, "no data") is held
    assert machine.hold(held, 6, "too few").reason == "too few"


def test_a_pause_of_a_hold_resumes_to_what_the_hold_interrupted() -> None:
    held = machine.hold(release(State.BAKING, stage=3), 5, "no data")
    paused = machine.pause(held, 6, "lunch", by=Mover.PERSON)
    resumed = machine.resume(paused, 7, "back")
    assert (paused.state, resumed.state, resumed.resumes_to) == (
        State.PAUSED,
        State.BAKING,
        None,
    )


def test_a_pause_becomes_a_full_stop_but_not_a_pause_again() -> None:
    paused = machine.pause(release(), 5, "lunch", by=Mover.PERSON)
    stopped = machine.pause(paused, 6, "no more", stop=True, by=Mover.PERSON)
    assert (stopped.state, stopped.stopped, stopped.resumes_to) == (
        State.PAUSED,
        True,
        State.RUNNING,
    )
    with pytest.raises(NotPossible, match="is paused already"):
        machine.pause(paused, 6, "", by=Mover.PERSON)
    with pytest.raises(NotPossible, match="is stopped altogether already"):
        machine.pause(stopped, 6, "", stop=True, by=Mover.PERSON)


def test_only_a_person_stops_a_release_altogether() -> None:
    with pytest.raises(NotPossible, match="Only a person"):
        machine.pause(release(), 5, "", stop=True)


def test_resuming_ends_a_full_stop_and_does_not_begin_the_stage_anew() -> None:
    stopped = machine.pause(release(stage_entered_ms=3), 5, "", stop=True, by=Mover.PERSON)
    resumed = machine.resume(stopped, 9, "")
    assert (resumed.stopped, resumed.stage_entered_ms, resumed.step) == (False, 3, 1)


def test_the_policy_rolls_back_under_a_pause_but_not_under_a_full_stop() -> None:
    paused = machine.pause(release(), 5, "", by=Mover.PERSON)
    assert machine.roll_back(paused, 6, "E").state is State.ROLLED_BACK
    stopped = machine.pause(paused, 6, "", stop=True, by=Mover.PERSON)
    with pytest.raises(NotPossible, match="stopped altogether by a person"):
        machine.roll_back(stopped, 7, "E")
    assert machine.roll_back(stopped, 7, "", by=Mover.PERSON).state is State.ROLLED_BACK


def test_a_kill_is_left_for_a_pause_that_remembers_what_lay_beneath() -> None:
    killed = machine.kill(release(State.HOLDING, stage=3), 5, "fire")
    restored = machine.restore(killed, 6, "out")
    assert (killed.state, restored.state, restored.resumes_to) == (
        State.KILLED,
        State.PAUSED,
        State.BAKING,
    )


def test_a_kill_does_not_make_one_forget_a_full_stop() -> None:
    stopped = machine.pause(release(), 5, "", stop=True, by=Mover.PERSON)
    assert machine.restore(machine.kill(stopped, 6, ""), 7, "").stopped


def test_a_person_completes_from_any_stage_and_the_policy_from_the_last() -> None:
    done = machine.complete(release(), 9, "enough", by=Mover.PERSON)
    assert (done.state, done.ended_ms) == (State.COMPLETED, 9)
    with pytest.raises(NotPossible, match=r"stages left \(2 of 3\)"):
        machine.complete(release(State.HOLDING, stage=2), 9, "")
    assert machine.complete(release(State.BAKING, stage=3), 9, "").state is State.COMPLETED


def test_changed_evidence_begins_a_new_attempt_in_the_same_stage() -> None:
    after = machine.restart_evidence(release(State.PAUSED, stage=2), 9, "new value")
    assert (after.state, after.stage, after.step, after.attempt) == (State.PAUSED, 2, 2, 2)
    assert after.stage_entered_ms == 9


@pytest.mark.parametrize("by", Mover)
@pytest.mark.parametrize("move", Move)
@pytest.mark.parametrize("state", State)
def test_the_table_is_the_whole_machine(state: State, move: Move, by: Mover) -> None:
    # At the second of three stages of a policy the stage itself forbids nothing but the
    # policy's completion.
    stage = 3 if move is Move.COMPLETE else 2
    stages = tuple(replace(each, approval=GATE) for each in ladder().stages)
    present = release(
        state,
        stage=stage,
        policy=ladder(*stages, rollback=RETRIES),
        asked_ms=1,
        approvals=() if move is Move.APPROVE else (Approval("eve (1)", "eve", 1),),
    )
    if state in MOVES.get((by, move), ()):
        full_stop = {"stop": True} if (move, by) == (Move.PAUSE, Mover.PERSON) else {}
        assert STEPS[move](present, 9, "why", by=by, **full_stop).id == present.id
        return
    with pytest.raises(NotPossible) as caught:
        STEPS[move](present, 9, "why", by=by)
    assert str(state).replace("_", " ") in caught.value.message
    assert caught.value.message.endswith(".")


def test_nothing_automatic_is_in_the_table_for_a_kill_or_an_end() -> None:
    ends = {State.KILLED, State.COMPLETED, State.ROLLED_BACK}
    automatic = [states for (by, _), states in MOVES.items() if by is Mover.POLICY]
    assert all(ends.isdisjoint(states) for states in automatic)
    assert all(states <= LIVE_STATES for states in MOVES.values())


# What everyone does in some order ----------------------------------------------------

Doing = tuple[Mover, Move, bool]
DOINGS = st.tuples(st.sampled_from(Mover), st.sampled_from(Move), st.booleans())


def do(present: Release, doing: Doing, at_ms: int) -> Release | None:
    by, move, stop = doing
    options = {"stop": stop} if move is Move.PAUSE else {}
    try:
        return STEPS[move](present, at_ms, f"{by} {move}", by=by, **options)
    except NotPossible:
        return None


def open_to_everyone(present: Release) -> float:
    """The percentage that the release has opened of people in no segment."""
    if present.state is State.COMPLETED:
        return 100
    if present.state in {State.ROLLED_BACK, State.KILLED}:
        return 0
    shown = present_openings(present)
    return max((each.percentage for each in shown if not each.segments), default=0)


POLICIES = st.sampled_from(
    [
        ladder(),
        ladder(Stage("one", 1), Stage("all", 100)),
        ladder(Stage("staff", 50, ("staff",)), Stage("few", 5), Stage("all", 100)),
        ladder(rollback=RETRIES, holdback=5.0),
        ladder(Stage("one", 1, approval=GATE), Stage("all", 100, approval=GATE)),
        ladder(rollback=replace(RETRIES, to=RollbackTo.ZERO)),
    ]
)


@given(POLICIES, st.lists(DOINGS, max_size=40))
def test_kill_goes_before_a_persons_stop_and_a_persons_stop_before_the_policy(
    policy: object, doings: list[Doing]
) -> None:
    present = release(policy=policy)
    for at_ms, doing in enumerate(doings, start=1):
        after = do(present, doing, at_ms)
        if after is None:
            continue
        by, move, _ = doing
        if by is Mover.POLICY:
            assert present.state is not State.KILLED
            assert not present.stopped
            if present.state is State.PAUSED:
                assert open_to_everyone(after) <= open_to_everyone(present)
                assert after.state in {State.PAUSED, State.ROLLED_BACK}
            assert move not in {Move.BEGIN, Move.APPROVE, Move.RESUME, Move.RESTORE, Move.KILL}
        if present.state is State.KILLED:
            assert move in {Move.RESTORE, Move.ROLL_BACK, Move.KILL}
            assert after.state in {State.PAUSED, State.ROLLED_BACK, State.KILLED}
        if after.stopped:
            assert after.state in {State.PAUSED, State.KILLED}
        present = after


@given(POLICIES, st.lists(DOINGS, max_size=40))
def test_a_percentage_never_falls_unless_rolled_back_retreated_or_killed(
    policy: object, doings: list[Doing]
) -> None:
    present = release(policy=policy)
    for at_ms, doing in enumerate(doings, start=1):
        after = do(present, doing, at_ms)
        if after is None:
            continue
        if open_to_everyone(after) < open_to_everyone(present):
            assert doing[1] in {Move.ROLL_BACK, Move.COOL_DOWN, Move.RETREAT, Move.KILL}
        present = after


@given(POLICIES, st.lists(DOINGS, max_size=40))
def test_the_step_rises_with_every_change_of_openings_and_ends_are_final(
    policy: object, doings: list[Doing]
) -> None:
    present = release(policy=policy)
    for at_ms, doing in enumerate(doings, start=1):
        after = do(present, doing, at_ms)
        if present.state not in LIVE_STATES:
            assert after is None
            continue
        if after is None:
            continue
        changed = present_openings(after) != present_openings(present)
        assert after.step == present.step + 1 if changed else after.step >= present.step
        if doing[1] is not Move.COOL_DOWN:
            assert abs(after.stage - present.stage) <= 1
        assert (after.ended_ms is None) == (after.state in LIVE_STATES)
        covered = after.state in COVERED
        assert (after.resumes_to is not None) == covered
        if covered:
            baking = after.stage == len(after.policy.stages)
            beneath = State.BAKING if baking else State.RUNNING
            cooling = after.cooldown_until_ms is not None
            assert after.resumes_to is (State.COOLDOWN if cooling else beneath)
        assert after.retries <= after.policy.rollback.max_retries
        assert not after.closed or after.cooldown_until_ms is not None or after.ended_ms
        present = after
