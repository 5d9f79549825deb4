"""The evidence of releases: adds reports of SDK instances and reads the totals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace

import msgspec
from tidegate.counts import Counts

from tidegate_server.domain.change import Kind
from tidegate_server.domain.evidence import Evidence, GroupCounts, GroupValues, Trips
from tidegate_server.domain.release import Release
from tidegate_server.domain.snapshot import present_openings
from tidegate_server.errors import InstanceForgotten
from tidegate_server.store import documents, keys
from tidegate_server.store.connection import Connection
from tidegate_server.store.reports import FailingUsers, ReleaseId, Report

INSTANCE_SECONDS = 24 * 60 * 60
"""How long a silent instance is remembered."""

VALUES_SECONDS = 7 * 24 * 60 * 60
"""How long the values of a step are kept after the last report of them.

They are deleted earlier when the release leaves the step.
"""

FAILING_ROOM = 50_000
"""How many failing users of a release are remembered exactly."""

FILTER_BITS = 1 << 23
"""The size of the filter for further failing users: 1 MiB.

At 400,000 further users it takes under 1 % of new users for known ones. Such an error is not
counted, in either arm alike.
"""

_TRIPS = (b"trips", b"trip_milliseconds")


class EvidenceStore:
    """What instances counted of the releases of every environment."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add_report(self, project: str, environment: str, report: Report) -> int:
        """Add a report to the totals of its releases; return the environment's version.

        Raises:
            InstanceForgotten: the report continues a count that the store no longer has.
        """
        report = self._without_unused_values(project, environment, report)
        names, argument = _plan_report(project, environment, report)
        answer = self._connection.run_script("report", names, [argument])
        if answer[0] == b"forgotten":
            raise InstanceForgotten(
                "The server no longer knows this instance. Continue with a new instance id and "
                "report only what was never acknowledged."
            )
        return int(answer[1])

    def totals(self, project: str, environment: str, release: str) -> Evidence:
        """Return a release's totals at one moment, without its values."""
        key = keys.evidence(project, environment, release)
        return _decode_evidence(self._connection.read("HGETALL", key))

    def totals_many(
        self, project: str, environment: str, releases: Iterable[str]
    ) -> list[Evidence]:
        """Return the totals of releases without their values, each at one moment."""
        fields = self._connection.read_many(
            ("HGETALL", keys.evidence(project, environment, release)) for release in releases
        )
        return [_decode_evidence(each) for each in fields]

    def values(
        self, project: str, environment: str, release: str, step: int
    ) -> tuple[GroupValues, ...]:
        """Return the values of one step of a release."""
        key = keys.values(project, environment, release, step)
        return _decode_values(self._connection.read("HGETALL", key), step)

    def forget_values(
        self, project: str, environment: str, release: str, steps: Iterable[int]
    ) -> None:
        """Delete the values of these steps of a release."""
        names = [keys.values(project, environment, release, step) for step in steps]
        if names:
            self._connection.write("UNLINK", *names)

    def _without_unused_values(self, project: str, environment: str, report: Report) -> Report:
        if not report.values:
            return report
        ids = list(dict.fromkeys(id for id, _ in report.values))
        stored = self._connection.read(
            "HMGET", keys.documents(project, Kind.RELEASE, environment), *ids
        )
        releases = {
            id: documents.decode(Kind.RELEASE, value).document
            for id, value in zip(ids, stored, strict=True)
            if value is not None
        }
        return replace(report, values=values_used_by_checks(report.values, releases))


def values_used_by_checks(
    values: Iterable[tuple[ReleaseId, GroupValues]], releases: Mapping[ReleaseId, Release]
) -> tuple[tuple[ReleaseId, GroupValues], ...]:
    """Return the values that some check uses: measures of a release's present openings.

    Without the others, what is kept of a release has a bound, whatever is reported.
    """
    used = {
        (id, release.step, opening.stage, measure)
        for id, release in releases.items()
        for opening in present_openings(release)
        for measure in release.policy.distributions
    }
    return tuple(
        (id, group)
        for id, group in values
        if (id, group.step, group.stratum, group.measure) in used
    )


def _plan_report(project: str, environment: str, report: Report) -> tuple[list[str], bytes]:
    parts = (*report.counts, *report.failing, *report.values, *report.trips)
    ids = list(dict.fromkeys(id for id, _ in parts))
    numbers = {id: number for number, id in enumerate(ids, 1)}
    names = [
        keys.instance(project, environment, report.instance),
        keys.instances(project, environment),
        keys.version(project, environment),
        keys.kills(project, environment),
        keys.receipts(project, environment),
        keys.documents(project, Kind.RELEASE, environment),
    ]
    for id in ids:
        names.append(keys.evidence(project, environment, id))
        names.append(keys.failing(project, environment, id))
        names.append(keys.failing_filter(project, environment, id))
    places: dict[tuple[ReleaseId, int], int] = {}
    for id, group in report.values:
        place = (id, group.step)
        if place not in places:
            names.append(keys.values(project, environment, *place))
            places[place] = len(names)
    packed = {
        "instance": report.instance,
        "sequence": report.sequence,
        "continues": report.continues,
        "version": report.version,
        "about": [
            *("interval", repr(report.interval), "sdk", report.sdk),
            *("host", report.host, "pid", str(report.pid)),
            *("leaving", "1" if report.leaving else "0"),
        ],
        "expiry": INSTANCE_SECONDS,
        "releases": ids,
        "totals": [
            (
                numbers[id],
                _prefix(id, counts, arm),
                (totals.exposures, totals.outcomes, totals.errors, totals.microseconds),
            )
            for id, counts in report.counts
            for arm, totals in (("control", counts.control), ("treatment", counts.treatment))
        ],
        "failing": [
            (numbers[id], _prefix(id, failing, failing.arm), failing.users, failing.overflow)
            for id, failing in report.failing
        ],
        "values": [
            (
                places[id, group.step],
                numbers[id],
                f"{_prefix(id, group, arm)}{group.measure}|",
                f"{group.stratum}|{arm}|{group.measure}|",
                [part for bucket, count in histogram for part in (str(bucket), count)],
            )
            for id, group in report.values
            for arm, histogram in (("control", group.control), ("treatment", group.treatment))
        ],
        "values_expiry": VALUES_SECONDS,
        "trips": [
            (numbers[id], f"{id}|", trips.count, trips.milliseconds) for id, trips in report.trips
        ],
        "room": FAILING_ROOM,
        "bits": FILTER_BITS,
    }
    return names, msgspec.msgpack.encode(packed)


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
