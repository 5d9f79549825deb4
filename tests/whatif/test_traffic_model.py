from __future__ import annotations

import math
import random

import pytest
from tidegate.counts import StratumCounts
from tidegate_server.domain.policy import DAY, Policy
from tidegate_server.whatif.traffic_model import Always, Audience, DayAndNight, Moment, World

from tests.decisions.ramp import SEGMENT, policy, release

MINUTE = 60_000
RAMP = policy(50, 5, 25, 100, segments={1: (SEGMENT,)})


def windows(
    by: Policy, world: World, stage: int, number: int, seed: int = 1
) -> list[tuple[StratumCounts, ...]]:
    audience = Audience(by, world, random.Random(seed))
    subject = release(by, stage=stage)
    return [
        audience.window(subject, Moment(each * MINUTE, each, each - 1), MINUTE)
        for each in range(1, number + 1)
    ]


def operations(windows: list[tuple[StratumCounts, ...]], stratum: int) -> tuple[int, int]:
    found = [each for window in windows for each in window if each.stratum == stratum]
    return (
        sum(each.control.outcomes for each in found),
        sum(each.treatment.outcomes for each in found),
    )


def test_strata_and_arms_get_their_shares_of_the_traffic() -> None:
    world = World(Always(1_000), Always(0.01), segments={SEGMENT: 0.4})
    seen = windows(RAMP, world, 2, 200)
    control, treated = operations(seen, 1)
    others, opened = operations(seen, 2)

    assert control + treated == pytest.approx(0.4 * 200_000, rel=0.02)
    assert treated / (control + treated) == pytest.approx(0.5, abs=0.03)
    assert others + opened == pytest.approx(0.6 * 200_000, rel=0.02)
    assert opened / (others + opened) == pytest.approx(0.05, abs=0.01)


def test_who_is_in_no_open_segment_is_not_counted() -> None:
    world = World(Always(1_000), Always(0.01), segments={SEGMENT: 0.1})
    [window, *_] = windows(RAMP, world, 1, 1)

    assert [each.stratum for each in window] == [1]
    assert window[0].control.outcomes + window[0].treatment.outcomes < 200


def test_the_treatment_fails_as_many_times_as_the_world_says() -> None:
    world = World(Always(10_000), Always(0.02), Always(3.0), users=10**6)
    seen = windows(policy(50, 100), world, 1, 100)
    control = sum(each.control.errors for window in seen for each in window)
    treated = sum(each.treatment.errors for window in seen for each in window)

    assert control == pytest.approx(0.02 * 500_000, rel=0.05)
    assert treated == pytest.approx(0.06 * 500_000, rel=0.05)


def test_users_fail_for_the_first_time_once_and_again_when_they_are_forgotten() -> None:
    world = World(Always(1_000), Always(1.0), users=100)
    audience = Audience(policy(50, 100), world, random.Random(1))
    subject = release(policy(50, 100))

    def failing() -> int:
        window = audience.window(subject, Moment(0, 1, 0), 10 * MINUTE)
        return sum(each.control.failing + each.treatment.failing for each in window)

    assert failing() == 100
    assert failing() == 0
    audience.forget()
    assert failing() == 100


def test_people_who_always_fail_are_few_and_cause_their_share_of_the_failures() -> None:
    plain = World(Always(2_000), Always(0.01), users=10_000)
    clustered = World(Always(2_000), Always(0.01), users=10_000, chronic=40, chronic_share=0.5)

    def errors(world: World) -> tuple[int, int]:
        seen = windows(policy(50, 100), world, 1, 300)
        arms = [arm for window in seen for each in window for arm in (each.control, each.treatment)]
        return sum(arm.errors for arm in arms), sum(arm.failing for arm in arms)

    all_errors, _ = errors(plain)
    many_errors, users = errors(clustered)

    assert many_errors == pytest.approx(2 * all_errors, rel=0.1)
    assert users < 0.6 * many_errors


def test_unequal_people_make_the_same_traffic_and_fewer_of_them_fail() -> None:
    alike = World(Always(20_000), Always(0.2), users=2_000)
    unequal = World(Always(20_000), Always(0.2), users=2_000, activity=1.5)

    def failing(world: World) -> tuple[int, int]:
        [window] = windows(policy(50, 100), world, 1, 1)
        arms = [arm for each in window for arm in (each.control, each.treatment)]
        return sum(arm.outcomes for arm in arms), sum(arm.failing for arm in arms)

    operations_alike, users_alike = failing(alike)
    operations_unequal, users_unequal = failing(unequal)

    assert operations_unequal == pytest.approx(operations_alike, rel=0.15)
    assert users_unequal < 0.9 * users_alike


def test_day_and_night_swing_around_the_value() -> None:
    course = DayAndNight(100.0, 0.5)
    day = [course(Moment(hour * DAY // 24, 1, 0)) for hour in range(24)]

    assert math.fsum(day) / 24 == pytest.approx(100.0)
    assert min(day) == pytest.approx(50.0)
    assert max(day) == pytest.approx(150.0)


def test_very_few_users_may_leave_an_arm_empty() -> None:
    world = World(Always(100), Always(0.01), users=5)
    sizes = {operations(windows(policy(1, 100), world, 1, 5, seed), 1)[1] for seed in range(20)}

    assert 0 in sizes
