"""Whole releases on simulated traffic, compared with what the theory promises.

The bounds come from the binomial distribution: if the promise is kept exactly, one in a
million runs passes the bound. Seeds are fixed, so a failure means that the rule has changed.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable

import pytest
from tidegate_server.domain.policy import Policy
from tidegate_server.domain.release import State

from tests.decisions.simulated_release import SEGMENT, Outcome, Traffic, policy, simulate

FALSE_ALARM = 0.01
RAMP = policy(10, 5, 25, 50, 100, segments={1: (SEGMENT,)}, min_samples=100)


def most_by_chance(runs: int, chance: float, surprise: float = 1e-6) -> int:
    """Return the number of events that is exceeded only with the probability ``surprise``."""
    below, events = 0.0, -1
    while 1.0 - below > surprise:
        events += 1
        below += math.comb(runs, events) * chance**events * (1.0 - chance) ** (runs - events)
    return events


def run(
    traffic: Traffic, runs: int, most_windows: int = 150, by: Policy = RAMP, seed: int = 1
) -> list[Outcome]:
    return [simulate(by, traffic, seed + number, most_windows) for number in range(runs)]


def rolled_back(outcomes: list[Outcome]) -> int:
    return sum(outcome.state is State.ROLLED_BACK for outcome in outcomes)


def outage(window: int) -> float:
    return 0.15 if window % 40 in (9, 10, 11) else 0.01


def day_and_night(window: int) -> float:
    return 0.01 * (1.0 + 0.8 * math.sin(window / 12))


HARMLESS: dict[str, Traffic] = {
    "1 % errors": Traffic(per_window=400),
    "5 % errors": Traffic(per_window=400, base=lambda window: 0.05),
    "1 in 1000": Traffic(per_window=400, base=lambda window: 0.001),
    "200 users": Traffic(users=200, per_window=200),
    "100 users who always fail": Traffic(per_window=400, heavy=100),
    "unequal users": Traffic(users=5_000, per_window=400, activity=1.5),
    "outages in both arms": Traffic(per_window=400, base=outage),
    "day and night": Traffic(per_window=400, base=day_and_night),
    "exactly at the tolerance": Traffic(per_window=400, times=lambda window: 1.1),
}


@pytest.mark.parametrize("kind", HARMLESS)
def test_a_harmless_release_is_almost_never_rolled_back(kind: str) -> None:
    outcomes = run(HARMLESS[kind], 12)

    assert rolled_back(outcomes) <= most_by_chance(12, FALSE_ALARM)


def test_harmless_releases_together_are_rolled_back_less_often_than_promised() -> None:
    small = Traffic(users=3_000, per_window=100, base=lambda window: 0.03)
    outcomes = run(small, 60, most_windows=80)

    assert rolled_back(outcomes) <= most_by_chance(60, FALSE_ALARM, surprise=0.05)


def test_a_harmless_release_advances_by_itself_on_enough_traffic() -> None:
    outcomes = run(Traffic(per_window=2_000, base=lambda window: 0.003), 9, most_windows=120)

    assert [outcome.state for outcome in outcomes] == [State.COMPLETED] * 9


@pytest.mark.parametrize(
    ("base", "times", "windows", "failed"),
    [(0.01, 20.0, 3, 60), (0.01, 5.0, 12, 60), (0.002, 20.0, 10, 60)],
)
def test_a_bad_release_is_rolled_back_soon_and_after_few_failures(
    base: float, times: float, windows: int, failed: int
) -> None:
    traffic = Traffic(per_window=2_000, base=lambda window: base, times=lambda window: times)
    outcomes = run(traffic, 9)

    assert rolled_back(outcomes) == 9
    assert statistics.median(outcome.windows for outcome in outcomes) <= windows
    assert statistics.median(outcome.failed_treated for outcome in outcomes) <= failed


def test_a_release_that_turns_bad_at_100_percent_retreats_and_is_rolled_back() -> None:
    by = policy(10, 50, 100, min_samples=100, bake_ms=10**9)
    traffic = Traffic(
        per_window=2_000, base=lambda window: 0.005, times=lambda window: 1 + 3 * (window > 60)
    )
    outcomes = run(traffic, 5, most_windows=240, by=by)

    assert all(outcome.window_of_full is not None for outcome in outcomes)
    assert rolled_back(outcomes) == 5
    assert all(outcome.retreats >= 1 for outcome in outcomes)
    assert all(outcome.windows <= 60 + 30 for outcome in outcomes)


def at_rate(rate: float) -> Callable[[int], float]:
    return lambda window: rate


@pytest.mark.long
@pytest.mark.parametrize("rate", [0.001, 0.01, 0.05])
@pytest.mark.parametrize("per_window", [50, 500, 2_000])
def test_many_harmless_releases_with_epochs_and_a_full_bake(rate: float, per_window: int) -> None:
    by = policy(10, 5, 25, 50, 100, segments={1: (SEGMENT,)}, min_samples=100, bake_ms=10**9)
    traffic = Traffic(per_window=per_window, base=at_rate(rate), activity=1.0)
    outcomes = run(traffic, 120, most_windows=600, by=by)

    assert rolled_back(outcomes) <= most_by_chance(120, FALSE_ALARM, surprise=0.01)


@pytest.mark.long
def test_doubled_errors_are_caught() -> None:
    traffic = Traffic(per_window=2_000, times=lambda window: 2.0, activity=1.0)
    outcomes = run(traffic, 60, most_windows=600)

    assert rolled_back(outcomes) >= 58
    assert statistics.median(outcome.windows for outcome in outcomes) <= 60
