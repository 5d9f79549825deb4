"""The risks that a valid policy takes, in warnings for people."""

from __future__ import annotations

from collections.abc import Iterator

from tidegate_server.domain.error_rate import policy_warnings
from tidegate_server.domain.gate_risks import gate_risks
from tidegate_server.domain.policy import Policy
from tidegate_server.domain.policy_validation import policy_problems
from tidegate_server.domain.references import policy_webhooks
from tidegate_server.errors import FieldProblem


def policy_risks(policy: Policy, now_ms: int | None = None) -> tuple[FieldProblem, ...]:
    """Return the risks of a policy: of its errors, its gates, and of what clients may decide.

    Args:
        policy: a valid policy.
        now_ms: the time, to find freezes that are over; None: do not look for them.
    """
    return (*policy_warnings(policy), *gate_risks(policy, now_ms), *_client_risks(policy))


def release_risks(policy: Policy, *, client_side: bool) -> tuple[FieldProblem, ...]:
    """Return the risks of a release.

    Args:
        policy: the release's policy.
        client_side: whether its flag is available to clients.
    """
    if not client_side or policy.clients_decide:
        return policy_risks(policy)
    return (
        *policy_risks(policy),
        FieldProblem(
            "/checks",
            "The flag is available to clients, and their reports do not advance the release. If "
            "no server reports outcomes, it holds until a person advances it. If only clients "
            "evaluate the flag, write client_evidence: decide in the check of the error_rate.",
        ),
    )


def stored_policy_risks(policy: Policy) -> tuple[FieldProblem, ...]:
    """Return what an earlier version accepted in a stored policy and this one would refuse."""
    found = policy_problems(policy, policy.segments, policy_webhooks(policy))
    return tuple(
        FieldProblem(each.pointer, f"Stored by an earlier version; refused today. {each.detail}")
        for each in found
    )


def _client_risks(policy: Policy) -> Iterator[FieldProblem]:
    for number, check in enumerate(policy.checks):
        if check.clients_decide:
            yield FieldProblem(
                f"/checks/{number}/client_evidence",
                "Client reports decide: everyone who can open the page can roll a release back "
                "or let a harmful one pass. Use this only for a flag that only clients evaluate.",
            )
