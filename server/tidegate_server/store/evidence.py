"""Counting what SDK instances report, and reading it back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import astuple

import msgspec
from tidegate.counts import Counts

from tidegate_server.decisions.observations import DistributionReading, Reading, Trips
from tidegate_server.domain.change import Kind
from tidegate_server.domain.release import Release
from tidegate_server.domain.snapshot import present_openings
from tidegate_server.store import keys
from tidegate_server.store.reports import (
    Evidence,
    FailingUsers,
    GroupTotals,
    GroupValues,
    Instance,
    KillReceipt,
    Report,
)

INSTANCE_SECONDS = 24 * 60 * 60
"""How long a silent instance is remembered."""

VALUES_SECONDS = 7 * 24 * 60 * 60
"""How long the distributions of a step are kept after the last report of them, unless they
are dropped with the step."""

FAILING_ROOM = 50_000
"""How many failing users of a release are remembered exactly."""

FILTER_BITS = 1 << 23
"""The size of the filter for those beyond: 1 MiB, under 1 % mistaken at 400,000 more users.

A user taken for known by mistake is an error not counted, in either arm alike.
"""

MISSED_REPORTS = 3
GRACE_MS = 2_000
_TRIPS = (b"trips", b"trip_milliseconds")
_SHOWN = ("version", "seen", "interval", "sdk", "host", "pid", "leaving")


def asked_for(
    values: Iterable[GroupValues], releases: Mapping[str, Release]
) -> tuple[GroupValues, ...]:
    """The values that some check looks at: those of a release's present step.

    All others are left out, so that what is kept of a release has a bound whatever is
    reported: so many measures, in so many strata, of so many buckets.
    """
    if not values:
        return ()
    asked = {
        (id, release.step, opening.stage, measure)
        for id, release in releases.items()
        for opening in present_openings(release)
        for measure in release.policy.distributions
    }
    return tuple(
        each for each in values if (each.release, each.step, each.stratum, each.measure) in asked
    )


def plan_report(project: str, environment: str, report: Report) -> tuple[list[str], bytes]:
    """Return the keys and the argument of the report script."""
    named = [
        *(group.release for group in report.counts),
        *(part.release for part in report.failing),
        *(group.release for group in report.values),
        *(each.release for each in report.trips),
    ]
    ids = list(dict.fromkeys(named))
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
    places: dict[tuple[str, int], int] = {}
    for group in report.values:
        place = (group.release, group.step)
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
            (numbers[group.release], _prefix(group, arm), astuple(totals))
            for group in report.counts
            for arm, totals in (("control", group.control), ("treatment", group.treatment))
        ],
        "failing": [
            (numbers[part.release], _prefix(part, part.arm), part.users, part.overflow)
            for part in report.failing
        ],
        "values": [
            (
                places[group.release, group.step],
                numbers[group.release],
                f"{_prefix(group, arm)}{group.measure}|",
                f"{group.stratum}|{arm}|{group.measure}|",
                [part for bucket, count in histogram for part in (str(bucket), count)],
            )
            for group in report.values
            for arm, histogram in (("control", group.control), ("treatment", group.treatment))
        ],
        "values_expiry": VALUES_SECONDS,
        "trips": [
            (numbers[each.release], f"{each.release}|", each.count, each.milliseconds)
            for each in report.trips
        ],
        "room": FAILING_ROOM,
        "bits": FILTER_BITS,
    }
    return names, msgspec.msgpack.encode(packed)


def _prefix(group: GroupTotals | FailingUsers | GroupValues, arm: str) -> str:
    return f"{group.release}|{group.step}|{group.stratum}|{arm}|"


def read_evidence(fields: dict[bytes, bytes]) -> Evidence:
    """Return a release's counters from the hash that holds them."""
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
        Reading(step, stratum, Counts(**both["control"]), Counts(**both["treatment"]))
        for (step, stratum), both in sorted(arms.items())
    )
    return Evidence(generation, readings, Trips(*trips.values()))


def read_values(fields: dict[bytes, bytes], step: int) -> tuple[DistributionReading, ...]:
    """Return the distributions of one step of a release from the hash that holds them."""
    arms: dict[tuple[int, str], dict[str, dict[int, int]]] = defaultdict(
        lambda: {"control": {}, "treatment": {}}
    )
    for field, value in fields.items():
        stratum, arm, measure, bucket = field.decode().split("|")
        arms[int(stratum), measure][arm][int(bucket)] = int(value)
    return tuple(
        DistributionReading(
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


SHOWN_FIELDS = list(_SHOWN)


def receipt(
    kill: bytes, flag: str, found: dict[bytes, bytes], instances: list[Instance]
) -> KillReceipt:
    """Return how far a kill has reached.

    Args:
        kill: ``version at_ms``, as the store holds it.
        flag: the flag that was killed.
        found: the environment's receipts.
        instances: all instances of the environment.
    """
    version, at_ms = (int(part) for part in kill.split())
    elapsed = {
        field.decode().rpartition("|")[2]: int(value)
        for field, value in found.items()
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
