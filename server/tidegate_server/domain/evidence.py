"""What SDK instances counted of a release: the value types from a report to a decision.

A group is a stratum in one step of a release. Both arms of a group are always kept and
read together. One arm's numbers are ``tidegate.counts.Counts``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from tidegate.counts import NOTHING, Counts

Histogram: TypeAlias = tuple[tuple[int, int], ...]
"""How many values fell into each bucket of ``tidegate.histogram``, by bucket."""


class Source(StrEnum):
    """Who reported: the credential of a report decides, never its content.

    A server keeps its credential secret. A page or an app shows its own to everyone, so anyone
    can make up the reports of clients.
    """

    SERVER = "server"
    CLIENT = "client"


@dataclass(frozen=True, slots=True)
class GroupCounts:
    """The totals of one group of a release, both arms together."""

    step: int
    stratum: int
    control: Counts
    treatment: Counts


@dataclass(frozen=True, slots=True)
class GroupValues:
    """The values of one measure in one group of a release, both arms together."""

    step: int
    stratum: int
    measure: str
    control: Histogram
    treatment: Histogram


@dataclass(frozen=True, slots=True)
class Trips:
    """How often local breakers closed a release, and the sum of these times.

    An SDK instance counts a trip that is not over up to the moment of its report.
    """

    count: int = 0
    milliseconds: int = 0

    def since(self, earlier: Trips) -> Trips:
        """Return what was added after ``earlier``; a total that went back adds nothing."""
        return Trips(
            max(0, self.count - earlier.count), max(0, self.milliseconds - earlier.milliseconds)
        )


NO_TRIPS = Trips()


@dataclass(frozen=True, slots=True)
class Evidence:
    """A release's totals at one moment, from servers.

    Attributes:
        generation: which set of failing users ``failing`` is counted with.
        readings: the totals of every group.
        trips: the trips of all instances.
        distributions: the values of the present step, for the measures of the policy's checks.
        client: the same from clients; None: no client has reported.
    """

    generation: int
    readings: tuple[GroupCounts, ...]
    trips: Trips = NO_TRIPS
    distributions: tuple[GroupValues, ...] = ()
    client: Evidence | None = None


def total(counts: Iterable[Counts]) -> Counts:
    """Return the sum of counts."""
    result = None
    for each in counts:
        result = each if result is None else result + each
    return NOTHING if result is None else result


def add_histograms(histograms: Iterable[Histogram]) -> Histogram:
    """Return the sum of histograms."""
    counts: dict[int, int] = {}
    for histogram in histograms:
        for bucket, count in histogram:
            counts[bucket] = counts.get(bucket, 0) + count
    return tuple(sorted(counts.items()))


def subtract_histogram(histogram: Histogram, earlier: Histogram) -> Histogram:
    """Return what a histogram has more of than an earlier one, or than a part of it."""
    before = dict(earlier)
    return tuple(
        (bucket, count - before.get(bucket, 0))
        for bucket, count in histogram
        if count > before.get(bucket, 0)
    )


def histogram_size(histogram: Histogram) -> int:
    """Return how many values a histogram has."""
    return sum(count for _, count in histogram)
