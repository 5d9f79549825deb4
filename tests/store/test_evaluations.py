"""Counts of evaluations in a real store: exact under loss and repetition, and bounded."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from itertools import accumulate
from typing import Any, cast

import pytest
import redis
from tidegate_server.domain.change import Put
from tidegate_server.domain.evidence import Source
from tidegate_server.domain.project_documents import flag_address
from tidegate_server.store import Store, keys
from tidegate_server.store.evaluations import (
    DEFAULT,
    RATE_MINUTES,
    SHARE_HOURS,
    STEPS,
    Asked,
    AskedFlag,
    Evaluated,
)
from tidegate_server.store.report_limits import LIMITS
from tidegate_server.store.reports import FlagEvaluations

from tests.domain.builders import checkout
from tests.store.changes import PRODUCTION, SHOP, change
from tests.store.reporting import Instance

CHECKOUT = AskedFlag("checkout", ("on", "off"))


def add_flag(store: Store, key: str = "checkout") -> None:
    store.commit(change(Put(flag_address(key), checkout(key=key), 0)), durable=False)


@pytest.fixture
def instance(store: Store) -> Instance:
    add_flag(store)
    return Instance(store)


def asked(key: str = "checkout", defaults: int = 0, estimated: bool = False, **on: int) -> Any:
    return FlagEvaluations(key, tuple(on.items()), defaults, estimated)


def send(instance: Instance, *flags: FlagEvaluations, application: str = "shop") -> None:
    instance.send_next(evaluations=flags, application=application)


def read(store: Store, key: AskedFlag = CHECKOUT) -> Evaluated:
    (found,) = store.evaluations.evaluated(SHOP, PRODUCTION, [key], store.now_ms())
    return found


def counted(store: Store, key: AskedFlag = CHECKOUT) -> dict[str, int]:
    return {name: each.count for name, each in read(store, key).by_variant.items()}


def test_totals_add_their_growth(store: Store, instance: Instance) -> None:
    send(instance, asked(on=5, off=1))
    send(instance, asked(on=7, off=1, defaults=2))
    assert counted(store) == {"on": 7, "off": 1, DEFAULT: 2}
    other = Instance(store, "b" * 32)
    send(other, asked(on=3))
    assert counted(store) == {"on": 10, "off": 1, DEFAULT: 2}


def test_a_flag_that_is_left_out_keeps_its_total(store: Store, instance: Instance) -> None:
    send(instance, asked(on=5))
    send(instance)
    send(instance, asked(on=6))
    assert counted(store) == {"on": 6}


def test_a_repeated_or_late_report_adds_nothing(store: Store, instance: Instance) -> None:
    first = instance.next(evaluations=(asked(on=5),))
    second = instance.next(evaluations=(asked(on=9),))
    for report in (second, first, second):
        instance.send(report)
    assert counted(store) == {"on": 9}


@pytest.mark.parametrize("seed", range(8))
def test_any_loss_and_repetition_of_reports_ends_with_the_same_counts(
    store: Store, instance: Instance, seed: int
) -> None:
    chance = random.Random(seed)
    totals = list(accumulate(chance.randrange(50) for _ in range(10)))
    reports = [instance.next(evaluations=(asked(on=total),)) for total in totals]
    for _ in range(20):
        instance.send(chance.choice(reports))
    instance.send(reports[-1])
    assert counted(store) == {"on": totals[-1]}


def test_what_was_never_served_is_not_counted_hour_by_hour(
    store: Store, instance: Instance, raw: redis.Redis
) -> None:
    def reads() -> int:
        stats = cast(dict[str, dict[str, int]], raw.info("commandstats"))
        return stats.get("cmdstat_hmget", {}).get("calls", 0)

    before = reads()
    assert read(store) == Evaluated()
    assert reads() - before == 3
    send(instance, asked(on=5))
    before = reads()
    assert counted(store) == {"on": 5}
    assert reads() - before == 3 + RATE_MINUTES + SHARE_HOURS


def test_what_is_estimated_says_so(store: Store, instance: Instance) -> None:
    send(instance, asked(on=5))
    assert read(store).estimated is False
    send(instance, asked(on=500, estimated=True))
    assert read(store).estimated is True


def test_a_flag_that_does_not_exist_is_remembered_by_name_only(
    store: Store, instance: Instance, raw: redis.Redis
) -> None:
    send(instance, asked("no-such", defaults=4))
    [found] = store.evaluations.unknown(SHOP, PRODUCTION)
    assert (found.key, found.application) == ("no-such", "shop")
    assert counted(store, AskedFlag("no-such", ())) == {}


def test_the_latest_unknown_flags_are_kept(
    store: Store, instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store.evidence, "_limits", replace(LIMITS, unknown=3))
    for number in range(5):
        send(instance, *(asked(f"gone-{each}", defaults=1) for each in range(number + 1)))
    assert len(store.evaluations.unknown(SHOP, PRODUCTION)) == 3


def test_who_asked_is_remembered(store: Store, instance: Instance) -> None:
    send(instance, asked(on=1))
    other = Instance(store, "b" * 32)
    other.send_next(evaluations=(asked(on=1),), application="jobs", host="batch-2")
    askers = store.evaluations.askers(SHOP, PRODUCTION, "checkout")
    assert sorted((each.application, each.host) for each in askers) == [
        ("jobs", "batch-2"),
        ("shop", "web-1"),
    ]
    assert store.evaluations.askers(SHOP, PRODUCTION, "check") == []


@pytest.mark.parametrize("limit", ["evaluated", "series", "askers"])
def test_what_reports_occupy_is_bounded(
    store: Store, instance: Instance, monkeypatch: pytest.MonkeyPatch, raw: redis.Redis, limit: str
) -> None:
    monkeypatch.setattr(store.evidence, "_limits", replace(LIMITS, **{limit: 5}))
    for number in range(12):
        variants = tuple((f"v{each}", 1) for each in range(number + 1))
        send(instance, FlagEvaluations("checkout", variants), application=f"app-{number}")
    hashes = {
        "evaluated": keys.instance_evaluations(SHOP, PRODUCTION, instance.id),
        "series": keys.evaluations_at(
            SHOP, PRODUCTION, "day", store.now_ms() // 1000 // STEPS["day"].seconds
        ),
        "askers": keys.askers(SHOP, PRODUCTION),
    }
    assert raw.hlen(hashes[limit]) == 5


def test_every_count_expires(store: Store, instance: Instance, raw: redis.Redis) -> None:
    send(instance, asked(on=1))
    names = [
        name.decode()
        for name in raw.scan_iter()
        if b":evaluations:" in name or b":instance-evaluations:" in name
    ]
    assert len(names) == len(STEPS) + 1
    assert all(0 < int(raw.ttl(name)) <= 100 * 86_400 for name in names)


def test_a_commit_writes_no_counts(store: Store, raw: redis.Redis) -> None:
    add_flag(store)
    assert not [name for name in raw.scan_iter() if b"evaluat" in name or b"askers" in name]


def test_a_forgotten_instance_takes_its_totals_along(
    store: Store, instance: Instance, monkeypatch: pytest.MonkeyPatch, raw: redis.Redis
) -> None:
    monkeypatch.setattr(store.evidence, "_limits", replace(LIMITS, instances=1))
    send(instance, asked(on=5))
    send(Instance(store, "b" * 32), asked(on=1))
    assert not raw.exists(keys.instance_evaluations(SHOP, PRODUCTION, instance.id))
    assert raw.exists(keys.instance_evaluations(SHOP, PRODUCTION, "b" * 32))
    assert counted(store) == {"on": 6}


def test_the_series_adds_up_in_each_step(store: Store, instance: Instance) -> None:
    send(instance, asked(on=5, off=2))
    for name, step in STEPS.items():
        last = store.now_ms() // 1000 // step.seconds
        points = store.evaluations.series(SHOP, PRODUCTION, CHECKOUT, name, [last - 1, last])
        total: Counter[str] = Counter()
        for point in points:
            total.update(point.by_variant)
        assert total == {"on": 5, "off": 2}


def test_a_flag_that_was_deleted_leaves_nothing_behind(store: Store, instance: Instance) -> None:
    add_flag(store, "checkout-2")
    send(instance, asked(on=5), asked("checkout-2", on=1))
    store.evaluations.forget(SHOP, [PRODUCTION], "checkout")
    assert read(store) == Evaluated()
    assert store.evaluations.askers(SHOP, PRODUCTION, "checkout") == []
    other = AskedFlag("checkout-2", ("on",))
    assert counted(store, other) == {"on": 1}


def test_all_flags_at_once_are_known_to_be_asked_for_together(store: Store) -> None:
    now_ms = store.now_ms()
    store.evaluations.note_bulk(SHOP, PRODUCTION, Source.CLIENT, now_ms)
    public = AskedFlag("banner", ("on",), client_side=True)
    found = store.evaluations.asked(SHOP, [PRODUCTION], [CHECKOUT, public])[PRODUCTION]
    assert found == Asked(now_ms, {}, {"banner": now_ms})
    assert (found.last_ms("banner"), found.last_ms("checkout")) == (now_ms, None)
