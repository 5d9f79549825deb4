"""Warnings: what is sent once although it decides nothing.

They are checks that only warn and begin to fail, and trips of local breakers.
"""

from __future__ import annotations

from tidegate_server.decisions import reasons
from tidegate_server.decisions.decision import Decision
from tidegate_server.domain.checks import OnFailure
from tidegate_server.domain.evidence import NO_TRIPS, Trips
from tidegate_server.domain.policy import Policy


def new_warning(
    policy: Policy, before: Decision | None, now: Decision, trips: Trips = NO_TRIPS
) -> str:
    """Return what to warn of since the last decision, in words; empty: nothing.

    Args:
        policy: the release's policy.
        before: the decision before this one; None: there was none.
        now: this decision.
        trips: the trips that instances reported since the last decision.
    """
    known = before.failed_checks if before is not None else ()
    failed = [
        result.label
        for result in now.checks
        if result.failed
        and result.number not in known
        and policy.checks[result.number].on_failure is OnFailure.WARN
    ]
    warnings = [f"{' and '.join(failed)} failed, which only warns"] if failed else []
    by_clients = _new_client_failures(policy, before, now)
    if by_clients:
        warnings.append(
            f"client reports say that {' and '.join(by_clients)} failed, which only warns"
        )
    if trips.count:
        warnings.append(reasons.tripped(trips))
    return "; ".join([*warnings, now.reason]) if warnings else ""


def _new_client_failures(policy: Policy, before: Decision | None, now: Decision) -> list[str]:
    """Return the checks that began to fail by the reports of clients, if these only warn."""
    if now.client is None:
        return []
    earlier = before.client if before is not None else None
    known = earlier.failed_checks if earlier is not None else ()
    return [
        result.label
        for result in now.client.checks
        if result.failed
        and result.number not in known
        and not policy.checks[result.number].clients_hold
    ]
