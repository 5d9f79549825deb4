"""The state machine of a release: the possible transitions, and what each one changes.

Pure functions from one ``Release`` to the next; ``release_commits`` makes commits of them.
``TRANSITIONS`` is the whole machine. It contains the precedence *kill, then a person's stop,
then the policy*: the policy can do nothing in ``KILLED``, a full stop forbids it every
transition, and what raises a percentage automatically (``ADVANCE``, ``COMPLETE``) is not
possible in ``PAUSED``.

Every function raises ``NotPossible`` if the state does not allow the transition. ``by`` is who
initiates it, ``at_ms`` the store's time, ``reason`` the release's new reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Any

from tidegate_server.domain.release import LIVE_STATES, Approval, Basis, Release, State
from tidegate_server.domain.release_gates import RollbackTo
from tidegate_server.errors import NotPossible


class Initiator(StrEnum):
    """Who initiates a transition."""

    PERSON = "person"
    POLICY = "policy"


class Transition(StrEnum):
    """What can be done to a release."""

    BEGIN = "begin"
    ADVANCE = "advance"
    APPROVE = "approve"
    REQUEST_APPROVAL = "request approval"
    RETREAT = "retreat"
    HOLD = "hold"
    END_HOLD = "end hold"
    PAUSE = "pause"
    RESUME = "resume"
    COMPLETE = "complete"
    ROLL_BACK = "roll back"
    START_COOLDOWN = "start cooldown"
    RETRY = "retry"
    KILL = "kill"
    RESTORE = "restore"


PERSON, POLICY = Initiator.PERSON, Initiator.POLICY

_WAITING = frozenset({State.HOLDING, State.AWAITING_APPROVAL})
_OPENING = _WAITING | {State.RUNNING}
_EVALUATED = _OPENING | {State.BAKING}
_EVALUATED_OR_PAUSED = _EVALUATED | {State.PAUSED}
_COOLDOWN = frozenset({State.COOLDOWN})

TRANSITIONS: Mapping[tuple[Initiator, Transition], frozenset[State]] = {
    (PERSON, Transition.BEGIN): frozenset({State.DRAFT}),
    (PERSON, Transition.ADVANCE): _OPENING,
    (PERSON, Transition.APPROVE): _WAITING,
    (PERSON, Transition.RETRY): _COOLDOWN,
    (PERSON, Transition.PAUSE): _EVALUATED_OR_PAUSED | _COOLDOWN,
    (PERSON, Transition.RESUME): frozenset({State.PAUSED}),
    (PERSON, Transition.COMPLETE): _EVALUATED_OR_PAUSED | _COOLDOWN,
    (PERSON, Transition.ROLL_BACK): LIVE_STATES,
    (PERSON, Transition.KILL): LIVE_STATES,
    (PERSON, Transition.RESTORE): frozenset({State.KILLED}),
    (POLICY, Transition.ADVANCE): _OPENING,
    (POLICY, Transition.HOLD): _EVALUATED,
    (POLICY, Transition.REQUEST_APPROVAL): _EVALUATED,
    (POLICY, Transition.END_HOLD): _WAITING,
    (POLICY, Transition.PAUSE): _EVALUATED | _COOLDOWN,
    (POLICY, Transition.COMPLETE): _WAITING | {State.BAKING},
    (POLICY, Transition.RETREAT): _EVALUATED_OR_PAUSED,
    (POLICY, Transition.ROLL_BACK): _EVALUATED_OR_PAUSED | _COOLDOWN,
    (POLICY, Transition.START_COOLDOWN): _EVALUATED_OR_PAUSED | _COOLDOWN,
    (POLICY, Transition.RETRY): _COOLDOWN,
}
"""The states from which each transition is possible. A pair that is missing never is."""

_NEXT_STEP: Mapping[State, str] = {
    State.DRAFT: "Begin it first, or roll it back to drop it.",
    State.RUNNING: "It advances automatically; you can pause, advance, complete or roll it back.",
    State.BAKING: "Its last stage is open; pause, complete or roll it back.",
    State.HOLDING: "It continues when its reason ends; advance, pause or roll it back.",
    State.AWAITING_APPROVAL: "It waits for approvals; approve it, pause it or roll it back.",
    State.COOLDOWN: "It retries automatically; retry it now, pause it or roll it back.",
    State.PAUSED: "Resume it first; you can complete or roll it back at any time.",
    State.KILLED: "Restore the flag first; only a rollback is possible before that.",
    State.COMPLETED: "It has ended; start a new release.",
    State.ROLLED_BACK: "It has ended; start a new release.",
}


def begin(release: Release, at_ms: int, reason: str, *, by: Initiator = PERSON) -> Release:
    """Open the first stage of a draft."""
    _check(release, Transition.BEGIN, by)
    return replace(_enter_stage(release, 1, at_ms, reason), started_ms=at_ms)


def advance(
    release: Release,
    at_ms: int,
    reason: str,
    *,
    basis: Basis = Basis.EVIDENCE,
    by: Initiator = POLICY,
) -> Release:
    """Open the next stage; the last one bakes. ``basis`` is what an advance of the policy rests on.

    Raises:
        NotPossible: also if there is no later stage, or approvals of this one are missing.
    """
    _check(release, Transition.ADVANCE, by)
    _check_approvals(release)
    last = len(release.policy.stages)
    if release.stage >= last:
        raise NotPossible(
            f"Release {release.id} is at its last stage already ({release.stage} of {last}). "
            "Complete it to end it now, or let it bake."
        )
    after = _enter_stage(release, release.stage + 1, at_ms, reason)
    return replace(after, stage_basis=Basis.PERSON if by is PERSON else basis)


def request_approval(
    release: Release, at_ms: int, reason: str, *, by: Initiator = POLICY
) -> Release:
    """Wait for approvals. A second request changes only the reason."""
    _check(release, Transition.REQUEST_APPROVAL, by)
    return _wait(
        release,
        State.AWAITING_APPROVAL,
        at_ms,
        reason,
        asked_ms=at_ms if release.asked_ms is None else release.asked_ms,
    )


def approve(release: Release, approval: Approval, *, by: Initiator = PERSON) -> Release:
    """Add a person's approval to the present stage.

    The policy leaves the stage at its next evaluation if everything else still passes.

    Raises:
        NotPossible: also if no approval is requested, or this person may not approve or
            already did.
    """
    _check(release, Transition.APPROVE, by)
    gate = release.current_stage.approval
    if gate is None or release.asked_ms is None:
        raise NotPossible(
            f"Release {release.id} does not wait for an approval yet; the policy requests it "
            "once everything else has passed."
        )
    if gate.approvers and approval.name not in gate.approvers:
        raise NotPossible(
            f"{approval.name} cannot approve this stage; {', '.join(gate.approvers)} can."
        )
    if gate.not_the_starter and _is_starter(release, approval):
        raise NotPossible(
            "The policy does not let the person who started a release approve it; ask someone else."
        )
    if any(_same_person(given, approval) for given in release.approvals):
        raise NotPossible(
            f"{approval.name} has approved this stage already. The tokens that one person made, "
            "and tokens with one name, count as one person; someone else must approve."
        )
    return replace(release, approvals=(*release.approvals, approval), updated_ms=approval.at_ms)


def _is_starter(release: Release, approval: Approval) -> bool:
    same = bool(release.starter) and approval.answerable == release.starter
    return same or approval.name == _name_of(release.started_by)


def _same_person(one: Approval, other: Approval) -> bool:
    same = bool(one.answerable) and one.answerable == other.answerable
    return same or one.name == other.name


def _name_of(actor: str) -> str:
    """Return the name of a token, given the name and the id as the audit log has them."""
    return actor.rpartition(" (")[0] or actor


def is_approved(release: Release) -> bool:
    """Return whether the present stage has all the approvals that its policy requires."""
    gate = release.current_stage.approval
    return gate is None or len(release.approvals) >= gate.count


def retreat(release: Release, at_ms: int, reason: str, *, by: Initiator = POLICY) -> Release:
    """Go back one stage, which reopens the control group. A paused release stays paused.

    Raises:
        NotPossible: also if this is the first stage.
    """
    _check(release, Transition.RETREAT, by)
    if release.stage <= 1:
        raise NotPossible(
            f"Release {release.id} is at its first stage, so it cannot go back one. "
            "Roll it back instead."
        )
    return _enter_stage(release, release.stage - 1, at_ms, reason)


def hold(release: Release, at_ms: int, reason: str, *, by: Initiator = POLICY) -> Release:
    """Stay at this stage until ``reason`` ends. A second hold changes only the reason."""
    _check(release, Transition.HOLD, by)
    return _wait(release, State.HOLDING, at_ms, reason)


def end_hold(release: Release, at_ms: int, reason: str, *, by: Initiator = POLICY) -> Release:
    """Return from a hold, or from waiting for approvals, to the state before it."""
    _check(release, Transition.END_HOLD, by)
    state = _interrupted_state(release)
    return _update(release, at_ms, reason, state=state, resumes_to=None, asked_ms=None)


def pause(
    release: Release, at_ms: int, reason: str, *, stop: bool = False, by: Initiator = POLICY
) -> Release:
    """Open nothing more until a person resumes.

    The policy can still roll back or retreat a paused release, but not one under a full stop
    (``stop``). Only a person can make a full stop, also of a release that is paused already.

    Raises:
        NotPossible: also if the release is paused or stopped like this already.
    """
    _check(release, Transition.PAUSE, by)
    if stop and by is not PERSON:
        raise NotPossible("Only a person can stop everything automatic.")
    if release.stopped:
        raise NotPossible(f"Release {release.id} is under a full stop already; resume ends it.")
    if release.state is State.PAUSED and not stop:
        raise NotPossible(
            f"Release {release.id} is paused already; resume ends the pause. To prevent "
            "rollbacks too, pause it with a full stop."
        )
    return _interrupt(release, State.PAUSED, at_ms, reason, stopped=stop)


def resume(release: Release, at_ms: int, reason: str, *, by: Initiator = PERSON) -> Release:
    """Return to the state before the pause.

    The stage does not start again: the time in it counts, paused or not. The policy job
    decides whether the evidence is still fresh.
    """
    _check(release, Transition.RESUME, by)
    state = _interrupted_state(release)
    return _update(release, at_ms, reason, state=state, resumes_to=None, stopped=False)


def complete(release: Release, at_ms: int, reason: str, *, by: Initiator = POLICY) -> Release:
    """End with the treatment for everyone: the policy from the last stage, a person from any.

    Raises:
        NotPossible: also if approvals of this stage are missing, or if the policy has stages
            left.
    """
    _check(release, Transition.COMPLETE, by)
    last = len(release.policy.stages)
    if by is POLICY and release.stage < last:
        raise NotPossible(
            f"Release {release.id} has stages left ({release.stage} of {last}). "
            "Advance it stage by stage."
        )
    _check_approvals(release)
    return _end(release, State.COMPLETED, at_ms, reason)


def roll_back(release: Release, at_ms: int, reason: str, *, by: Initiator = POLICY) -> Release:
    """End with the control for everyone.

    A person can do this in any live state. The flag of a killed release stays killed.
    """
    _check(release, Transition.ROLL_BACK, by)
    return _end(release, State.ROLLED_BACK, at_ms, reason)


def start_cooldown(release: Release, at_ms: int, reason: str, *, by: Initiator = POLICY) -> Release:
    """Close as far as the policy says, and wait for the next attempt.

    The next attempt opens to the same users, with the whole false-alarm budget again: it exists
    only after a rollback. It begins here, so that what stays open is evaluated. A paused release
    stays paused.

    Raises:
        NotPossible: also if no retry is left.
    """
    _check(release, Transition.START_COOLDOWN, by)
    rollback = release.policy.rollback
    if release.retries >= rollback.max_retries:
        raise NotPossible(f"Release {release.id} has no retry left; roll it back.")
    back = rollback.to is RollbackTo.PREVIOUS_STAGE and release.stage > 1 and not release.closed
    paused = release.state is State.PAUSED
    return _update(
        release,
        at_ms,
        reason,
        state=State.PAUSED if paused else State.COOLDOWN,
        resumes_to=State.COOLDOWN if paused else None,
        stage=release.stage - 1 if back else 1,
        closed=not back,
        step=release.step + 1,
        attempt=release.attempt + 1,
        retries=release.retries + 1,
        cooldown_until_ms=at_ms + rollback.cooldown_ms,
        asked_ms=None,
        approvals=(),
        stage_entered_ms=at_ms,
        stage_basis=None,
    )


def retry(release: Release, at_ms: int, reason: str, *, by: Initiator = POLICY) -> Release:
    """Start the next attempt at the stage of the cooldown."""
    _check(release, Transition.RETRY, by)
    return _enter_stage(release, release.stage, at_ms, reason)


def kill(release: Release, at_ms: int, reason: str, *, by: Initiator = PERSON) -> Release:
    """Stop the release together with its flag. A full stop stays one."""
    _check(release, Transition.KILL, by)
    if release.state is State.KILLED:
        return release
    return _interrupt(release, State.KILLED, at_ms, reason)


def restore(release: Release, at_ms: int, reason: str, *, by: Initiator = PERSON) -> Release:
    """End a kill: the release is paused until a person resumes it."""
    _check(release, Transition.RESTORE, by)
    return _interrupt(release, State.PAUSED, at_ms, reason)


def restart_evidence(release: Release, at_ms: int, reason: str) -> Release:
    """Discard the evidence, because the value of the treatment or the control changed.

    The state and the stage stay. ``attempt`` and ``step`` rise and the stage's time starts
    again. The policy job then begins new statistics, with the whole false-alarm budget and a new
    set of failing users.
    """
    return _update(
        release,
        at_ms,
        reason,
        step=release.step + 1,
        attempt=release.attempt + 1,
        approvals=(),
        stage_entered_ms=at_ms,
    )


def _check(release: Release, transition: Transition, by: Initiator) -> None:
    who = "The policy" if by is POLICY else "You"
    if release.state not in TRANSITIONS.get((by, transition), ()):
        state = str(release.state).replace("_", " ")
        raise NotPossible(
            f"{who} cannot {transition}: release {release.id} is {state}. "
            f"{_NEXT_STEP[release.state]}"
        )
    if by is POLICY and release.stopped:
        raise NotPossible(
            f"The policy cannot {transition}: release {release.id} is under a full stop. "
            "A person can resume, complete or roll it back."
        )


def _check_approvals(release: Release) -> None:
    gate = release.current_stage.approval
    if gate is not None and not release.closed and not is_approved(release):
        approvals = "approval" if gate.count == 1 else "approvals"
        raise NotPossible(
            f"Stage {release.current_stage.name} of release {release.id} needs {gate.count} "
            f"{approvals}; it has {len(release.approvals)}. The policy requests them once "
            "everything else has passed."
        )


def _update(release: Release, at_ms: int, reason: str, **changes: Any) -> Release:
    after = replace(release, reason=reason, updated_ms=at_ms, **changes)
    if (after.state, after.stopped) == (release.state, release.stopped):
        return after
    return replace(after, state_since_ms=at_ms, state_by="", state_reason=reason)


def _interrupt(release: Release, state: State, at_ms: int, reason: str, **changes: Any) -> Release:
    """Enter a state that remembers which state it interrupted."""
    interrupted = _interrupted_state(release)
    return _update(release, at_ms, reason, state=state, resumes_to=interrupted, **changes)


def _wait(release: Release, state: State, at_ms: int, reason: str, **changes: Any) -> Release:
    if release.state is not state:
        return _interrupt(release, state, at_ms, reason, **changes)
    return release if release.reason == reason else _update(release, at_ms, reason)


def _interrupted_state(release: Release) -> State:
    """The state that a hold, a wait for approvals, a pause or a kill interrupted."""
    if release.state in (State.DRAFT, State.COOLDOWN):
        return release.state
    return release.resumes_to or _open_state(release, release.stage)


def _open_state(release: Release, stage: int) -> State:
    return State.BAKING if stage >= len(release.policy.stages) else State.RUNNING


def _enter_stage(release: Release, stage: int, at_ms: int, reason: str) -> Release:
    state = _open_state(release, stage)
    paused = release.state is State.PAUSED
    return _update(
        release,
        at_ms,
        reason,
        stage=stage,
        step=release.step + 1,
        state=State.PAUSED if paused else state,
        resumes_to=state if paused else None,
        closed=False,
        cooldown_until_ms=None,
        asked_ms=None,
        approvals=(),
        stage_entered_ms=at_ms,
        stage_basis=None,
    )


def _end(release: Release, state: State, at_ms: int, reason: str) -> Release:
    return _update(
        release,
        at_ms,
        reason,
        state=state,
        resumes_to=None,
        stopped=False,
        cooldown_until_ms=None,
        ended_ms=at_ms,
    )
