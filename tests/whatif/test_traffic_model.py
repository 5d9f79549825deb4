from __future__ import annotations

import math
import random
import statistics
from dataclasses import replace

import pytest
from tidegate.counts import StratumCounts
from tidegate_server.domain.policy import DAY, Policy
from tidegate_server.whatif.error_rates import ErrorRates, RateSequence
from tidegate_server.whatif.sampling import distinct_users
from tidegate_server.whatif.traffic_model import (
    Constant,
    DailyCycle,
    Outages,
    SimulationTime,
    TrafficModel,
    Wobble,
)
from tidegate_server.whatif.user_activity import EQUAL, Activity, log_normal, zipf
from tidegate_server.whatif.user_population import SAMPLE_LIMIT, UserPopulation

from tests.decisions.simulated_release import SEGMENT, policy, release

MINUTE = 60_000
RAMP = policy(50, 5, 25, 100, segments={1: (SEGMENT,)})


def windows(
    by: Policy, model: TrafficModel, stage: int, number: int, seed: int = 1
) -> list[tuple[StratumCounts, ...]]:
    users = UserPopulation(by, model, random.Random(seed))
    subject = release(by, stage=stage)
    times = [SimulationTime(each * MINUTE, each, each - 1) for each in range(1, number + 1)]
    rates = RateSequence(model, random.Random(seed))
    return [
        users.draw_window(subject, model.traffic(time), rates.draw(time, MINUTE)) for time in times
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
        window = users.draw_window(subject, 10_000, ErrorRates(1.0, 1.0, 0.0))
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
    unequal = TrafficModel(Constant(20_000), Constant(0.2), users=2_000, activity=log_normal(1.5))

    def failing(model: TrafficModel) -> tuple[int, int]:
        [window] = windows(policy(50, 100), model, 1, 1)
        arms = [arm for each in window for arm in (each.control, each.treatment)]
        return sum(arm.outcomes for arm in arms), sum(arm.failing for arm in arms)

    operations_equal, users_equal = failing(equal)
    operations_unequal, users_unequal = failing(unequal)

    assert operations_unequal == pytest.approx(operations_equal, rel=0.15)
    assert users_unequal < 0.9 * users_equal


@pytest.mark.parametrize("activity", [EQUAL, log_normal(1.0), zipf(0.7), zipf(1.0), zipf(1.3)])
@pytest.mark.parametrize("users", [1, 7, 200, 100_000])
def test_classes_of_activity_have_all_users_and_all_operations(
    activity: Activity, users: int
) -> None:
    classes = activity.classes(users)

    assert sum(number for number, _ in classes) == users
    assert math.fsum(share for _, share in classes) == pytest.approx(1.0)


def test_by_zipfs_law_the_second_user_makes_half_of_what_the_first_makes() -> None:
    classes = zipf(1.0).classes(100_000)
    harmonic = math.log(100_000) + 0.5772156649

    assert [number for number, _ in classes[:2]] == [1, 1]
    assert classes[0][1] == pytest.approx(1.0 / harmonic, rel=1e-4)
    assert classes[1][1] == pytest.approx(0.5 / harmonic, rel=1e-4)


class TestSample:
    """The users of the sample that the check of the split counts."""

    def counts(self, drawn: list[tuple[StratumCounts, ...]]) -> tuple[int, int]:
        both = [each for window in drawn for each in window]
        return (
            sum(each.control.sampled for each in both),
            sum(each.treatment.sampled for each in both),
        )

    @pytest.mark.parametrize("activity", [EQUAL, zipf(1.0)])
    def test_every_user_of_a_small_application_is_counted_once(self, activity: Activity) -> None:
        model = TrafficModel(Constant(1_000), Constant(0.01), users=300, activity=activity)
        drawn = windows(policy(50, 100), model, 1, 60)
        control, treated = self.counts(drawn)

        assert control + treated == 300
        assert self.counts(drawn[:1])[0] < control

    def test_a_user_counts_again_in_the_next_visit_of_a_stage(self) -> None:
        model = TrafficModel(Constant(1_000), Constant(0.0), users=50)
        users = UserPopulation(policy(50, 100), model, random.Random(1))
        subject = release(policy(50, 100))
        rates = ErrorRates(0.0, 0.0, 0.0)

        def sampled(step: int) -> int:
            [stratum] = users.draw_window(replace(subject, step=step), 2_000, rates)
            return stratum.control.sampled + stratum.treatment.sampled

        assert [sampled(1), sampled(1), sampled(2), sampled(2)] == [50, 0, 50, 0]

    def test_a_full_sample_is_halved(self) -> None:
        model = TrafficModel(Constant(100_000), Constant(0.0), users=200_000)
        drawn = windows(policy(25, 100), model, 1, 40)
        control, treated = self.counts(drawn)

        # Everyone is seen. After 4,096 users each halving lets half as many users in.
        halvings = math.log2(200_000 / SAMPLE_LIMIT)
        assert control + treated == pytest.approx(SAMPLE_LIMIT * (1 + halvings / 2), rel=0.25)
        assert treated / (control + treated) == pytest.approx(0.25, abs=0.02)

    def test_as_many_users_are_seen_as_if_each_operation_were_drawn(self) -> None:
        for operations, unseen, users in ((500, 20_000, 20_000), (500, 900, 1_000), (300, 50, 400)):
            rng = random.Random(1)
            fast = [distinct_users(rng, operations, unseen, users) for _ in range(400)]
            slow = [
                len({n for n in rng.choices(range(users), k=operations) if n < unseen})
                for _ in range(400)
            ]
            error = math.sqrt((statistics.variance(slow) + statistics.variance(fast)) / 400)
            assert abs(statistics.fmean(slow) - statistics.fmean(fast)) < 4 * error
            assert 0.6 < statistics.stdev(fast) / statistics.stdev(slow) < 1.6


def test_users_try_failed_operations_again() -> None:
    plain = TrafficModel(Constant(10_000), Constant(0.1), users=10**6)
    drawn = windows(policy(50, 100), replace(plain, retries=3), 1, 30)
    arms = [arm for window in drawn for each in window for arm in (each.control, each.treatment)]
    errors, failing = sum(arm.errors for arm in arms), sum(arm.failing for arm in arms)

    # 1 + 1/2 + 1/4 + 1/8 failures, and 1 + 1/2 + 1/4 retries, for each user who fails.
    assert errors == pytest.approx(1.875 * 30_000, rel=0.03)
    assert sum(arm.outcomes for arm in arms) == pytest.approx(300_000 + 1.75 * 30_000, rel=0.02)
    assert failing == pytest.approx(30_000, rel=0.03)


class TestErrorRates:
    def rates(self, model: TrafficModel, number: int) -> list[ErrorRates]:
        sequence = RateSequence(model, random.Random(1))
        return [
            sequence.draw(SimulationTime(each * MINUTE, each, 0), MINUTE) for each in range(number)
        ]

    def test_outages_hit_both_arms_as_often_and_as_long_as_the_model_says(self) -> None:
        outages = Outages(per_day=4.0, duration_ms=10 * MINUTE, error_rate=0.5)
        model = TrafficModel(Constant(1), Constant(0.01), Constant(2.0), outages=outages)
        rates = self.rates(model, 100 * 24 * 60)
        out = [each for each in rates if each.control > 0.02]

        assert {round(each.control, 9) for each in out} == {0.505}
        assert {round(each.treatment, 9) for each in out} == {0.51}
        assert {round(each.excess, 9) for each in out} == {0.005}
        # One outage begins in 360 minutes on average, counted from the end of the one before.
        assert len(out) / len(rates) == pytest.approx(10 / 370, rel=0.15)

    def test_arms_wobble_apart_and_are_equal_on_average(self) -> None:
        model = TrafficModel(Constant(1), Constant(0.01), wobble=Wobble(0.2))
        logs = [math.log(each.treatment / each.control) for each in self.rates(model, 4_000)]

        assert statistics.stdev(logs) == pytest.approx(0.2, rel=0.05)
        assert statistics.fmean(math.exp(each) for each in logs) == pytest.approx(1.0, abs=0.015)
        assert {each.excess for each in self.rates(model, 10)} == {0.0}

    def test_a_wobble_with_a_memory_changes_slowly(self) -> None:
        def correlation(memory: float) -> float:
            model = TrafficModel(Constant(1), Constant(0.01), wobble=Wobble(0.2, memory))
            logs = [math.log(each.treatment / each.control) for each in self.rates(model, 20_000)]
            return statistics.correlation(logs, logs[1:] + logs[:1])

        assert correlation(0.0) == pytest.approx(0.0, abs=0.05)
        assert correlation(3.0) == pytest.approx(math.exp(-1 / 3), abs=0.05)
        assert correlation(20.0) == pytest.approx(math.exp(-1 / 20), abs=0.05)


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
