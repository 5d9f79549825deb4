"""Reports that wait at the same moment are added with one script, as if they had come alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeAlias

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate_server.domain.evidence import GroupValues, Source, Trips
from tidegate_server.errors import InstanceForgotten, Invalid, TidegateError
from tidegate_server.store import Store, keys
from tidegate_server.store.group_commit import GroupCommit
from tidegate_server.store.report_packing import weight_of
from tidegate_server.store.reports import FlagEvaluations, Report, Reported, SampledUsers

from tests.store.changes import PRODUCTION, SHOP
from tests.store.reporting import RELEASE, Instance, add_releases, failing, group, totals
from tests.store.test_evaluations import add_flag
from tests.store.test_report_totals import POLICY, quick, reports
from tests.waiting import until

__all__ = ["quick"]

Answer: TypeAlias = Reported | type[Exception]


def send_together(store: Store, sent: Sequence[Report]) -> list[Answer]:
    """Send reports so that all of them wait, in this order, when the script is called."""
    waiting: list[Future[Reported]] = []
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(len(sent)) as threads:

        def wait_for_all(adding: GroupCommit[Any, Any]) -> None:
            until(lambda: len(waiting) == len(sent))

        patch.setattr(GroupCommit, "_keep_apart", wait_for_all)
        place = (SHOP, PRODUCTION, Source.SERVER)
        for report in sent:
            future = threads.submit(store.evidence.add_report, SHOP, PRODUCTION, report)
            until(lambda: len(store.evidence._adding_to(place)._queue) == len(waiting) + 1)
            waiting.append(future)
    return [outcome(each) for each in waiting]


def outcome(sent: Future[Reported]) -> Answer:
    error = sent.exception()
    return sent.result() if error is None else type(error)  # type: ignore[return-value]


def scripts(raw: redis.Redis) -> int:
    stats: Any = raw.info("commandstats")
    return int(stats.get("cmdstat_evalsha", {}).get("calls", 0))


@pytest.fixture
def instances(store: Store) -> list[Instance]:
    """Five instances of an environment with one release, each of which has reported."""
    add_releases(store, RELEASE)
    made = [Instance(store, letter * 32) for letter in "abcde"]
    for each in made:
        each.send_next(group(totals(1), totals(1)))
    return made


def test_they_cost_one_script_and_add_up(
    store: Store, raw: redis.Redis, instances: list[Instance]
) -> None:
    before = scripts(raw)
    sent = [
        each.next(group(totals(10 * n), totals(5, 4, 3)), failing=(failing(n, 9),), version=n)
        for n, each in enumerate(instances, 1)
    ]
    assert send_together(store, sent) == [Reported(0)] * 5
    assert scripts(raw) - before == 1
    (reading,) = store.evidence.totals(SHOP, PRODUCTION, RELEASE).readings
    assert reading.control.exposures == 150
    assert (reading.treatment.exposures, reading.treatment.failing) == (25, 6)
    described = store.instances.all(SHOP, PRODUCTION)
    assert sorted((each.id[0], each.version) for each in described) == [
        *(("a", 1), ("b", 2), ("c", 3), ("d", 4), ("e", 5)),
    ]


def test_those_that_are_refused_change_nothing_of_the_others(
    store: Store, instances: list[Instance]
) -> None:
    sent = [each.next(group(totals(3), totals(2))) for each in instances]
    sent[1] = instances[1].next(group(totals(10**9), totals(2)))
    sent[2] = replace(sent[2], instance="f" * 32, continues=True)
    sent[3] = replace(sent[3], sequence=1)
    assert send_together(store, sent) == [
        *(Reported(0), Invalid, InstanceForgotten, Reported(0), Reported(0)),
    ]
    (reading,) = store.evidence.totals(SHOP, PRODUCTION, RELEASE).readings
    assert (reading.control.exposures, reading.treatment.exposures) == (9, 7)


def test_one_that_no_script_can_read_changes_nothing_of_the_others(
    store: Store, instances: list[Instance]
) -> None:
    sent = [each.next(group(totals(3), totals(2))) for each in instances]
    sent[2] = replace(sent[2], host="\ud800")
    answers = send_together(store, sent)
    assert answers.pop(2) is UnicodeEncodeError
    assert answers == [Reported(0)] * 4
    (reading,) = store.evidence.totals(SHOP, PRODUCTION, RELEASE).readings
    assert (reading.control.exposures, reading.treatment.exposures) == (13, 9)


@pytest.mark.parametrize(
    "parts",
    [
        {"counts": (group(totals(), totals()),)},
        {"failing": (failing(),)},
        {"samples": ((RELEASE, SampledUsers(1, 1, 0, (), ())),)},
        {"values": ((RELEASE, GroupValues(1, 1, "latency", (), ())),)},
        {"trips": ((RELEASE, Trips(1, 1)),)},
        {"evaluations": (FlagEvaluations("checkout", ()),)},
    ],
    ids=lambda parts: next(iter(parts)),
)
def test_every_entry_weighs_something_so_that_no_script_has_too_many(parts: dict[str, Any]) -> None:
    report = Report("a" * 32, 1, False, 1, 1.0)
    many = replace(report, **{name: 1_000 * part for name, part in parts.items()})
    assert weight_of(many) - weight_of(report) >= 1_000


def test_an_instance_that_stops_reporting_very_many_totals_still_expires(
    store: Store, raw: redis.Redis
) -> None:
    add_releases(store, RELEASE, policy=POLICY)
    histogram = tuple((bucket, 1) for bucket in range(300))
    values = tuple(
        (RELEASE, GroupValues(2, stratum, "latency", histogram, histogram)) for stratum in (1, 2)
    )
    instance = Instance(store)
    instance.send_next(values=values, evaluations=(FlagEvaluations("checkout", (("on", 1),)),))
    key = keys.instance(SHOP, PRODUCTION, instance.id)
    assert raw.hlen(key) > 1_000
    instance.send_next(values=(), evaluations=())
    assert raw.hlen(key) < 100
    assert raw.ttl(key) > 0


def test_a_report_that_comes_twice_at_once_counts_once(
    store: Store, instances: list[Instance]
) -> None:
    first = instances[0].next(group(totals(4), totals(4)))
    second = instances[0].next(group(totals(6), totals(5)))
    assert send_together(store, [first, first, second, first]) == [Reported(0)] * 4
    (reading,) = store.evidence.totals(SHOP, PRODUCTION, RELEASE).readings
    assert (reading.control.exposures, reading.treatment.exposures) == (10, 9)


def test_a_release_that_changes_meanwhile_delays_only_the_reports_on_it(
    store: Store, raw: redis.Redis, instances: list[Instance]
) -> None:
    add_releases(store, "rel_2")
    instances[0].send_next(
        group(totals(1), totals(1)), group(totals(1), totals(1), release="rel_2")
    )
    another = Store.connect(store.url)
    add_releases(another, "rel_2", step=3)
    another.close()
    sent = [
        instances[0].next(
            group(totals(5), totals(1)), group(totals(7), totals(1), release="rel_2")
        ),
        *(each.next(group(totals(2), totals(1))) for each in instances[1:]),
    ]
    before = scripts(raw)
    assert send_together(store, sent) == [Reported(0)] * 5
    assert scripts(raw) - before == 2
    (reading,) = store.evidence.totals(SHOP, PRODUCTION, RELEASE).readings
    assert reading.control.exposures == 13
    (other,) = store.evidence.totals(SHOP, PRODUCTION, "rel_2").readings
    assert other.control.exposures == 7


evaluations = st.lists(
    st.builds(
        FlagEvaluations,
        st.sampled_from(["checkout", "gone"]),
        st.lists(
            st.tuples(st.sampled_from(["on", "off"]), st.integers(0, 9)),
            max_size=2,
            unique_by=lambda each: each[0],
        ).map(tuple),
        st.integers(0, 9),
        st.booleans(),
    ),
    max_size=2,
    unique_by=lambda each: each.flag,
).map(tuple)


def test_any_of_them_do_what_they_do_one_after_the_other(store: Store, quick: redis.Redis) -> None:
    one_or_many(store, quick)


@settings(max_examples=60)
@given(
    sent=st.lists(
        st.builds(
            lambda report, evaluations, **changes: replace(
                report, evaluations=evaluations, **changes
            ),
            reports,
            evaluations,
            instance=st.sampled_from([letter * 32 for letter in "abc"]),
            version=st.integers(0, 3),
            application=st.sampled_from(["", "shop"]),
        ),
        min_size=2,
        max_size=6,
    )
)
def one_or_many(store: Store, raw: redis.Redis, sent: list[Report]) -> None:
    """Compare what is stored after reports that came alone and together."""
    found = []
    for together in (False, True):
        raw.flushall()
        add_flag(store)
        add_releases(store, RELEASE, policy=POLICY)
        store.evidence._latest_releases.clear()
        send = send_together if together else one_after_the_other
        found.append((send(store, sent), content(store, raw)))
    assert found[0] == found[1]


def one_after_the_other(store: Store, sent: Sequence[Report]) -> list[Answer]:
    answers: list[Answer] = []
    for report in sent:
        try:
            answers.append(store.evidence.add_report(SHOP, PRODUCTION, report))
        except TidegateError as error:
            answers.append(type(error))
    return answers


TIMES = {b"seen", b"started", b"minute"}


def content(store: Store, raw: redis.Redis) -> dict[str, Any]:
    """Return what is stored of reports, without times."""
    names: Any = raw.keys()
    kept: dict[bytes, Any] = {}
    series: Counter[bytes] = Counter()
    for name in names:
        what = keys.parts_of(SHOP, name.decode())[0]
        fields: Any = raw.hgetall(name) if raw.type(name) == b"hash" else {}
        if what in ("evidence", "values", "samples", "instance-sizes", "instance-evaluations"):
            kept[name] = fields
        elif what in ("instance", "intake"):
            kept[name] = {each: fields[each] for each in fields if each not in TIMES}
        elif what in ("askers", "evaluated", "unknown-askers"):
            kept[name] = sorted(fields)
        elif what == "failing":
            kept[name] = raw.smembers(name)
        elif what == "evaluations":  # a step of time may end meanwhile
            series.update({each: int(fields[each]) for each in fields if b"~" not in each})
    described = store.instances.all(SHOP, PRODUCTION)
    ids = sorted((each.id, each.version, each.application) for each in described)
    return {"kept": kept, "series": series, "instances": ids}
