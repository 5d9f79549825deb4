"""How a release goes from state to state: which move is possible where, and what it does.

Pure functions from one ``Release`` to the next; ``release_changes`` makes a commit of it.
``MOVES`` is the whole machine. The precedence *kill > a person's stop > the policy* is in
it: the policy's row never has ``KILLED``, a full stop shuts the policy out of every move,
and what raises a percentage by itself (``ADVANCE``, ``COMPLETE``) is not in ``PAUSED``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum

from tidegate_server.domain.release import LIVE_STATES, Approval, Release, State
from tidegate_server.domain.release_gates import RollbackTo
from tidegate_server.domain.snapshot import openings
from tidegate_server.errors import NotPossible

__all__ = [
    "MOVES",
    "Move",
    "Mover",
    "advance",
    "approve",
    "ask",
    "begin",
    "complete",
    "cool_down",
    "go_on",
    "hold",
    "is_approved",
    "kill",
    "openings",
    "pause",
    "restart_evidence",
    "restore",
    "resume",
    "retreat",
    "retry",
    "roll_back",
]


class Mover(StrEnum):
    """Who moves a release."""

    PERSON = "person"
    POLICY = "policy"


class Move(StrEnum):
    """What can be done to a release."""

    BEGIN = "begin"
    ADVANCE = "advance"
    APPROVE = "approve"
    ASK = "ask for approval of"
    RETREAT = "retreat"
    HOLD = "hold"
    GO_ON = "go on"
    PAUSE = "pause"
    RESUME = "resume"
    COMPLETE = "complete"
    ROLL_BACK = "roll back"
    COOL_DOWN = "cool down"
    RETRY = "retry"
    KILL = "kill"
    RESTORE = "restore"


_OPENING = frozenset({State.RUNNING, State.HOLDING, State.AWAITING_APPROVAL})
_WATCHED = frozenset({State.RUNNING, State.BAKING, State.HOLDING, State.AWAITING_APPROVAL})
_FINISHING = frozenset({State.BAKING, State.HOLDING, State.AWAITING_APPROVAL})
_UNSTOPPED = _WATCHED | {State.PAUSED}
_ASKED = frozenset({State.AWAITING_APPROVAL, State.HOLDING})
_COOLING = frozenset({State.COOLDOWN})

MOVES: Mapping[tuple[Mover, Move], frozenset[State]] = {
    (Mover.PERSON, Move.BEGIN): frozenset({State.DRAFT}),
    (Mover.PERSON, Move.ADVANCE): _OPENING,
    (Mover.PERSON, Move.APPROVE): _ASKED,
    (Mover.PERSON, Move.RETRY): _COOLING,
    (Mover.PERSON, Move.PAUSE): _UNSTOPPED | _COOLING,
    (Mover.PERSON, Move.RESUME): frozenset({State.PAUSED}),
    (Mover.PERSON, Move.COMPLETE): _UNSTOPPED | _COOLING,
    (Mover.PERSON, Move.ROLL_BACK): LIVE_STATES,
    (Mover.PERSON, Move.KILL): LIVE_STATES,
    (Mover.PERSON, Move.RESTORE): frozenset({State.KILLED}),
    (Mover.POLICY, Move.ADVANCE): _OPENING,
    (Mover.POLICY, Move.HOLD): _WATCHED,
    (Mover.POLICY, Move.ASK): _WATCHED,
    (Mover.POLICY, Move.GO_ON): frozenset({State.HOLDING, State.AWAITING_APPROVAL}),
    (Mover.POLICY, Move.PAUSE): _WATCHED | _COOLING,
    (Mover.POLICY, Move.COMPLETE): _FINISHING,
    (Mover.POLICY, Move.RETREAT): _UNSTOPPED,
    (Mover.POLICY, Move.ROLL_BACK): _UNSTOPPED | _COOLING,
    (Mover.POLICY, Move.COOL_DOWN): _UNSTOPPED | _COOLING,
    (Mover.POLICY, Move.RETRY): _COOLING,
}
"""Who may do what in which states. A pair that is not here is never possible."""

_MENDS: Mapping[State, str] = {
    State.DRAFT: "Begin it first, or roll it back to drop it.",
    State.RUNNING: "It goes on by itself; pause, advance, complete or roll it back.",
    State.BAKING: "Its last stage is open; pause, complete or roll it back.",
    State.HOLDING: "It goes on once its reason has passed; advance, pause or roll it back.",
    State.AWAITING_APPROVAL: "It waits for approvals; approve it, pause it or roll it back.",
    State.COOLDOWN: "It tries again by itself; retry it now, pause it or roll it back.",
    State.PAUSED: "Resume it first; completing or rolling it back is possible at any time.",
    State.KILLED: "Restore the flag first; only a rollback is possible before that.",
    State.COMPLETED: "It has ended; start a new release.",
    State.ROLLED_BACK: "It has ended; start a new release.",
}

_WHO: Mapping[Mover, str] = {Mover.PERSON: "you", Mover.POLICY: "the policy"}


def begin(release: Release, at_ms: int, reason: str, *, by: Mover = Mover.PERSON) -> Release:
    """Open the first stage of a draft."""
    _insist(release, Move.BEGIN, by)
    return replace(_enter(release, 1, at_ms, reason), started_ms=at_ms)


def advance(release: Release, at_ms: int, reason: str, *, by: Mover = Mover.POLICY) -> Release:
    """Open the next stage; the last one bakes.

    Raises:
        NotPossible: the state does not allow it, there is no later stage, or approvals of
            this one are missing.
    """
    _insist(release, Move.ADVANCE, by)
    _insist_on_approvals(release)
    last = len(release.policy.stages)
    if release.stage >= last:
        raise NotPossible(
            f"Release {release.id} is at its last stage already ({release.stage} of {last}). "
            "Complete it to end it now, or let it bake."
        )
    return _enter(release, release.stage + 1, at_ms, reason)


def ask(release: Release, at_ms: int, reason: str, *, by: Mover = Mover.POLICY) -> Release:
    """Wait for people's approvals. Asking again changes nothing but the reason."""
    _insist(release, Move.ASK, by)
    if release.state is State.AWAITING_APPROVAL:
        return release if release.reason == reason else _touch(release, at_ms, reason)
    return replace(
        release,
        state=State.AWAITING_APPROVAL,
        resumes_to=_underlying(release),
        asked_ms=at_ms if release.asked_ms is None else release.asked_ms,
        reason=reason,
        updated_ms=at_ms,
    )


def approve(release: Release, approval: Approval, *, by: Mover = Mover.PERSON) -> Release:
    """Note that a person agrees that the release leaves its stage.

    The policy leaves the stage at its next evaluation, if everything else still passes.

    Raises:
        NotPossible: nobody is asked, or this person may not approve, or did already.
    """
    _insist(release, Move.APPROVE, by)
    gate = release.policy.stages[release.stage - 1].approval
    if gate is None or release.asked_ms is None:
        raise NotPossible(
            f"Release {release.id} waits for nobody's approval; it is asked for once everything "
            "else has passed."
        )
    if gate.approvers and approval.name not in gate.approvers:
        raise NotPossible(
            f"{approval.name} cannot approve this stage; {', '.join(gate.approvers)} can."
        )
    if gate.not_the_starter and approval.actor == release.started_by:
        raise NotPossible(
            "The policy does not let whoever started a release approve it; ask someone else."
        )
    if any(given.actor == approval.actor for given in release.approvals):
        raise NotPossible(f"{approval.actor} has approved this stage already.")
    return replace(release, approvals=(*release.approvals, approval), updated_ms=approval.at_ms)


def is_approved(release: Release) -> bool:
    """Whether the present stage has all the approvals that its policy asks for."""
    gate = release.policy.stages[release.stage - 1].approval
    return gate is None or len(release.approvals) >= gate.count


def retreat(release: Release, at_ms: int, reason: str, *, by: Mover = Mover.POLICY) -> Release:
    """Go back one stage, which reopens its control group. A paused release stays paused.

    Raises:
        NotPossible: the state does not allow it, or this is the first stage.
    """
    _insist(release, Move.RETREAT, by)
    if release.stage <= 1:
        raise NotPossible(
            f"Release {release.id} is at its first stage; there is none to go back to. "
            "Roll it back instead."
        )
    return _enter(release, release.stage - 1, at_ms, reason)


def hold(release: Release, at_ms: int, reason: str, *, by: Mover = Mover.POLICY) -> Release:
    """Do not go on by itself while ``reason`` lasts. Holding again only changes the reason."""
    _insist(release, Move.HOLD, by)
    if release.state is State.HOLDING:
        return release if release.reason == reason else _touch(release, at_ms, reason)
    return replace(
        release,
        state=State.HOLDING,
        resumes_to=_underlying(release),
        reason=reason,
        updated_ms=at_ms,
    )


def go_on(release: Release, at_ms: int, reason: str, *, by: Mover = Mover.POLICY) -> Release:
    """Leave the hold for the state that it interrupted."""
    _insist(release, Move.GO_ON, by)
    return replace(
        release,
        state=_underlying(release),
        resumes_to=None,
        asked_ms=None,
        reason=reason,
        updated_ms=at_ms,
    )


def pause(
    release: Release, at_ms: int, reason: str, *, stop: bool = False, by: Mover = Mover.POLICY
) -> Release:
    """Raise nothing until a person resumes.

    The policy still rolls back or retreats under a pause, but not under a full stop
    (``stop``), which only a person can ask for, also of a release that is paused already.

    Raises:
        NotPossible: the state does not allow it, or it is paused like this already.
    """
    _insist(release, Move.PAUSE, by)
    if stop and by is not Mover.PERSON:
        raise NotPossible("Only a person can stop a release altogether.")
    if release.state is State.PAUSED and (release.stopped or not stop):
        how = "stopped altogether" if release.stopped else "paused"
        mend = "" if release.stopped else " To shut out rollbacks too, pause it with a full stop."
        raise NotPossible(f"Release {release.id} is {how} already; resume lets it go on.{mend}")
    return replace(
        release,
        state=State.PAUSED,
        resumes_to=_underlying(release),
        stopped=stop,
        reason=reason,
        updated_ms=at_ms,
    )


def resume(release: Release, at_ms: int, reason: str, *, by: Mover = Mover.PERSON) -> Release:
    """Go on in the state that the pause interrupted.

    The stage does not begin anew: time spent in it, paused or not, counts, and whether the
    evidence is still fresh is the policy job's business.
    """
    _insist(release, Move.RESUME, by)
    return replace(
        release,
        state=_underlying(release),
        resumes_to=None,
        stopped=False,
        reason=reason,
        updated_ms=at_ms,
    )


def complete(release: Release, at_ms: int, reason: str, *, by: Mover = Mover.POLICY) -> Release:
    """End with the treatment for everyone: the policy from its last stage, a person from any.

    Raises:
        NotPossible: the state does not allow it, or the policy has stages left.
    """
    _insist(release, Move.COMPLETE, by)
    last = len(release.policy.stages)
    if by is Mover.POLICY and release.stage < last:
        raise NotPossible(
            f"Release {release.id} has stages left ({release.stage} of {last}). "
            "Advance it stage by stage."
        )
    _insist_on_approvals(release)
    return _end(release, State.COMPLETED, at_ms, reason)


def roll_back(release: Release, at_ms: int, reason: str, *, by: Mover = Mover.POLICY) -> Release:
    """End with the control for everyone.

    A person may do this in any live state. The flag of a killed release stays killed.
    """
    _insist(release, Move.ROLL_BACK, by)
    return _end(release, State.ROLLED_BACK, at_ms, reason)


def cool_down(release: Release, at_ms: int, reason: str, *, by: Mover = Mover.POLICY) -> Release:
    """Close as far as the policy says, and wait for the next attempt.

    The next attempt is of the same users, with the next part of the false-alarm budget; it
    begins here, so that what stays open is watched. A paused release stays paused.

    Raises:
        NotPossible: the state does not allow it, or no retry remains.
    """
    _insist(release, Move.COOL_DOWN, by)
    rollback = release.policy.rollback
    if release.retries >= rollback.max_retries:
        raise NotPossible(f"Release {release.id} has no retry left; roll it back.")
    back = rollback.to is RollbackTo.PREVIOUS_STAGE and release.stage > 1 and not release.closed
    paused = release.state is State.PAUSED
    return replace(
        release,
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
        reason=reason,
        updated_ms=at_ms,
    )


def retry(release: Release, at_ms: int, reason: str, *, by: Mover = Mover.POLICY) -> Release:
    """Begin the next attempt in the stage that the cooldown left."""
    _insist(release, Move.RETRY, by)
    return _enter(release, release.stage, at_ms, reason)


def kill(release: Release, at_ms: int, reason: str, *, by: Mover = Mover.PERSON) -> Release:
    """Latch the release together with its flag. Whether it was stopped is remembered."""
    _insist(release, Move.KILL, by)
    if release.state is State.KILLED:
        return release
    return replace(
        release,
        state=State.KILLED,
        resumes_to=_underlying(release),
        reason=reason,
        updated_ms=at_ms,
    )


def restore(release: Release, at_ms: int, reason: str, *, by: Mover = Mover.PERSON) -> Release:
    """Leave the kill: paused, until a person resumes it."""
    _insist(release, Move.RESTORE, by)
    return replace(
        release,
        state=State.PAUSED,
        resumes_to=_underlying(release),
        reason=reason,
        updated_ms=at_ms,
    )


def restart_evidence(release: Release, at_ms: int, reason: str) -> Release:
    """The treatment or the control is something else now: what was seen of it says nothing.

    The state and the stage stay. ``attempt`` and ``step`` rise and the stage's time begins
    anew, which asks the policy job for fresh statistics, the next part of the false-alarm
    budget and a new set of failing users.
    """
    return replace(
        release,
        step=release.step + 1,
        attempt=release.attempt + 1,
        approvals=(),
        stage_entered_ms=at_ms,
        reason=reason,
        updated_ms=at_ms,
    )


def _insist_on_approvals(release: Release) -> None:
    gate = release.policy.stages[release.stage - 1].approval
    if gate is not None and not release.closed and not is_approved(release):
        name = release.policy.stages[release.stage - 1].name
        raise NotPossible(
            f"Stage {name} of release {release.id} is left with {gate.count} approvals; "
            f"{len(release.approvals)} are given. They are asked for once everything else has "
            "passed."
        )


def _insist(release: Release, move: Move, by: Mover) -> None:
    possible = MOVES.get((by, move), frozenset())
    if release.state not in possible:
        raise NotPossible(
            f"Release {release.id} is {_in_words(release)}, so {_WHO[by]} cannot {move} it. "
            f"{_MENDS[release.state]}"
        )
    if by is Mover.POLICY and release.stopped:
        raise NotPossible(
            f"Release {release.id} was stopped altogether by a person, so the policy cannot "
            f"{move} it. A person resumes it, completes it or rolls it back."
        )


def _in_words(release: Release) -> str:
    return str(release.state).replace("_", " ")


def _underlying(release: Release) -> State:
    """What lies below a hold, a question, a pause or a kill."""
    if release.state in (State.DRAFT, State.COOLDOWN):
        return release.state
    return release.resumes_to or _state_at(release, release.stage)


def _state_at(release: Release, stage: int) -> State:
    return State.BAKING if stage >= len(release.policy.stages) else State.RUNNING


def _enter(release: Release, stage: int, at_ms: int, reason: str) -> Release:
    state = _state_at(release, stage)
    paused = release.state is State.PAUSED
    return replace(
        release,
        stage=stage,
        step=release.step + 1,
        state=State.PAUSED if paused else state,
        resumes_to=state if paused else None,
        closed=False,
        cooldown_until_ms=None,
        asked_ms=None,
        approvals=(),
        stage_entered_ms=at_ms,
        reason=reason,
        updated_ms=at_ms,
    )


def _touch(release: Release, at_ms: int, reason: str) -> Release:
    return replace(release, reason=reason, updated_ms=at_ms)


def _end(release: Release, state: State, at_ms: int, reason: str) -> Release:
    return replace(
        release,
        state=state,
        resumes_to=None,
        stopped=False,
        cooldown_until_ms=None,
        reason=reason,
        updated_ms=at_ms,
        ended_ms=at_ms,
    )
