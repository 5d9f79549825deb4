"""The check of the error rate that every policy has, unless it says ``error_rate: off``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tidegate.model import Tolerance

from tidegate_server.domain.checks import Check, Metric, OnFailure
from tidegate_server.domain.policy import ErrorRate, Policy
from tidegate_server.errors import FieldProblem

DEFAULT_TOLERANCE = Tolerance()


def with_error_rate_check(policy: Policy, tolerance: Tolerance = DEFAULT_TOLERANCE) -> Policy:
    """Return the policy with a check of the error rate against control, if it lacks one.

    It is added after the policy's own checks, so their numbers stay. ``error_rate: off``
    leaves it out. So does a policy that never has a control group; it is valid only with an
    absolute limit of the error rate. ``tolerance`` is that of the added check.
    """
    if policy.error_rate is ErrorRate.OFF or policy.compares_errors:
        return policy
    if not _has_control_group(policy):
        return policy
    return replace(policy, checks=(*policy.checks, _added_check(policy, tolerance)))


def as_kept_by_release(policy: Policy) -> Policy:
    """Return a release's policy with ``error_rate`` as it is for this release.

    A release keeps the checks that it started with. Policies of earlier versions could leave
    the check of the error rate out without saying ``off``.
    """
    if policy is with_error_rate_check(policy):
        return policy
    return replace(policy, error_rate=ErrorRate.OFF)


def error_rate_problems(policy: Policy) -> Iterator[FieldProblem]:
    """Yield a problem if a policy turns the check off and has one."""
    if policy.error_rate is ErrorRate.OFF and policy.compares_errors:
        number = next(number for number, check in enumerate(policy.checks) if check.compares_errors)
        yield FieldProblem(
            "/error_rate",
            f"error_rate is off, but check /checks/{number} compares the error rate with "
            "control. Remove one of the two.",
        )


def policy_warnings(policy: Policy) -> tuple[FieldProblem, ...]:
    """Return what a reader of a valid policy should know: where errors do not stop a release."""
    if policy.error_rate is ErrorRate.OFF:
        measured = any(check.metric is Metric.ERROR_RATE for check in policy.checks)
        alone = "" if measured else ", and no other check measures the error rate"
        return (
            FieldProblem(
                "/error_rate",
                f"error_rate is off: errors are not compared with control{alone}. A release can "
                "open to everyone although the treatment fails more often. Remove this field "
                "to compare errors.",
            ),
        )
    compared = [
        (number, check) for number, check in enumerate(policy.checks) if check.compares_errors
    ]
    if any(check.on_failure is not OnFailure.WARN for _, check in compared):
        return ()
    return tuple(
        FieldProblem(
            f"/checks/{number}/on_failure",
            "This check only warns: errors keep a release from advancing, but never roll it back.",
        )
        for number, _ in compared
    )


def _has_control_group(policy: Policy) -> bool:
    return any(policy.opened(number) < 100 for number in range(1, len(policy.stages) + 1))


def _added_check(policy: Policy, tolerance: Tolerance) -> Check:
    """Return the check to add; clients decide in it as in the policy's other checks of errors."""
    for check in policy.checks:
        if check.metric is Metric.ERROR_RATE:
            return Check(tolerance=tolerance, client_evidence=check.client_evidence)
    return Check(tolerance=tolerance)
