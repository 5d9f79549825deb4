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

from tidegate_server.domain.evidence import GroupCounts
from tidegate_server.domain.release import LIVE_STATES, Release
from tidegate_server.domain.snapshot import present_openings
from tidegate_server.store.reports import FailingUsers, ReleaseId, Report

RECENT_STEPS = 3
"""How many steps before the present one still count, in the totals that people see."""


@dataclass(frozen=True, slots=True)
class AcceptedReport:
    """A report without the entries that are ignored, and how many these were."""

    report: Report
    ignored: int


@dataclass(frozen=True, slots=True)
class WhatCounts:
    """What counts of the reports on an active release.

    Attributes:
        groups: the steps and strata whose counts do.
        split: those that are split into arms now, whose samples of users do.
        measures: those whose values of a measure do.
    """

    groups: frozenset[tuple[int, int]]
    split: frozenset[tuple[int, int]]
    measures: frozenset[tuple[int, int, str]]


def what_counts(release: Release) -> WhatCounts | None:
    """Return what counts of the reports on a release; None: it is not active."""
    if release.state not in LIVE_STATES:
        return None
    split = frozenset(
        (release.step, opening.stage)
        for opening in present_openings(release)
        if 0 < opening.percentage < 100
    )
    measures = frozenset(
        (release.step, opening.stage, measure)
        for opening in present_openings(release)
        for measure in release.policy.distributions
    )
    return WhatCounts(groups_that_count(release), split, measures)


def accept_report(report: Report, releases: Mapping[ReleaseId, WhatCounts]) -> AcceptedReport:
    """Return what counts of a report.

    Args:
        report: as it was sent.
        releases: what counts of the active ones among the releases that it names.
    """
    counts = tuple(each for each in report.counts if _is_in(releases, each))
    failing = tuple(each for each in report.failing if _is_in(releases, each))
    samples = tuple(
        (id, each)
        for id, each in report.samples
        if id in releases and (each.step, each.stratum) in releases[id].split
    )
    values = tuple(
        (id, each)
        for id, each in report.values
        if id in releases and (each.step, each.stratum, each.measure) in releases[id].measures
    )
    trips = tuple(each for each in report.trips if each[0] in releases)
    ignored = _entries(report) - sum(map(len, (counts, failing, samples, values, trips)))
    if ignored == 0:
        return AcceptedReport(report, 0)
    accepted = replace(
        report, counts=counts, failing=failing, samples=samples, values=values, trips=trips
    )
    return AcceptedReport(accepted, ignored)


def _is_in(
    releases: Mapping[ReleaseId, WhatCounts], entry: tuple[ReleaseId, GroupCounts | FailingUsers]
) -> bool:
    id, group = entry
    return id in releases and (group.step, group.stratum) in releases[id].groups


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
