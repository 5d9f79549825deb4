"""Read a release's totals from the store and close the window since its last evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tidegate_server.decisions.exposure_groups import present_shares
from tidegate_server.decisions.observations import (
    Measured,
    Window,
    added_distributions,
    close_window,
)
from tidegate_server.decisions.progress import Progress, initial_progress
from tidegate_server.domain.evidence import Evidence, Source
from tidegate_server.domain.release import Release
from tidegate_server.policy_job.instance_cache import InstanceCache, presence
from tidegate_server.store import Store
from tidegate_server.store.report_acceptance import RECENT_STEPS


def read_window(
    store: Store,
    project: str,
    environment: str,
    release: Release,
    progress: Progress,
    now_ms: int,
    *,
    evidence: Evidence | None = None,
    instances: InstanceCache | None = None,
    measured: Sequence[Measured] = (),
) -> tuple[Window, Evidence]:
    """Return what a release's totals gained since its last evaluation, and the totals.

    This deletes the values and samples of earlier steps, and counts of steps that are long over
    once they are part of the progress: no decision uses them any more.

    Args:
        store: where the totals are.
        project, environment: where the release runs.
        release: as read just now.
        progress: the progress after its last evaluation.
        now_ms: store clock.
        evidence: its totals without values; read here by default.
        instances: who reports; looked up by default.
        measured: what outside sources returned for its checks.
    """
    if evidence is None:
        evidence = store.evidence.totals(project, environment, release.id)
    evidence = _without_finished_groups(store, project, environment, release, progress, evidence)
    # Steps only grow, so an earlier step is over for every process that may lead by now.
    over = range(progress.step, release.step)
    store.evidence.forget_steps(project, environment, release.id, over)
    if release.policy.distributions:
        evidence = _with_values(store, project, environment, release, evidence)
    window = _close_window(release, progress, evidence, now_ms)
    client = evidence.client
    if client is not None:
        earlier = progress.client or initial_progress(release)
        opened = replace(earlier, evaluated_ms=progress.evaluated_ms)
        window = replace(window, client=_close_window(release, opened, client, now_ms))
    reporting = (instances or InstanceCache(store)).instances(project, environment, now_ms)
    found = presence(reporting, now_ms, release.policy.no_data.after_ms)
    window = replace(
        window,
        live_instances=found.live,
        lost_instances=found.lost,
        measured=tuple(measured),
        trips=evidence.trips.since(progress.trips),
    )
    return window, evidence


def _with_values(
    store: Store, project: str, environment: str, release: Release, evidence: Evidence
) -> Evidence:
    """Return the totals with the values of the present step, from every source."""
    place = (project, environment, release.id, release.step)
    client = evidence.client
    if client is not None:
        values = store.evidence.values(*place, Source.CLIENT)
        client = replace(client, distributions=values)
    return replace(evidence, distributions=store.evidence.values(*place), client=client)


def _close_window(release: Release, progress: Progress, evidence: Evidence, now_ms: int) -> Window:
    """Return what the totals of one source gained."""
    shares = present_shares(release)
    window = close_window(
        progress.readings,
        evidence.readings,
        shares=shares,
        step=release.step,
        opened_ms=progress.evaluated_ms,
        closed_ms=now_ms,
        generation=evidence.generation,
    )
    added = added_distributions(
        progress.distribution_readings,
        evidence.distributions,
        step=release.step,
        strata=shares.keys(),
    )
    return replace(window, distributions=added)


def _without_finished_groups(
    store: Store,
    project: str,
    environment: str,
    release: Release,
    progress: Progress,
    evidence: Evidence,
    source: Source = Source.SERVER,
) -> Evidence:
    """Return the totals without groups that no report can add to and that are in the progress."""
    counted = set(progress.readings)
    finished = {
        reading
        for reading in evidence.readings
        if reading.step < release.step - RECENT_STEPS and reading in counted
    }
    if finished:
        store.evidence.forget_groups(project, environment, release.id, finished, source)
        left = tuple(reading for reading in evidence.readings if reading not in finished)
        evidence = replace(evidence, readings=left)
    if evidence.client is not None and progress.client is not None:
        client = _without_finished_groups(
            *(store, project, environment, release, progress.client, evidence.client),
            Source.CLIENT,
        )
        evidence = replace(evidence, client=client)
    return evidence
