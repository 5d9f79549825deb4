"""The risks that a valid policy takes, in warnings for people."""

from __future__ import annotations

from collections.abc import Iterator

from tidegate.epochs import LARGEST_SHARE

from tidegate_server.domain.checks import Compare, Metric
from tidegate_server.domain.error_rate import policy_warnings
from tidegate_server.domain.gate_risks import gate_risks
from tidegate_server.domain.policy import Policy, Undecided
from tidegate_server.domain.policy_validation import policy_problems
from tidegate_server.domain.references import policy_webhooks
from tidegate_server.domain.snapshot import openings
from tidegate_server.errors import FieldProblem

ENOUGH_FOR_LATENCY = 5.0
"""The holdback, in percent, with which less than a doubling of a latency is noticed."""

NO_SECOND_GATE = (
    " Nothing else has to agree: add a check with compare: absolute, an approval, a confirmation, "
    "or a max_duration with undecided: hold."
)


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
            "no server reports outcomes, no stage ever gets evidence of safety: the release holds "
            "without data until a person advances it, whatever max_duration and undecided say. If "
            "only clients evaluate the flag, write client_evidence: decide in the check of the "
            "error_rate.",
        ),
    )


def policy_hints(policy: Policy) -> tuple[FieldProblem, ...]:
    """Return what the writer of a valid policy may not expect, though it need not be wrong."""
    return (*_holding_hints(policy), *_segment_hints(policy), *_latency_hints(policy))


def _holding_hints(policy: Policy) -> Iterator[FieldProblem]:
    unlimited = [
        (number, stage.name)
        for number, stage in enumerate(policy.stages[:-1])
        if stage.max_duration_ms is None
    ]
    if unlimited:
        names = ", ".join(name for _, name in unlimited)
        yield FieldProblem(
            f"/stages/{unlimited[0][0]}/max_duration",
            f"With little traffic a release can stay in a stage without a max_duration for ever "
            f"({names}). Give one, with undecided: hold, advance or rollback.",
        )


def _segment_hints(policy: Policy) -> Iterator[FieldProblem]:
    """Yield a hint for each stage whose segments nothing watches once others are compared.

    Where a stage opens 100 % of a segment there is no control group. The probe does not watch
    while another opening has enough control, since its users may fail at another rate.
    """
    if any(check.compare is not Compare.CONTROL for check in policy.checks):
        return
    together = [openings(policy, stage) for stage in range(1, len(policy.stages) + 1)]
    unwatched = {
        opening.stage
        for open_now in together
        if any(each.percentage <= 100.0 * LARGEST_SHARE for each in open_now)
        for opening in open_now
        if opening.percentage == 100.0
    }
    for number, stage in enumerate(policy.stages):
        if number + 1 in unwatched:
            yield FieldProblem(
                f"/stages/{number}/percentage",
                f"Stage {stage.name} leaves its segments without a control group, so nothing "
                "notices when only they fail. Open 50 to keep one, or add a check with "
                "compare: absolute.",
            )


def _latency_hints(policy: Policy) -> Iterator[FieldProblem]:
    if policy.holdback >= ENOUGH_FOR_LATENCY:
        return
    for number, check in enumerate(policy.checks):
        if check.metric is Metric.LATENCY and check.compare is Compare.CONTROL:
            yield FieldProblem(
                f"/checks/{number}",
                "After the last advance the probe notices about a doubling of this latency. To "
                f"notice less, write holdback: {ENOUGH_FOR_LATENCY:g} or more.",
            )


def stored_policy_risks(policy: Policy) -> tuple[FieldProblem, ...]:
    """Return what an earlier version accepted in a stored policy and this one would refuse."""
    found = policy_problems(policy, policy.segments, policy_webhooks(policy))
    return tuple(
        FieldProblem(each.pointer, f"Stored by an earlier version; refused today. {each.detail}")
        for each in found
    )


def _client_risks(policy: Policy) -> Iterator[FieldProblem]:
    gate = "" if _has_second_gate(policy) else NO_SECOND_GATE
    for number, check in enumerate(policy.checks):
        if check.clients_decide:
            yield FieldProblem(
                f"/checks/{number}/client_evidence",
                "Client reports decide: everyone who can open the page can roll a release back "
                "or let a harmful one pass. Use this only for a flag that only clients evaluate."
                f"{gate}",
            )


def _has_second_gate(policy: Policy) -> bool:
    """Return whether something besides comparisons must agree before the release is complete."""
    return (
        bool(policy.confirm)
        or any(stage.approval is not None for stage in policy.stages)
        or any(check.compare is Compare.ABSOLUTE for check in policy.checks)
        or any(
            stage.max_duration_ms is not None and stage.undecided is Undecided.HOLD
            for stage in policy.stages
        )
    )
