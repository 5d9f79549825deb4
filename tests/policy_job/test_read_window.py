from __future__ import annotations

from dataclasses import replace

import redis
from tidegate.counts import Counts
from tidegate_server.decisions.observations import Distribution, Window
from tidegate_server.decisions.progress import initial_progress
from tidegate_server.domain import release_state_machine as machine
from tidegate_server.domain.checks import Check, Metric
from tidegate_server.domain.evidence import GroupCounts, GroupValues, Histogram
from tidegate_server.domain.release_state_machine import Initiator
from tidegate_server.policy_job.instance_cache import InstanceCache, Presence, presence
from tidegate_server.policy_job.read_window import read_window
from tidegate_server.store import Store
from tidegate_server.store.instances import Instance
from tidegate_server.store.reports import Report, SampledUsers

from tests.policy_job.deployment import ENVIRONMENT, QUICK, Deployment


def read(deployment: Deployment) -> Window:
    release = deployment.release()
    window, _ = read_window(
        deployment.store,
        "shop",
        ENVIRONMENT,
        release,
        initial_progress(release),
        release.started_ms + 1,
    )
    return window


def test_a_window_has_both_arms_and_the_generation(deployment: Deployment) -> None:
    deployment.start()
    deployment.sdk.report(deployment.release(), (90, 3), (10, 1))
    window = read(deployment)

    assert (window.control.outcomes, window.control.failing) == (90, 3)
    assert (window.treatment.outcomes, window.treatment.failing) == (10, 1)
    assert window.strata[0].share == 0.1
    assert window.generation == 1


def test_a_window_has_the_number_of_instances_that_report(deployment: Deployment) -> None:
    deployment.start()
    assert read(deployment).live_instances == 0

    deployment.sdk.report(deployment.release(), (9, 0), (1, 0))
    window = read(deployment)
    assert (window.live_instances, window.lost_instances) == (1, 0)


def instance(id: str, seen_ms: int, *, live: bool, left: bool = False) -> Instance:
    return Instance(id, 1, seen_ms, 1.0, "", "", 1, live, left)


def test_a_silent_instance_is_lost_until_it_is_forgotten() -> None:
    seen = [
        instance("reports", 100_000, live=True),
        instance("crashed", 60_000, live=False),
        instance("said goodbye", 60_000, live=False, left=True),
        instance("long gone", 1_000, live=False),
    ]
    assert presence(seen, 100_000, 50_000) == Presence(live=1, lost=1)


def test_instances_are_read_at_most_once_a_second(deployment: Deployment) -> None:
    deployment.start()
    cache = InstanceCache(deployment.store)
    assert cache.instances("shop", ENVIRONMENT, 1_000) == []
    deployment.sdk.report(deployment.release(), (9, 0), (1, 0))
    assert cache.instances("shop", ENVIRONMENT, 1_999) == []
    assert len(cache.instances("shop", ENVIRONMENT, 2_000)) == 1


LATENCY = replace(QUICK, checks=(Check(metric=Metric.LATENCY),))


def values(
    deployment: Deployment,
    sequence: int,
    step: int,
    control: Histogram,
    treatment: Histogram,
    stratum: int = 1,
) -> None:
    group = GroupValues(step, stratum, "latency", control, treatment)
    report = Report("a" * 32, sequence, sequence > 1, 1, 1.0, values=(("rel_checkout", group),))
    deployment.store.evidence.add_report("shop", ENVIRONMENT, report)


def test_values_are_those_that_were_added_in_the_present_step(deployment: Deployment) -> None:
    deployment.start(LATENCY)
    release = deployment.release()
    progress = initial_progress(release)

    def next_window() -> Window:
        nonlocal progress
        window, totals = read_window(
            deployment.store, "shop", ENVIRONMENT, release, progress, release.started_ms + 1
        )
        progress = progress.with_readings(totals)
        return window

    values(deployment, 1, 1, ((3, 10), (5, 1)), ((3, 2),))
    assert next_window().distributions == (
        Distribution(1, "latency", ((3, 10), (5, 1)), ((3, 2),)),
    )
    values(deployment, 2, 1, ((3, 10), (5, 4)), ((3, 2), (-7, 1)))
    values(deployment, 2, 1, ((3, 99),), ((3, 99),))  # repeated: it changes nothing
    assert next_window().distributions == (Distribution(1, "latency", ((5, 3),), ((-7, 1),)),)
    assert next_window().distributions == ()


def test_values_of_an_earlier_step_are_deleted(
    deployment: Deployment, store: Store, raw: redis.Redis
) -> None:
    deployment.start(LATENCY)
    progress = initial_progress(deployment.release())
    values(deployment, 1, 1, ((3, 10),), ((3, 2),))
    for step in (2, 3):
        now = store.now_ms()
        deployment.move(
            machine.advance(deployment.release(), now, "on", by=Initiator.PERSON),
            "release.advance",
        )
        values(deployment, 2 * step, step, ((3, 99),), ((3, 99),), stratum=step)
        values(deployment, 2 * step + 1, 1, ((3, 50),), ((3, 50),))  # it comes too late
    window, totals = read_window(
        store, "shop", ENVIRONMENT, deployment.release(), progress, store.now_ms()
    )

    assert window.distributions == (Distribution(3, "latency", ((3, 99),), ((3, 99),)),)
    assert [each.step for each in totals.distributions] == [3]
    assert raw.keys("*:values:*") == [f"tg:{{shop}}:values:{ENVIRONMENT}:rel_checkout:3".encode()]


def test_values_that_no_check_of_the_policy_uses_are_not_kept(
    deployment: Deployment, raw: redis.Redis
) -> None:
    deployment.start()
    values(deployment, 1, 1, ((3, 10),), ((3, 2),))
    assert read(deployment).distributions == ()
    assert raw.keys("*:values:*") == []


def test_users_of_the_sample_count_once_in_each_stage_visit(
    deployment: Deployment, store: Store, raw: redis.Redis
) -> None:
    deployment.start()
    progress = initial_progress(deployment.release())
    many = Counts(100, 100)

    def next_window(sequence: int, step: int, control: tuple[int, ...]) -> Window:
        nonlocal progress
        report = Report(
            *("a" * 32, sequence, sequence > 1, 1, 1.0),
            counts=(("rel_checkout", GroupCounts(step, step, many, many)),),
            samples=(("rel_checkout", SampledUsers(step, step, 0, control, (1,))),),
        )
        store.evidence.add_report("shop", ENVIRONMENT, report)
        window, totals = read_window(
            store, "shop", ENVIRONMENT, deployment.release(), progress, store.now_ms()
        )
        progress = replace(progress.with_readings(totals), step=deployment.release().step)
        return window

    first, second = next_window(1, 1, (2, 3)), next_window(2, 1, (3, 4))
    assert (first.control.sampled, first.treatment.sampled) == (2, 1)
    assert (second.control.sampled, second.treatment.sampled) == (1, 0)

    now = store.now_ms()
    deployment.move(
        machine.advance(deployment.release(), now, "on", by=Initiator.PERSON), "release.advance"
    )
    third = next_window(3, 2, (2, 3, 4))
    assert (third.control.sampled, third.treatment.sampled) == (3, 1)
    assert raw.keys("*:samples:*") == [f"tg:{{shop}}:samples:{ENVIRONMENT}:rel_checkout:2".encode()]
