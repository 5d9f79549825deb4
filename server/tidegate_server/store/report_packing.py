"""What ``reports.lua`` gets: reports of one environment and source, and the keys they concern."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
from tidegate.counts import Counts

from tidegate_server.domain.deletions import WHOLE_PROJECT
from tidegate_server.domain.evidence import GroupCounts, GroupValues, Source
from tidegate_server.domain.kinds import Kind
from tidegate_server.store import keys
from tidegate_server.store.evaluations import STEPS
from tidegate_server.store.instances import INSTANCE_SECONDS, describe_instance
from tidegate_server.store.report_acceptance import AcceptedReport
from tidegate_server.store.report_limits import SAMPLES_SECONDS, VALUES_SECONDS, Limits
from tidegate_server.store.reports import FailingUsers, ReleaseId, Report

MOST_NAMES = 4_096
"""Of how many environments and releases the names of keys are kept."""


class PlannedRelease(NamedTuple):
    """A release of a report, as it was when what counts of the report was decided."""

    id: ReleaseId
    revision: int
    clients_decide: bool


@dataclass(frozen=True, slots=True)
class PlannedReport:
    """A report without what is ignored, and the releases that it is about."""

    accepted: AcceptedReport
    releases: tuple[PlannedRelease, ...]


def weight_of(report: Report) -> int:
    """Return how much work a report is, about: how many counters and users it has.

    An ordinary one counts 10 to 100. Every entry counts, also an empty one: it is work, too.
    """
    return (
        10
        + 8 * len(report.counts)
        + sum(1 + len(each.users) for _, each in report.failing)
        + sum(1 + len(each.control) + len(each.treatment) for _, each in report.samples)
        + sum(1 + len(each.control) + len(each.treatment) for _, each in report.values)
        + 2 * len(report.trips)
        + sum(1 + len(each.variants) for each in report.evaluations)
    )


def pack_reports(
    project: str,
    environment: str,
    source: Source,
    planned: Sequence[PlannedReport],
    limits: Limits,
) -> tuple[list[str], list[bytes]]:
    """Return the keys and the arguments of ``reports.lua``."""
    names = [*_shared_names(project, environment, source)]
    releases = list(dict.fromkeys(release for each in planned for release in each.releases))
    for each in releases:
        names += _release_names(project, environment, source, each.id, each.clients_decide)
    batch = _Batch(project, environment, source, limits.total, names, releases)
    packed = {
        "environment": environment,
        "releases": [(each.id, each.revision) for each in releases],
        "reports": [batch.pack(each) for each in planned],
    }
    descriptions = [describe_instance(each.accepted.report) for each in planned]
    return names, [_settings(limits, source), msgspec.msgpack.encode(packed), *descriptions]


class _Batch:
    """The keys of a batch, and the numbers of its releases."""

    def __init__(
        self,
        project: str,
        environment: str,
        source: Source,
        most: int,
        names: list[str],
        releases: Sequence[PlannedRelease],
    ) -> None:
        self._place = (project, environment)
        self._source = source
        self._most = most
        self._names = names
        self._numbers = {release: number for number, release in enumerate(releases, 1)}
        self._keys: dict[str, int] = {}

    def pack(self, planned: PlannedReport) -> dict[str, Any]:
        """Return a report as ``reports.lua`` reads it."""
        report, most = planned.accepted.report, self._most
        numbers = {release.id: self._numbers[release] for release in planned.releases}
        source = self._source
        return {
            "instance": report.instance,
            "sequence": report.sequence,
            "continues": report.continues,
            "version": report.version,
            "uptime": _whole_ms(report.uptime),
            "version_age": _whole_ms(report.version_age),
            "leaving": report.leaving,
            "releases": list(numbers.values()),
            "totals": [
                (
                    numbers[id],
                    f"{each.step}|{each.stratum}|",
                    _measures(each.control, most),
                    _measures(each.treatment, most),
                )
                for id, each in report.counts
            ],
            "failing": [
                (numbers[id], _prefix(each, each.arm), each.users, min(each.overflow, most))
                for id, each in report.failing
            ],
            "samples": [
                (
                    self._key(keys.samples(*self._place, id, each.step, source)),
                    numbers[id],
                    each.step,
                    each.stratum,
                    each.bits,
                    (("control", each.control), ("treatment", each.treatment)),
                )
                for id, each in report.samples
            ],
            "values": [
                (
                    self._key(keys.values(*self._place, id, each.step, source)),
                    f"{id}|{_prefix(each, arm)}{each.measure}|",
                    f"{each.stratum}|{arm}|{each.measure}|",
                    [
                        part
                        for bucket, count in histogram
                        for part in (str(bucket), min(count, most))
                    ],
                )
                for id, each in report.values
                for arm, histogram in (("control", each.control), ("treatment", each.treatment))
            ],
            "trips": [
                (numbers[id], min(each.count, most), min(each.milliseconds, most))
                for id, each in report.trips
            ],
            "application": report.application or report.token,
            "host": report.host,
            "evaluations": [
                (
                    each.flag,
                    each.estimated,
                    [part for pair in (*each.variants, ("", each.defaults)) for part in pair],
                )
                for each in report.evaluations
            ],
            "ignored": planned.accepted.ignored,
        }

    def _key(self, name: str) -> int:
        """Return the number of a key, which it adds to the names when it is new."""
        number = self._keys.get(name)
        if number is None:
            self._names.append(name)
            number = self._keys[name] = len(self._names)
        return number


@lru_cache(MOST_NAMES)
def _shared_names(project: str, environment: str, source: Source) -> tuple[str, ...]:
    place = (project, environment)
    return (
        keys.instances(*place, source),
        keys.version(*place),
        keys.kills(*place),
        keys.receipts(*place),
        keys.documents(project, Kind.RELEASE, environment),
        keys.intake(*place, source),
        keys.instance_sizes(*place, source),
        keys.instance_notices(*place),
        keys.instance_descriptions(*place, source),
        keys.evaluated(*place),
        keys.askers(*place),
        keys.unknown_flags(*place),
        keys.unknown_askers(*place),
        keys.documents(project, Kind.FLAG),
        keys.evaluation_series(*place),
        keys.documents(project, Kind.DELETION),
        keys.instance(*place, "", source),
        keys.instance_evaluations(*place, "", source),
    )


@lru_cache(MOST_NAMES)
def _release_names(
    project: str, environment: str, source: Source, release: ReleaseId, clients_decide: bool
) -> tuple[str, ...]:
    # Where clients decide, a user who failed counts once, whoever reported it.
    failing_of = Source.SERVER if clients_decide else source
    return (
        keys.evidence(project, environment, release, source),
        keys.failing(project, environment, release, failing_of),
        keys.failing_filter(project, environment, release, failing_of),
    )


@lru_cache(MOST_NAMES)
def _settings(limits: Limits, source: Source) -> bytes:
    """Return the first argument, which is the same for all batches."""
    # Clients have no processes that a page could show.
    notices = 0 if source is Source.CLIENT else limits.notices
    return msgspec.msgpack.encode(
        {
            "expiry": INSTANCE_SECONDS,
            "samples_expiry": SAMPLES_SECONDS,
            "values_expiry": VALUES_SECONDS,
            "steps": [(name, step.seconds, step.kept_seconds) for name, step in STEPS.items()],
            "whole_project": WHOLE_PROJECT,
            "limits": asdict(limits) | {"notices": notices},
        }
    )


def _measures(counts: Counts, most: int) -> tuple[int, ...]:
    measures = (counts.exposures, counts.outcomes, counts.errors, counts.microseconds)
    return measures if max(measures) <= most else tuple(min(each, most) for each in measures)


def _whole_ms(seconds: float | None) -> int:
    return -1 if seconds is None else round(seconds * 1_000)


def _prefix(group: GroupCounts | FailingUsers | GroupValues, arm: str) -> str:
    return f"{group.step}|{group.stratum}|{arm}|"
