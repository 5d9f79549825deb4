"""The evidence of releases: adds reports of SDK instances and reads the totals."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import msgspec
from tidegate.counts import Counts

from tidegate_server.domain.change import Stored
from tidegate_server.domain.evidence import Evidence, GroupCounts, GroupValues, Source, Trips
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.release import Release
from tidegate_server.errors import (
    FieldProblem,
    InstanceForgotten,
    Invalid,
    NotFound,
    RateLimited,
    StoreUnavailable,
    TidegateError,
)
from tidegate_server.store import documents, keys
from tidegate_server.store.connection import Connection
from tidegate_server.store.group_commit import GroupCommit
from tidegate_server.store.report_acceptance import (
    AcceptedReport,
    WhatCounts,
    accept_report,
    groups_that_count,
    recent_steps,
    what_counts,
)
from tidegate_server.store.report_limits import LIMITS, Limits
from tidegate_server.store.report_packing import (
    PlannedRelease,
    PlannedReport,
    pack_reports,
    weight_of,
)
from tidegate_server.store.reports import ReleaseId, Report, Reported

CHANGED_RETRIES = 5
"""How often a report is tried again because a release changed at the same moment."""

LATELY_SECONDS = 5.0
"""How long a release is not read again. The script finds out if it has changed, except in a store
that was restored from a backup, where its revisions begin again."""

MOST_RELEASES = 5_000
"""How many releases a process keeps of those that reports name."""

MOST_PLACES = 1_000
"""After so many environments, those that nothing waits for are forgotten."""

MAX_FIELDS = 20_000
"""More fields than this in a release's evidence come from groups that it never had."""

_COUNTS = ("exposures", "outcomes", "errors", "failing", "microseconds", "overflow", "sampled")
_MEASURES = ("exposures", "outcomes", "errors", "microseconds")
_TRIPS = (b"trips", b"trip_milliseconds")


_Place: TypeAlias = tuple[str, str, Source]
"""A project, one of its environments, and who reported."""


class _LatestRelease(NamedTuple):
    """A release as it was read last, at a monotonic time; it may have changed since."""

    read_at: float
    planned: PlannedRelease
    counts: WhatCounts | None


class EvidenceStore:
    """What instances counted of the releases of every environment."""

    def __init__(self, connection: Connection, limits: Limits = LIMITS) -> None:
        self._connection = connection
        self._limits = limits
        self._latest_releases: dict[tuple[str, str, ReleaseId], _LatestRelease] = {}
        self._adding: dict[_Place, GroupCommit[PlannedReport, list[Any]]] = {}

    def add_report(self, project: str, environment: str, report: Report) -> Reported:
        """Add a report to the totals of its releases, all of it or nothing.

        What cannot be evidence is ignored: see ``report_acceptance``.

        Raises:
            InstanceForgotten: the report continues a count that the store no longer has.
            Invalid: a total grew faster than any process can count.
            RateLimited: too many new instances.
            StoreUnavailable: the store cannot be reached, or the releases change all the time.
        """
        ids = _release_ids(report)
        releases, are_fresh = self._known_releases(project, environment, ids)
        adding = self._adding_to((project, environment, report.source))
        for _ in range(CHANGED_RETRIES):
            accepted = _accept(report, releases)
            if accepted.ignored and not are_fresh:
                # They may count by now. What is accepted, the script checks.
                releases, are_fresh = self._read_releases(project, environment, ids), True
                accepted = _accept(report, releases)
            answer = adding.answer(_plan(accepted, releases), weight_of(accepted.report))
            if answer[0] == "done":
                return Reported(int(answer[1]), int(answer[2]))
            if answer[0] != "changed":
                raise _refusal(answer, report, accepted.report)
            releases, are_fresh = self._read_releases(project, environment, ids), True
        raise StoreUnavailable("The releases of this report change all the time; try again.")

    def _adding_to(self, place: _Place) -> GroupCommit[PlannedReport, list[Any]]:
        """Return what adds the reports of one environment and source together."""
        adding = self._adding.get(place)
        if adding is None:
            if len(self._adding) >= MOST_PLACES:
                self._adding = {at: each for at, each in self._adding.items() if not each.is_idle}
            adding = self._adding.setdefault(place, GroupCommit(partial(self._add_all, place)))
        return adding

    def _add_all(self, place: _Place, planned: Sequence[PlannedReport]) -> list[list[Any]]:
        names, arguments = pack_reports(*place, planned, self._limits)
        answers = self._connection.run_script("reports", names, arguments)
        return msgspec.msgpack.decode(answers, type=list[list[Any]])

    def ignored_entries(self, project: str, environment: str) -> int:
        """Return how many entries of an environment's reports were ever ignored."""
        found = self._connection.read_many(
            ("HGET", keys.intake(project, environment, source), "ignored") for source in Source
        )
        return sum(int(each or 0) for each in found)

    def set_overrun(
        self, project: str, environment: str, release: str, seconds: float | None
    ) -> None:
        """Note that the last evaluation of a release took too long; None: it no longer does."""
        key = keys.overruns(project, environment)
        if seconds is None:
            self._connection.write("HDEL", key, release)
        else:
            self._connection.write("HSET", key, release, f"{seconds:.3f}")

    def overruns(self, project: str, environment: str) -> dict[str, float]:
        """Return how many seconds the last evaluation took of each release that takes too long."""
        fields = self._connection.read("HGETALL", keys.overruns(project, environment))
        return {release.decode(): float(seconds) for release, seconds in fields.items()}

    def totals(self, project: str, environment: str, release: str) -> Evidence:
        """Return a release's totals at one moment, without its values."""
        (totals,) = self.totals_many(project, environment, [release])
        return totals

    def totals_many(
        self, project: str, environment: str, releases: Iterable[str]
    ) -> list[Evidence]:
        """Return the totals of releases without their values, each at one moment."""
        fields = self._connection.read_many(
            ("HGETALL", keys.evidence(project, environment, release, source))
            for release in releases
            for source in Source
        )
        return [
            replace(_decode_evidence(server), client=_decode_evidence(client) if client else None)
            for server, client in zip(fields[::2], fields[1::2], strict=True)
        ]

    def forget_groups(
        self,
        project: str,
        environment: str,
        release: str,
        groups: Iterable[GroupCounts],
        source: Source = Source.SERVER,
    ) -> None:
        """Delete the counts of groups whose steps no report can add to any more."""
        fields = [
            f"{group.step}|{group.stratum}|{arm}|{measure}"
            for group in groups
            for arm in ("control", "treatment")
            for measure in _COUNTS
        ]
        if fields:
            key = keys.evidence(project, environment, release, source)
            self._connection.write("HDEL", key, *fields)

    def shrink(self, project: str, environment: str, release: str, document: Release) -> int:
        """Delete the counts that no release can have, if there are very many of them.

        Releases that ran before reports were limited can have some.

        Returns:
            How many fields were deleted.
        """
        key = keys.evidence(project, environment, release)
        size = int(self._connection.read("HLEN", key))
        if size <= MAX_FIELDS:
            return 0
        kept = [
            f"{step}|{stratum}|{arm}|{measure}"
            for step, stratum in sorted(groups_that_count(document))
            for arm in ("control", "treatment")
            for measure in _COUNTS
        ]
        kept += ["generation", *(name.decode() for name in _TRIPS)]
        return size - int(self._connection.run_script("shrink", [key], kept))

    def forget_releases(self, project: str, environment: str, releases: Iterable[Release]) -> None:
        """Delete the evidence of releases that have ended."""
        names = [
            name
            for release in releases
            for name in keys.release_evidence(
                project, environment, release.id, recent_steps(release.step)
            )
        ]
        if names:
            self._connection.write("UNLINK", *names)

    def values(
        self,
        project: str,
        environment: str,
        release: str,
        step: int,
        source: Source = Source.SERVER,
    ) -> tuple[GroupValues, ...]:
        """Return the values of one step of a release, from one source."""
        key = keys.values(project, environment, release, step, source)
        return _decode_values(self._connection.read("HGETALL", key), step)

    def forget_steps(
        self, project: str, environment: str, release: str, steps: Iterable[int]
    ) -> None:
        """Delete the values and samples of these steps of a release."""
        names = [
            name
            for source in Source
            for name in keys.step_evidence(project, environment, release, steps, source)
        ]
        if names:
            self._connection.write("UNLINK", *names)

    def _known_releases(
        self, project: str, environment: str, ids: Sequence[ReleaseId]
    ) -> tuple[dict[ReleaseId, _LatestRelease], bool]:
        """Return releases as they were read lately, and whether that was now."""
        if not ids:
            return {}, True
        oldest = time.monotonic() - LATELY_SECONDS
        known = {}
        for id in ids:
            latest = self._latest_releases.get((project, environment, id))
            if latest is None or latest.read_at < oldest:
                return self._read_releases(project, environment, ids), True
            known[id] = latest
        return known, False

    def _read_releases(
        self, project: str, environment: str, ids: Sequence[ReleaseId]
    ) -> dict[ReleaseId, _LatestRelease]:
        stored = self._connection.read(
            "HMGET", keys.documents(project, Kind.RELEASE, environment), *ids
        )
        now = time.monotonic()
        found = {
            id: _latest_release(documents.decode(Kind.RELEASE, value), now)
            for id, value in zip(ids, stored, strict=True)
            if value is not None
        }
        if len(self._latest_releases) + len(found) > MOST_RELEASES:
            self._latest_releases = {}
        for id, each in found.items():
            self._latest_releases[project, environment, id] = each
        return found


def _latest_release(stored: Stored, read_at: float) -> _LatestRelease:
    release: Release = stored.document
    planned = PlannedRelease(release.id, stored.revision, release.policy.clients_decide)
    return _LatestRelease(read_at, planned, what_counts(release))


def _accept(report: Report, releases: Mapping[ReleaseId, _LatestRelease]) -> AcceptedReport:
    counting = {id: each.counts for id, each in releases.items() if each.counts is not None}
    return accept_report(report, counting)


def _plan(accepted: AcceptedReport, releases: Mapping[ReleaseId, _LatestRelease]) -> PlannedReport:
    ids = _release_ids(accepted.report)
    return PlannedReport(accepted, tuple([releases[id].planned for id in ids]))


def _release_ids(report: Report) -> list[ReleaseId]:
    """Return the releases that a report is about."""
    parts = (report.counts, report.failing, report.samples, report.values, report.trips)
    return list(dict.fromkeys(id for part in parts for id, _ in part))


def _refusal(answer: list[Any], report: Report, accepted: Report) -> TidegateError:
    """Return the error for a report of which nothing was counted."""
    match answer:
        case ["forgotten"]:
            return InstanceForgotten(
                "The server no longer knows this instance. Continue with a new instance id and "
                "report only what was never acknowledged."
            )
        case ["deleted"]:
            return NotFound("This environment was deleted, so nothing was counted.")
        case ["growth", number, arm, measure, grown, most]:
            place = report.counts.index(accepted.counts[number - 1])
            pointer = f"/counts/{place}/{arm}/{_MEASURES[measure - 1]}"
            detail = (
                f"This total grew by {grown} since the instance's last report; "
                f"at most {most} are possible in this time."
            )
            return Invalid(
                f"Nothing was counted. {pointer}: {detail}", FieldProblem(pointer, detail)
            )
        case ["crowded", wait_ms]:
            seconds = max(1, math.ceil(wait_ms / 1000))
            return RateLimited(
                f"This environment takes no more new instances now; retry in {seconds} s.", seconds
            )
    return TidegateError("This report cannot be counted.")


def _decode_evidence(fields: dict[bytes, bytes]) -> Evidence:
    arms: dict[tuple[int, int], dict[str, dict[str, int]]] = defaultdict(
        lambda: {"control": {}, "treatment": {}}
    )
    generation, trips = 1, dict.fromkeys(_TRIPS, 0)
    for field, value in fields.items():
        if field == b"generation":
            generation = int(value)
            continue
        if field in _TRIPS:
            trips[field] = int(value)
            continue
        step, stratum, arm, measure = field.decode().split("|")
        arms[int(step), int(stratum)][arm][measure] = int(value)
    readings = tuple(
        GroupCounts(step, stratum, Counts(**both["control"]), Counts(**both["treatment"]))
        for (step, stratum), both in sorted(arms.items())
    )
    return Evidence(generation, readings, Trips(*trips.values()))


def _decode_values(fields: dict[bytes, bytes], step: int) -> tuple[GroupValues, ...]:
    arms: dict[tuple[int, str], dict[str, dict[int, int]]] = defaultdict(
        lambda: {"control": {}, "treatment": {}}
    )
    for field, value in fields.items():
        stratum, arm, measure, bucket = field.decode().split("|")
        arms[int(stratum), measure][arm][int(bucket)] = int(value)
    return tuple(
        GroupValues(
            step,
            stratum,
            measure,
            tuple(sorted(both["control"].items())),
            tuple(sorted(both["treatment"].items())),
        )
        for (stratum, measure), both in sorted(arms.items())
    )
