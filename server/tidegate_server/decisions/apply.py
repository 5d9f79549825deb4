"""A decision carried out on a release, in the moves that the domain allows the policy."""

from __future__ import annotations

from tidegate_server.decisions.decision import Action, Decision
from tidegate_server.domain import releases
from tidegate_server.domain.release import Release, State


def applied(release: Release, decision: Decision) -> Release:
    """The release after a decision; the same object when the decision changes nothing.

    Raises:
        NotPossible: the decision does not fit the release's state.
    """
    at_ms, reason = decision.at_ms, decision.reason
    match decision.action:
        case Action.ADVANCE:
            return releases.advance(release, at_ms, reason)
        case Action.RETREAT:
            return releases.retreat(release, at_ms, reason)
        case Action.ROLLBACK:
            return releases.roll_back(release, at_ms, reason)
        case Action.COMPLETE:
            return releases.complete(release, at_ms, reason)
        case Action.PAUSE:
            return releases.pause(release, at_ms, reason)
        case Action.ASK:
            return releases.ask(release, at_ms, reason)
        case Action.COOL_DOWN:
            return releases.cool_down(release, at_ms, reason)
        case Action.RETRY:
            return releases.retry(release, at_ms, reason)
        case Action.HOLD if decision.state is release.state:
            return release
        case Action.HOLD if decision.state is State.HOLDING:
            return releases.hold(release, at_ms, reason)
        case Action.HOLD:
            return releases.go_on(release, at_ms, reason)
