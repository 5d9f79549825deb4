"""Simulated releases, and whether the fast simulator is one of the slow one's world."""

from __future__ import annotations

import math
import random
import statistics
from dataclasses import replace

import pytest
from tidegate_server.decisions.decision import Action
from tidegate_server.domain.checks import Check, Compare, Metric, OnFailure
from tidegate_server.domain.policy import HOUR, Policy
from tidegate_server.domain.release import State
from tidegate_server.domain.release_gates import (
    AdvanceWindow,
    ApprovalGate,
    Confirmation,
    Rollback,
    Windows,
)
from tidegate_server.whatif.simulation import Rehearsal, Run, simulate
from tidegate_server.whatif.traffic_model import Always, World

from tests.decisions import ramp
from tests.decisions.ramp import SEGMENT, Traffic, policy

RAMP = policy(10, 5, 25, 50, 100, segments={1: (SEGMENT,)}, min_samples=100)
STEADY = World(Always(4_000), Always(0.01), segments={SEGMENT: 0.6})


def runs(by: Policy, world: World, number: int, most_windows: int = 200) -> list[Run]:
    return [
        simulate(by, world, random.Random(seed), most_windows=most_windows)
        for seed in range(number)
    ]


class TestAgainstTheSlowSimulator:
    """``ramp.simulate`` follows every single user; both must tell the same."""

    @pytest.mark.parametrize("times", [1.0, 4.0])
    def test_as_many_users_fail_in_each_arm(self, times: float) -> None:
        by = policy(10, 5, 100, segments={1: (SEGMENT,)}, min_samples=10**9, bake_ms=10**9)
        by = replace(by, checks=(Check(false_alarm=1e-9),))
        windows, users, number = 25, 1_500, 24
        slow_hurt, fast_hurt = [], []
        for seed in range(number):
            slow = ramp.simulate(
                by,
                Traffic(users=users, per_window=300, base=lambda _: 0.05, times=lambda _: times),
                seed,
                windows,
            )
            slow_hurt.append(float(slow.failed_treated))
            world = World(
                Always(600), Always(0.05), Always(times), users=users, segments={SEGMENT: 0.6}
            )
            fast = simulate(by, world, random.Random(seed), most_windows=windows)
            fast_hurt.append(float(fast.errors))

        self.alike(slow_hurt, fast_hurt)

    def test_evidence_grows_alike(self) -> None:
        by = policy(20, 100, min_samples=10**9, bake_ms=10**9)
        by = replace(by, checks=(Check(false_alarm=1e-9),))
        slow, fast = [], []
        for seed in range(30):
            outcome = ramp.simulate(
                by,
                Traffic(users=800, per_window=400, base=lambda _: 0.03, times=lambda _: 2.0),
                seed,
                20,
            )
            slow.append(outcome.decisions[-1].log_evidence)
            world = World(Always(800), Always(0.03), Always(2.0), users=800)
            rehearsal = Rehearsal(by, world, random.Random(seed))
            for _ in range(20):
                decision = rehearsal.window()
            fast.append(decision.log_evidence)

        self.alike(slow, fast)

    def test_releases_take_as_long(self) -> None:
        traffic = Traffic(per_window=600, base=lambda _: 0.004, users=4_000)
        slow = [ramp.simulate(RAMP, traffic, seed, 250) for seed in range(15)]
        world = World(Always(1_200), Always(0.004), users=4_000, segments={SEGMENT: 0.6})
        fast = runs(RAMP, world, 40, 250)

        self.alike([each.windows for each in slow], [each.windows for each in fast])

    def alike(self, slow: list[float] | list[int], fast: list[float] | list[int]) -> None:
        """The means of both differ by less than four standard errors."""
        error = math.sqrt(
            statistics.variance(slow) / len(slow) + statistics.variance(fast) / len(fast)
        )
        assert abs(statistics.fmean(slow) - statistics.fmean(fast)) < 4 * error


def test_a_healthy_release_completes_and_says_how_long_it_took() -> None:
    found = simulate(RAMP, STEADY, random.Random(1))

    assert (found.state, found.stopped) == (State.COMPLETED, False)
    assert found.full_ms is not None
    assert 0 < found.full_ms < found.elapsed_ms == found.windows * RAMP.interval_ms
    assert found.extra == 0.0


def test_a_bad_release_is_stopped_and_says_whom_it_hurt() -> None:
    found = simulate(RAMP, replace(STEADY, times=Always(10.0)), random.Random(1))

    assert (found.state, found.stopped_stage) == (State.ROLLED_BACK, 1)
    assert found.stopped_ms == found.elapsed_ms
    assert found.full_ms is None
    assert 3 <= found.hurt <= found.errors <= found.exposed
    assert found.extra == pytest.approx(found.exposed * 0.09)


def test_the_same_seed_gives_the_same_release() -> None:
    assert simulate(RAMP, STEADY, random.Random(5)) == simulate(RAMP, STEADY, random.Random(5))
    assert simulate(RAMP, STEADY, random.Random(5)) != simulate(RAMP, STEADY, random.Random(6))


def test_a_release_without_enough_traffic_is_undecided_in_the_end() -> None:
    found = simulate(RAMP, replace(STEADY, traffic=Always(1)), random.Random(1), horizon_ms=HOUR)

    assert found.state not in (State.COMPLETED, State.ROLLED_BACK)
    assert (found.stopped, found.elapsed_ms) == (False, HOUR)


def test_a_release_that_the_policy_pauses_has_ended() -> None:
    by = replace(RAMP, checks=(Check(on_failure=OnFailure.PAUSE),))
    found = simulate(by, replace(STEADY, times=Always(10.0)), random.Random(1))

    assert (found.state, found.stopped_stage) == (State.PAUSED, 1)


def test_people_approve_and_webhooks_confirm() -> None:
    gate = ApprovalGate(("ann", "bob"), 2)
    first, *rest = RAMP.stages
    by = replace(
        RAMP, stages=(replace(first, approval=gate), *rest), confirm=(Confirmation("gatekeeper"),)
    )
    rehearsal = Rehearsal(by, STEADY, random.Random(1))
    actions = []
    while rehearsal.goes_on:
        actions.append(rehearsal.window().action)

    assert rehearsal.release.state is State.COMPLETED
    assert Action.ASK in actions


def test_retries_are_part_of_the_story() -> None:
    by = replace(RAMP, rollback=Rollback(cooldown_ms=60_000, max_retries=2))
    found = simulate(by, replace(STEADY, times=Always(10.0)), random.Random(1))

    assert found.state is State.ROLLED_BACK
    assert found.stopped_ms is not None
    assert found.stopped_ms < found.elapsed_ms - 2 * 60_000


def test_latencies_are_simulated_for_checks_of_them() -> None:
    by = replace(RAMP, checks=(Check(metric=Metric.LATENCY, quantile=0.95),))
    healthy = [simulate(by, STEADY, random.Random(seed)) for seed in range(5)]
    slow = [
        simulate(by, replace(STEADY, slower=2.0), random.Random(seed), most_windows=60)
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
    found = simulate(replace(RAMP, checks=checks), STEADY, random.Random(1))

    assert found.state is State.COMPLETED


def test_percentages_are_raised_in_the_advance_windows_only() -> None:
    midnight = 1_767_225_600_000  # Thursday 2026-01-01, UTC
    by = replace(RAMP, windows=Windows("UTC", (AdvanceWindow(opens=600, closes=660),)))
    rehearsal = Rehearsal(by, STEADY, random.Random(1), midnight)
    while rehearsal.goes_on:
        decision = rehearsal.window()
        if decision.action is Action.ADVANCE:
            assert 10 * HOUR <= (decision.at_ms - midnight) % (24 * HOUR) < 11 * HOUR

    assert rehearsal.release.state is State.COMPLETED
