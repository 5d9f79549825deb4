"""What bad releases cost, compared with an oracle that knows both error rates.

A bad release costs the failures that the control would not have had, until it is rolled back.
The ratio of ours to the oracle's is averaged over many kinds of bad releases (geometric mean).
Releases that are never rolled back have no such cost; they are counted as missed.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial

import pytest
from tidegate.model import Tolerance
from tidegate_server.documents import shipped
from tidegate_server.domain.policy import MINUTE, Policy
from tidegate_server.whatif.confidence_intervals import Z
from tidegate_server.whatif.simulation import simulate
from tidegate_server.whatif.traffic_model import Constant, TrafficModel

from tests.decisions.many_releases import FALSE_ALARM, for_seeds, percent
from tests.decisions.oracle import run_oracle

WINDOW_MS = 30_000


@dataclass(frozen=True)
class Bad:
    """A bad release: control's error rate, operations a window, and the treatment's error rate."""

    base: float
    per_window: int
    bad: float
    name: str

    @property
    def model(self) -> TrafficModel:
        return TrafficModel(
            Constant(self.per_window * MINUTE / WINDOW_MS),
            Constant(self.base),
            Constant(self.bad / self.base),
            users=max(20_000, 100 * self.per_window),
        )

    def __str__(self) -> str:
        return f"{self.base:6.1%} {self.per_window:6,} a window, {self.name:>10}"


def bad_releases() -> list[Bad]:
    """Return the 41 kinds: five effects at three base rates and three amounts of traffic.

    Four of the 45 combinations are left out, those that take longest to notice: half as many
    failures again where control has at most two failures in a window, and twice as many where
    it has one in five windows.
    """
    return [
        Bad(base, per_window, bad, name)
        for base in (0.001, 0.01, 0.05)
        for per_window in (200, 2_000, 20_000)
        for name, bad in (
            ("x1.5", 1.5 * base),
            ("x2", 2.0 * base),
            ("x5", 5.0 * base),
            ("+10 points", base + 0.1),
            ("50 %", 0.5),
        )
        if base * per_window > (2.0 if name == "x1.5" else 0.2 if name == "x2" else 0.0)
    ]


def ramp(relative: float) -> Policy:
    """Return the shipped policy ``standard``, with another tolerance and an endless bake.

    Its stages last as long as they need: with the least time that it gives them, bad releases
    are noticed before most users have them. ``max_duration`` would advance on time.
    """
    standard = shipped.policy("standard")
    [check] = standard.checks
    return replace(
        standard,
        bake_ms=10**9,
        checks=(replace(check, tolerance=Tolerance(relative, 0.0)),),
        stages=tuple(replace(stage, max_duration_ms=None) for stage in standard.stages),
    )


@dataclass(frozen=True)
class Cost:
    """What bad releases of one kind cost on average, with our rule and with the oracle.

    ``variance`` is that of the logarithm of the ratio of the two means.
    """

    bad: Bad
    missed: int
    runs: int
    ours: float
    oracle: float
    variance: float

    @property
    def ratio(self) -> float:
        return self.ours / self.oracle

    def __str__(self) -> str:
        return (
            f"{self.bad}: {self.ours:9.1f} extra failures, {self.oracle:8.1f} with the oracle, "
            f"ratio {self.ratio:.2f}; missed {self.missed} of {self.runs}"
        )


def extra_failures(bad: Bad, by: Policy, windows: int, seed: int) -> tuple[float | None, float]:
    """Return what one release costs with our rule (None: missed) and with the oracle."""
    run = simulate(by, bad.model, random.Random(seed), max_windows=windows)
    known = run_oracle(by, bad.model, FALSE_ALARM, seed, windows)
    assert known.rolled_back, f"not even the oracle notices {bad}"
    return run.extra if run.stopped else None, known.extra


def cost(bad: Bad, by: Policy, number: int, windows: int) -> Cost:
    both = for_seeds(partial(extra_failures, bad, by, windows), number)
    ours = [mine for mine, _ in both if mine is not None]
    theirs = [oracle for _, oracle in both]
    return Cost(
        bad,
        number - len(ours),
        number,
        statistics.fmean(ours),
        statistics.fmean(theirs),
        relative_variance(ours) + relative_variance(theirs),
    )


def relative_variance(values: list[float]) -> float:
    """Return the variance of the mean, divided by its square."""
    return statistics.variance(values) / len(values) / statistics.fmean(values) ** 2


def geometric_mean(values: Iterable[float]) -> float:
    return math.exp(statistics.fmean(math.log(value) for value in values))


def test_there_are_41_kinds_of_bad_releases() -> None:
    assert len(bad_releases()) == 41


FEW = [Bad(0.01, 2_000, 0.03, "x3"), Bad(0.01, 2_000, 0.1, "x10"), Bad(0.001, 2_000, 0.01, "x10")]


def test_bad_releases_cost_little_more_than_with_the_oracle() -> None:
    costs = [cost(bad, ramp(0.05), 30, 300) for bad in FEW]

    assert all(each.missed == 0 for each in costs)
    assert geometric_mean(each.ratio for each in costs) < 2.5


@pytest.mark.long
@pytest.mark.parametrize(("relative", "most"), [(0.05, 1.5), (0.0, 1.4)])
def test_the_harm_of_41_kinds_of_bad_releases_against_the_oracle(
    relative: float, most: float, capsys: pytest.CaptureFixture[str]
) -> None:
    costs = [cost(bad, ramp(relative), 100, 2_000) for bad in bad_releases()]
    mean = geometric_mean(each.ratio for each in costs)
    error = math.sqrt(sum(each.variance for each in costs)) / len(costs)
    low, high = mean * math.exp(-Z * error), mean * math.exp(Z * error)
    missed = percent(sum(each.missed for each in costs), sum(each.runs for each in costs))
    with capsys.disabled():
        print("", *costs, sep="\n")
        print(f"tolerance {relative}: {mean:.2f} [{low:.2f}, {high:.2f}] times the oracle's harm")
        print(f"missed: {missed}")

    assert mean <= most
