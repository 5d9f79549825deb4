"""Reports of the server's own evaluations, as the store takes them."""

from __future__ import annotations

from collections.abc import Sequence

from tidegate.counts import Counts
from tidegate.evaluation.results import Arm
from tidegate.flag_follower import Report as FollowerReport
from tidegate.reporting import ReportCounts

from tidegate_server.domain.evidence import GroupCounts, GroupValues, Histogram, Source, Trips
from tidegate_server.store.reports import FailingUsers, FlagEvaluations, Report, SampledUsers

APPLICATIONS = {
    Source.SERVER: "remote evaluation",
    Source.CLIENT: "remote evaluation by clients",
}
"""Who asked for a flag, where the server evaluated it: it knows no more of the application."""


def stored_report(report: FollowerReport, source: Source, sdk: str, host: str, pid: int) -> Report:
    """Return a report as the store takes it, with its source and the instance that sends it."""
    counts = report.counts
    return Report(
        instance=counts.instance,
        sequence=counts.sequence,
        continues=counts.continues,
        version=report.version,
        interval=report.interval,
        sdk=sdk,
        host=host,
        pid=pid,
        counts=_group_totals(counts),
        failing=_failing_users(counts),
        samples=tuple(
            (
                release,
                SampledUsers(
                    *(step, stratum, users.bits),
                    control=tuple(users.control),
                    treatment=tuple(users.treatment),
                ),
            )
            for (release, step, stratum), users in counts.sampled.items()
        ),
        values=_group_values(counts),
        trips=tuple(
            (release, Trips(count, milliseconds))
            for release, (count, milliseconds) in counts.trips.items()
        ),
        evaluations=tuple(
            FlagEvaluations(flag, tuple(each.variants.items()), each.defaults, each.estimated)
            for flag, each in counts.evaluations.items()
        ),
        application=APPLICATIONS[source],
        leaving=report.leaving,
        source=source,
    )


def _group_totals(counts: ReportCounts) -> tuple[tuple[str, GroupCounts], ...]:
    return tuple(
        (release, GroupCounts(step, stratum, _arm_counts(totals[:4]), _arm_counts(totals[4:])))
        for (release, step, stratum), totals in counts.totals.items()
    )


def _arm_counts(totals: Sequence[int]) -> Counts:
    exposures, outcomes, errors, microseconds = totals
    return Counts(exposures, outcomes, errors, microseconds=microseconds)


def _failing_users(counts: ReportCounts) -> tuple[tuple[str, FailingUsers], ...]:
    return tuple(
        (
            group[0],
            FailingUsers(
                *group[1:],
                arm=arm,
                users=tuple(counts.users.get((group, arm), ())),
                overflow=counts.overflow.get((group, arm), 0),
            ),
        )
        for group, arm in dict.fromkeys([*counts.users, *counts.overflow])
    )


def _group_values(counts: ReportCounts) -> tuple[tuple[str, GroupValues], ...]:
    def histogram(group: tuple[str, int, int], measure: str, arm: Arm) -> Histogram:
        return tuple(sorted(counts.values.get((group, measure, arm), {}).items()))

    return tuple(
        (
            group[0],
            GroupValues(
                *group[1:],
                measure=measure,
                control=histogram(group, measure, "control"),
                treatment=histogram(group, measure, "treatment"),
            ),
        )
        for group, measure in dict.fromkeys(place[:2] for place in counts.values)
    )
