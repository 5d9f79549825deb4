from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import redis
from tidegate.counts import Counts
from tidegate_server.domain.change import EvidenceGeneration
from tidegate_server.domain.checks import Check, Metric
from tidegate_server.domain.evidence import GroupCounts, GroupValues, Source, Trips
from tidegate_server.domain.release import State
from tidegate_server.errors import InstanceForgotten, Invalid, RateLimited
from tidegate_server.store import Store
from tidegate_server.store.instances import INSTANCE_SECONDS
from tidegate_server.store.report_limits import LIMITS
from tidegate_server.store.reports import Reported

from tests.store.changes import PRODUCTION, SHOP, change, everything, refreshed
from tests.store.reporting import (
    RELEASE,
    TWO_STRATA,
    Instance,
    add_releases,
    failing,
    group,
    totals,
)

CLIENT = Source.CLIENT


@pytest.fixture
def instance(store: Store) -> Instance:
    """An instance of an environment with one release."""
    add_releases(store, RELEASE)
    return Instance(store)


def readings(store: Store, release: str = RELEASE) -> tuple[GroupCounts, ...]:
    return store.evidence.totals(SHOP, PRODUCTION, release).readings


def only(store: Store, release: str = RELEASE) -> GroupCounts:
    (reading,) = readings(store, release)
    return reading


def limited(monkeypatch: pytest.MonkeyPatch, store: Store, **limits: int) -> None:
    monkeypatch.setattr(store.evidence, "_limits", replace(LIMITS, **limits))


class TestTotals:
    def test_the_first_report_counts_in_full_in_both_arms(
        self, store: Store, instance: Instance
    ) -> None:
        instance.send_next(group(totals(90, 80, 7, 6_000), totals(10, 9, 2, 500)))
        assert only(store) == GroupCounts(
            1, 1, Counts(90, 80, 7, 0, 6_000), Counts(10, 9, 2, 0, 500)
        )

    def test_a_later_report_adds_the_difference(self, store: Store, instance: Instance) -> None:
        instance.send_next(group(totals(90, 80, 7, 6_000), totals(10, 9, 2, 500)))
        instance.send_next(group(totals(91, 80, 7, 6_000), totals(30, 29, 3, 501)))
        assert only(store) == GroupCounts(
            1, 1, Counts(91, 80, 7, 0, 6_000), Counts(30, 29, 3, 0, 501)
        )

    def test_instances_add_up(self, store: Store, instance: Instance) -> None:
        other = Instance(store, "b" * 32)
        for each in (instance, other, instance):
            each.send_next(group(totals(5, 4), totals(3, 2)))
        assert only(store) == GroupCounts(1, 1, Counts(10, 8), Counts(6, 4))

    def test_releases_steps_and_strata_are_counted_apart(
        self, store: Store, instance: Instance
    ) -> None:
        add_releases(store, "rel_2")
        instance.send_next(
            group(totals(1), totals(2)),
            group(totals(3), totals(4), stratum=2),
            group(totals(5), totals(6), step=2),
            group(totals(7), totals(8), release="rel_2"),
        )
        assert readings(store) == (
            GroupCounts(1, 1, Counts(1), Counts(2)),
            GroupCounts(1, 2, Counts(3), Counts(4)),
            GroupCounts(2, 1, Counts(5), Counts(6)),
        )
        assert readings(store, "rel_2") == (GroupCounts(1, 1, Counts(7), Counts(8)),)

    def test_the_largest_totals_are_added_exactly(self, store: Store, instance: Instance) -> None:
        large = 2**53
        instance.send_next(group(totals(large - 1, 1, 1, large - 3), totals(large)))
        instance.send_next(group(totals(large, 2, 2, large - 2), totals(large)))
        assert only(store) == GroupCounts(1, 1, Counts(large, 2, 2, 0, large - 2), Counts(large))

    def test_a_group_that_is_no_longer_reported_keeps_its_counts(
        self, store: Store, instance: Instance
    ) -> None:
        instance.send_next(group(totals(5), totals(5)))
        instance.send_next(group(totals(1), totals(1), step=2))
        instance.send_next(group(totals(2), totals(1), step=2))
        assert readings(store) == (
            GroupCounts(1, 1, Counts(5), Counts(5)),
            GroupCounts(2, 1, Counts(2), Counts(1)),
        )

    def test_an_unknown_release_is_not_counted_and_the_others_are(
        self, store: Store, raw: redis.Redis, instance: Instance
    ) -> None:
        instance.send_next(
            group(totals(1), totals(1), release="rel_gone"),
            group(totals(2), totals(2)),
            failing=(failing(1, release="rel_gone"),),
        )
        assert only(store) == GroupCounts(1, 1, Counts(2), Counts(2))
        assert raw.keys("*rel_gone*") == []
        # Once the release is known, all of its counts are added.
        add_releases(store, "rel_gone")
        instance.send_next(group(totals(3), totals(1), release="rel_gone"))
        assert only(store, "rel_gone") == GroupCounts(1, 1, Counts(3), Counts(1))


class TestTrips:
    def test_add_up_over_instances_and_reports(self, store: Store, instance: Instance) -> None:
        add_releases(store, "rel_2")
        other = Instance(store, "b" * 32)
        instance.send_next(trips=((RELEASE, Trips(1, 800)),))
        instance.send_next(trips=((RELEASE, Trips(3, 2_000)), ("rel_2", Trips(1, 5))))
        other.send_next(trips=((RELEASE, Trips(1, 50)),))
        assert store.evidence.totals(SHOP, PRODUCTION, RELEASE).trips == Trips(4, 2_050)
        assert store.evidence.totals(SHOP, PRODUCTION, "rel_2").trips == Trips(1, 5)
        assert readings(store) == ()

    def test_that_are_reported_again_are_counted_once(
        self, store: Store, instance: Instance
    ) -> None:
        for _ in range(3):
            instance.send_next(trips=((RELEASE, Trips(2, 900)),))
            instance.send(instance.last)
        assert store.evidence.totals(SHOP, PRODUCTION, RELEASE).trips == Trips(2, 900)

    def test_of_an_unknown_release_are_left_out(
        self, store: Store, raw: redis.Redis, instance: Instance
    ) -> None:
        instance.send_next(trips=(("rel_gone", Trips(2, 900)),))
        assert raw.keys("*rel_gone*") == []


class TestRepeatedLateAndLostReports:
    @pytest.mark.parametrize("sequence", [1, 2, 3])
    def test_changes_nothing(
        self, store: Store, raw: redis.Redis, instance: Instance, sequence: int
    ) -> None:
        sent = [
            instance.next(group(totals(n), totals(n)), failing=(failing(n),), version=n)
            for n in (1, 2, 3)
        ]
        instance.send(sent[2])
        before = everything(raw)
        instance.send(sent[sequence - 1])
        assert everything(raw) == before

    def test_a_lost_report_is_made_up_for_by_the_next_one(
        self, store: Store, instance: Instance
    ) -> None:
        instance.send_next(group(totals(1), totals(1)))
        instance.next(group(totals(5), totals(4)))
        instance.send_next(group(totals(9), totals(7)))
        assert only(store) == GroupCounts(1, 1, Counts(9), Counts(7))


class TestForgottenInstances:
    def test_cannot_continue_their_counts(
        self, store: Store, raw: redis.Redis, instance: Instance
    ) -> None:
        instance.send_next(group(totals(5), totals(5)))
        raw.delete(*raw.keys("*:instance:*"))
        before = everything(raw)
        with pytest.raises(InstanceForgotten) as forgotten:
            instance.send_next(group(totals(9), totals(9)), continues=True)
        assert "new instance id" in forgotten.value.message
        assert everything(raw) == before

    def test_continue_under_a_new_id_with_what_was_not_acknowledged(
        self, store: Store, raw: redis.Redis, instance: Instance
    ) -> None:
        instance.send_next(group(totals(5), totals(5)))
        raw.delete(*raw.keys("*:instance:*"))
        Instance(store, "c" * 32).send_next(group(totals(4), totals(4)))
        assert only(store) == GroupCounts(1, 1, Counts(9), Counts(9))

    def test_were_silent_for_long(self, store: Store, raw: redis.Redis, instance: Instance) -> None:
        instance.send_next()
        (key,) = raw.keys("*:instance:*")
        assert 0 < int(raw.ttl(key)) <= INSTANCE_SECONDS

    def test_are_removed_from_the_list_of_instances(
        self, store: Store, raw: redis.Redis, instance: Instance
    ) -> None:
        where = f"tg:{{{SHOP}}}:instances:{PRODUCTION}"
        long_ago = store.now_ms() - INSTANCE_SECONDS * 1000
        old = Instance(store, "d" * 32)
        old.send_next()
        raw.zadd(where, {old.id: long_ago, "young": long_ago + 60_000})
        instance.send_next()
        assert raw.zrange(where, 0, -1) == [b"young", instance.id.encode()]
        assert [each.id for each in store.instances.all(SHOP, PRODUCTION)] == [instance.id]


class TestFailingUsers:
    def failed(self, store: Store) -> tuple[int, int]:
        reading = only(store)
        return reading.control.failing, reading.treatment.failing

    def test_are_counted_once_however_often_they_are_reported(
        self, store: Store, instance: Instance
    ) -> None:
        instance.send_next(failing=(failing(1, 2),))
        instance.send_next(failing=(failing(2, 3),))
        Instance(store, "b" * 32).send_next(failing=(failing(3, 4),))
        assert self.failed(store) == (0, 4)

    def test_count_in_the_arm_that_reported_them_first(
        self, store: Store, instance: Instance
    ) -> None:
        instance.send_next(failing=(failing(1, 2, arm="control"), failing(2, 3)))
        instance.send_next(failing=(failing(3, 4, arm="control"),))
        assert self.failed(store) == (3, 1)

    def test_count_again_in_every_generation(self, store: Store, instance: Instance) -> None:
        instance.send_next(failing=(failing(1, 2),))
        store.commit(change(generations=(EvidenceGeneration(PRODUCTION, RELEASE, 2),)))
        instance.send_next(failing=(failing(2, 3),))
        assert self.failed(store) == (0, 4)

    def test_of_one_release_still_count_in_another(self, store: Store, instance: Instance) -> None:
        add_releases(store, "rel_2")
        instance.send_next(failing=(failing(1), failing(1, release="rel_2")))
        assert self.failed(store) == (0, 1)
        assert only(store, "rel_2").treatment.failing == 1

    def test_without_room_are_counted_as_a_total(self, store: Store, instance: Instance) -> None:
        instance.send_next(failing=(failing(1, overflow=3),))
        instance.send_next(failing=(failing(overflow=5), failing(overflow=2, arm="control")))
        reading = only(store)
        assert (reading.treatment.overflow, reading.control.overflow) == (5, 2)
        assert self.failed(store) == (0, 1)

    def test_beyond_the_set_are_remembered_in_a_filter(
        self,
        store: Store,
        raw: redis.Redis,
        instance: Instance,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        limited(monkeypatch, store, users=10, bits=1 << 16)
        everyone = range(1, 501)
        instance.send_next(failing=(failing(*everyone),))
        assert self.failed(store) == (0, 500)
        assert raw.scard(f"tg:{{{SHOP}}}:failing:{PRODUCTION}:{RELEASE}") == 10
        size: Any = raw.strlen(f"tg:{{{SHOP}}}:failing-filter:{PRODUCTION}:{RELEASE}")
        assert size <= (1 << 16) // 8
        instance.send_next(failing=(failing(*everyone, arm="control"),))
        assert self.failed(store) == (0, 500)

    def test_by_the_thousand_fit_into_one_report(self, store: Store, instance: Instance) -> None:
        more = [f"rel_{number}" for number in range(2, 200)]
        add_releases(store, *more)
        instance.send_next(
            group(totals(10_000, 10_000, 10_000), totals(10_000, 10_000, 10_000)),
            *(group(totals(1), totals(1), release=release) for release in more),
            failing=(failing(*range(1, 10_001)),),
        )
        assert only(store).treatment.failing == 10_000
        assert all(len(readings(store, release)) == 1 for release in more)


class TestLimits:
    FULL = 2**53

    def test_entries_that_cannot_be_evidence_are_ignored_and_the_others_count(
        self, store: Store, raw: redis.Redis, instance: Instance
    ) -> None:
        reported = instance.send_next(
            group(totals(5, 4), totals(3, 2)),
            *(group(totals(1), totals(1), step=step) for step in range(3, 500)),
            *(group(totals(1), totals(1), step=2, stratum=stratum) for stratum in range(3, 500)),
        )
        assert reported.ignored == 2 * 497
        assert only(store) == GroupCounts(1, 1, Counts(5, 4), Counts(3, 2))
        assert raw.hget(f"tg:{{{SHOP}}}:intake:{PRODUCTION}", "ignored") == b"994"
        assert len(raw.hgetall(f"tg:{{{SHOP}}}:instance:{PRODUCTION}:{instance.id}")) < 25

    def test_a_report_that_crosses_a_stage_change_loses_none_of_its_counts(
        self, store: Store, instance: Instance
    ) -> None:
        instance.send_next(group(totals(5, 4), totals(3, 2), step=2))
        add_releases(store, RELEASE, step=3, stage=3)
        reported = instance.send_next(
            group(totals(9, 8), totals(5, 4), step=2),
            group(totals(0), totals(7, 6), step=3, stratum=3),
        )
        assert reported.ignored == 0
        assert readings(store) == (
            GroupCounts(2, 1, Counts(9, 8), Counts(5, 4)),
            GroupCounts(3, 3, Counts(), Counts(7, 6)),
        )

    def test_a_step_that_another_process_opens_counts_at_once(
        self, store: Store, instance: Instance
    ) -> None:
        """This process knows the release as it was before."""
        instance.send_next(group(totals(5), totals(3), step=2))
        another = Store.connect(store.url)
        add_releases(another, RELEASE, step=3)
        another.close()
        reported = instance.send_next(group(totals(5), totals(3), step=3))
        assert reported.ignored == 0
        assert [(each.step, each.control.exposures) for each in readings(store)] == [(2, 5), (3, 5)]

    def test_a_release_that_another_process_ends_counts_nothing_more(
        self, store: Store, instance: Instance
    ) -> None:
        instance.send_next(group(totals(5), totals(3)))
        another = Store.connect(store.url)
        add_releases(another, RELEASE, state=State.ROLLED_BACK)
        another.close()
        assert instance.send_next(group(totals(9), totals(9))).ignored == 1
        assert only(store).control.exposures == 5

    def test_a_release_that_ends_meanwhile_counts_nothing_more(
        self, store: Store, raw: redis.Redis, instance: Instance, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read = store.evidence._read_releases

        def end_after_reading(*place: Any) -> Any:
            found = read(*place)
            monkeypatch.setattr(store.evidence, "_read_releases", read)
            add_releases(store, RELEASE, state=State.ROLLED_BACK)
            return found

        monkeypatch.setattr(store.evidence, "_read_releases", end_after_reading)
        assert instance.send_next(group(totals(5), totals(3))).ignored == 1
        assert raw.keys("*:evidence:*") == []

    @pytest.mark.parametrize("full", [2**53, 2**53 - 2, 2**62, 2**63 - 1])
    def test_a_counter_that_is_full_stays_full_and_every_report_is_taken(
        self, store: Store, raw: redis.Redis, instance: Instance, full: int
    ) -> None:
        name = f"tg:{{{SHOP}}}:evidence:{PRODUCTION}:{RELEASE}"
        raw.hset(name, "1|1|control|outcomes", full)
        instance.send_next(group(totals(9, 8, 7, 6), totals(5, 4, 3, 2)))
        instance.send_next(group(totals(10, 9, 8, 7), totals(6, 5, 4, 3)))
        control = Counts(10, max(full, self.FULL), 8, 0, 7)
        assert only(store) == GroupCounts(1, 1, control, Counts(6, 5, 4, 0, 3))

    def test_errors_without_outcomes_and_failing_users_without_errors_do_not_count(
        self, store: Store, instance: Instance
    ) -> None:
        counts = group(totals(9, 2, 5), totals(9, 9, 2))
        instance.send_next(counts, failing=(failing(1, 2, 3),))
        reading = only(store)
        assert (reading.control.outcomes, reading.control.errors) == (2, 2)
        assert (reading.treatment.errors, reading.treatment.failing) == (2, 2)

    def test_a_group_that_a_report_repeats_counts_once(
        self, store: Store, instance: Instance
    ) -> None:
        instance.send_next(group(totals(5), totals(3)), group(totals(4), totals(6)))
        assert only(store) == GroupCounts(1, 1, Counts(5), Counts(6))

    @pytest.mark.parametrize(
        ("after", "pointer"),
        [
            ((totals(10**9), totals()), "/counts/1/control/exposures"),
            ((totals(), totals(10, 10**9)), "/counts/1/treatment/outcomes"),
        ],
    )
    def test_growth_that_no_process_can_count_is_refused_and_nothing_is_counted(
        self,
        raw: redis.Redis,
        instance: Instance,
        after: tuple[Counts, Counts],
        pointer: str,
    ) -> None:
        instance.send_next(group(totals(1), totals(1)))
        before = everything(raw)
        with pytest.raises(Invalid) as refused:
            instance.send_next(group(totals(1), totals(1), step=99), group(*after))
        assert [each.pointer for each in refused.value.fields] == [pointer]
        assert "grew by" in refused.value.message
        assert everything(raw) == before

    def test_many_operations_count_if_there_was_time_for_them(
        self, store: Store, raw: redis.Redis, instance: Instance
    ) -> None:
        instance.send_next(group(totals(1), totals(1)))
        hour_ago = store.now_ms() - 3_600_000
        raw.hset(f"tg:{{{SHOP}}}:instance:{PRODUCTION}:{instance.id}", "seen", hour_ago)
        instance.send_next(group(totals(10**9), totals(1)))
        assert only(store).control.exposures == 10**9

    def test_values_have_a_limited_number_of_buckets(
        self, store: Store, instance: Instance, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        limited(monkeypatch, store, buckets=5)
        timed = replace(TWO_STRATA, checks=(Check(metric=Metric.LATENCY),))
        add_releases(store, RELEASE, policy=timed)

        def send(*buckets: int) -> Reported:
            histogram = tuple((bucket, 1) for bucket in buckets)
            values = GroupValues(2, 1, "latency", histogram, histogram)
            return instance.send_next(values=((RELEASE, values),))

        assert send(1, 2).ignored == 0
        assert send(1, 2, 3, 4).ignored == 2  # one of them fits into the control
        (kept,) = store.evidence.values(SHOP, PRODUCTION, RELEASE, 2)
        assert len(kept.control) + len(kept.treatment) == 5
        assert kept.control == ((1, 1), (2, 1), (3, 1))


class TestInstanceLimits:
    def ids(self, store: Store) -> set[str]:
        return {each.id[0] for each in store.instances.all(SHOP, PRODUCTION)}

    def send(self, store: Store, raw: redis.Redis, *names: str) -> None:
        for name in names:
            Instance(store, name * 32).send_next(group(totals(1), totals(1)))
            # Tests are quicker than the clock of a store in milliseconds.
            raw.zincrby(f"tg:{{{SHOP}}}:instances:{PRODUCTION}", -1_000, name * 32)

    def test_beyond_the_limit_the_instance_that_was_silent_longest_is_forgotten(
        self, store: Store, raw: redis.Redis, instance: Instance, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        limited(monkeypatch, store, instances=3)
        instance.send_next(group(totals(5), totals(5)))
        raw.zincrby(f"tg:{{{SHOP}}}:instances:{PRODUCTION}", -9_000, instance.id)
        self.send(store, raw, "b", "c", "d")
        assert self.ids(store) == {"b", "c", "d"}
        # No count is lost: it goes on under a new id.
        with pytest.raises(InstanceForgotten):
            instance.send_next(group(totals(9), totals(9)), continues=True)
        Instance(store, "e" * 32).send_next(group(totals(4), totals(4)))
        assert only(store).control.exposures == 12

    def test_beyond_the_totals_of_all_instances_the_oldest_are_forgotten(
        self, store: Store, raw: redis.Redis, instance: Instance, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        limited(monkeypatch, store, fields=20)  # a group has eight
        self.send(store, raw, "b", "c", "d", "e")
        assert len(self.ids(store)) == 2
        assert raw.hget(f"tg:{{{SHOP}}}:intake:{PRODUCTION}", "fields") == b"16"

    def test_a_forgotten_instance_leaves_nothing_behind(
        self, store: Store, raw: redis.Redis, instance: Instance, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        limited(monkeypatch, store, instances=1)
        store.commit(refreshed("checkout"))
        instance.send_next(version=1)
        store.commit(refreshed(killed=("checkout",)))
        instance.send_next(version=2)
        raw.zincrby(f"tg:{{{SHOP}}}:instances:{PRODUCTION}", -9_000, instance.id)
        self.send(store, raw, "b")
        assert all(instance.id.encode() not in name for name in everything(raw))
        for name in ("receipts", "instance-sizes"):
            assert instance.id not in str(raw.hgetall(f"tg:{{{SHOP}}}:{name}:{PRODUCTION}"))

    def test_new_ids_per_minute_are_limited_and_known_instances_go_on(
        self, store: Store, raw: redis.Redis, instance: Instance, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        limited(monkeypatch, store, new_per_minute=3)
        instance.send_next(group(totals(1), totals(1)))
        refused = None
        for name in "bcdefgh":  # a minute may end in between
            try:
                Instance(store, name * 32).send_next()
            except RateLimited as error:
                refused = error
        assert refused is not None
        assert 1 <= refused.retry_after <= 60
        instance.send_next(group(totals(2), totals(2)))
        assert only(store).control.exposures == 2


class TestReceipts:
    """How a report confirms a kill."""

    @pytest.fixture
    def killed(self, store: Store, instance: Instance) -> int:
        """Kill a flag while an instance reports; return the version of the kill."""
        store.commit(refreshed("checkout"))
        instance.send_next()
        return store.commit(refreshed(killed=("checkout",))).versions[PRODUCTION]

    def receipts(self, raw: redis.Redis) -> dict[bytes, bytes]:
        found: Any = raw.hgetall(f"tg:{{{SHOP}}}:receipts:{PRODUCTION}")
        return dict(found)

    def test_the_first_report_at_the_kills_version_confirms_it(
        self, raw: redis.Redis, instance: Instance, killed: int
    ) -> None:
        instance.send_next(version=killed - 1)
        assert self.receipts(raw) == {}
        instance.send_next(version=killed)
        receipts = self.receipts(raw)
        assert list(receipts) == [f"checkout|{instance.id}".encode()]
        assert all(int(elapsed) >= 0 for elapsed in receipts.values())

    def test_later_reports_do_not_change_it(
        self, raw: redis.Redis, instance: Instance, killed: int
    ) -> None:
        instance.send_next(version=killed)
        raw.hset(f"tg:{{{SHOP}}}:receipts:{PRODUCTION}", f"checkout|{instance.id}", "123")
        instance.send_next(version=killed + 1)
        assert list(self.receipts(raw).values()) == [b"123"]

    def test_a_repeated_or_overtaken_report_confirms_nothing(
        self, raw: redis.Redis, instance: Instance, killed: int
    ) -> None:
        overtaken = instance.next(version=killed)
        instance.send_next(version=killed - 1)
        instance.send(overtaken)
        assert self.receipts(raw) == {}

    def test_an_instance_that_started_after_the_kill_confirms_nothing(
        self, store: Store, raw: redis.Redis, killed: int
    ) -> None:
        newcomer = Instance(store, "b" * 32)
        newcomer.send_next(version=killed)
        newcomer.send_next(version=killed + 1)
        assert self.receipts(raw) == {}

    def test_one_report_may_confirm_several_kills(
        self, store: Store, raw: redis.Redis, instance: Instance, killed: int
    ) -> None:
        second = store.commit(refreshed(killed=("search",))).versions[PRODUCTION]
        instance.send_next(version=second)
        flags = {each.decode().partition("|")[0] for each in self.receipts(raw)}
        assert flags == {"checkout", "search"}


def test_the_answer_has_the_newest_version_of_the_environment(
    store: Store, instance: Instance
) -> None:
    assert instance.send_next() == Reported(0)
    version = store.commit(refreshed("checkout")).versions[PRODUCTION]
    assert instance.send_next() == Reported(version)
    assert instance.send(replace(instance.last, sequence=1)) == Reported(version)


class TestClients:
    def test_are_counted_apart_from_servers(self, store: Store, instance: Instance) -> None:
        instance.send_next(group(totals(9, 8, 1), totals(5, 4)))
        clients = Instance(store, instance.id)
        clients.send(replace(clients.next(group(totals(90, 80), totals(7, 6))), source=CLIENT))

        assert only(store) == GroupCounts(1, 1, Counts(9, 8, 1), Counts(5, 4))
        reported = store.evidence.totals(SHOP, PRODUCTION, RELEASE).client
        assert reported is not None
        assert reported.readings == (GroupCounts(1, 1, Counts(90, 80), Counts(7, 6)),)

    def test_have_not_reported_where_only_servers_have(
        self, store: Store, instance: Instance
    ) -> None:
        instance.send_next(group(totals(9, 8, 1), totals(5, 4)))

        assert store.evidence.totals(SHOP, PRODUCTION, RELEASE).client is None

    def test_are_no_instances(self, store: Store, instance: Instance) -> None:
        instance.send(replace(instance.next(group(totals(1), totals(2))), source=CLIENT))

        assert store.instances.all(SHOP, PRODUCTION) == []

    def test_have_generations_of_their_own(self, store: Store, instance: Instance) -> None:
        for source in Source:
            each = Instance(store, instance.id)
            each.send(replace(each.next(group(totals(1), totals(2))), source=source))
        store.commit(change(generations=(EvidenceGeneration(PRODUCTION, RELEASE, 5, CLIENT),)))

        totals_now = store.evidence.totals(SHOP, PRODUCTION, RELEASE)
        assert totals_now.generation == 1
        assert totals_now.client is not None
        assert totals_now.client.generation == 5
