"""Whatever instances send: the totals are what was accepted, once, and a report counts whole.

A model in Python says what the store must hold after hostile numbers, invented groups, repeated,
overtaken and unanswered reports of two instances, also where counters are nearly full.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import redis
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tidegate.counts import Counts
from tidegate_server.domain.change import EvidenceGeneration
from tidegate_server.domain.checks import Check, Metric
from tidegate_server.domain.evidence import GroupCounts, GroupValues, Trips
from tidegate_server.errors import InstanceForgotten, Invalid, TidegateError
from tidegate_server.store import Store
from tidegate_server.store.report_limits import LIMITS
from tidegate_server.store.reports import FailingUsers, Report, Reported, SampledUsers

from tests.store.changes import PRODUCTION, SHOP, change, everything
from tests.store.reporting import RELEASE, TWO_STRATA, add_releases

FULL = LIMITS.total
POLICY = replace(TWO_STRATA, checks=(Check(metric=Metric.LATENCY),))
KEPT = {(2, 1), (2, 2), *((1, stratum) for stratum in range(4))}
"""The groups of a release at step 2 with two open strata and three stages."""

MEASURES = ("exposures", "outcomes", "errors", "microseconds")
Totals = Counter[tuple[Any, ...]]


@dataclass
class Model:
    """What the store must hold of one release."""

    evidence: Totals = field(default_factory=Counter)
    reported: dict[str, tuple[int, Totals]] = field(default_factory=dict)
    users: set[str] = field(default_factory=set)
    sampled: set[tuple[int, int]] = field(default_factory=set)
    bits: dict[int, int] = field(default_factory=dict)
    ignored: int = 0

    def receive(self, report: Report) -> Reported | type[Exception]:
        sequence, before = self.reported.get(report.instance, (0, Counter()))
        if sequence == 0 and report.continues:
            return InstanceForgotten
        if sequence > 0 and report.sequence <= sequence:
            return Reported(0)
        now, ignored, arms = self._read(report)
        samples = [each for _, each in report.samples if each.step == 2 and each.stratum in (1, 2)]
        if not all(map(possible, samples)):
            return TidegateError
        if sequence and any(
            now[key] - before[key] > 10**9
            for key in now
            if key[-1] in ("exposures", "outcomes", "errors")
        ):
            return Invalid
        grown = Counter({key: total - before[key] for key, total in now.items()})
        for arm in arms:
            self._add((*arm, "exposures"), grown)
            self._add((*arm, "outcomes"), grown)
            self._add((*arm, "errors"), grown, self.evidence[(*arm, "outcomes")])
            self._add((*arm, "microseconds"), grown)
        for key in grown:
            if key[-1] not in MEASURES:
                self._add(key, grown)
        for _, failing in report.failing:
            if (failing.step, failing.stratum) in KEPT:
                arm = (failing.step, failing.stratum, failing.arm)
                new = set(failing.users) - self.users
                self.users |= new
                limit = self.evidence[(*arm, "errors")]
                self._add((*arm, "failing"), Counter({(*arm, "failing"): len(new)}), limit)
        for sample in samples:
            self._sample(sample)
        self.reported[report.instance] = (report.sequence, now)
        self.ignored += ignored
        return Reported(0, ignored)

    def _sample(self, sample: SampledUsers) -> None:
        bits = self.bits[sample.stratum] = max(self.bits.get(sample.stratum, 0), sample.bits)
        known = {user for stratum, user in self.sampled if stratum == sample.stratum}
        for name, users in (("control", sample.control), ("treatment", sample.treatment)):
            new = {user for user in users if user % 2**bits == 0} - known
            known |= new
            arm = (2, sample.stratum, name)
            limit = self.evidence[(*arm, "outcomes")]
            self._add((*arm, "sampled"), Counter({(*arm, "sampled"): len(new)}), limit)
        self.sampled |= {(sample.stratum, user) for user in known}

    def _add(self, key: tuple[Any, ...], grown: Totals, limit: int = FULL) -> None:
        total = self.evidence[key]
        self.evidence[key] = max(total, min(total + max(0, grown[key]), limit))

    @staticmethod
    def _read(report: Report) -> tuple[Totals, int, list[tuple[int, int, str]]]:
        now: Totals = Counter()
        ignored, arms = 0, []

        def note(key: tuple[Any, ...], total: int) -> None:
            now[key] = max(now[key], min(total, FULL))

        for _, group in report.counts:
            if (group.step, group.stratum) not in KEPT:
                ignored += 1
                continue
            for name, counts in (("control", group.control), ("treatment", group.treatment)):
                arms.append((group.step, group.stratum, name))
                for measure in MEASURES:
                    note((*arms[-1], measure), getattr(counts, measure))
        for _, failing in report.failing:
            if (failing.step, failing.stratum) in KEPT:
                note((failing.step, failing.stratum, failing.arm, "overflow"), failing.overflow)
            else:
                ignored += 1
        for _, sample in report.samples:
            ignored += sample.step != 2 or sample.stratum not in (1, 2)
        for _, values in report.values:
            if values.measure == "latency" and (values.step, values.stratum) in {(2, 1), (2, 2)}:
                for name, histogram in (
                    ("control", values.control),
                    ("treatment", values.treatment),
                ):
                    for bucket, count in histogram:
                        note(("values", values.stratum, name, bucket), count)
            else:
                ignored += 1
        for release, trips in report.trips:
            if release == RELEASE:
                note(("trips", "count"), trips.count)
                note(("trips", "milliseconds"), trips.milliseconds)
            else:
                ignored += 1
        return now, ignored, arms


def possible(sample: SampledUsers) -> bool:
    """Whether the hashes belong to a sample of so many bits."""
    return 0 <= sample.bits <= 20 and all(
        0 <= user < 2**32 and user % 2**sample.bits == 0
        for user in (*sample.control, *sample.treatment)
    )


def stored(store: Store) -> Iterator[tuple[tuple[Any, ...], int]]:
    """The totals that a store holds of the release, without zeros."""
    evidence = store.evidence.totals(SHOP, PRODUCTION, RELEASE)
    for reading in evidence.readings:
        for name, counts in (("control", reading.control), ("treatment", reading.treatment)):
            for measure in (*MEASURES, "failing", "overflow", "sampled"):
                yield (reading.step, reading.stratum, name, measure), getattr(counts, measure)
    for values in store.evidence.values(SHOP, PRODUCTION, RELEASE, 2):
        for name, histogram in (("control", values.control), ("treatment", values.treatment)):
            for bucket, count in histogram:
                yield ("values", values.stratum, name, bucket), count
    yield ("trips", "count"), evidence.trips.count
    yield ("trips", "milliseconds"), evidence.trips.milliseconds


small = st.integers(0, 6)
hostile = st.sampled_from([10**12, 2**53 - 1, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, 2**80])
counts = st.builds(Counts, small, small, small, microseconds=st.one_of(small, hostile)) | st.builds(
    Counts, hostile, hostile, small | hostile, microseconds=hostile
)
steps, strata = st.sampled_from([0, 1, 2, 2, 2, 3, 2**53]), st.sampled_from([0, 1, 1, 2, 3, 4, 9])
histograms = st.dictionaries(st.sampled_from([-3, 0, 9]), small | hostile).map(
    lambda buckets: tuple(sorted(buckets.items()))
)
of_release = st.just(RELEASE)
hashes = st.lists(st.integers(0, 40), max_size=5)


@st.composite
def samples(draw: st.DrawFn) -> SampledUsers:
    """Users of a sample; now and then a number that no SDK sends."""
    bits = draw(st.integers(0, 2))
    control, treatment = ([user << bits for user in draw(hashes)] for _ in range(2))
    if draw(st.integers(0, 9)) == 0:
        control.append(draw(st.sampled_from([1, 3, 2**32, 2**53, 2**63 - 1])))
    if draw(st.integers(0, 9)) == 0:
        bits = draw(st.sampled_from([3, 20, 21, 2**53]))
    return SampledUsers(draw(steps), draw(strata), bits, tuple(control), tuple(treatment))


reports = st.builds(
    Report,
    instance=st.sampled_from(["a" * 32, "b" * 32]),
    sequence=st.integers(1, 5),
    continues=st.booleans(),
    version=st.just(1),
    interval=st.just(1.0),
    counts=st.lists(
        st.tuples(of_release, st.builds(GroupCounts, steps, strata, counts, counts)),
        max_size=3,
        unique_by=lambda each: (each[1].step, each[1].stratum),
    ).map(tuple),
    failing=st.lists(
        st.tuples(
            of_release,
            st.builds(
                FailingUsers,
                steps,
                strata,
                st.sampled_from(["control", "treatment"]),
                st.lists(st.sampled_from([f"{n:016x}" for n in range(6)]), max_size=4).map(tuple),
                small | hostile,
            ),
        ),
        max_size=2,
    ).map(tuple),
    samples=st.lists(
        st.tuples(of_release, samples()),
        max_size=2,
        unique_by=lambda each: (each[1].step, each[1].stratum),
    ).map(tuple),
    values=st.lists(
        st.tuples(
            of_release,
            st.builds(
                GroupValues,
                steps,
                strata,
                st.sampled_from(["latency", "size"]),
                histograms,
                histograms,
            ),
        ),
        max_size=2,
    ).map(tuple),
    trips=st.lists(
        st.tuples(
            st.sampled_from([RELEASE, "rel_gone"]),
            st.builds(Trips, small | hostile, small | hostile),
        ),
        max_size=2,
    ).map(tuple),
)


@pytest.fixture
def quick(raw: redis.Redis) -> Iterator[redis.Redis]:
    """The server, which does not wait for its disk in this test."""
    raw.config_set("appendfsync", "no")
    yield raw
    raw.config_set("appendfsync", "always")


def test_totals_are_what_was_accepted_once(store: Store, quick: redis.Redis) -> None:
    lost_and_repeated(store, quick)


@settings(max_examples=100)
@given(
    sent=st.lists(reports, min_size=1, max_size=6),
    arriving=st.lists(st.integers(0, 5), max_size=10),
    nearly_full=st.lists(
        st.tuples(
            st.sampled_from(["control", "treatment"]),
            st.sampled_from([*MEASURES, "overflow"]),
            st.sampled_from([2**53 - 3, 2**53]),
        ),
        max_size=2,
        unique_by=lambda each: each[:2],
    ),
    generation=st.booleans(),
)
@example(
    sent=[
        Report(
            "a" * 32, 1, False, 1, 1.0,
            counts=((RELEASE, GroupCounts(2, 1, Counts(2**63, 2**63, 2**63), Counts(1))),),
        )
    ],
    arriving=[0, 0],
    nearly_full=[("control", "exposures", 2**53 - 3)],
    generation=False,
)  # fmt: skip
def lost_and_repeated(
    store: Store,
    raw: redis.Redis,
    sent: list[Report],
    arriving: list[int],
    nearly_full: list[tuple[str, str, int]],
    generation: bool,
) -> None:
    """Let reports arrive in this order, and compare the store with the model."""
    raw.flushall()
    add_releases(store, RELEASE, policy=POLICY)
    model = Model()
    for arm, measure, total in nearly_full:
        raw.hset(f"tg:{{{SHOP}}}:evidence:{PRODUCTION}:{RELEASE}", f"2|1|{arm}|{measure}", total)
        model.evidence[2, 1, arm, measure] = total
    for number, place in enumerate(arriving):
        report = sent[place % len(sent)]
        if generation and number == 3:
            fresh = EvidenceGeneration(PRODUCTION, RELEASE, 2)
            store.commit(change(generations=(fresh,)), durable=False)
            model.users = set()
        before = everything(raw)
        expected = model.receive(report)
        if isinstance(expected, Reported):
            assert store.evidence.add_report(SHOP, PRODUCTION, report) == expected
        else:
            with pytest.raises(expected):
                store.evidence.add_report(SHOP, PRODUCTION, report)
            assert everything(raw) == before
    found = {key: total for key, total in stored(store) if total}
    assert found == {key: total for key, total in model.evidence.items() if total}
    ignored: Any = raw.hget(f"tg:{{{SHOP}}}:intake:{PRODUCTION}", "ignored")
    assert int(ignored or 0) == model.ignored
