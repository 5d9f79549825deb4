"""Risks of the stages, approvals and freezes of a valid policy."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from tidegate_server.domain.calendar import freeze_bounds, time_zone
from tidegate_server.domain.policy import Policy
from tidegate_server.domain.release_gates import ApprovalGate
from tidegate_server.errors import FieldProblem


def gate_risks(policy: Policy, now_ms: int | None) -> tuple[FieldProblem, ...]:
    """Return what weakens the stages and gates of a policy.

    Args:
        policy: a valid policy.
        now_ms: the time, to find freezes that are over; None: do not look for them.
    """
    return (
        *_sample_risks(policy),
        *_approval_risks(policy),
        *_bake_risks(policy),
        *_freeze_risks(policy, now_ms),
    )


def _sample_risks(policy: Policy) -> Iterator[FieldProblem]:
    if any(check.sequential for check in policy.checks):
        return
    for index, stage in enumerate(policy.stages):
        if stage.min_samples == 0:
            yield FieldProblem(
                f"/stages/{index}/min_samples",
                "No check compares with control, so without samples a release may leave this "
                "stage after two operations. Ask for more.",
            )


def _approval_risks(policy: Policy) -> Iterator[FieldProblem]:
    for index, stage in enumerate(policy.stages):
        if stage.approval is not None and _needs_no_second_person(stage.approval):
            yield FieldProblem(
                f"/stages/{index}/approval",
                "The person who starts a release can give this approval alone. Add "
                "not_the_starter: true to ask a second person.",
            )


def _needs_no_second_person(gate: ApprovalGate) -> bool:
    return gate.count == 1 and not gate.not_the_starter


def _bake_risks(policy: Policy) -> Iterator[FieldProblem]:
    if policy.bake_ms == 0:
        yield FieldProblem(
            "/bake",
            "Without a bake a release completes as soon as its last stage has enough samples, and "
            "is watched no longer.",
        )


def _freeze_risks(policy: Policy, now_ms: int | None) -> Iterator[FieldProblem]:
    zone = time_zone(policy.windows.timezone)
    if now_ms is None or zone is None:
        return
    now = datetime.fromtimestamp(now_ms / 1_000, tz=UTC)
    for index, freeze in enumerate(policy.windows.freeze):
        if freeze_bounds(freeze, zone)[1] <= now:
            yield FieldProblem(
                f"/windows/freeze/{index}",
                f"This freeze ended on {freeze.ends}, so it stops nothing. Check the year, or "
                "remove it.",
            )
