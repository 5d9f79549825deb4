from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tidegate_server.domain import release_state_machine as machine
from tidegate_server.domain.policy import Stage
from tidegate_server.domain.release import LIVE_STATES, Approval, Basis, Release, State
from tidegate_server.domain.release_gates import ApprovalGate, Freeze, Rollback, RollbackTo, Windows
from tidegate_server.domain.release_state_machine import TRANSITIONS, Initiator, Transition
from tidegate_server.domain.snapshot import present_openings
from tidegate_server.errors import NotPossible

from tests.domain.builders import make_policy

GATE = ApprovalGate(count=1)
RETRIES = Rollback(to=RollbackTo.PREVIOUS_STAGE, cooldown_ms=1_000, max_retries=2)


def approve(
    present: Release, at_ms: int, reason: str, *, by: Initiator = Initiator.PERSON
) -> Release:
    approval = Approval(f"bob ({at_ms})", "bob", at_ms, reason)
    return machine.approve(present, approval, by=by)


FUNCTIONS: dict[Transition, Callable[..., Release]] = {
    Transition.BEGIN: machine.begin,
    Transition.REQUEST_APPROVAL: machine.request_approval,
    Transition.APPROVE: approve,
    Transition.START_COOLDOWN: machine.start_cooldown,
    Transition.RETRY: machine.retry,
    Transition.ADVANCE: machine.advance,
    Transition.RETREAT: machine.retreat,
    Transition.HOLD: machine.hold,
    Transition.END_HOLD: machine.end_hold,
    Transition.PAUSE: machine.pause,
    Transition.RESUME: machine.resume,
    Transition.COMPLETE: machine.complete,
    Transition.ROLL_BACK: machine.roll_back,
    Transition.KILL: machine.kill,
    Transition.RESTORE: machine.restore,
}


INTERRUPTING = {State.HOLDING, State.AWAITING_APPROVAL, State.PAUSED, State.KILLED}


def release(state: State = State.RUNNING, stage: int = 1, **changes: object) -> Release:
    interrupted = State.BAKING if stage == 3 else State.RUNNING
    interrupting = state in INTERRUPTING
    created = Release(
        id="rel_1",
        flag="checkout",
        rule=None,
        control="off",
        treatment="on",
        salt="rel_1",
        policy=make_policy(),
        policy_revision=1,
        state=state,
        stage=stage,
        step=1,
        reason="",
        started_by="ana",
        started_ms=0,
        stage_entered_ms=0,
        updated_ms=0,
        resumes_to=interrupted if interrupting else None,
    )
    return replace(created, **changes)  # type: ignore[arg-type]


def test_an_advance_opens_the_next_stage_and_starts_its_time() -> None:
    after = machine.advance(release(), 9, "evidence")
    assert (after.stage, after.step, after.state) == (2, 2, State.RUNNING)
    assert (after.stage_entered_ms, after.updated_ms, after.reason) == (9, 9, "evidence")


def test_an_advance_to_the_last_stage_bakes() -> None:
    assert machine.advance(release(stage=2), 9, "").state is State.BAKING


def test_a_release_cannot_advance_beyond_the_last_stage() -> None:
    held = release(State.HOLDING, stage=3)
    with pytest.raises(NotPossible, match=r"last stage already \(3 of 3\)"):
        machine.advance(held, 9, "", by=Initiator.PERSON)


def test_a_person_who_advances_a_holding_release_ends_the_hold() -> None:
    after = machine.advance(release(State.HOLDING), 9, "", by=Initiator.PERSON)
    assert (after.state, after.resumes_to) == (State.RUNNING, None)


def test_a_retreat_goes_back_one_stage_under_a_new_step() -> None:
    after = machine.retreat(release(State.BAKING, stage=3, step=3), 9, "errors rise")
    assert (after.stage, after.step, after.state) == (2, 4, State.RUNNING)
    assert after.stage_entered_ms == 9


def test_a_paused_release_that_retreats_stays_paused() -> None:
    after = machine.retreat(release(State.PAUSED, stage=3), 9, "")
    assert (after.state, after.resumes_to, after.stage) == (State.PAUSED, State.RUNNING, 2)


def test_a_release_cannot_retreat_from_the_first_stage() -> None:
    with pytest.raises(NotPossible, match="first stage"):
        machine.retreat(release(), 9, "")


def test_the_end_of_a_hold_returns_to_the_state_before_it() -> None:
    held = machine.hold(release(State.BAKING, stage=3), 5, "no data")
    assert (held.state, held.reason) == (State.HOLDING, "no data")
    assert machine.end_hold(held, 6, "data is back").state is State.BAKING


def test_a_second_hold_for_the_same_reason_changes_nothing() -> None:
    held = machine.hold(release(), 5, "no data")
    assert machine.hold(held, 6, "no data") is held
    assert machine.hold(held, 6, "too few").reason == "too few"


def test_resuming_a_paused_hold_returns_to_the_state_before_the_hold() -> None:
    held = machine.hold(release(State.BAKING, stage=3), 5, "no data")
    paused = machine.pause(held, 6, "lunch", by=Initiator.PERSON)
    resumed = machine.resume(paused, 7, "back")
    assert (paused.state, resumed.state, resumed.resumes_to) == (
        State.PAUSED,
        State.BAKING,
        None,
    )


def test_a_paused_release_can_get_a_full_stop_but_not_a_second_pause() -> None:
    paused = machine.pause(release(), 5, "lunch", by=Initiator.PERSON)
    stopped = machine.pause(paused, 6, "no more", stop=True, by=Initiator.PERSON)
    assert (stopped.state, stopped.stopped, stopped.resumes_to) == (
        State.PAUSED,
        True,
        State.RUNNING,
    )
    with pytest.raises(NotPossible, match="is paused already"):
        machine.pause(paused, 6, "", by=Initiator.PERSON)
    with pytest.raises(NotPossible, match="is under a full stop already"):
        machine.pause(stopped, 6, "", stop=True, by=Initiator.PERSON)


def test_only_a_person_makes_a_full_stop() -> None:
    with pytest.raises(NotPossible, match="Only a person"):
        machine.pause(release(), 5, "", stop=True)


def test_resuming_ends_a_full_stop_and_does_not_restart_the_stage() -> None:
    stopped = machine.pause(release(stage_entered_ms=3), 5, "", stop=True, by=Initiator.PERSON)
    resumed = machine.resume(stopped, 9, "")
    assert (resumed.stopped, resumed.stage_entered_ms, resumed.step) == (False, 3, 1)


def test_the_policy_rolls_back_under_a_pause_but_not_under_a_full_stop() -> None:
    paused = machine.pause(release(), 5, "", by=Initiator.PERSON)
    assert machine.roll_back(paused, 6, "E").state is State.ROLLED_BACK
    stopped = machine.pause(paused, 6, "", stop=True, by=Initiator.PERSON)
    with pytest.raises(NotPossible, match="is under a full stop"):
        machine.roll_back(stopped, 7, "E")
    assert machine.roll_back(stopped, 7, "", by=Initiator.PERSON).state is State.ROLLED_BACK


def test_a_restored_release_is_paused_and_remembers_its_earlier_state() -> None:
    killed = machine.kill(release(State.HOLDING, stage=3), 5, "fire")
    restored = machine.restore(killed, 6, "out")
    assert (killed.state, restored.state, restored.resumes_to) == (
        State.KILLED,
        State.PAUSED,
        State.BAKING,
    )


def test_a_full_stop_survives_a_kill() -> None:
    stopped = machine.pause(release(), 5, "", stop=True, by=Initiator.PERSON)
    assert machine.restore(machine.kill(stopped, 6, ""), 7, "").stopped


def test_a_person_completes_from_any_stage_and_the_policy_from_the_last() -> None:
    done = machine.complete(release(), 9, "enough", by=Initiator.PERSON)
    assert (done.state, done.ended_ms) == (State.COMPLETED, 9)
    with pytest.raises(NotPossible, match=r"stages left \(2 of 3\)"):
        machine.complete(release(State.HOLDING, stage=2), 9, "")
    assert machine.complete(release(State.BAKING, stage=3), 9, "").state is State.COMPLETED


def test_restarted_evidence_begins_a_new_attempt_in_the_same_stage() -> None:
    after = machine.restart_evidence(release(State.PAUSED, stage=2), 9, "new value")
    assert (after.state, after.stage, after.step, after.attempt) == (State.PAUSED, 2, 2, 2)
    assert after.stage_entered_ms == 9


@pytest.mark.parametrize("by", Initiator)
@pytest.mark.parametrize("transition", Transition)
@pytest.mark.parametrize("state", State)
def test_only_the_transitions_of_the_table_are_possible(
    state: State, transition: Transition, by: Initiator
) -> None:
    # At the second of three stages of a policy the stage itself forbids nothing but the
    # policy's completion.
    stage = 3 if transition is Transition.COMPLETE else 2
    stages = tuple(replace(each, approval=GATE) for each in make_policy().stages)
    present = release(
        state,
        stage=stage,
        policy=make_policy(*stages, rollback=RETRIES),
        asked_ms=1,
        approvals=() if transition is Transition.APPROVE else (Approval("eve (1)", "eve", 1),),
    )
    if state in TRANSITIONS.get((by, transition), ()):
        full_stop = (
            {"stop": True} if (transition, by) == (Transition.PAUSE, Initiator.PERSON) else {}
        )
        assert FUNCTIONS[transition](present, 9, "why", by=by, **full_stop).id == present.id
        return
    with pytest.raises(NotPossible) as caught:
        FUNCTIONS[transition](present, 9, "why", by=by)
    assert str(state).replace("_", " ") in caught.value.message
    assert caught.value.message.endswith(".")


def test_the_policy_does_nothing_to_a_killed_or_ended_release() -> None:
    ends = {State.KILLED, State.COMPLETED, State.ROLLED_BACK}
    automatic = [states for (by, _), states in TRANSITIONS.items() if by is Initiator.POLICY]
    assert all(ends.isdisjoint(states) for states in automatic)
    assert all(states <= LIVE_STATES for states in TRANSITIONS.values())


# Any sequence of transitions ----------------------------------------------------------

Action = tuple[Initiator, Transition, bool]
ACTIONS = st.tuples(st.sampled_from(Initiator), st.sampled_from(Transition), st.booleans())


def try_transition(present: Release, action: Action, at_ms: int) -> Release | None:
    by, transition, stop = action
    options = {"stop": stop} if transition is Transition.PAUSE else {}
    try:
        return FUNCTIONS[transition](present, at_ms, f"{by} {transition}", by=by, **options)
    except NotPossible:
        return None


def open_to_everyone(present: Release) -> float:
    """The open percentage of users in no segment."""
    if present.state is State.COMPLETED:
        return 100
    if present.state in {State.ROLLED_BACK, State.KILLED}:
        return 0
    shown = present_openings(present)
    return max((each.percentage for each in shown if not each.segments), default=0)


POLICIES = st.sampled_from(
    [
        make_policy(),
        make_policy(Stage("one", 1), Stage("all", 100)),
        make_policy(Stage("staff", 50, ("staff",)), Stage("few", 5), Stage("all", 100)),
        make_policy(rollback=RETRIES, holdback=5.0),
        make_policy(Stage("one", 1, approval=GATE), Stage("all", 100, approval=GATE)),
        make_policy(rollback=replace(RETRIES, to=RollbackTo.ZERO)),
    ]
)


@given(POLICIES, st.lists(ACTIONS, max_size=40))
def test_a_kill_precedes_a_persons_stop_and_that_precedes_the_policy(
    policy: object, actions: list[Action]
) -> None:
    present = release(policy=policy)
    for at_ms, action in enumerate(actions, start=1):
        after = try_transition(present, action, at_ms)
        if after is None:
            continue
        by, transition, _ = action
        if by is Initiator.POLICY:
            assert present.state is not State.KILLED
            assert not present.stopped
            if present.state is State.PAUSED:
                assert open_to_everyone(after) <= open_to_everyone(present)
                assert after.state in {State.PAUSED, State.ROLLED_BACK}
            assert transition not in {
                Transition.BEGIN,
                Transition.APPROVE,
                Transition.RESUME,
                Transition.RESTORE,
                Transition.KILL,
            }
        if present.state is State.KILLED:
            assert transition in {Transition.RESTORE, Transition.ROLL_BACK, Transition.KILL}
            assert after.state in {State.PAUSED, State.ROLLED_BACK, State.KILLED}
        if after.stopped:
            assert after.state in {State.PAUSED, State.KILLED}
        present = after


@given(POLICIES, st.lists(ACTIONS, max_size=40))
def test_the_percentage_falls_only_by_rollback_cooldown_retreat_or_kill(
    policy: object, actions: list[Action]
) -> None:
    present = release(policy=policy)
    for at_ms, action in enumerate(actions, start=1):
        after = try_transition(present, action, at_ms)
        if after is None:
            continue
        if open_to_everyone(after) < open_to_everyone(present):
            assert action[1] in {
                Transition.ROLL_BACK,
                Transition.START_COOLDOWN,
                Transition.RETREAT,
                Transition.KILL,
            }
        present = after


@given(POLICIES, st.lists(ACTIONS, max_size=40))
def test_the_step_rises_with_each_change_of_openings_and_ends_are_final(
    policy: object, actions: list[Action]
) -> None:
    present = release(policy=policy)
    for at_ms, action in enumerate(actions, start=1):
        after = try_transition(present, action, at_ms)
        if present.state not in LIVE_STATES:
            assert after is None
            continue
        if after is None:
            continue
        changed = present_openings(after) != present_openings(present)
        assert after.step == present.step + 1 if changed else after.step >= present.step
        if action[1] is not Transition.START_COOLDOWN:
            assert abs(after.stage - present.stage) <= 1
        assert (after.ended_ms is None) == (after.state in LIVE_STATES)
        interrupting = after.state in INTERRUPTING
        assert (after.resumes_to is not None) == interrupting
        if interrupting:
            baking = after.stage == len(after.policy.stages)
            interrupted = State.BAKING if baking else State.RUNNING
            cooling = after.cooldown_until_ms is not None
            assert after.resumes_to is (State.COOLDOWN if cooling else interrupted)
        assert after.retries <= after.policy.rollback.max_retries
        assert not after.closed or after.cooldown_until_ms is not None or after.ended_ms
        present = after


# Approvals are people's ----------------------------------------------------------------


def waits_for_approval(gate: ApprovalGate, started_by: str = "ana (tok_1)") -> Release:
    """Return a release that waits for approvals."""
    stages = (Stage("few", 5, approval=gate), Stage("all", 100))
    present = release(policy=make_policy(*stages), started_by=started_by)
    return machine.request_approval(present, 2_000, "everything else has passed")


def test_two_tokens_of_one_name_are_one_approver() -> None:
    waiting = waits_for_approval(ApprovalGate(count=2))
    once = machine.approve(waiting, Approval("bob (tok_2)", "bob", 2_000))
    with pytest.raises(NotPossible, match="count as one person"):
        machine.approve(once, Approval("bob (tok_3)", "bob", 2_000))
    assert machine.is_approved(machine.approve(once, Approval("carla (tok_4)", "carla", 2_000)))


@pytest.mark.parametrize("started_by", ["ana (tok_1)", "ana"])
def test_the_starter_cannot_approve_with_another_token_of_the_same_name(started_by: str) -> None:
    waiting = waits_for_approval(ApprovalGate(not_the_starter=True), started_by)
    with pytest.raises(NotPossible, match="ask someone else"):
        machine.approve(waiting, Approval("ana (tok_9)", "ana", 2_000))


def test_a_person_outranks_a_freeze_but_no_approval() -> None:
    freeze = Windows(freeze=(Freeze("1970-01-01", "1970-01-02"),))
    frozen = release(policy=make_policy(windows=freeze))
    assert machine.advance(frozen, 2_000, "It is urgent.", by=Initiator.PERSON).stage == 2
    stages = (Stage("few", 5, approval=GATE), Stage("all", 100))
    for move in (machine.advance, machine.complete):
        with pytest.raises(NotPossible, match="needs 1 approval"):
            move(release(policy=make_policy(*stages)), 2_000, "It is urgent.", by=Initiator.PERSON)


def test_a_release_notes_what_its_last_advance_rested_on() -> None:
    assert machine.advance(release(), 9, "").stage_basis is Basis.EVIDENCE
    on_time = machine.advance(release(), 9, "", basis=Basis.TIME)
    assert on_time.stage_basis is Basis.TIME
    assert machine.hold(on_time, 10, "no data").stage_basis is Basis.TIME
    by_hand = machine.advance(on_time, 10, "", basis=Basis.TIME, by=Initiator.PERSON)
    assert by_hand.stage_basis is Basis.PERSON
    assert machine.retreat(by_hand, 11, "errors rose").stage_basis is None
    closed = machine.start_cooldown(
        replace(on_time, policy=replace(on_time.policy, rollback=RETRIES)), 11, "failed"
    )
    assert closed.stage_basis is None


def awaiting(starter: str, gate: ApprovalGate) -> Release:
    waiting = release(State.AWAITING_APPROVAL)
    first, *others = waiting.policy.stages
    stages = (replace(first, approval=gate), *others)
    policy = replace(waiting.policy, stages=stages)
    return replace(waiting, policy=policy, asked_ms=1, starter=starter, started_by="ann (1)")


def test_the_person_who_started_a_release_cannot_approve_it_with_another_token() -> None:
    asked = awaiting("ann's id", ApprovalGate(count=1, not_the_starter=True))
    with pytest.raises(NotPossible, match="person who started"):
        machine.approve(asked, Approval("robot (2)", "robot", 2, answerable="ann's id"))
    machine.approve(asked, Approval("robot (2)", "robot", 2, answerable="bob's id"))


def test_two_tokens_of_one_person_approve_once() -> None:
    asked = awaiting("", ApprovalGate(count=2))
    once = machine.approve(asked, Approval("one (1)", "one", 2, answerable="ann's id"))
    with pytest.raises(NotPossible, match="already"):
        machine.approve(once, Approval("two (2)", "two", 3, answerable="ann's id"))
    twice = machine.approve(once, Approval("three (3)", "three", 4, answerable="bob's id"))
    assert machine.is_approved(twice)


def test_approvals_without_a_known_person_count_by_name() -> None:
    asked = awaiting("", ApprovalGate(count=2, not_the_starter=True))
    with pytest.raises(NotPossible, match="person who started"):
        machine.approve(asked, Approval("ann (9)", "ann", 2))
    once = machine.approve(asked, Approval("bob (1)", "bob", 2))
    assert len(machine.approve(once, Approval("eve (2)", "eve", 3)).approvals) == 2
