"""How often harmless releases are stopped, over many releases.

The bounds come from the binomial distribution: if the promise is kept exactly, a run passes
the bound with a probability of one in a thousand or a million. Seeds are fixed, so a failure
means that the rule has changed.
"""

from __future__ import annotations

import math
import random
import statistics
from dataclasses import replace
from functools import partial
from statistics import NormalDist

import pytest
from tidegate_server.domain.checks import Check, Metric, Operator
from tidegate_server.domain.policy import Policy
from tidegate_server.whatif.latency_model import SPREAD
from tidegate_server.whatif.sampling import RandomGenerator
from tidegate_server.whatif.simulation import SimulatedRelease, simulate
from tidegate_server.whatif.traffic_model import Constant, TrafficModel, Wobble
from tidegate_server.whatif.user_activity import zipf

from tests.decisions.many_releases import (
    CONSTANT,
    FALSE_ALARM,
    HARMLESS,
    INSIDE,
    RAMP,
    OverTheDay,
    for_seeds,
    percent,
    runs_of,
)
from tests.decisions.simulated_release import policy
from tests.decisions.test_simulated_releases import most_by_chance

LATENCY = Check(metric=Metric.LATENCY, quantile=0.95)
BASKET = Check(metric=Metric.CUSTOM, measure="basket", quantile=0.1, operator=Operator.AT_LEAST)
JUST_TOLERABLE = math.exp(SPREAD * (NormalDist().inv_cdf(0.95) - NormalDist().inv_cdf(0.945)))
"""Slower by the factor that puts a tenth more operations beyond control's 95th percentile."""

BUSY_AND_QUIET = TrafficModel(OverTheDay(1_000, 0.7), Constant(0.01))
VALUES = policy(20, 50, 100, min_samples=100, bake_ms=10**9)


def stopped(model: TrafficModel, number: int, windows: int, by: Policy = RAMP) -> int:
    return sum(run.stopped for run in runs_of(model, number, windows, by))


@pytest.mark.parametrize("kind", HARMLESS)
def test_harmless_releases_are_stopped_no_more_often_than_promised(kind: str) -> None:
    assert stopped(HARMLESS[kind], 50, 60) <= most_by_chance(50, FALSE_ALARM, 1e-3)


@pytest.mark.long
@pytest.mark.parametrize("kind", HARMLESS)
def test_two_thousand_harmless_releases_are_stopped_no_more_often_than_promised(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    number = 2_000
    found = stopped(HARMLESS[kind], number, 300)
    with capsys.disabled():
        print(f"\n{kind}: harmless releases stopped: {percent(found, number)}")

    assert found <= number * FALSE_ALARM


@pytest.mark.parametrize(("check", "slower"), [(LATENCY, JUST_TOLERABLE), (BASKET, 1.0)])
def test_harmless_values_stop_a_release_no_more_often_than_promised(
    check: Check, slower: float
) -> None:
    model = replace(BUSY_AND_QUIET, latency_ratio=slower)
    found = stopped(model, 100, 25, replace(VALUES, checks=(check,)))
    assert found <= most_by_chance(100, FALSE_ALARM, 1e-3)


@pytest.mark.long
@pytest.mark.parametrize(
    ("check", "slower"), [(LATENCY, 1.0), (LATENCY, JUST_TOLERABLE), (BASKET, 1.0)]
)
def test_two_thousand_releases_with_harmless_values_are_stopped_no_more_often_than_promised(
    check: Check, slower: float, capsys: pytest.CaptureFixture[str]
) -> None:
    model = replace(BUSY_AND_QUIET, latency_ratio=slower)
    found = stopped(model, 2_000, 120, replace(VALUES, checks=(check,)))
    with capsys.disabled():
        print(f"\n{check.label}, {slower:.3f} times as slow, stopped: {percent(found, 2_000)}")

    assert found <= 2_000 * FALSE_ALARM


@pytest.mark.parametrize(("slower", "windows"), [(1.2, 20), (1.5, 5), (3.0, 3)])
def test_slower_releases_are_stopped_soon(slower: float, windows: int) -> None:
    model = TrafficModel(Constant(4_000), Constant(0.01), segments=INSIDE, latency_ratio=slower)
    found = list(runs_of(model, 10, 120, replace(RAMP, checks=(LATENCY,))))

    assert all(run.stopped for run in found)
    assert statistics.median(run.windows for run in found) <= windows


BUSY = replace(CONSTANT, traffic=Constant(40_000))

LIMITS = {
    "20 % from window to window": (CONSTANT, Wobble(0.2)),
    "10 %, memory 3, 20,000 a window": (BUSY, Wobble(0.1, 3)),
    "10 %, memory 20, 20,000 a window": (BUSY, Wobble(0.1, 20)),
}
"""Where the promise ends: arms that wobble so much, or for so long, differ."""


@pytest.mark.long
@pytest.mark.parametrize("kind", LIMITS)
def test_arms_that_wobble_too_much_are_stopped_a_little_more_often(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    model, wobble = LIMITS[kind]
    found = stopped(replace(model, wobble=wobble), 1_000, 300)
    with capsys.disabled():
        print(f"\narms wobble by {kind}: harmless releases stopped: {percent(found, 1_000)}")

    assert found <= most_by_chance(1_000, 0.06, 1e-3)


def held_for_its_split(model: TrafficModel, windows: int, seed: int) -> bool:
    """Return whether the split ever held a release."""
    release = SimulatedRelease(RAMP, model, random.Random(seed))
    while release.is_running and release.windows < windows:
        decision = release.evaluate()
        if decision.log_imbalance >= math.log(decision.imbalance_at):
            return True
    return False


@pytest.mark.parametrize("exponent", [0.7, 1.0, 1.3])
def test_a_few_users_of_unequal_activity_are_no_broken_split(exponent: float) -> None:
    few = replace(HARMLESS["200 users"], activity=zipf(exponent))
    held = sum(for_seeds(partial(held_for_its_split, few, 60), 60))

    assert held <= most_by_chance(60, 0.001 * len(RAMP.stages), 1e-3)


@pytest.mark.long
@pytest.mark.parametrize("exponent", [0.7, 1.0, 1.3])
def test_two_thousand_releases_with_few_users_are_not_held_for_their_split(
    exponent: float, capsys: pytest.CaptureFixture[str]
) -> None:
    few = replace(HARMLESS["200 users"], activity=zipf(exponent))
    held = sum(for_seeds(partial(held_for_its_split, few, 300), 2_000))
    with capsys.disabled():
        print(f"\n200 users, Zipf {exponent}, held for the split: {percent(held, 2_000)}")

    assert held <= 2_000 * 0.001


def test_counting_errors_instead_of_people_would_break_the_promise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def all_of_them(rng: RandomGenerator, errors: int, unfailed: int, users: int) -> int:
        return errors

    monkeypatch.setattr("tidegate_server.whatif.user_population.first_failures", all_of_them)
    few = replace(HARMLESS["clustered users"], always_failing_users=10)
    found = sum(
        simulate(RAMP, few, random.Random(seed), max_windows=60).stopped for seed in range(60)
    )

    assert found > most_by_chance(60, FALSE_ALARM, 1e-6)
