"""The evidence of releases: adds reports of SDK instances and reads the totals."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any, NamedTuple

import msgspec
from tidegate.counts import Counts
from tidegate.user_sample import MAX_BITS

from tidegate_server.domain.change import Kind, Stored
from tidegate_server.domain.deletions import WHOLE_PROJECT
from tidegate_server.domain.evidence import Evidence, GroupCounts, GroupValues, Source, Trips
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
from tidegate_server.store.evaluations import STEPS
from tidegate_server.store.instances import INSTANCE_SECONDS, describe_instance
from tidegate_server.store.report_acceptance import (
    AcceptedReport,
    WhatCounts,
    accept_report,
    groups_that_count,
    recent_steps,
    what_counts,
)
from tidegate_server.store.reports import FailingUsers, ReleaseId, Report, Reported

VALUES_SECONDS = 7 * 24 * 60 * 60
"""How long the values of a step are kept after the last report of them.

They are deleted earlier when the release leaves the step.
"""

SAMPLES_SECONDS = 30 * 24 * 60 * 60
"""How long the samples of a step are kept after the last report that has users for them.

They are deleted earlier when the release leaves the step. Kept too short, users who come back
would count again.
"""

CHANGED_RETRIES = 5
"""How often a report is tried again because a release changed at the same moment."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What reports may occupy and add.

    Attributes:
        total: the largest value of a counter; a counter that reaches it stays there.
        per_second: the most operations that one instance adds to a group per second.
        grace_seconds: added to the time between two reports, because clocks and reports jitter.
        users: how many failing users of a release are remembered exactly.
        bits: the size of the filter for further failing users, 1 MiB. At 400,000 further users
            it takes under 1 % of new users for known ones. Such an error is not counted, in
            either arm alike.
        sampled: a sample that reaches this many users takes one more bit.
        sample_bits: how many bits a sample has at most. Only 4,096 hashes end in 20 zero bits.
        buckets: how many buckets the values of one step of a release may have.
        instances: how many instances of an environment are remembered.
        fields: how many totals of all these instances are remembered.
        receipts: to how many versions one report is a receipt.
        notices: how many notices of instances an environment keeps.
        new_per_minute: how many new instance ids an environment takes per minute. It is half
            of ``instances``, so that made-up ids cannot push out instances that report.
        evaluated: how many variants of flags the evaluations of one instance may have.
        series: how many variants of flags the evaluations in one step of time may have.
        askers: how many pairs of a flag and an application are remembered.
        unknown: how many flags that do not exist are remembered.
    """

    total: int = 2**53
    per_second: int = 1_000_000
    grace_seconds: int = 60
    users: int = 50_000
    bits: int = 1 << 23
    sampled: int = 4_096
    sample_bits: int = MAX_BITS
    buckets: int = 50_000
    instances: int = 50_000
    fields: int = 5_000_000
    new_per_minute: int = 25_000
    receipts: int = 20
    notices: int = 500
    evaluated: int = 20_000
    series: int = 50_000
    askers: int = 100_000
    unknown: int = 1_000


LIMITS = Limits()

LATELY_SECONDS = 5.0
"""How long a release is not read again. The script finds out if it has changed, except in a store
that was restored from a backup, where its revisions begin again."""

MOST_RELEASES = 5_000
"""How many releases a process keeps of those that reports name."""

MAX_FIELDS = 20_000
"""More fields than this in a release's evidence come from groups that it never had."""

_COUNTS = ("exposures", "outcomes", "errors", "failing", "microseconds", "overflow", "sampled")
_MEASURES = ("exposures", "outcomes", "errors", "microseconds")
_TRIPS = (b"trips", b"trip_milliseconds")


class _LatestRelease(NamedTuple):
    """A release as it was read last, at a monotonic time; it may have changed since."""

    read_at: float
    revision: int
    clients_decide: bool
    counts: WhatCounts | None


class EvidenceStore:
    """What instances counted of the releases of every environment."""

    def __init__(self, connection: Connection, limits: Limits = LIMITS) -> None:
        self._connection = connection
        self._limits = limits
        self._latest_releases: dict[tuple[str, str, ReleaseId], _LatestRelease] = {}

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
        for _ in range(CHANGED_RETRIES):
            accepted = _accept(report, releases)
            if accepted.ignored and not are_fresh:
                # They may count by now. What is accepted, the script checks.
                releases, are_fresh = self._read_releases(project, environment, ids), True
                accepted = _accept(report, releases)
            names, plan = _plan_report(project, environment, accepted, releases, self._limits)
            described = describe_instance(accepted.report)
            answer = self._connection.run_script("report", names, [plan, described])
            if answer[0] == b"done":
                return Reported(int(answer[1]), int(answer[2]))
            if answer[0] != b"changed":
                raise _refusal(answer, report, accepted.report)
            releases, are_fresh = self._read_releases(project, environment, ids), True
        raise StoreUnavailable("The releases of this report change all the time; try again.")

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
    clients_decide = release.policy.clients_decide
    return _LatestRelease(read_at, stored.revision, clients_decide, what_counts(release))


def _accept(report: Report, releases: Mapping[ReleaseId, _LatestRelease]) -> AcceptedReport:
    counting = {id: each.counts for id, each in releases.items() if each.counts is not None}
    return accept_report(report, counting)


def _release_ids(report: Report) -> list[ReleaseId]:
    """Return the releases that a report is about."""
    parts = (report.counts, report.failing, report.samples, report.values, report.trips)
    return list(dict.fromkeys(id for part in parts for id, _ in part))


def _refusal(answer: list[Any], report: Report, accepted: Report) -> TidegateError:
    """Return the error for a report of which nothing was counted."""
    match answer:
        case [b"forgotten"]:
            return InstanceForgotten(
                "The server no longer knows this instance. Continue with a new instance id and "
                "report only what was never acknowledged."
            )
        case [b"deleted"]:
            return NotFound("This environment was deleted, so nothing was counted.")
        case [b"growth", number, measure, grown, most]:
            release, group = accepted.counts[(number - 1) // 2]
            place = report.counts.index((release, group))
            arm = ("control", "treatment")[(number - 1) % 2]
            pointer = f"/counts/{place}/{arm}/{_MEASURES[measure - 1]}"
            detail = (
                f"This total grew by {grown} since the instance's last report; "
                f"at most {most} are possible in this time."
            )
            return Invalid(
                f"Nothing was counted. {pointer}: {detail}", FieldProblem(pointer, detail)
            )
        case [b"crowded", wait_ms]:
            seconds = max(1, math.ceil(wait_ms / 1000))
            return RateLimited(
                f"This environment takes no more new instances now; retry in {seconds} s.", seconds
            )
    return TidegateError("This report cannot be counted.")


def _plan_report(
    project: str,
    environment: str,
    accepted: AcceptedReport,
    releases: Mapping[ReleaseId, _LatestRelease],
    limits: Limits,
) -> tuple[list[str], bytes]:
    report, most = accepted.report, limits.total
    ids = _release_ids(report)
    numbers = {id: number for number, id in enumerate(ids, 1)}
    names = [
        keys.instance(project, environment, report.instance, report.source),
        keys.instances(project, environment, report.source),
        keys.version(project, environment),
        keys.kills(project, environment),
        keys.receipts(project, environment),
        keys.documents(project, Kind.RELEASE, environment),
        keys.intake(project, environment, report.source),
        keys.instance_sizes(project, environment, report.source),
        keys.instance_notices(project, environment),
        keys.instance_descriptions(project, environment, report.source),
    ]
    for id in ids:
        # Where clients decide, a user who failed counts once, whoever reported it.
        failing_of = Source.SERVER if releases[id].clients_decide else report.source
        names.append(keys.evidence(project, environment, id, report.source))
        names.append(keys.failing(project, environment, id, failing_of))
        names.append(keys.failing_filter(project, environment, id, failing_of))
    places: dict[str, int] = {}

    def place(name: str) -> int:
        """Return the number of a key, which it adds to the names when it is new."""
        if name not in places:
            names.append(name)
            places[name] = len(names)
        return places[name]

    packed = {
        "instance": report.instance,
        "sequence": report.sequence,
        "continues": report.continues,
        "version": report.version,
        "uptime": _whole_ms(report.uptime),
        "version_age": _whole_ms(report.version_age),
        "leaving": report.leaving,
        "expiry": INSTANCE_SECONDS,
        "releases": [(id, releases[id].revision) for id in ids],
        "totals": [
            (
                numbers[id],
                _prefix(id, counts, arm),
                [min(getattr(totals, measure), most) for measure in _MEASURES],
            )
            for id, counts in report.counts
            for arm, totals in (("control", counts.control), ("treatment", counts.treatment))
        ],
        "failing": [
            (
                numbers[id],
                _prefix(id, failing, failing.arm),
                failing.users,
                min(failing.overflow, most),
            )
            for id, failing in report.failing
        ],
        "samples": [
            (
                place(keys.samples(project, environment, id, sample.step, report.source)),
                numbers[id],
                sample.step,
                sample.stratum,
                sample.bits,
                [("control", sample.control), ("treatment", sample.treatment)],
            )
            for id, sample in report.samples
        ],
        "samples_expiry": SAMPLES_SECONDS,
        "values": [
            (
                place(keys.values(project, environment, id, group.step, report.source)),
                f"{_prefix(id, group, arm)}{group.measure}|",
                f"{group.stratum}|{arm}|{group.measure}|",
                [part for bucket, count in histogram for part in (str(bucket), min(count, most))],
            )
            for id, group in report.values
            for arm, histogram in (("control", group.control), ("treatment", group.treatment))
        ],
        "values_expiry": VALUES_SECONDS,
        "trips": [
            (numbers[id], f"{id}|", min(trips.count, most), min(trips.milliseconds, most))
            for id, trips in report.trips
        ],
        "evaluations": {
            "instance": place(
                keys.instance_evaluations(project, environment, report.instance, report.source)
            ),
            "evaluated": place(keys.evaluated(project, environment)),
            "askers": place(keys.askers(project, environment)),
            "unknown": place(keys.unknown_flags(project, environment)),
            "unknown_askers": place(keys.unknown_askers(project, environment)),
            "flags": place(keys.documents(project, Kind.FLAG)),
            "series": place(keys.evaluation_series(project, environment)),
            "application": report.application or report.token,
            "host": report.host,
            "entries": [
                (
                    each.flag,
                    each.estimated,
                    [part for pair in (*each.variants, ("", each.defaults)) for part in pair],
                )
                for each in report.evaluations
            ],
            "steps": [(name, step.seconds, step.kept_seconds) for name, step in STEPS.items()],
        },
        "deletions": (
            place(keys.documents(project, Kind.DELETION)),
            *(environment, WHOLE_PROJECT),
        ),
        "ignored": accepted.ignored,
        "limits": _as_map(limits)
        # Clients have no processes that a page could show.
        | ({"notices": 0} if report.source is Source.CLIENT else {}),
    }
    return names, msgspec.msgpack.encode(packed)


_as_map = cache(asdict)


def _whole_ms(seconds: float | None) -> int:
    return -1 if seconds is None else round(seconds * 1_000)


def _prefix(id: ReleaseId, group: GroupCounts | FailingUsers | GroupValues, arm: str) -> str:
    return f"{id}|{group.step}|{group.stratum}|{arm}|"


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
