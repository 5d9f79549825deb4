"""From the store's counters to a window that can be decided on."""

from __future__ import annotations

from dataclasses import replace

from tidegate_server.decisions.progress import Progress
from tidegate_server.decisions.strata import present_shares
from tidegate_server.decisions.windows import Reading, Window, close_window
from tidegate_server.domain.release import Release
from tidegate_server.store import Store


def read_window(
    store: Store, project: str, environment: str, release: Release, progress: Progress, now_ms: int
) -> tuple[Window, tuple[Reading, ...]]:
    """Read a release's counters, and what they gained since its last evaluation.

    Who reports is only looked up when nothing ended, to say which silence it is.
    """
    evidence = store.evidence(project, environment, release.id)
    window = close_window(
        progress.readings,
        evidence.readings,
        shares=present_shares(release),
        step=release.step,
        opened_ms=progress.evaluated_ms,
        closed_ms=now_ms,
        generation=evidence.generation,
    )
    if window.control.outcomes + window.treatment.outcomes:
        return window, evidence.readings
    live = sum(instance.live for instance in store.instances(project, environment))
    return replace(window, live_instances=live), evidence.readings
