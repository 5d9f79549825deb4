"""The entries of a release's ledger: decisions with everything they rest on."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from tidegate_server.decisions.decision import Decision
from tidegate_server.decisions.observations import Window
from tidegate_server.decisions.progress import Progress
from tidegate_server.domain.release import Approval, Basis, Release, State

CHECKPOINT_WINDOWS = 240
"""How many entries lie between two checkpoints, from which a replay may start."""


@dataclass(frozen=True, slots=True)
class ReleaseStatus:
    """The fields of a release that change from one decision to the next."""

    state: State
    stage: int
    step: int
    attempt: int
    stopped: bool
    resumes_to: State | None
    stage_entered_ms: int
    updated_ms: int
    reason: str
    closed: bool = False
    retries: int = 0
    cooldown_until_ms: int | None = None
    asked_ms: int | None = None
    approvals: tuple[Approval, ...] = ()
    stage_basis: Basis | None = None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The whole release and its progress before a decision. A replay may start here."""

    release: Release
    progress: Progress


@dataclass(frozen=True, slots=True)
class Entry:
    """One decision.

    Attributes:
        at_ms: when it was made, the ``now_ms`` of ``decide``.
        window: all new counts, with the design shares.
        before, after: the release before the decision and after it was carried out.
        decision: what was decided and why, with every statistic and limit.
        checkpoint: in the first entry of a release and in every ``CHECKPOINT_WINDOWS``-th
            after it. So the entries alone, even only the latest ones, are enough to compute
            the decisions again.
    """

    at_ms: int
    window: Window
    before: ReleaseStatus
    after: ReleaseStatus
    decision: Decision
    checkpoint: Checkpoint | None = None


def release_status(release: Release) -> ReleaseStatus:
    """Return the status of a release."""
    return ReleaseStatus(
        state=release.state,
        stage=release.stage,
        step=release.step,
        attempt=release.attempt,
        stopped=release.stopped,
        resumes_to=release.resumes_to,
        stage_entered_ms=release.stage_entered_ms,
        updated_ms=release.updated_ms,
        reason=release.reason,
        closed=release.closed,
        retries=release.retries,
        cooldown_until_ms=release.cooldown_until_ms,
        asked_ms=release.asked_ms,
        approvals=release.approvals,
        stage_basis=release.stage_basis,
    )


def with_status(release: Release, status: ReleaseStatus) -> Release:
    """Return the release with another status."""
    return replace(
        release, **{field.name: getattr(status, field.name) for field in fields(ReleaseStatus)}
    )


def ledger_entry(
    before: Release, after: Release, progress: Progress, window: Window, decision: Decision
) -> Entry:
    """Return the entry of a decision; ``progress`` is the progress before the decision."""
    checkpoint_due = progress.windows % CHECKPOINT_WINDOWS == 0
    return Entry(
        at_ms=decision.at_ms,
        window=window,
        before=release_status(before),
        after=release_status(after),
        decision=decision,
        checkpoint=Checkpoint(before, progress) if checkpoint_due else None,
    )
