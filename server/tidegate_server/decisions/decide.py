"""One evaluation of a release: update its statistics with a window, then decide.

Pure: the same release, progress, window and time always give the same decision.
"""

from __future__ import annotations

from dataclasses import replace

from tidegate_server.decisions.check_status import check_statuses
from tidegate_server.decisions.client_reports import (
    add_deciding_clients,
    client_status,
    end_client_epoch_if_over,
    update_clients,
)
from tidegate_server.decisions.decision import Action, Decision
from tidegate_server.decisions.observations import Window
from tidegate_server.decisions.progress import Progress
from tidegate_server.decisions.rule import rule_of
from tidegate_server.decisions.safety_evidence import ADVANCE_AT
from tidegate_server.decisions.update_statistics import update_statistics
from tidegate_server.decisions.verdict import reach_verdict
from tidegate_server.domain.release import Release


def decide(
    release: Release, progress: Progress, window: Window, now_ms: int
) -> tuple[Progress, Decision]:
    """Return the progress and the decision after a window.

    Args:
        release: as it is now, read together with the window.
        progress: the progress after the last evaluation (``initial_progress`` before the first).
        window: what was added since the last evaluation.
        now_ms: the store's clock.

    Returns:
        The progress to store, and the decision to carry out in the same commit. If the
        progress has another ``generation`` than the window, the commit must set it; likewise
        that of ``client``.
    """
    deciding = add_deciding_clients(release.policy, window)
    updated = update_statistics(release, progress, deciding)
    client = update_clients(release, progress.client, window)
    if client is not progress.client:
        updated = replace(updated, client=client)
    checks = check_statuses(release, updated)
    clients = client_status(release, updated, window)
    rule = rule_of(updated)
    probe, split = rule.read_probe(release, updated), rule.read_split(updated)
    verdict = reach_verdict(release, updated, deciding, checks, probe, split, clients, now_ms)
    compared = [check for check in checks if check.check.sequential]
    nearest = max(compared, key=lambda check: check.margin, default=None)
    decision = Decision(
        action=verdict.action,
        reason=verdict.reason,
        state=verdict.state,
        at_ms=now_ms,
        window=updated.windows,
        log_evidence=nearest.log_evidence if nearest else 0.0,
        rollback_at=nearest.rollback_at if nearest else 0.0,
        log_advance=min((check.log_advance for check in compared), default=0.0),
        advance_at=ADVANCE_AT,
        overdispersion=max((check.reading.overdispersion for check in compared), default=1.0),
        probe=probe.excess,
        probe_at=probe.fires_at,
        log_imbalance=split.log_evidence,
        imbalance_at=split.limit,
        split_checked=split.checked,
        failed_checks=tuple(check.number for check in checks if check.failed),
        checks=tuple(check.result() for check in checks),
        asks=verdict.asks,
        client=None if clients is None else clients.result(),
        basis=verdict.basis,
    )
    if verdict.action is Action.RETREAT:
        updated = rule.count_retreat(updated)
    if verdict.action not in (Action.ROLLBACK, Action.COMPLETE):
        updated = rule.end_epoch_if_over(release, updated, deciding)
        updated = end_client_epoch_if_over(release, updated, window)
    client, next_due_ms = updated.client, now_ms + release.policy.interval_ms
    if client is not None:
        client = replace(client, state=verdict.state, evaluated_ms=now_ms, next_due_ms=next_due_ms)
    after = replace(
        updated,
        state=verdict.state,
        evaluated_ms=now_ms,
        next_due_ms=next_due_ms,
        decision=decision,
        client=client,
    )
    return after, decision
