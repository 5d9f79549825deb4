"""One line of a release's ledger: a decision with everything it was drawn from."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from tidegate_server.decisions.decision import Decision
from tidegate_server.decisions.observations import Window
from tidegate_server.decisions.progress import Progress
from tidegate_server.domain.release import Approval, Release, State

CHECKPOINT_WINDOWS = 240
"""A replay of a ledger that was cut off begins at most so many entries late."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a release stood: what of it changes from one decision to the next."""

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


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The whole release and its progress before a decision: where a replay may begin."""

    release: Release
    progress: Progress


@dataclass(frozen=True, slots=True)
class Entry:
    """One decision.

    Attributes:
        at_ms: when it was made; the ``now_ms`` that ``decide`` was given.
        window: all counts that were new, with the design shares.
        before, after: where the release stood, and where the decision put it.
        decision: what was decided and why, with every statistic and threshold.
        checkpoint: given by the first entry of a release and every ``CHECKPOINT_WINDOWS``
            after it, so that the entries alone, also the latest ones alone, are enough to
            decide everything again.
    """

    at_ms: int
    window: Window
    before: Standing
    after: Standing
    decision: Decision
    checkpoint: Checkpoint | None = None


def standing(release: Release) -> Standing:
    """Where a release stands."""
    return Standing(
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
    )


def at(release: Release, standing: Standing) -> Release:
    """The release as it stood; what never changes is taken from ``release``."""
    return replace(
        release, **{field.name: getattr(standing, field.name) for field in fields(Standing)}
    )


def record(
    before: Release, after: Release, progress: Progress, window: Window, decision: Decision
) -> Entry:
    """The ledger entry of a decision; ``progress`` is the one it was drawn from."""
    due = progress.windows % CHECKPOINT_WINDOWS == 0
    return Entry(
        at_ms=decision.at_ms,
        window=window,
        before=standing(before),
        after=standing(after),
        decision=decision,
        checkpoint=Checkpoint(before, progress) if due else None,
    )
