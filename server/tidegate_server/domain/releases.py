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

from tidegate_server.domain.release import LIVE_STATES, Release, State
from tidegate_server.domain.snapshot import openings
from tidegate_server.errors import NotPossible

__all__ = [
    "MOVES",
    "Move",
    "Mover",
    "advance",
    "complete",
    "go_on",
    "hold",
    "kill",
    "openings",
    "pause",
    "restart_evidence",
    "restore",
    "resume",
    "retreat",
    "roll_back",
]


class Mover(StrEnum):
    """Who moves a release."""

    PERSON = "person"
    POLICY = "policy"


class Move(StrEnum):
    """What can be done to a release."""

    ADVANCE = "advance"
    RETREAT = "retreat"
    HOLD = "hold"
    GO_ON = "go on"
    PAUSE = "pause"
    RESUME = "resume"
    COMPLETE = "complete"
    ROLL_BACK = "roll back"
    KILL = "kill"
    RESTORE = "restore"


_OPENING = frozenset({State.RUNNING, State.HOLDING})
_WATCHED = frozenset({State.RUNNING, State.BAKING, State.HOLDING})
_FINISHING = frozenset({State.BAKING, State.HOLDING})
_UNSTOPPED = _WATCHED | {State.PAUSED}

MOVES: Mapping[tuple[Mover, Move], frozenset[State]] = {
    (Mover.PERSON, Move.ADVANCE): _OPENING,
    (Mover.PERSON, Move.PAUSE): _UNSTOPPED,
    (Mover.PERSON, Move.RESUME): frozenset({State.PAUSED}),
    (Mover.PERSON, Move.COMPLETE): _UNSTOPPED,
    (Mover.PERSON, Move.ROLL_BACK): LIVE_STATES,
    (Mover.PERSON, Move.KILL): LIVE_STATES,
    (Mover.PERSON, Move.RESTORE): frozenset({State.KILLED}),
    (Mover.POLICY, Move.ADVANCE): _OPENING,
    (Mover.POLICY, Move.HOLD): _WATCHED,
    (Mover.POLICY, Move.GO_ON): frozenset({State.HOLDING}),
    (Mover.POLICY, Move.PAUSE): _WATCHED,
    (Mover.POLICY, Move.COMPLETE): _FINISHING,
    (Mover.POLICY, Move.RETREAT): _UNSTOPPED,
    (Mover.POLICY, Move.ROLL_BACK): _UNSTOPPED,
}
"""Who may do what in which states. A pair that is not here is never possible."""

_MENDS: Mapping[State, str] = {
    State.RUNNING: "It goes on by itself; pause, advance, complete or roll it back.",
    State.BAKING: "Its last stage is open; pause, complete or roll it back.",
    State.HOLDING: "It goes on once its reason has passed; advance, pause or roll it back.",
    State.PAUSED: "Resume it first; completing or rolling it back is possible at any time.",
    State.KILLED: "Restore the flag first; only a rollback is possible before that.",
    State.COMPLETED: "It has ended; start a new release.",
    State.ROLLED_BACK: "It has ended; start a new release.",
}

_WHO: Mapping[Mover, str] = {Mover.PERSON: "you", Mover.POLICY: "the policy"}


def advance(release: Release, at_ms: int, reason: str, *, by: Mover = Mover.POLICY) -> Release:
    """Open the next stage; the last one bakes.

    Raises:
        NotPossible: the state does not allow it, or there is no later stage.
    """
    _insist(release, Move.ADVANCE, by)
    last = len(release.policy.stages)
    if release.stage >= last:
        raise NotPossible(
            f"Release {release.id} is at its last stage already ({release.stage} of {last}). "
            "Complete it to end it now, or let it bake."
        )
    return _enter(release, release.stage + 1, at_ms, reason)


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
        resumes_to=release.state,
        reason=reason,
        updated_ms=at_ms,
    )


def go_on(release: Release, at_ms: int, reason: str, *, by: Mover = Mover.POLICY) -> Release:
    """Leave the hold for the state that it interrupted."""
    _insist(release, Move.GO_ON, by)
    return replace(
        release, state=_underlying(release), resumes_to=None, reason=reason, updated_ms=at_ms
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
    return _end(release, State.COMPLETED, at_ms, reason)


def roll_back(release: Release, at_ms: int, reason: str, *, by: Mover = Mover.POLICY) -> Release:
    """End with the control for everyone.

    A person may do this in any live state. The flag of a killed release stays killed.
    """
    _insist(release, Move.ROLL_BACK, by)
    return _end(release, State.ROLLED_BACK, at_ms, reason)


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
        stage_entered_ms=at_ms,
        reason=reason,
        updated_ms=at_ms,
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
    """Running or baking, whatever lies over it."""
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
        reason=reason,
        updated_ms=at_ms,
        ended_ms=at_ms,
    )
