"""From the store's counters to a window that can be decided on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tidegate_server.decisions.exposure_groups import present_shares
from tidegate_server.decisions.observations import (
    DistributionReading,
    Measured,
    Reading,
    Trips,
    Window,
    added,
    close_window,
)
from tidegate_server.decisions.progress import Progress
from tidegate_server.domain.release import Release
from tidegate_server.policy_job.instance_cache import Roster, presence
from tidegate_server.store import Store
from tidegate_server.store.reports import Evidence


@dataclass(frozen=True, slots=True)
class Totals:
    """The store's totals as read: what the next window is the difference to."""

    readings: tuple[Reading, ...]
    distributions: tuple[DistributionReading, ...]
    trips: Trips

    def kept_in(self, progress: Progress) -> Progress:
        """The progress with these as its last totals."""
        return replace(
            progress,
            readings=self.readings,
            distribution_readings=self.distributions,
            trips=self.trips,
        )


def read_window(
    store: Store,
    project: str,
    environment: str,
    release: Release,
    progress: Progress,
    now_ms: int,
    *,
    evidence: Evidence | None = None,
    roster: Roster | None = None,
    measured: Sequence[Measured] = (),
) -> tuple[Window, Totals]:
    """Read a release's counters, and what they gained since its last evaluation.

    How values were distributed in earlier steps is dropped on the way: no decision looks at
    it any more.

    Args:
        store: where the counters are.
        project, environment: where the release runs.
        release: as read just now.
        progress: what its last evaluation left.
        now_ms: store clock.
        evidence: its counters, where they were read already.
        roster: who reports; looked up when not given.
        measured: what outside sources said for its checks.
    """
    if evidence is None:
        evidence = store.evidence(project, environment, release.id)
    shares = present_shares(release)
    distributions: tuple[DistributionReading, ...] = ()
    if release.policy.distributions:
        # Steps only grow: what is over for this process is so for whoever may lead by now.
        over = range(progress.step, release.step)
        store.forget_values(project, environment, release.id, over)
        distributions = store.values(project, environment, release.id, release.step)
    window = close_window(
        progress.readings,
        evidence.readings,
        shares=shares,
        step=release.step,
        opened_ms=progress.evaluated_ms,
        closed_ms=now_ms,
        generation=evidence.generation,
    )
    seen = (roster or Roster(store)).of(project, environment, now_ms)
    found = presence(seen, now_ms, release.policy.no_data.after_ms)
    window = replace(
        window,
        live_instances=found.live,
        lost_instances=found.lost,
        distributions=added(
            progress.distribution_readings, distributions, step=release.step, strata=shares.keys()
        ),
        measured=tuple(measured),
        trips=evidence.trips.since(progress.trips),
    )
    return window, Totals(evidence.readings, distributions, evidence.trips)
