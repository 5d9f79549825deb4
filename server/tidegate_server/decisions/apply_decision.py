"""Carry out a decision on a release, with the moves of the release state machine."""

from __future__ import annotations

from tidegate_server.decisions.decision import Action, Decision
from tidegate_server.domain import release_state_machine
from tidegate_server.domain.release import Basis, Release, State


def apply_decision(release: Release, decision: Decision) -> Release:
    """Return the release after a decision; the same object when the decision changes nothing.

    Raises:
        NotPossible: the decision does not fit the release's state.
    """
    at_ms, reason = decision.at_ms, decision.reason
    match decision.action:
        case Action.ADVANCE:
            return release_state_machine.advance(
                release, at_ms, reason, basis=decision.basis or Basis.EVIDENCE
            )
        case Action.RETREAT:
            return release_state_machine.retreat(release, at_ms, reason)
        case Action.ROLLBACK:
            return release_state_machine.roll_back(release, at_ms, reason)
        case Action.COMPLETE:
            return release_state_machine.complete(release, at_ms, reason)
        case Action.PAUSE:
            return release_state_machine.pause(release, at_ms, reason)
        case Action.ASK:
            return release_state_machine.request_approval(release, at_ms, reason)
        case Action.COOL_DOWN:
            return release_state_machine.start_cooldown(release, at_ms, reason)
        case Action.RETRY:
            return release_state_machine.retry(release, at_ms, reason)
        case Action.HOLD if decision.state is release.state:
            return release
        case Action.HOLD if decision.state is State.HOLDING:
            return release_state_machine.hold(release, at_ms, reason)
        case Action.HOLD:
            return release_state_machine.end_hold(release, at_ms, reason)
