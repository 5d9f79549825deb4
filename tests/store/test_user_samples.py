"""The samples of users that reports name, from which the split of the arms is checked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate.counts import Counts
from tidegate_server.domain.change import EvidenceGeneration
from tidegate_server.domain.evidence import GroupCounts, Source
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.release import State
from tidegate_server.errors import TidegateError
from tidegate_server.store import Store
from tidegate_server.store.report_limits import LIMITS, SAMPLES_SECONDS
from tidegate_server.store.reports import ReleaseId, SampledUsers

from tests.store.changes import PRODUCTION, SHOP, change, everything
from tests.store.reporting import RELEASE, Instance, add_releases, group, totals

Entry = tuple[ReleaseId, SampledUsers]


@pytest.fixture
def instance(store: Store) -> Instance:
    """An instance of an environment with one release, at step 2 with the strata 1 and 2."""
    add_releases(store, RELEASE)
    return Instance(store)


@pytest.fixture
def quick(raw: redis.Redis) -> Iterator[redis.Redis]:
    """The server, which does not wait for its disk in this test."""
    raw.config_set("appendfsync", "no")
    yield raw
    raw.config_set("appendfsync", "always")


def sample(
    control: tuple[int, ...] = (),
    treatment: tuple[int, ...] = (),
    bits: int = 0,
    step: int = 2,
    stratum: int = 1,
) -> Entry:
    return RELEASE, SampledUsers(step, stratum, bits, control, treatment)


def report(instance: Instance, *samples: Entry, step: int = 2, **more: Any) -> None:
    """Send users of samples, with enough outcomes for them."""
    many = totals(10**6, 10**6)
    groups = (group(many, many, step=step), group(many, many, step=step, stratum=2))
    instance.send_next(*groups, samples=samples, **more)


def counted(store: Store, stratum: int = 1, source: Source = Source.SERVER) -> tuple[int, int]:
    """How many users of the sample were counted in control and treatment."""
    totals = store.evidence.totals(SHOP, PRODUCTION, RELEASE)
    if source is Source.CLIENT:
        assert totals.client is not None
        totals = totals.client
    for reading in totals.readings:
        if (reading.step, reading.stratum) == (2, stratum):
            return reading.control.sampled, reading.treatment.sampled
    return 0, 0


def stored(raw: redis.Redis, stratum: int = 1) -> tuple[int, set[int]]:
    """The bits of a stratum's sample, and its users."""
    fields: Any = raw.hgetall(f"tg:{{{SHOP}}}:samples:{PRODUCTION}:{RELEASE}:2")
    prefix = f"{stratum}|".encode()
    mine = {
        name.removeprefix(prefix): value
        for name, value in fields.items()
        if name.startswith(prefix)
    }
    bits = int(mine.pop(b"bits", 0))
    size = int(mine.pop(b"size", 0))
    assert size == len(mine)
    return bits, set(map(int, mine))


def limit(monkeypatch: pytest.MonkeyPatch, store: Store, sampled: int) -> None:
    monkeypatch.setattr(store.evidence, "_limits", replace(LIMITS, sampled=sampled))


def test_a_user_counts_once_whoever_reports_it(store: Store, instance: Instance) -> None:
    report(instance, sample((1, 2), (3,)))
    report(instance, sample((2,), (3, 4)))
    report(Instance(store, "b" * 32), sample((1, 5), (4, 3)))
    assert counted(store) == (3, 2)


def test_a_user_counts_in_the_arm_of_its_first_report(store: Store, instance: Instance) -> None:
    report(instance, sample((1,)))
    report(Instance(store, "b" * 32), sample((), (1, 2)))
    assert counted(store) == (1, 1)


def test_strata_are_sampled_apart(store: Store, raw: redis.Redis, instance: Instance) -> None:
    report(instance, sample((2, 4), (6,), bits=1), sample((7,), (9, 11), stratum=2))
    assert (counted(store), counted(store, 2)) == ((2, 1), (1, 2))
    assert (stored(raw), stored(raw, 2)) == ((1, {2, 4, 6}), (0, {7, 9, 11}))


def test_servers_and_clients_are_sampled_apart(store: Store, instance: Instance) -> None:
    report(instance, sample((1,), (2,)))
    report(instance, sample((1, 3), (2,)), source=Source.CLIENT)
    assert counted(store) == (1, 1)
    assert counted(store, source=Source.CLIENT) == (2, 1)


def test_the_largest_number_of_bits_holds_for_all_reports(
    store: Store, raw: redis.Redis, instance: Instance
) -> None:
    report(instance, sample((1, 2, 4), (8, 9)))
    report(instance, sample((16,), (), bits=2))
    assert stored(raw) == (2, {4, 8, 16})
    report(Instance(store, "b" * 32), sample((3, 5), (10, 12)))
    assert stored(raw) == (2, {4, 8, 12, 16})
    # What was counted stays counted.
    assert counted(store) == (4, 3)


def test_a_full_sample_takes_one_more_bit_after_both_arms_are_counted(
    store: Store, raw: redis.Redis, instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(monkeypatch, store, 6)
    report(instance, sample((1, 2, 3), (4, 5, 6, 7)))
    assert counted(store) == (3, 4)
    assert stored(raw) == (1, {2, 4, 6})


def test_one_report_may_take_many_bits(
    store: Store, raw: redis.Redis, instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(monkeypatch, store, 4)
    report(instance, sample(tuple(range(0, 1024, 32)), (1024, 1)))
    bits, users = stored(raw)
    assert len(users) < 4
    assert users == {user for user in range(0, 1025, 32) if user % 2**bits == 0}


def test_no_sample_grows_beyond_its_limit(
    store: Store, raw: redis.Redis, instance: Instance
) -> None:
    for number in range(4):
        first = number * 5_000
        report(instance, sample(tuple(range(first, first + 5_000))))
    bits, users = stored(raw)
    assert len(users) < LIMITS.sampled
    assert users == {user for user in range(20_000) if user % 2**bits == 0}


def test_users_of_an_earlier_step_and_of_strata_with_one_arm_are_ignored(
    store: Store, raw: redis.Redis, instance: Instance
) -> None:
    many = totals(9, 9)
    answer = instance.send_next(
        group(many, many),
        group(many, many, step=2),
        samples=(sample((1,), step=1), sample((1,), stratum=3), sample((2,)), sample((3,), step=3)),
    )
    assert answer.ignored == 3
    assert stored(raw) == (0, {2})
    add_releases(store, RELEASE, stage=3)  # everyone gets the treatment
    answer = instance.send_next(
        group(many, many, step=2, stratum=3), samples=(sample((), (5,), stratum=3),)
    )
    assert answer.ignored == 1


def test_there_are_never_more_users_than_outcomes(store: Store, instance: Instance) -> None:
    instance.send_next(
        group(totals(3, 2), totals(1, 0), step=2), samples=(sample((1, 2, 3), (4, 5)),)
    )
    assert counted(store) == (2, 0)


@pytest.mark.parametrize(
    "wrong",
    [
        sample((2, 3), bits=1),
        sample((), (8, 12), bits=3),
        sample((2**32,)),
        sample((-1,)),
        sample((2,), bits=-1),
        sample((0,), bits=21),
        sample((0,), bits=2**53),
        sample((1.5,)),  # type: ignore[arg-type]
        sample(("2",)),  # type: ignore[arg-type]
    ],
)
def test_a_sample_that_cannot_be_makes_the_whole_report_fail(
    store: Store, raw: redis.Redis, instance: Instance, wrong: Entry
) -> None:
    report(instance, sample((4,), (8,), bits=2))
    before = everything(raw)
    with pytest.raises(TidegateError):
        report(instance, sample((6,), stratum=2), wrong)
    assert everything(raw) == before


def test_a_repeated_or_late_report_changes_nothing(
    store: Store, raw: redis.Redis, instance: Instance
) -> None:
    report(instance, sample((1,), (2,)))
    first = instance.last
    report(instance, sample((3,), (4,)))
    before = everything(raw)
    instance.send(instance.last)
    instance.send(first)
    assert everything(raw) == before


def test_a_new_epoch_keeps_the_sample(store: Store, instance: Instance) -> None:
    report(instance, sample((1,), (2,)))
    fresh = EvidenceGeneration(PRODUCTION, RELEASE, 2)
    store.commit(change(generations=(fresh,)), durable=False)
    report(instance, sample((1, 3), (2,)))
    assert counted(store) == (2, 1)


def test_a_sample_goes_when_the_release_leaves_the_step(
    store: Store, raw: redis.Redis, instance: Instance
) -> None:
    report(instance, sample((1,), (2,)))
    report(instance, sample((1,), (2,)), source=Source.CLIENT)
    (server, client) = sorted(raw.keys("*samples*"))
    assert 0 < int(raw.ttl(server)) <= SAMPLES_SECONDS
    assert 0 < int(raw.ttl(client)) <= SAMPLES_SECONDS
    store.evidence.forget_steps(SHOP, PRODUCTION, RELEASE, [1])
    assert len(raw.keys("*samples*")) == 2
    store.evidence.forget_steps(SHOP, PRODUCTION, RELEASE, [2])
    assert raw.keys("*samples*") == []
    assert counted(store) == (1, 1)


def test_a_sample_goes_with_the_release(store: Store, raw: redis.Redis, instance: Instance) -> None:
    report(instance, sample((1,), (2,)))
    add_releases(store, RELEASE, state=State.COMPLETED)
    report(instance, sample((3,), (4,)))
    assert stored(raw) == (0, {1, 2})
    released = store.all(SHOP, Kind.RELEASE, PRODUCTION)[RELEASE].document
    store.evidence.forget_releases(SHOP, PRODUCTION, [released])
    assert raw.keys("*samples*") == []


def test_counts_of_a_step_that_is_over_are_deleted_with_the_sampled_users(
    store: Store, raw: redis.Redis, instance: Instance
) -> None:
    report(instance, sample((1,), (2,)))
    readings = store.evidence.totals(SHOP, PRODUCTION, RELEASE).readings
    store.evidence.forget_groups(SHOP, PRODUCTION, RELEASE, readings)
    assert store.evidence.totals(SHOP, PRODUCTION, RELEASE).readings == ()


def test_an_instance_says_whether_it_names_users_of_samples(
    store: Store, instance: Instance
) -> None:
    instance.send_next()
    Instance(store, "b" * 32).send_next(has_samples=False)
    found = {each.id[0]: each.has_samples for each in store.instances.all(SHOP, PRODUCTION)}
    assert found == {"a": True, "b": False}


@st.composite
def samples(draw: st.DrawFn) -> SampledUsers:
    bits = draw(st.integers(0, 3))
    users = draw(st.lists(st.integers(0, 40), max_size=12, unique=True))
    users = [user << bits for user in users]
    half = draw(st.integers(0, len(users)))
    return SampledUsers(2, 1, bits, tuple(users[:half]), tuple(users[half:]))


def test_any_order_of_reports_gives_the_same_sample(store: Store, quick: redis.Redis) -> None:
    orders_and_repetitions(store, quick)


@settings(max_examples=100, deadline=None)
@given(
    sent=st.lists(samples(), min_size=1, max_size=6),
    data=st.data(),
    most=st.sampled_from([4, 10, 4_096]),
)
def orders_and_repetitions(
    store: Store, raw: redis.Redis, sent: list[SampledUsers], data: st.DataObject, most: int
) -> None:
    """Each report is of another instance; let them arrive in two orders, some of them twice."""
    found = []
    repeated = data.draw(st.lists(st.sampled_from(sent), max_size=4))
    many = Counts(10**6, 10**6)
    for order in (sent, data.draw(st.permutations([*sent, *repeated]))):
        raw.flushall()
        add_releases(store, RELEASE)
        with pytest.MonkeyPatch.context() as patch:
            limit(patch, store, most)
            for number, users in enumerate(order):
                Instance(store, f"{number:032x}").send_next(
                    (RELEASE, GroupCounts(2, 1, many, many)), samples=((RELEASE, users),)
                )
        found.append(stored(raw))
    bits, union = found[0]
    everyone = {user for each in sent for user in (*each.control, *each.treatment)}
    assert found[0] == found[1]
    assert bits >= max(each.bits for each in sent)
    assert union == {user for user in everyone if user % 2**bits == 0}
    assert len(union) < most
