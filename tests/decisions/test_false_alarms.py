"""How often harmless releases are stopped, and what bad ones cost, over many releases.

The bounds come from the binomial distribution: if the promise is kept exactly, a run passes
the bound with a probability of one in a thousand or a million. Seeds are fixed, so a failure
means that the rule has changed.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, replace
from statistics import NormalDist

import pytest
from tidegate_server.domain.checks import Check, Metric, Operator
from tidegate_server.domain.policy import Policy
from tidegate_server.whatif.latency_model import SPREAD
from tidegate_server.whatif.sampling import RandomGenerator
from tidegate_server.whatif.simulation import SimulationRun, simulate
from tidegate_server.whatif.traffic_model import Constant, TimeFunction, TrafficModel
from tidegate_server.whatif.user_activity import log_normal

from tests.decisions.oracle import run_oracle
from tests.decisions.simulated_release import SEGMENT, policy
from tests.decisions.test_simulated_releases import most_by_chance

FALSE_ALARM = 0.01
RAMP = policy(10, 5, 25, 50, 100, segments={1: (SEGMENT,)}, min_samples=100, bake_ms=10**9)
INSIDE = {SEGMENT: 0.4}


def outage_at_changes(rate: float, during: float, windows: int) -> TimeFunction:
    """Both arms fail in the first windows after every change of stage."""
    return lambda time: during if time.since_change < windows else rate


def over_the_day(value: float, swing: float) -> TimeFunction:
    """A day of forty windows, so that a release lives through several."""
    return lambda time: value * (1.0 + swing * math.sin(time.window / 40 * math.tau))


HARMLESS = {
    "constant": TrafficModel(Constant(4_000), Constant(0.01), segments=INSIDE),
    "day and night": TrafficModel(
        over_the_day(4_000, 0.7), over_the_day(0.01, 0.8), segments=INSIDE
    ),
    "an outage for both when the stage changes": TrafficModel(
        Constant(4_000), outage_at_changes(0.01, 0.2, 3), segments=INSIDE
    ),
    "clustered users": TrafficModel(
        Constant(4_000),
        Constant(0.01),
        segments=INSIDE,
        activity=log_normal(1.5),
        always_failing_users=40,
        always_failing_share=0.5,
    ),
    "twenty requests a window": TrafficModel(
        Constant(40), Constant(0.02), users=500, segments=INSIDE
    ),
}


LATENCY = Check(metric=Metric.LATENCY, quantile=0.95)
BASKET = Check(metric=Metric.CUSTOM, measure="basket", quantile=0.1, operator=Operator.AT_LEAST)
JUST_TOLERABLE = math.exp(SPREAD * (NormalDist().inv_cdf(0.95) - NormalDist().inv_cdf(0.945)))
"""Slower by the factor that puts a tenth more operations beyond control's 95th percentile."""

BUSY_AND_QUIET = TrafficModel(over_the_day(1_000, 0.7), Constant(0.01))
VALUES = policy(20, 50, 100, min_samples=100, bake_ms=10**9)


def runs_of(
    model: TrafficModel, number: int, windows: int, by: Policy = RAMP
) -> Iterable[SimulationRun]:
    for seed in range(number):
        yield simulate(by, model, random.Random(seed), max_windows=windows)


def stopped(model: TrafficModel, number: int, windows: int, by: Policy = RAMP) -> int:
    return sum(run.stopped for run in runs_of(model, number, windows, by))


@pytest.mark.parametrize("kind", HARMLESS)
def test_harmless_releases_are_stopped_no_more_often_than_promised(kind: str) -> None:
    assert stopped(HARMLESS[kind], 150, 60) <= most_by_chance(150, FALSE_ALARM, 1e-3)


@pytest.mark.long
@pytest.mark.parametrize("kind", HARMLESS)
def test_two_thousand_harmless_releases_are_stopped_no_more_often_than_promised(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    number = 2_000
    found = stopped(HARMLESS[kind], number, 300)
    with capsys.disabled():
        print(f"\n{kind}: {found} of {number} harmless releases were stopped")

    assert found <= number * FALSE_ALARM


@pytest.mark.parametrize(("check", "slower"), [(LATENCY, JUST_TOLERABLE), (BASKET, 1.0)])
def test_harmless_values_stop_a_release_no_more_often_than_promised(
    check: Check, slower: float
) -> None:
    model = replace(BUSY_AND_QUIET, latency_ratio=slower)
    found = stopped(model, 200, 25, replace(VALUES, checks=(check,)))
    assert found <= most_by_chance(200, FALSE_ALARM, 1e-3)


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
        print(f"\n{check.label}, {slower:.3f} times as slow: {found} of 2000 were stopped")

    assert found <= 2_000 * FALSE_ALARM


@pytest.mark.parametrize(("slower", "windows"), [(1.2, 20), (1.5, 5), (3.0, 3)])
def test_slower_releases_are_stopped_soon(slower: float, windows: int) -> None:
    model = TrafficModel(Constant(4_000), Constant(0.01), segments=INSIDE, latency_ratio=slower)
    found = list(runs_of(model, 10, 120, replace(RAMP, checks=(LATENCY,))))

    assert all(run.stopped for run in found)
    assert statistics.median(run.windows for run in found) <= windows


@dataclass(frozen=True)
class Bad:
    base: float
    times: float
    per_minute: float

    @property
    def model(self) -> TrafficModel:
        return TrafficModel(
            Constant(self.per_minute), Constant(self.base), Constant(self.times), segments=INSIDE
        )


BAD = [Bad(0.01, 3.0, 4_000), Bad(0.01, 10.0, 4_000), Bad(0.001, 10.0, 4_000)]
MANY_BAD = [
    Bad(base, times, per_minute)
    for base in (0.001, 0.01, 0.05)
    for times in (2.0, 3.0, 5.0, 10.0)
    for per_minute in (400, 4_000, 40_000)
]


@dataclass(frozen=True)
class Cost:
    """What bad releases of one kind cost on average, with our rule and with the oracle."""

    bad: Bad
    caught: float
    windows: float
    extra: float
    oracle: float

    @property
    def ratio(self) -> float:
        return self.extra / self.oracle

    def __str__(self) -> str:
        bad = self.bad
        return (
            f"{bad.base:6.1%} x{bad.times:<4g} {bad.per_minute:7,.0f}/min: {self.caught:4.0%} "
            f"stopped, after {self.windows:5.0f} windows, {self.extra:8.1f} extra errors; the "
            f"oracle {self.oracle:7.1f}, ratio {self.ratio:.2f}"
        )


def cost(bad: Bad, number: int, windows: int) -> Cost:
    ours = list(runs_of(bad.model, number, windows))
    theirs = [run_oracle(RAMP, bad.model, FALSE_ALARM, seed, windows) for seed in range(number)]
    return Cost(
        bad,
        sum(run.stopped for run in ours) / number,
        statistics.median(run.windows for run in ours),
        statistics.fmean(run.extra for run in ours),
        statistics.fmean(each.extra for each in theirs),
    )


def geometric_mean(values: Iterable[float]) -> float:
    return math.exp(statistics.fmean(math.log(value) for value in values))


def test_bad_releases_cost_little_more_than_with_the_oracle() -> None:
    costs = [cost(bad, 25, 120) for bad in BAD]

    assert all(each.caught == 1.0 for each in costs)
    assert geometric_mean(each.ratio for each in costs) < 3.0


@pytest.mark.long
def test_the_harm_of_many_kinds_of_bad_releases_against_the_oracle(
    capsys: pytest.CaptureFixture[str],
) -> None:
    costs = [cost(bad, 100, 600) for bad in MANY_BAD]
    mean = geometric_mean(each.ratio for each in costs)
    with capsys.disabled():
        print("", *costs, f"geometric mean of the ratios: {mean:.2f}", sep="\n")

    assert mean < 2.5


def test_counting_errors_instead_of_people_would_break_the_promise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def all_of_them(rng: RandomGenerator, errors: int, unfailed: int, users: int) -> int:
        return errors

    monkeypatch.setattr("tidegate_server.whatif.user_population.first_failures", all_of_them)
    found = stopped(replace(HARMLESS["clustered users"], always_failing_users=10), 60, 60)

    assert found > most_by_chance(60, FALSE_ALARM, 1e-6)
