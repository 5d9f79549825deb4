"""Many simulated releases of one kind, in worker processes when there are enough of them.

What is simulated is sent to other processes, so that times and rates are values, not closures.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from tidegate_server.domain.policy import Policy
from tidegate_server.whatif.confidence_intervals import share
from tidegate_server.whatif.simulation import SimulationRun, simulate
from tidegate_server.whatif.traffic_model import (
    Constant,
    SimulationTime,
    TrafficModel,
    Wobble,
)
from tidegate_server.whatif.user_activity import log_normal, zipf
from tidegate_server.worker_processes import Finished, GoesOn, run_jobs

from tests.decisions.simulated_release import SEGMENT, policy

Value = TypeVar("Value")

FALSE_ALARM = 0.01
RAMP = policy(10, 5, 25, 50, 100, segments={1: (SEGMENT,)}, min_samples=100, bake_ms=10**9,
              relative=0.05)  # fmt: skip
INSIDE = {SEGMENT: 0.4}

SEEDS_PER_JOB = 10
ENOUGH_FOR_PROCESSES = 500
"""With fewer releases, starting processes takes longer than simulating; other tests run beside."""
LONG_ENOUGH_SECONDS = 24 * 3_600.0
"""The time limit of jobs whose results must not depend on the time they take."""


@dataclass(frozen=True)
class OutageAtChanges:
    """Both arms fail in the first windows after every change of stage."""

    rate: float
    during: float
    windows: int

    def __call__(self, time: SimulationTime) -> float:
        return self.during if time.since_change < self.windows else self.rate


@dataclass(frozen=True)
class OverTheDay:
    """A day of forty windows, so that a release lives through several."""

    value: float
    swing: float

    def __call__(self, time: SimulationTime) -> float:
        return self.value * (1.0 + self.swing * math.sin(time.window / 40 * math.tau))


CONSTANT = TrafficModel(Constant(4_000), Constant(0.01), segments=INSIDE)

HARMLESS = {
    "constant": CONSTANT,
    "day and night": replace(
        CONSTANT, traffic=OverTheDay(4_000, 0.7), error_rate=OverTheDay(0.01, 0.8)
    ),
    "an outage for both when the stage changes": replace(
        CONSTANT, error_rate=OutageAtChanges(0.01, 0.2, 3)
    ),
    "clustered users": replace(
        CONSTANT, activity=log_normal(1.5), always_failing_users=40, always_failing_share=0.5
    ),
    "twenty requests a window": TrafficModel(
        Constant(40), Constant(0.02), users=500, segments=INSIDE
    ),
    "arms that wobble by 10 %": replace(CONSTANT, wobble=Wobble(0.1)),
    "200 users": TrafficModel(
        Constant(400), Constant(0.05), users=200, segments=INSIDE, activity=zipf(1.0)
    ),
    "users who retry": replace(CONSTANT, retries=3, activity=log_normal(1.0)),
    "just tolerable": replace(CONSTANT, error_ratio=Constant(1.05)),
}
"""Harmless releases: the promise holds for each kind."""


def runs_of(
    model: TrafficModel, number: int, windows: int, by: Policy = RAMP, first_seed: int = 0
) -> list[SimulationRun]:
    """Simulate releases with the seeds from ``first_seed`` on."""
    return for_seeds(partial(_simulate, by, model, windows), number, first_seed)


def for_seeds(function: Callable[[int], Value], number: int, first_seed: int = 0) -> list[Value]:
    """Return a function's values for many seeds, in their order."""
    seeds = range(first_seed, first_seed + number)
    if number < ENOUGH_FOR_PROCESSES:
        return [function(seed) for seed in seeds]
    jobs = [seeds[start : start + SEEDS_PER_JOB] for start in range(0, number, SEEDS_PER_JOB)]
    found: dict[int, list[Value]] = {}
    for each in run_jobs(partial(_each, function), jobs, LONG_ENOUGH_SECONDS):
        if isinstance(each, Finished):
            found[each.job] = each.value
    return [value for job in range(len(jobs)) for value in found[job]]


def _each(function: Callable[[int], Value], seeds: Sequence[int], goes_on: GoesOn) -> list[Value]:
    return [function(seed) for seed in seeds]


def _simulate(by: Policy, model: TrafficModel, windows: int, seed: int) -> SimulationRun:
    return simulate(by, model, random.Random(seed), max_windows=windows)


def percent(events: int, number: int) -> str:
    """Return a share with its 95 % interval, in percent."""
    estimate = share(events, number)
    assert estimate is not None
    low, high = 100 * estimate.low, 100 * estimate.high
    return f"{events} of {number:,}: {100 * estimate.value:.2f} % [{low:.2f}, {high:.2f}]"
