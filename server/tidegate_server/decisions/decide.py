"""One evaluation of a release: close the window, update the statistics, decide.

Pure: the same release, progress, window and time always give the same decision.
"""

from __future__ import annotations

from dataclasses import replace

from tidegate_server.decisions.check_status import standings
from tidegate_server.decisions.decision import Action, Decision
from tidegate_server.decisions.observations import Window
from tidegate_server.decisions.probe import FIRES_AT
from tidegate_server.decisions.progress import Progress
from tidegate_server.decisions.safety_evidence import ADVANCE_AT
from tidegate_server.decisions.sample_ratio import IMBALANCE_AT, log_imbalance
from tidegate_server.decisions.update_statistics import close_epoch, observe
from tidegate_server.decisions.verdict import judge
from tidegate_server.domain.release import Release


def decide(
    release: Release, progress: Progress, window: Window, now_ms: int
) -> tuple[Progress, Decision]:
    """Close a window and decide.

    Args:
        release: the release as it stands, read together with the window.
        progress: what the last evaluation left (``progress.begin`` for the first one).
        window: what was added since the last evaluation.
        now_ms: the store's clock.

    Returns:
        The progress to store, and the decision to carry out in the same commit. A progress
        whose ``generation`` differs from the window's asks for that evidence generation.
    """
    seen = observe(release, progress, window)
    checks = standings(release, seen)
    verdict = judge(release, seen, window, checks, now_ms)
    compared = [check for check in checks if check.check.sequential]
    nearest = max(compared, key=lambda check: check.margin, default=None)
    decision = Decision(
        action=verdict.action,
        reason=verdict.reason,
        state=verdict.state,
        at_ms=now_ms,
        window=seen.windows,
        log_evidence=nearest.log_evidence if nearest else 0.0,
        rollback_at=nearest.rollback_at if nearest else 0.0,
        log_advance=min((check.progress.advance.log_value for check in compared), default=0.0),
        advance_at=ADVANCE_AT,
        overdispersion=max((check.progress.guard.phi for check in compared), default=1.0),
        probe=seen.probe.excess,
        probe_at=FIRES_AT,
        log_imbalance=log_imbalance(seen.imbalance),
        imbalance_at=IMBALANCE_AT,
        failed_checks=tuple(check.number for check in checks if check.failed),
        checks=tuple(check.result() for check in checks),
        asks=verdict.asks,
    )
    if verdict.action is Action.RETREAT:
        probe = replace(seen.probe, excess=0.0, retreats=seen.probe.retreats + 1)
        seen = replace(seen, probe=probe)
    if verdict.action not in (Action.ROLLBACK, Action.COMPLETE):
        seen = close_epoch(seen)
    after = replace(
        seen,
        state=verdict.state,
        evaluated_ms=now_ms,
        next_due_ms=now_ms + release.policy.interval_ms,
        decision=decision,
    )
    return after, decision
