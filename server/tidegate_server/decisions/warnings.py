"""What others are told of once, although it decides nothing: checks that only warn and begin
to fail, and instances that closed the release for themselves."""

from __future__ import annotations

from tidegate_server.decisions import reasons
from tidegate_server.decisions.decision import Decision
from tidegate_server.domain.checks import OnFailure
from tidegate_server.domain.evidence import NO_TRIPS, Trips
from tidegate_server.domain.policy import Policy


def newly_warned(
    policy: Policy, before: Decision | None, now: Decision, trips: Trips = NO_TRIPS
) -> str:
    """What there is to warn of since the last decision, in words; else empty.

    Args:
        policy: the release's.
        before: the decision before this one, if there was one.
        now: this one.
        trips: what instances told of since the last one.
    """
    known = before.failed_checks if before is not None else ()
    new = [
        result.label
        for result in now.checks
        if result.failed
        and result.number not in known
        and policy.checks[result.number].on_failure is OnFailure.WARN
    ]
    found = [f"{' and '.join(new)} failed, which only warns"] if new else []
    if trips.count:
        found.append(reasons.tripped(trips))
    return "; ".join([*found, now.reason]) if found else ""
