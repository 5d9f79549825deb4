"""Checks that only warn, and begin to fail: others are told once, not at every evaluation."""

from __future__ import annotations

from tidegate_server.decisions.decision import Decision
from tidegate_server.domain.checks import OnFailure
from tidegate_server.domain.policy import Policy


def newly_warned(policy: Policy, before: Decision | None, now: Decision) -> str:
    """What the checks that only warn have found since the last decision, in words; else empty.

    Args:
        policy: the release's.
        before: the decision before this one, if there was one.
        now: this one.
    """
    known = before.failed_checks if before is not None else ()
    new = [
        result.label
        for result in now.checks
        if result.failed
        and result.number not in known
        and policy.checks[result.number].on_failure is OnFailure.WARN
    ]
    return f"{' and '.join(new)} failed, which only warns; {now.reason}" if new else ""
