"""Which users an instance names for the check of the split."""

from __future__ import annotations

from typing import Any

import mmh3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate import user_sample
from tidegate.user_sample import UserSamples

GROUP = ("rel_1", 1, 1)
OTHER = ("rel_1", 1, 2)
HALF = 1 << 31


def hash_of(number: int) -> int:
    return mmh3.hash(f"rel_1:user-{number}", 0, False)


def add(samples: UserSamples, number: int, group: tuple[str, int, int] = GROUP) -> None:
    arm: Any = "treatment" if hash_of(number) < HALF else "control"
    samples.add(samples.of_group(group), hash_of(number), arm)


def named(samples: UserSamples, group: tuple[str, int, int] = GROUP) -> set[int]:
    users = samples.unreported().get(group)
    return set() if users is None else {*users.control, *users.treatment}


def test_every_user_is_named_once_in_the_arm_of_the_hash() -> None:
    samples = UserSamples()
    for number in (1, 2, 3, 2, 1):
        add(samples, number)
    users = samples.unreported()[GROUP]
    assert users.bits == 0
    assert sorted(users.treatment) == sorted(x for x in map(hash_of, (1, 2, 3)) if x < HALF)
    assert sorted(users.control) == sorted(x for x in map(hash_of, (1, 2, 3)) if x >= HALF)


def test_a_user_is_named_until_a_report_is_acknowledged_and_never_again() -> None:
    samples = UserSamples()
    add(samples, 1)
    assert named(samples) == named(samples) == {hash_of(1)}
    sent = samples.unreported()
    add(samples, 2)
    samples.acknowledge(sent)
    assert named(samples) == {hash_of(2)}
    samples.acknowledge(samples.unreported())
    add(samples, 1)
    assert samples.unreported() == {}


def test_a_full_sample_takes_one_more_bit_in_both_arms() -> None:
    samples = UserSamples()
    for number in range(user_sample.MAX_GROUP_USERS - 1):
        add(samples, number)
    assert samples.unreported()[GROUP].bits == 0
    add(samples, user_sample.MAX_GROUP_USERS - 1)
    everyone = {hash_of(number) for number in range(user_sample.MAX_GROUP_USERS)}
    assert samples.unreported()[GROUP].bits == 1
    assert named(samples) == {user for user in everyone if user % 2 == 0}


def test_a_user_outside_of_the_sample_is_not_named() -> None:
    samples = UserSamples()
    for number in range(4_000):
        add(samples, number)
    bits = samples.unreported()[GROUP].bits
    assert 2 <= bits <= 4
    assert named(samples) == {user for user in map(hash_of, range(4_000)) if user % 2**bits == 0}


def test_the_sample_is_split_as_all_users_are() -> None:
    """The sample is chosen by other bits of the hash than the arm."""
    samples = UserSamples()
    for number in range(200_000):
        add(samples, number)
    users = samples.unreported()[GROUP]
    size = len(users.control) + len(users.treatment)
    # Binomial with probability 1/2: 4 standard deviations are exceeded once in 16,000 seeds.
    assert users.bits >= 7
    assert abs(len(users.treatment) - size / 2) < 4 * (size / 4) ** 0.5


def test_what_was_acknowledged_is_not_named_again_with_more_bits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(user_sample, "MAX_GROUP_USERS", 10)
    samples = UserSamples()
    for number in range(9):
        add(samples, number)
    samples.acknowledge(samples.unreported())
    add(samples, 9)
    assert named(samples) == ({hash_of(9)} if hash_of(9) % 2 == 0 else set())
    for number in range(10):
        add(samples, number)
    assert named(samples) <= {hash_of(9)}


def test_all_samples_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_sample, "MAX_USERS", 100)
    samples = UserSamples()
    for group in range(20):
        for number in range(50):
            add(samples, number, ("rel_1", 1, group))
    named_users = samples.unreported()
    assert sum(len(each.control) + len(each.treatment) for each in named_users.values()) <= 100
    assert all(each.bits > 0 for each in named_users.values())
    for group in range(20):
        samples.forget(("rel_1", 1, group))
    assert samples.unreported() == {}
    for number in range(90):
        add(samples, number)
    assert len(named(samples)) == 90  # what was forgotten takes no room


@settings(deadline=None)
@given(
    work=st.lists(
        st.one_of(
            st.tuples(st.just("user"), st.integers(0, 60)),
            st.tuples(st.sampled_from(["answered", "lost"]), st.just(0)),
        ),
        max_size=200,
    )
)
def test_whatever_is_lost_the_server_gets_every_user_of_the_sample(
    work: list[tuple[str, int]],
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(user_sample, "MAX_GROUP_USERS", 8)
        samples = UserSamples()
        received: set[int] = set()
        seen: set[int] = set()
        for kind, number in [*work, ("answered", 0)]:
            if kind == "user":
                add(samples, number)
                seen.add(hash_of(number))
            elif kind == "answered":
                sent = samples.unreported()
                for each in sent.values():
                    received |= {*each.control, *each.treatment}
                samples.acknowledge(sent)
        bits = samples._groups[GROUP].bits if seen else 0
        assert len(samples._groups[GROUP].users if seen else ()) < 8
        mask = 2**bits
        assert {user for user in received if user % mask == 0} == {
            user for user in seen if user % mask == 0
        }
