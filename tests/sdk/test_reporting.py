"""Reports are cumulative: however they are lost or repeated, the server's totals are right."""

from __future__ import annotations

import copy
import json
import threading
from collections import Counter
from typing import Any, Protocol, cast

import mmh3
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tidegate import reporting
from tidegate.bucketing import user_hash
from tidegate.evaluation.results import Exposure
from tidegate.histogram import LATENCY, bucket_of
from tidegate.model import ActiveRelease
from tidegate.reporting import Reporter
from tidegate_server.errors import InstanceForgotten
from tidegate_server.sdk_api.report_consistency import check_consistency
from tidegate_server.sdk_api.report_schemas import ReportBody
from tidegate_server.store.reports import Report
from tidegate_server.web.settings import ApiSettings

from tests.sdk.reports import report_document
from tests.sdk.server import ENVIRONMENT, POLICY, Environment
from tests.wire_schemas import REPORT, violations

MEASURES = ("exposures", "outcomes", "errors", "microseconds")

Place = tuple[str, int, int, str]
"""A release, a step, a stratum and an arm."""


Bin = tuple[str, int, int, str, str, int]
"""A place, a measure and a bucket."""


def exposure(
    release: str = "rel_1",
    arm: Any = "treatment",
    step: int = 1,
    measures: tuple[str, ...] = (),
    hash_prefix: str | None = None,
) -> Exposure:
    return Exposure(release, step, 1, arm, measures, hash_prefix)


def count_operation(
    reporter: Reporter,
    *of: Exposure,
    outcome: str | None = "ok",
    user: str | None = None,
    measured: dict[str, float] | None = None,
) -> None:
    exposures = {each.release: each for each in of or (exposure(),)}
    reporter.add(exposures.values(), outcome, 1_000, user, measured=measured)


def release_at(id: str, step: int) -> ActiveRelease:
    return ActiveRelease(id, "off", "on", id, 1, step, (), 5.0)


def totals(report: dict[str, Any]) -> dict[Place, tuple[int, ...]]:
    return {
        (group["release"], group["step"], group["stratum"], arm): tuple(
            group[arm][measure] for measure in MEASURES
        )
        for group in report["counts"]
        for arm in ("control", "treatment")
        if any(group[arm].values())
    }


def values(report: dict[str, Any]) -> Counter[Bin]:
    return Counter(
        {
            (each["release"], each["step"], each["stratum"], arm, each["measure"], int(bucket)): n
            for each in report["values"]
            for arm in ("control", "treatment")
            for bucket, n in each[arm].items()
        }
    )


def users(report: dict[str, Any]) -> set[str]:
    return {user for part in report["failing"] for user in part["users"]}


# The contents of a report


def test_a_report_has_both_arms_or_neither() -> None:
    reporter = Reporter()
    assert report_document(reporter)["counts"] == []
    count_operation(reporter, exposure(arm="control"))
    (group,) = report_document(reporter)["counts"]
    assert group["control"] == dict(zip(MEASURES, (1, 1, 0, 1_000), strict=True))
    assert group["treatment"] == dict.fromkeys(MEASURES, 0)


def test_an_operation_counts_for_every_release_it_was_exposed_to() -> None:
    reporter = Reporter()
    count_operation(reporter, exposure("rel_1"), exposure("rel_2", "control"), outcome="error")
    assert totals(report_document(reporter)) == {
        ("rel_1", 1, 1, "treatment"): (1, 1, 1, 1_000),
        ("rel_2", 1, 1, "control"): (1, 1, 1, 1_000),
    }


def test_an_exposure_without_an_outcome_is_only_an_exposure() -> None:
    reporter = Reporter()
    count_operation(reporter, outcome=None)
    assert totals(report_document(reporter)) == {("rel_1", 1, 1, "treatment"): (1, 0, 0, 0)}


def test_totals_grow_and_are_repeated() -> None:
    reporter = Reporter()
    for expected in (1, 2, 3):
        count_operation(reporter)
        report = report_document(reporter)
        assert report["sequence"] == expected
        assert totals(report) == {
            ("rel_1", 1, 1, "treatment"): (expected, expected, 0, 1000 * expected)
        }


def test_an_instance_continues_after_its_first_acknowledged_report() -> None:
    reporter = Reporter()
    assert [report_document(reporter)["continues"] for _ in range(3)] == [False, False, False]
    reporter.acknowledge(3)
    assert report_document(reporter)["continues"] is True


def test_a_report_does_not_change_afterwards() -> None:
    reporter = Reporter()
    count_operation(reporter, outcome="error", user="ann")
    report = report_document(reporter)
    before = copy.deepcopy(report)
    count_operation(reporter, outcome="error", user="bob")
    reporter.acknowledge(1)
    assert report == before


# Users who failed


def test_failing_users_are_named_until_they_are_acknowledged() -> None:
    reporter = Reporter()
    count_operation(reporter, outcome="error", user="ann")
    assert users(report_document(reporter)) == {user_hash("ann")}
    count_operation(reporter, outcome="error", user="bob")
    report = report_document(reporter)
    assert users(report) == {user_hash("ann"), user_hash("bob")}
    count_operation(reporter, outcome="error", user="cid")
    reporter.acknowledge(report["sequence"])
    assert users(report_document(reporter)) == {user_hash("cid")}


def test_a_user_who_fails_again_later_is_named_again() -> None:
    """The server may have begun a new epoch."""
    reporter = Reporter()
    for _ in range(2):
        count_operation(reporter, outcome="error", user="ann")
        count_operation(reporter, outcome="error", user="ann")
        report = report_document(reporter)
        assert users(report) == {user_hash("ann")}
        reporter.acknowledge(report["sequence"])


def test_no_user_is_named_without_an_error() -> None:
    reporter = Reporter()
    count_operation(reporter, outcome="ok", user="ann")
    count_operation(reporter, outcome=None, user="ann")
    count_operation(reporter, outcome="error", user=None)
    assert report_document(reporter)["failing"] == []


# Users of the sample

SPLIT = exposure(hash_prefix="rel_1:")


def sampled(report: dict[str, Any]) -> dict[Place, set[int]]:
    """Return the users that a report names for the check of the split."""
    return {
        (part["release"], part["step"], part["stratum"], arm): set(part[arm])
        for part in report["samples"]
        for arm in ("control", "treatment")
        if part[arm]
    }


def hash_under(prefix: str, user: str) -> int:
    return mmh3.hash(f"{prefix}{user}", 0, False)


def test_users_with_outcomes_are_named_until_they_are_acknowledged() -> None:
    reporter = Reporter()
    place = ("rel_1", 1, 1, "treatment")
    count_operation(reporter, SPLIT, user="ann")
    count_operation(reporter, SPLIT, user="bob", outcome="error")
    report = report_document(reporter)
    assert sampled(report) == {place: {hash_under("rel_1:", user) for user in ("ann", "bob")}}
    count_operation(reporter, SPLIT, user="cid")
    reporter.acknowledge(report["sequence"], [release_at("rel_1", 1)])
    count_operation(reporter, SPLIT, user="ann")
    assert sampled(report_document(reporter)) == {place: {hash_under("rel_1:", "cid")}}


def test_the_sample_has_no_user_without_an_outcome_or_without_a_split() -> None:
    reporter = Reporter()
    count_operation(reporter, SPLIT, outcome=None, user="ann")
    count_operation(reporter, SPLIT, user=None)
    count_operation(reporter, exposure("rel_2"), user="ann")  # everyone gets the treatment
    assert report_document(reporter)["samples"] == []


def test_a_new_instance_names_only_users_that_were_never_acknowledged() -> None:
    reporter = Reporter()
    count_operation(reporter, SPLIT, user="ann")
    reporter.acknowledge(report_document(reporter)["sequence"], [release_at("rel_1", 1)])
    count_operation(reporter, SPLIT, user="bob")
    report_document(reporter)
    reporter.renew_instance()
    count_operation(reporter, SPLIT, user="ann")
    report = sent_report(report_document(reporter))
    assert list(sampled(report).values()) == [{hash_under("rel_1:", "bob")}]
    check_consistency(ReportBody().load(report))


def test_a_group_is_not_forgotten_before_its_sample_has_arrived() -> None:
    reporter = Reporter()
    count_operation(reporter, SPLIT, user="ann")
    lost = report_document(reporter)
    count_operation(reporter, SPLIT, user="bob")
    reporter.acknowledge(lost["sequence"])
    report = report_document(reporter)
    assert list(sampled(report).values()) == [{hash_under("rel_1:", "bob")}]
    reporter.acknowledge(report["sequence"])
    report = report_document(reporter)
    assert (report["counts"], report["samples"]) == ([], [])


# Values


BOTH = (LATENCY, "basket")


def test_values_are_counted_for_releases_that_ask_for_them() -> None:
    reporter = Reporter()
    asks, silent = exposure("rel_1", measures=BOTH), exposure("rel_2")
    count_operation(reporter, asks, silent, measured={"basket": 12.5, "size": 3.0})
    assert values(report_document(reporter)) == {
        ("rel_1", 1, 1, "treatment", LATENCY, bucket_of(0.001)): 1,
        ("rel_1", 1, 1, "treatment", "basket", bucket_of(12.5)): 1,
    }


def test_latency_is_measured_and_not_reported_by_the_application() -> None:
    reporter = Reporter()
    count_operation(reporter, exposure(measures=(LATENCY,)), measured={LATENCY: 999.0})
    assert [each[-1] for each in values(report_document(reporter))] == [bucket_of(0.001)]


def test_a_failed_operation_has_values_and_one_without_an_outcome_has_none() -> None:
    reporter = Reporter()
    for outcome in ("error", None):
        count_operation(
            reporter, exposure(measures=BOTH), outcome=outcome, measured={"basket": 1.0}
        )
    assert sorted(values(report_document(reporter)).values()) == [1, 1]


def test_values_of_both_arms_come_in_one_entry() -> None:
    reporter = Reporter()
    count_operation(reporter, exposure(arm="control", measures=(LATENCY,)))
    (entry,) = report_document(reporter)["values"]
    assert (entry["control"], entry["treatment"]) == ({str(bucket_of(0.001)): 1}, {})


def test_without_a_release_that_asks_there_are_no_values() -> None:
    reporter = Reporter()
    count_operation(reporter, measured={"basket": 1.0})
    assert report_document(reporter)["values"] == []


# Bounded memory


def test_buckets_over_the_limit_are_dropped_and_counted_as_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reporting, "MAX_BUCKETS", 3)
    reporter = Reporter()
    asks = exposure(measures=("size",))
    for size in (1, 10, 100, 1_000, 10_000, 10, 1):
        count_operation(reporter, asks, measured={"size": size})
    assert sorted(values(report_document(reporter)).values()) == [1, 2, 2]
    assert reporter.dropped == 2
    # Forgotten counts make room.
    reporter.acknowledge(report_document(reporter)["sequence"])
    count_operation(reporter, asks, measured={"size": 1_000})
    assert list(values(report_document(reporter)).values()) == [1]
    assert reporter.dropped == 2


def test_acknowledged_buckets_make_room_for_a_new_instance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporting, "MAX_BUCKETS", 2)
    reporter = Reporter()
    asks = exposure(measures=("size",))
    for size in (1, 10):
        count_operation(reporter, asks, measured={"size": size})
    reporter.acknowledge(report_document(reporter)["sequence"], [release_at("rel_1", 1)])
    reporter.renew_instance()
    for size in (100, 1_000):
        count_operation(reporter, asks, measured={"size": size})
    assert sorted(each[-1] for each in values(report_document(reporter))) == [
        bucket_of(100),
        bucket_of(1_000),
    ]
    assert reporter.dropped == 0


def test_the_largest_possible_report_is_valid() -> None:
    reporter = Reporter()
    sizes = [sign * 10.0**power for sign in (1, -1) for power in range(-6, 13)]
    for number in range(reporting.MAX_GROUPS):
        asks = exposure(f"rel_{number}", measures=("size",), hash_prefix=f"rel_{number}:")
        for size in sizes:
            count_operation(reporter, asks, user=f"user-{size}", measured={"size": size})
    assert reporter.dropped > 0
    report = sent_report(report_document(reporter))
    assert violations(REPORT, report) == []
    assert sum(values(report).values()) == reporting.MAX_BUCKETS
    assert sum(map(len, sampled(report).values())) > 9_000
    check_consistency(ReportBody().load(report))
    assert len(json.dumps(report)) < ApiSettings(b"").report_limit


def test_users_over_the_limit_are_counted_and_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporting, "MAX_USERS", 3)
    reporter = Reporter()
    for number in range(5):
        count_operation(reporter, exposure(f"rel_{number % 2}"), outcome="error", user=f"u{number}")
    report = report_document(reporter)
    assert len(users(report)) == 3
    assert sum(part["overflow"] for part in report["failing"]) == 2
    assert sum(arms[2] for arms in totals(report).values()) == 5
    reporter.acknowledge(report["sequence"], [release_at("rel_0", 1), release_at("rel_1", 1)])
    count_operation(reporter, exposure("rel_0"), outcome="error", user="later")
    report = report_document(reporter)
    assert users(report) == {user_hash("later")}  # there is room again
    assert sum(part["overflow"] for part in report["failing"]) == 2  # a total, as all counts


def test_groups_over_the_limit_are_dropped_and_counted_as_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reporting, "MAX_GROUPS", 2)
    reporter = Reporter()
    for number in range(4):
        count_operation(reporter, exposure(f"rel_{number}"))
    count_operation(reporter, exposure("rel_0"))
    assert set(totals(report_document(reporter))) == {
        ("rel_0", 1, 1, "treatment"),
        ("rel_1", 1, 1, "treatment"),
    }
    assert reporter.dropped == 2


def test_counts_of_ended_steps_are_forgotten_once_acknowledged() -> None:
    reporter = Reporter()
    count_operation(reporter, exposure("rel_1", step=1), outcome="error", user="ann")
    count_operation(reporter, exposure("rel_2"))
    report = report_document(reporter)
    count_operation(reporter, exposure("rel_2"))
    reporter.acknowledge(report["sequence"], [release_at("rel_1", 2)])
    report = report_document(reporter)
    # Not all counts of rel_2 are acknowledged yet.
    assert totals(report) == {("rel_2", 1, 1, "treatment"): (2, 2, 0, 2_000)}
    reporter.acknowledge(report["sequence"])
    assert report_document(reporter)["counts"] == []


def test_counts_of_ended_steps_are_forgotten_even_with_overflowing_users(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reporting, "MAX_USERS", 1)
    reporter = Reporter()
    count_operation(reporter, exposure("rel_1"), outcome="error", user="ann")
    count_operation(reporter, exposure("rel_2"), outcome="error", user="bob")
    report = report_document(reporter)
    assert [(part["release"], part["overflow"]) for part in report["failing"]] == [
        ("rel_1", 0),
        ("rel_2", 1),
    ]
    reporter.acknowledge(report["sequence"])
    report = report_document(reporter)
    assert (report["counts"], report["failing"]) == ([], [])


def test_a_process_can_see_thousands_of_releases_one_after_the_other() -> None:
    reporter = Reporter()
    for number in range(3 * reporting.MAX_GROUPS):
        count_operation(reporter, exposure(f"rel_{number}"), outcome="error", user=f"u{number}")
        if number % 100 == 99:
            reporter.acknowledge(report_document(reporter)["sequence"])
    assert reporter.dropped == 0
    assert report_document(reporter)["counts"] == []


# Trips of the local breaker


def test_a_report_without_trips_has_no_trips_field() -> None:
    """An older server rejects a report with an unknown field."""
    assert "trips" not in report_document(Reporter())


class Clock:
    """Replaces the clock of the reporter."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(reporting, "time", clock)
    return clock


def record_trip(reporter: Reporter, clock: Clock, seconds: float) -> None:
    reporter.start_trip("rel_1")
    clock.now += seconds
    reporter.end_trips()


def test_trips_are_totals_like_everything_else(clock: Clock) -> None:
    reporter = Reporter()
    going_on = [release_at("rel_1", 2)]
    record_trip(reporter, clock, 1.25)
    for expected in (1, 2):
        report = report_document(reporter)
        assert report["trips"] == [
            {"release": "rel_1", "count": expected, "milliseconds": 1250 * expected}
        ]
        assert violations(REPORT, sent_report(report)) == []
        reporter.acknowledge(report["sequence"], going_on)
        record_trip(reporter, clock, 1.25)


def test_an_open_trip_is_reported_and_counted_once(clock: Clock) -> None:
    """A report may arrive before the flags do, and it has the failures that caused the trip."""
    reporter = Reporter()
    reporter.start_trip("rel_1")
    for seconds in (0, 2, 4):
        (trip,) = report_document(reporter)["trips"]
        assert trip == {"release": "rel_1", "count": 1, "milliseconds": 1000 * seconds}
        clock.now += 2
    reporter.end_trips()
    clock.now += 2
    (trip,) = report_document(reporter)["trips"]
    assert trip == {"release": "rel_1", "count": 1, "milliseconds": 6000}


def test_trips_of_an_ended_release_are_forgotten_once_acknowledged(clock: Clock) -> None:
    reporter = Reporter()
    record_trip(reporter, clock, 1)
    report = report_document(reporter)
    record_trip(reporter, clock, 1)
    reporter.acknowledge(report["sequence"])
    report = report_document(reporter)
    assert report["trips"] == [{"release": "rel_1", "count": 2, "milliseconds": 2000}]
    reporter.acknowledge(report["sequence"])
    assert "trips" not in report_document(reporter)


def test_a_renewed_instance_repeats_unacknowledged_trips(clock: Clock) -> None:
    reporter = Reporter()
    record_trip(reporter, clock, 1)
    reporter.acknowledge(report_document(reporter)["sequence"], [release_at("rel_1", 1)])
    reporter.renew_instance()
    assert "trips" not in report_document(reporter)
    record_trip(reporter, clock, 3)
    reporter.renew_instance()
    (trip,) = report_document(reporter)["trips"]
    assert trip == {"release": "rel_1", "count": 1, "milliseconds": 3000}


def test_a_renewed_instance_reports_the_rest_of_an_open_trip(clock: Clock) -> None:
    reporter = Reporter()
    reporter.start_trip("rel_1")
    clock.now += 1
    reporter.acknowledge(report_document(reporter)["sequence"], [release_at("rel_1", 1)])
    reporter.renew_instance()
    clock.now += 2
    (trip,) = report_document(reporter)["trips"]
    assert trip == {"release": "rel_1", "count": 0, "milliseconds": 2000}


def test_failing_users_are_kept_for_the_local_breaker_only_while_it_watches() -> None:
    reporter = Reporter()
    count_operation(reporter, outcome="error", user="ann")
    assert reporter.take_window() == ({("rel_1", 1, 1): (0, 1)}, {})
    reporter.watch_failures(True)
    for user in ("ann", "bob", "ann"):
        count_operation(reporter, exposure(arm="control"), outcome="error", user=user)
    place = ("rel_1", 1, 1), "control"
    hashes = {user_hash("ann"), user_hash("bob")}
    assert reporter.take_window() == ({("rel_1", 1, 1): (3, 1)}, {place: hashes})
    assert reporter.take_window()[1] == {}
    reporter.watch_failures(False)
    count_operation(reporter, outcome="error", user="cid")
    assert reporter.take_window()[1] == {}


def test_the_local_breaker_sees_every_operation_after_the_instance_is_renewed() -> None:
    reporter = Reporter()
    count_operation(reporter)
    reporter.watch_failures(True)
    count_operation(reporter)
    reporter.acknowledge(report_document(reporter)["sequence"], [release_at("rel_1", 1)])
    count_operation(reporter)
    reporter.renew_instance()
    count_operation(reporter)
    assert reporter.take_window()[0] == {("rel_1", 1, 1): (0, 4)}
    reporter.watch_failures(True)
    assert reporter.take_window()[0] == {("rel_1", 1, 1): (0, 2)}


def test_both_arms_share_the_room_for_users_that_the_local_breaker_watches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reporting, "MAX_USERS", 4)
    reporter = Reporter()
    reporter.watch_failures(True)
    for _ in range(2):
        for number in range(3):
            for arm in ("control", "control", "treatment"):
                user = f"{arm}-{number}"
                count_operation(reporter, exposure(arm=arm), outcome="error", user=user)
        failed = reporter.take_window()[1]
        assert {arm: len(users) for (_, arm), users in failed.items()} == {
            "control": 2,
            "treatment": 2,
        }


# A server that forgot the instance


def test_a_renewed_instance_keeps_only_unacknowledged_counts() -> None:
    reporter = Reporter()
    first = reporter.instance
    count_operation(reporter, outcome="error", user="ann")
    reporter.acknowledge(report_document(reporter)["sequence"], [release_at("rel_1", 1)])
    count_operation(reporter, outcome="error", user="bob")
    count_operation(reporter)
    report_document(reporter)
    reporter.renew_instance()
    report = report_document(reporter)
    assert report["instance"] == reporter.instance != first
    assert (report["sequence"], report["continues"]) == (1, False)
    assert totals(report) == {("rel_1", 1, 1, "treatment"): (2, 2, 1, 2_000)}
    assert users(report) == {user_hash("bob")}


def test_a_late_operation_of_an_ended_step_makes_no_negative_count() -> None:
    """It begins before the step changes, and ends after the step's counts are forgotten."""
    reporter = Reporter()
    for _ in range(5):
        count_operation(reporter, outcome="error", user="ann")
    reporter.acknowledge(report_document(reporter)["sequence"])
    count_operation(reporter)
    report_document(reporter)
    reporter.renew_instance()
    report = report_document(reporter)
    assert totals(report) == {("rel_1", 1, 1, "treatment"): (1, 1, 0, 1_000)}
    assert violations(REPORT, sent_report(report)) == []


def test_a_renewed_instance_keeps_only_unacknowledged_values() -> None:
    reporter = Reporter()
    asks = exposure(measures=("size",))
    count_operation(reporter, asks, measured={"size": 1.0})
    reporter.acknowledge(report_document(reporter)["sequence"], [release_at("rel_1", 1)])
    count_operation(reporter, asks, measured={"size": 1.0})
    count_operation(reporter, asks, measured={"size": 50.0})
    reporter.renew_instance()
    assert {each[-1]: n for each, n in values(report_document(reporter)).items()} == {
        bucket_of(1.0): 1,
        bucket_of(50.0): 1,
    }


def test_an_abandoned_reporter_counts_nothing_even_when_its_lock_was_held() -> None:
    """In a forked child a lock that another thread held is never released."""
    reporter = Reporter()
    count_operation(reporter)
    report_document(reporter)
    reporter._lock.acquire()
    reporter.abandon()
    count_operation(reporter)
    assert totals(report_document(reporter)) == {("rel_1", 1, 1, "treatment"): (1, 1, 0, 1_000)}


def test_what_no_report_has_brought_to_the_server_is_dropped_by_closing() -> None:
    reporter = Reporter()
    count_operation(reporter)
    reporter.acknowledge(report_document(reporter)["sequence"], [release_at("rel_1", 1)])
    for _ in range(reporter.batch + 5):  # some are in the totals, and some wait
        count_operation(reporter, exposure(arm="control"))
    reporter.expose(exposure())
    report_document(reporter)  # lost
    assert reporter.dropped == 0
    reporter.close()
    assert reporter.dropped == reporter.batch + 6
    count_operation(reporter)
    assert reporter.dropped == reporter.batch + 7


def test_many_threads_lose_nothing() -> None:
    reporter = Reporter()
    stop = threading.Event()

    def report() -> None:
        while not stop.is_set():
            reporter.acknowledge(report_document(reporter)["sequence"], [release_at("rel_1", 1)])

    def work() -> None:
        for number in range(2_000):
            count_operation(reporter, outcome="error" if number % 2 else "ok", user=str(number))

    reporting_thread = threading.Thread(target=report)
    reporting_thread.start()
    working = [threading.Thread(target=work) for _ in range(4)]
    for thread in working:
        thread.start()
    for thread in working:
        thread.join()
    stop.set()
    reporting_thread.join()
    assert totals(report_document(reporter)) == {
        ("rel_1", 1, 1, "treatment"): (8_000, 8_000, 4_000, 8_000_000)
    }


# Loss, repetition and reordering


def sent_report(report: dict[str, Any]) -> dict[str, Any]:
    """Return a report with the fields that the client adds, as it is sent."""
    more = {"version": 1, "interval": 5.0, "sdk": "test", "host": "here", "pid": 1}
    return cast(dict[str, Any], json.loads(json.dumps(report | more)))


class Server(Protocol):
    """Receives the reports."""

    def receive(self, report: dict[str, Any]) -> bool: ...

    def forget(self) -> None: ...

    def totals(self) -> dict[Place, tuple[int, ...]]: ...

    def values(self) -> Counter[Bin]: ...

    def failing(self) -> dict[str, int]: ...

    def sampled(self) -> dict[Place, int]: ...


class Model:
    """A model of the server: it adds the difference to the totals it has."""

    def __init__(self) -> None:
        self._instances: dict[str, tuple[int, dict[Place, tuple[int, ...]], Counter[Bin]]] = {}
        self._totals: dict[Place, tuple[int, ...]] = {}
        self._values: Counter[Bin] = Counter()
        self._failing: dict[str, set[str]] = {}
        self._sampled: dict[tuple[str, int, int], dict[int, str]] = {}

    def receive(self, report: dict[str, Any]) -> bool:
        known = self._instances.get(report["instance"])
        if known is None and report["continues"]:
            return False
        sequence, before, counted = known or (0, {}, Counter())
        if report["sequence"] > sequence:
            reported = totals(report)
            for place, now in reported.items():
                had = before.get(place, (0, 0, 0, 0))
                grown = tuple(max(0, new - old) for new, old in zip(now, had, strict=True))
                present = self._totals.get(place, (0, 0, 0, 0))
                self._totals[place] = tuple(map(sum, zip(present, grown, strict=True)))
            self._values += values(report) - counted
            for part in report["failing"]:
                self._failing.setdefault(part["release"], set()).update(part["users"])
            for (name, step, stratum, arm), users in sampled(report).items():
                known_users = self._sampled.setdefault((name, step, stratum), {})
                for user in users:
                    known_users.setdefault(user, arm)
            self._instances[report["instance"]] = (report["sequence"], reported, values(report))
        return True

    def forget(self) -> None:
        self._instances.clear()

    def totals(self) -> dict[Place, tuple[int, ...]]:
        return self._totals

    def values(self) -> Counter[Bin]:
        return self._values

    def failing(self) -> dict[str, int]:
        return {release: len(names) for release, names in self._failing.items()}

    def sampled(self) -> dict[Place, int]:
        return dict(
            Counter(
                (*group, arm) for group, users in self._sampled.items() for arm in users.values()
            )
        )


class RealServer:
    """The real store, with the schema that the API parses reports with."""

    def __init__(self, environment: Environment, releases: dict[str, str]) -> None:
        self._environment = environment
        self._releases = releases
        self._store = environment.server.store

    def receive(self, report: dict[str, Any]) -> bool:
        text = json.dumps(report)
        for name, id in self._releases.items():
            text = text.replace(f'"{name}"', f'"{id}"')
        read: Report = ReportBody().load(json.loads(text))
        try:
            self._store.evidence.add_report(self._environment.project, ENVIRONMENT, read)
        except InstanceForgotten:
            return False
        return True

    def forget(self) -> None:
        for name in self._store._connection.client.scan_iter(
            f"*{self._environment.project}*instance:*"
        ):
            self._store._connection.client.delete(name)

    def totals(self) -> dict[Place, tuple[int, ...]]:
        counted: dict[Place, tuple[int, ...]] = {}
        for name, id in self._releases.items():
            for reading in self._environment.evidence(id).readings:
                for arm in ("control", "treatment"):
                    counts = tuple(getattr(getattr(reading, arm), each) for each in MEASURES)
                    if any(counts):
                        counted[name, reading.step, reading.stratum, arm] = counts
        return counted

    def values(self) -> Counter[Bin]:
        counted: Counter[Bin] = Counter()
        project = self._environment.project
        for name, id in self._releases.items():
            for each in self._store.evidence.values(project, ENVIRONMENT, id, 1):
                for arm in ("control", "treatment"):
                    place = (name, 1, each.stratum, arm, each.measure)
                    counted.update({(*place, number): n for number, n in getattr(each, arm)})
        return counted

    def failing(self) -> dict[str, int]:
        counted = {
            name: sum(
                reading.control.failing + reading.treatment.failing
                for reading in self._environment.evidence(id).readings
            )
            for name, id in self._releases.items()
        }
        return {name: count for name, count in counted.items() if count}

    def sampled(self) -> dict[Place, int]:
        return {
            (name, reading.step, reading.stratum, arm): count
            for name, id in self._releases.items()
            for reading in self._environment.evidence(id).readings
            for arm in ("control", "treatment")
            if (count := getattr(reading, arm).sampled)
        }


class Reporting(RuleBasedStateMachine):
    """An instance that counts, and a network that loses, repeats and reorders its reports."""

    def __init__(self) -> None:
        super().__init__()
        self.server: Server = self.new_server()
        self.reporter = Reporter()
        self.truth: dict[Place, tuple[int, ...]] = {}
        self.true_values: Counter[Bin] = Counter()
        self.failed: dict[str, set[str]] = {}
        self.sample: dict[tuple[str, int, int], dict[str, str]] = {}
        self.steps = {"rel_1": 1, "rel_2": 1}
        self.sent: list[dict[str, Any]] = []
        self.unacknowledged = False  # a report arrived, and the instance does not know

    def new_server(self) -> Server:
        return Model()

    @rule(
        name=st.sampled_from(["rel_1", "rel_2"]),
        stratum=st.integers(1, 2),
        arm=st.sampled_from(["control", "treatment"]),
        outcome=st.sampled_from(["ok", "error", None]),
        microseconds=st.integers(0, 10**6),
        user=st.sampled_from(["ann", "bob", "cid", "dan", None]),
        size=st.sampled_from([None, -3.0, 0.0, 1.0, 1.01, 500.0]),
    )
    def work(
        self,
        name: str,
        stratum: int,
        arm: Any,
        outcome: str | None,
        microseconds: int,
        user: str | None,
        size: float | None,
    ) -> None:
        at = (name, self.steps[name], stratum, arm)
        measured = {} if size is None else {"size": size}
        exposures = [Exposure(*at, (LATENCY, "size"), hash_prefix=f"{name}:")]
        self.reporter.add(exposures, outcome, microseconds, user, measured=measured)
        ended = outcome is not None
        if ended:
            self.true_values[(*at, LATENCY, bucket_of(microseconds / 1e6))] += 1
            self.true_values.update((*at, "size", bucket_of(each)) for each in measured.values())
        more = (1, int(ended), int(outcome == "error"), microseconds if ended else 0)
        present = self.truth.get(at, (0, 0, 0, 0))
        self.truth[at] = tuple(map(sum, zip(present, more, strict=True)))
        if ended and user is not None:
            self.sample.setdefault(at[:3], {}).setdefault(user, arm)
        if outcome == "error" and user is not None:
            self.failed.setdefault(name, set()).add(user)

    @rule(arrives=st.booleans(), answered=st.booleans())
    def report(self, arrives: bool, answered: bool) -> None:
        for _ in range(2):
            report = sent_report(report_document(self.reporter))
            self.sent.append(report)
            if not arrives:
                return
            known = self.server.receive(copy.deepcopy(report))
            if not answered:
                self.unacknowledged |= known
                return
            if known:
                active = [release_at(name, step) for name, step in self.steps.items()]
                self.reporter.acknowledge(report["sequence"], active)
                self.unacknowledged = False
                return
            self.reporter.renew_instance()
        raise AssertionError("a new instance is always taken")

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def something_old_arrives(self, data: st.DataObject) -> None:
        report = data.draw(st.sampled_from(self.sent))
        unknown = report["sequence"] > self.reporter._acknowledged.sequence
        if self.server.receive(copy.deepcopy(report)) and unknown:
            self.unacknowledged = True

    @rule(name=st.sampled_from(["rel_1", "rel_2"]))
    def the_next_step_begins(self, name: str) -> None:
        self.steps[name] += 1

    @precondition(lambda self: not self.unacknowledged)
    @rule()
    def the_server_forgets(self) -> None:
        """Not while a report may have arrived without an acknowledgement: it would count twice."""
        self.server.forget()
        self.sent.clear()

    @invariant()
    def nothing_is_counted_twice(self) -> None:
        for place, counted in self.server.totals().items():
            true = self.truth[place]
            assert all(a <= b for a, b in zip(counted, true, strict=True)), place
        assert self.server.values() <= self.true_values

    @invariant()
    def reports_are_as_published(self) -> None:
        for report in self.sent[-1:]:
            assert violations(REPORT, report) == []
            check_consistency(ReportBody().load(report))

    def teardown(self) -> None:
        self.report(arrives=True, answered=True)
        assert self.server.totals() == self.truth
        assert self.server.values() == self.true_values
        assert self.server.failing() == {name: len(who) for name, who in self.failed.items()}
        assert self.server.sampled() == Counter(
            (*group, arm) for group, users in self.sample.items() for arm in users.values()
        )
        assert self.reporter.dropped == 0


TestReporting = Reporting.TestCase
TestReporting.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@pytest.fixture
def real(environment: Environment) -> RealServer:
    releases = {}
    sized = {"metric": "custom", "measure": "size", "quantile": 0.9}
    for number in (1, 2):
        environment.flag(f"flag-{number}")
        releases[f"rel_{number}"] = environment.release(
            f"flag-{number}", {**POLICY, "checks": [{"metric": "latency"}, sized]}
        )
    return RealServer(environment, releases)


def test_the_model_behaves_like_the_real_server(real: RealServer) -> None:
    """Both get the same reports: lost, repeated and out of order."""
    model = Model()
    reporter = Reporter()
    sent: list[dict[str, Any]] = []
    for number in range(60):
        release, arm = f"rel_{1 + number % 2}", ("control", "treatment")[number % 3 % 2]
        count_operation(
            reporter,
            exposure(release, arm, 1, (LATENCY, "size", "unasked"), f"{release}:"),
            outcome=("ok", "error", None)[number % 7 % 3],
            user=f"user-{number % 11}",
            measured={"size": number % 5, "unasked": 1.0},
        )
        if number % 4 == 3:
            sent.append(sent_report(report_document(reporter)))
            order = [sent[-1], sent[number * 7 % len(sent)], sent[number * 3 % len(sent)]]
            for report in order[number % 2 :]:
                assert model.receive(report) == real.receive(report)
            if number % 3:
                active = [release_at("rel_1", 1), release_at("rel_2", 1)]
                reporter.acknowledge(sent[-1]["sequence"], active)
        if number == 40:
            model.forget()
            real.forget()
            late = sent_report(report_document(reporter))
            assert model.receive(late) is real.receive(late) is False
            reporter.renew_instance()
            sent.clear()
    last = sent_report(report_document(reporter))
    assert model.receive(last) is real.receive(last) is True
    assert real.totals() == model.totals()
    assert Counter(real.failing()) == Counter(model.failing())
    assert real.sampled() == model.sampled() != {}
    # The real server keeps only values that its releases ask for.
    expected = {place: count for place, count in model.values().items() if place[4] != "unasked"}
    assert real.values() == expected != {}
