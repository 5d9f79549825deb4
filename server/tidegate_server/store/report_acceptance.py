"""Which parts of a report can be evidence; the others are ignored.

What counts belongs to an active release: to the current step, or to one of the ``RECENT_STEPS``
before it, because a report may arrive after a stage change. So what is kept of a release has a
bound, whatever is reported. A report that has other parts is not refused, because a report
crosses a stage change or the end of a release without anyone's fault, and its other counts must
not be lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from tidegate_server.domain.release import LIVE_STATES, Release
from tidegate_server.domain.snapshot import present_openings
from tidegate_server.store.reports import ReleaseId, Report

RECENT_STEPS = 3
"""How many steps before the present one still count, in the totals that people see."""


@dataclass(frozen=True, slots=True)
class AcceptedReport:
    """A report without the entries that are ignored, and how many these were."""

    report: Report
    ignored: int


def accept_report(report: Report, releases: Mapping[ReleaseId, Release]) -> AcceptedReport:
    """Return what counts of a report.

    Args:
        report: as it was sent.
        releases: the releases that it names, as they are now; those that do not exist are
            missing.
    """
    live = {id: each for id, each in releases.items() if each.state in LIVE_STATES}
    groups = {(id, *group) for id, release in live.items() for group in groups_that_count(release)}
    split = {
        (id, release.step, opening.stage)
        for id, release in live.items()
        for opening in present_openings(release)
        if 0 < opening.percentage < 100
    }
    measures = {
        (id, release.step, opening.stage, measure)
        for id, release in live.items()
        for opening in present_openings(release)
        for measure in release.policy.distributions
    }
    accepted = replace(
        report,
        counts=tuple(
            each for each in report.counts if (each[0], each[1].step, each[1].stratum) in groups
        ),
        failing=tuple(
            each for each in report.failing if (each[0], each[1].step, each[1].stratum) in groups
        ),
        samples=tuple(
            each for each in report.samples if (each[0], each[1].step, each[1].stratum) in split
        ),
        values=tuple(
            each
            for each in report.values
            if (each[0], each[1].step, each[1].stratum, each[1].measure) in measures
        ),
        trips=tuple(each for each in report.trips if each[0] in live),
    )
    return AcceptedReport(accepted, _entries(report) - _entries(accepted))


def groups_that_count(release: Release) -> frozenset[tuple[int, int]]:
    """Return the steps and strata of a release whose counts are kept.

    These are the strata of the current step, and every stratum that an earlier step can have
    had.
    """
    present = {(release.step, opening.stage) for opening in present_openings(release)}
    return frozenset(present).union(
        (step, stratum)
        for step in recent_steps(release.step)[:-1]
        for stratum in range(len(release.policy.stages) + 1)
    )


def recent_steps(step: int) -> range:
    """Return the steps whose counts are kept while a release is at ``step``."""
    return range(max(1, step - RECENT_STEPS), step + 1)


def _entries(report: Report) -> int:
    parts = (report.counts, report.failing, report.samples, report.values, report.trips)
    return sum(map(len, parts))
