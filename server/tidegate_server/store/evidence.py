"""The report script's argument, and what the store's hashes of evidence hold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

import msgspec
from tidegate.counts import Counts

from tidegate_server.domain.change import Kind
from tidegate_server.domain.evidence import Evidence, GroupCounts, GroupValues, Trips
from tidegate_server.domain.release import Release
from tidegate_server.domain.snapshot import present_openings
from tidegate_server.store import keys
from tidegate_server.store.reports import FailingUsers, Instance, KillReceipt, ReleaseId, Report

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

MISSED_REPORTS = 3
GRACE_MS = 2_000
_TRIPS = (b"trips", b"trip_milliseconds")
SHOWN_FIELDS = ["version", "seen", "interval", "sdk", "host", "pid", "leaving"]


def values_used_by_checks(
    values: Iterable[tuple[ReleaseId, GroupValues]], releases: Mapping[ReleaseId, Release]
) -> tuple[tuple[ReleaseId, GroupValues], ...]:
    """Return the values that some check uses: measures of a release's present openings.

    Without the others, what is kept of a release has a bound, whatever is reported.
    """
    if not values:
        return ()
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


def plan_report(project: str, environment: str, report: Report) -> tuple[list[str], bytes]:
    """Return the keys and the argument of the report script."""
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


def read_evidence(fields: dict[bytes, bytes]) -> Evidence:
    """Return a release's totals from the hash that holds them."""
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


def read_values(fields: dict[bytes, bytes], step: int) -> tuple[GroupValues, ...]:
    """Return the values of one step of a release from the hash that holds them."""
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


def read_instance(id: str, values: list[bytes | None], now_ms: int) -> Instance | None:
    """Return an instance from its hash's ``SHOWN_FIELDS``; None when it has expired."""
    if values[0] is None:
        return None
    version, seen, interval, sdk, host, pid, leaving = (value or b"0" for value in values)
    seen_ms, seconds, left = int(seen), float(interval), leaving == b"1"
    recent = now_ms - seen_ms <= MISSED_REPORTS * seconds * 1000 + GRACE_MS
    return Instance(
        id=id,
        version=int(version),
        seen_ms=seen_ms,
        interval=seconds,
        sdk=sdk.decode(),
        host=host.decode(),
        pid=int(pid),
        live=recent and not left,
        left=left,
    )


def kill_receipt(
    kill: bytes, flag: str, receipts: dict[bytes, bytes], instances: list[Instance]
) -> KillReceipt:
    """Return how many live instances have applied a kill.

    Args:
        kill: ``version at_ms``, as the store holds it.
        flag: the flag that was killed.
        receipts: the environment's receipts.
        instances: all instances of the environment.
    """
    version, at_ms = (int(part) for part in kill.split())
    elapsed = {
        field.decode().rpartition("|")[2]: int(value)
        for field, value in receipts.items()
        if field.decode().rpartition("|")[0] == flag
    }
    live = [instance for instance in instances if instance.live]
    applied = [instance for instance in live if instance.version >= version]
    return KillReceipt(
        version=version,
        at_ms=at_ms,
        live=len(live),
        applied=len(applied),
        waiting=tuple(instance.id for instance in live if instance.version < version),
        elapsed_ms=tuple(elapsed[each.id] for each in applied if each.id in elapsed),
    )
