from __future__ import annotations

import math
import random

import pytest
from tidegate.counts import StratumCounts
from tidegate_server.domain.policy import DAY, Policy
from tidegate_server.whatif.traffic_model import (
    Constant,
    DailyCycle,
    SimulationTime,
    TrafficModel,
    UserPopulation,
)

from tests.decisions.simulated_release import SEGMENT, policy, release

MINUTE = 60_000
RAMP = policy(50, 5, 25, 100, segments={1: (SEGMENT,)})


def windows(
    by: Policy, model: TrafficModel, stage: int, number: int, seed: int = 1
) -> list[tuple[StratumCounts, ...]]:
    users = UserPopulation(by, model, random.Random(seed))
    subject = release(by, stage=stage)
    return [
        users.draw_window(subject, SimulationTime(each * MINUTE, each, each - 1), MINUTE)
        for each in range(1, number + 1)
    ]


def operations(windows: list[tuple[StratumCounts, ...]], stratum: int) -> tuple[int, int]:
    counts = [each for window in windows for each in window if each.stratum == stratum]
    return (
        sum(each.control.outcomes for each in counts),
        sum(each.treatment.outcomes for each in counts),
    )


def test_strata_and_arms_get_their_shares_of_the_traffic() -> None:
    model = TrafficModel(Constant(1_000), Constant(0.01), segments={SEGMENT: 0.4})
    drawn = windows(RAMP, model, 2, 200)
    control, treated = operations(drawn, 1)
    others, opened = operations(drawn, 2)

    assert control + treated == pytest.approx(0.4 * 200_000, rel=0.02)
    assert treated / (control + treated) == pytest.approx(0.5, abs=0.03)
    assert others + opened == pytest.approx(0.6 * 200_000, rel=0.02)
    assert opened / (others + opened) == pytest.approx(0.05, abs=0.01)


def test_users_outside_the_open_segments_are_not_counted() -> None:
    model = TrafficModel(Constant(1_000), Constant(0.01), segments={SEGMENT: 0.1})
    [window, *_] = windows(RAMP, model, 1, 1)

    assert [each.stratum for each in window] == [1]
    assert window[0].control.outcomes + window[0].treatment.outcomes < 200


def test_the_treatment_fails_as_often_as_the_model_says() -> None:
    model = TrafficModel(Constant(10_000), Constant(0.02), Constant(3.0), users=10**6)
    drawn = windows(policy(50, 100), model, 1, 100)
    control = sum(each.control.errors for window in drawn for each in window)
    treated = sum(each.treatment.errors for window in drawn for each in window)

    assert control == pytest.approx(0.02 * 500_000, rel=0.05)
    assert treated == pytest.approx(0.06 * 500_000, rel=0.05)


def test_a_user_fails_for_the_first_time_once_in_each_epoch() -> None:
    model = TrafficModel(Constant(1_000), Constant(1.0), users=100)
    users = UserPopulation(policy(50, 100), model, random.Random(1))
    subject = release(policy(50, 100))

    def failing() -> int:
        window = users.draw_window(subject, SimulationTime(0, 1, 0), 10 * MINUTE)
        return sum(each.control.failing + each.treatment.failing for each in window)

    assert failing() == 100
    assert failing() == 0
    users.start_epoch()
    assert failing() == 100


def test_users_who_always_fail_cause_their_share_of_the_failures() -> None:
    plain = TrafficModel(Constant(2_000), Constant(0.01), users=10_000)
    clustered = TrafficModel(
        Constant(2_000),
        Constant(0.01),
        users=10_000,
        always_failing_users=40,
        always_failing_share=0.5,
    )

    def errors(model: TrafficModel) -> tuple[int, int]:
        drawn = windows(policy(50, 100), model, 1, 300)
        arms = [
            arm for window in drawn for each in window for arm in (each.control, each.treatment)
        ]
        return sum(arm.errors for arm in arms), sum(arm.failing for arm in arms)

    all_errors, _ = errors(plain)
    many_errors, users = errors(clustered)

    assert many_errors == pytest.approx(2 * all_errors, rel=0.1)
    assert users < 0.6 * many_errors


def test_unequally_active_users_make_the_same_traffic_and_fewer_of_them_fail() -> None:
    equal = TrafficModel(Constant(20_000), Constant(0.2), users=2_000)
    unequal = TrafficModel(Constant(20_000), Constant(0.2), users=2_000, activity=1.5)

    def failing(model: TrafficModel) -> tuple[int, int]:
        [window] = windows(policy(50, 100), model, 1, 1)
        arms = [arm for each in window for arm in (each.control, each.treatment)]
        return sum(arm.outcomes for arm in arms), sum(arm.failing for arm in arms)

    operations_equal, users_equal = failing(equal)
    operations_unequal, users_unequal = failing(unequal)

    assert operations_unequal == pytest.approx(operations_equal, rel=0.15)
    assert users_unequal < 0.9 * users_equal


def test_a_daily_cycle_swings_around_its_value() -> None:
    cycle = DailyCycle(100.0, 0.5)
    day = [cycle(SimulationTime(hour * DAY // 24, 1, 0)) for hour in range(24)]

    assert math.fsum(day) / 24 == pytest.approx(100.0)
    assert min(day) == pytest.approx(50.0)
    assert max(day) == pytest.approx(150.0)


def test_with_very_few_users_an_arm_can_be_empty() -> None:
    model = TrafficModel(Constant(100), Constant(0.01), users=5)
    sizes = {operations(windows(policy(1, 100), model, 1, 5, seed), 1)[1] for seed in range(20)}

    assert 0 in sizes
