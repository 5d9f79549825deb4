"""Simulated releases, and whether the fast simulator agrees with the slow one."""

from __future__ import annotations

import math
import random
import statistics
from dataclasses import replace

import pytest
from tidegate_server.decisions.decision import Action
from tidegate_server.domain.checks import Check, Compare, Metric, OnFailure
from tidegate_server.domain.policy import DAY, HOUR, Policy
from tidegate_server.domain.release import State
from tidegate_server.domain.release_gates import (
    AdvanceWindow,
    ApprovalGate,
    Confirmation,
    Rollback,
    Windows,
)
from tidegate_server.whatif.simulation import SimulatedRelease, SimulationRun, simulate
from tidegate_server.whatif.traffic_model import Constant, TrafficModel

from tests.decisions import simulated_release
from tests.decisions.simulated_release import SEGMENT, Traffic, policy

RAMP = policy(10, 5, 25, 50, 100, segments={1: (SEGMENT,)}, min_samples=100)
MODEL = TrafficModel(Constant(4_000), Constant(0.01), segments={SEGMENT: 0.6})


def runs(
    by: Policy, model: TrafficModel, number: int, max_windows: int = 200
) -> list[SimulationRun]:
    return [
        simulate(by, model, random.Random(seed), max_windows=max_windows) for seed in range(number)
    ]


class TestAgainstTheSlowSimulator:
    """``simulated_release.simulate`` simulates every user; both must agree."""

    @pytest.mark.parametrize("times", [1.0, 4.0])
    def test_as_many_users_fail_in_each_arm(self, times: float) -> None:
        by = policy(10, 5, 100, segments={1: (SEGMENT,)}, min_samples=10**9, bake_ms=10**9)
        by = replace(by, checks=(Check(false_alarm=1e-9),))
        windows, users, number = 25, 1_500, 24
        slow_errors, fast_errors = [], []
        for seed in range(number):
            slow = simulated_release.simulate(
                by,
                Traffic(users=users, per_window=300, base=lambda _: 0.05, times=lambda _: times),
                seed,
                windows,
            )
            slow_errors.append(float(slow.failed_treated))
            model = TrafficModel(
                Constant(600), Constant(0.05), Constant(times), users=users, segments={SEGMENT: 0.6}
            )
            fast = simulate(by, model, random.Random(seed), max_windows=windows)
            fast_errors.append(float(fast.errors))

        self.assert_same_mean(slow_errors, fast_errors)

    def test_evidence_grows_equally_fast(self) -> None:
        by = policy(20, 100, min_samples=10**9, bake_ms=10**9)
        by = replace(by, checks=(Check(false_alarm=1e-9),))
        slow, fast = [], []
        for seed in range(30):
            outcome = simulated_release.simulate(
                by,
                Traffic(users=800, per_window=400, base=lambda _: 0.03, times=lambda _: 2.0),
                seed,
                20,
            )
            slow.append(outcome.decisions[-1].log_evidence)
            model = TrafficModel(Constant(800), Constant(0.03), Constant(2.0), users=800)
            release = SimulatedRelease(by, model, random.Random(seed))
            for _ in range(20):
                decision = release.evaluate()
            fast.append(decision.log_evidence)

        self.assert_same_mean(slow, fast)

    def test_releases_take_equally_long(self) -> None:
        traffic = Traffic(per_window=600, base=lambda _: 0.004, users=4_000)
        slow = [simulated_release.simulate(RAMP, traffic, seed, 250) for seed in range(15)]
        model = TrafficModel(Constant(1_200), Constant(0.004), users=4_000, segments={SEGMENT: 0.6})
        fast = runs(RAMP, model, 40, 250)

        self.assert_same_mean([each.windows for each in slow], [each.windows for each in fast])

    def assert_same_mean(
        self, slow: list[float] | list[int], fast: list[float] | list[int]
    ) -> None:
        """The means of both differ by less than four standard errors."""
        error = math.sqrt(
            statistics.variance(slow) / len(slow) + statistics.variance(fast) / len(fast)
        )
        assert abs(statistics.fmean(slow) - statistics.fmean(fast)) < 4 * error


def test_a_healthy_release_completes_and_has_its_times() -> None:
    run = simulate(RAMP, MODEL, random.Random(1))

    assert (run.state, run.stopped) == (State.COMPLETED, False)
    assert run.full_ms is not None
    assert 0 < run.full_ms < run.elapsed_ms == run.windows * RAMP.interval_ms
    assert run.extra == 0.0


def test_a_bad_release_is_stopped_and_has_its_harm() -> None:
    run = simulate(RAMP, replace(MODEL, error_ratio=Constant(10.0)), random.Random(1))

    assert (run.state, run.stopped_stage) == (State.ROLLED_BACK, 1)
    assert run.stopped_ms == run.elapsed_ms
    assert run.full_ms is None
    assert 3 <= run.hurt <= run.errors <= run.exposed
    assert run.extra == pytest.approx(run.exposed * 0.09)


def test_the_same_seed_gives_the_same_release() -> None:
    assert simulate(RAMP, MODEL, random.Random(5)) == simulate(RAMP, MODEL, random.Random(5))
    assert simulate(RAMP, MODEL, random.Random(5)) != simulate(RAMP, MODEL, random.Random(6))


def test_a_release_without_enough_traffic_stays_undecided() -> None:
    run = simulate(RAMP, replace(MODEL, traffic=Constant(1)), random.Random(1), horizon_ms=HOUR)

    assert run.state not in (State.COMPLETED, State.ROLLED_BACK)
    assert (run.stopped, run.elapsed_ms) == (False, HOUR)


def test_a_release_that_the_policy_pauses_has_ended() -> None:
    by = replace(RAMP, checks=(Check(on_failure=OnFailure.PAUSE),))
    run = simulate(by, replace(MODEL, error_ratio=Constant(10.0)), random.Random(1))

    assert (run.state, run.stopped_stage) == (State.PAUSED, 1)


def test_people_approve_and_webhooks_confirm() -> None:
    gate = ApprovalGate(("ann", "bob"), 2)
    first, *rest = RAMP.stages
    by = replace(
        RAMP, stages=(replace(first, approval=gate), *rest), confirm=(Confirmation("gatekeeper"),)
    )
    release = SimulatedRelease(by, MODEL, random.Random(1))
    actions = []
    while release.is_running:
        actions.append(release.evaluate().action)

    assert release.release.state is State.COMPLETED
    assert Action.ASK in actions


def test_retries_are_simulated() -> None:
    by = replace(RAMP, rollback=Rollback(cooldown_ms=60_000, max_retries=2))
    run = simulate(by, replace(MODEL, error_ratio=Constant(10.0)), random.Random(1))

    assert run.state is State.ROLLED_BACK
    assert run.stopped_ms is not None
    assert run.stopped_ms < run.elapsed_ms - 2 * 60_000


def test_latencies_are_simulated_for_latency_checks() -> None:
    by = replace(RAMP, checks=(Check(metric=Metric.LATENCY, quantile=0.95),))
    healthy = [simulate(by, MODEL, random.Random(seed)) for seed in range(5)]
    slow = [
        simulate(by, replace(MODEL, latency_ratio=2.0), random.Random(seed), max_windows=60)
        for seed in range(5)
    ]

    assert [each.state for each in healthy] == [State.COMPLETED] * 5
    assert [each.state for each in slow] == [State.ROLLED_BACK] * 5


def test_every_kind_of_check_can_be_simulated() -> None:
    checks = (
        Check(),
        Check(compare=Compare.BEFORE, failure_limit=100),
        Check(compare=Compare.ABSOLUTE, threshold=0.5),
        Check(metric=Metric.CUSTOM, measure="basket", quantile=0.5),
        Check(metric=Metric.LATENCY, compare=Compare.BEFORE, failure_limit=100),
        Check(metric=Metric.PROMETHEUS, query="{{ arm }}"),
        Check(metric=Metric.PROMETHEUS, query="up", compare=Compare.ABSOLUTE, threshold=1.0),
    )
    run = simulate(replace(RAMP, checks=checks), MODEL, random.Random(1))

    assert run.state is State.COMPLETED


def test_a_release_advances_only_in_its_advance_windows() -> None:
    midnight = 1_767_225_600_000  # Thursday 2026-01-01, UTC
    by = replace(RAMP, windows=Windows("UTC", (AdvanceWindow(opens=600, closes=660),)))
    release = SimulatedRelease(by, MODEL, random.Random(1), midnight)
    while release.is_running:
        decision = release.evaluate()
        if decision.action is Action.ADVANCE:
            assert 10 * HOUR <= (decision.at_ms - midnight) % (24 * HOUR) < 11 * HOUR

    assert release.release.state is State.COMPLETED


def test_only_the_horizon_ends_an_undecided_release() -> None:
    """A hidden limit of 20,000 evaluations once ended it earlier, without a word."""
    by = replace(policy(5, 100, min_samples=10**9), interval_ms=10_000)
    run = simulate(
        by, TrafficModel(Constant(1), Constant(0.0)), random.Random(1), horizon_ms=3 * DAY
    )
    assert run.state is State.HOLDING
    assert run.elapsed_ms == 3 * DAY
    assert run.windows == 3 * DAY // 10_000 > 20_000
