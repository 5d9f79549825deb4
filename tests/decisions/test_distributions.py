"""Checks of latency and custom values: the cut, the counts, and whole releases."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tidegate.histogram import bucket_of
from tidegate_server.decisions.decision import Action
from tidegate_server.decisions.distributions import (
    ENOUGH,
    Faded,
    beyond,
    cut_of,
    fade_in,
    merged,
    quantile_bucket,
    quantile_value,
    size,
)
from tidegate_server.decisions.windows import Distribution, Histogram
from tidegate_server.domain.checks import Check, Metric, OnFailure, Operator, Tolerance

from tests.decisions.ramp import Followed, policy

HISTOGRAMS = st.dictionaries(st.integers(-20, 20), st.integers(1, 50), max_size=10).map(
    lambda counts: tuple(sorted(counts.items()))
)


@given(HISTOGRAMS, st.floats(0.01, 0.99))
def test_a_quantile_is_the_one_of_the_sorted_values(histogram: Histogram, quantile: float) -> None:
    values = sorted(bucket for bucket, count in histogram for _ in range(count))
    found = quantile_bucket(histogram, quantile)
    if not values:
        assert found is None
        return
    assert found is not None
    assert sum(value < found for value in values) <= quantile * len(values)
    assert sum(value <= found for value in values) >= quantile * len(values) - 1e-9


@given(HISTOGRAMS, HISTOGRAMS)
def test_histograms_add_up(one: Histogram, other: Histogram) -> None:
    assert size(merged((one, other))) == size(one) + size(other)


@given(HISTOGRAMS, st.integers(-20, 20))
def test_what_lies_beyond_a_cut_depends_on_the_direction(histogram: Histogram, cut: int) -> None:
    at = dict(histogram).get(cut, 0)
    above = beyond(histogram, cut, large_is_bad=True)
    below = beyond(histogram, cut, large_is_bad=False)
    assert above + below + at == size(histogram)


def test_nothing_has_no_quantile() -> None:
    assert quantile_value((), 0.5) is None


def test_older_windows_fade_by_half_in_thirty() -> None:
    faded = fade_in(Faded(), [((3, 1_000),)])
    for _ in range(30):
        faded = fade_in(faded, [])
    assert faded.weights[0][1] == pytest.approx(500)
    for _ in range(1_000):
        faded = fade_in(faded, [])
    assert faded.weights == ()


def test_there_is_no_cut_before_enough_is_known() -> None:
    check = Check(metric=Metric.LATENCY, quantile=0.9)
    assert cut_of(check, Faded(((3, ENOUGH - 1),))) is None
    assert cut_of(check, Faded(((3, 90.0), (7, 10.0)))) == 3
    assert cut_of(check, Faded(((3, 80.0), (7, 20.0)))) == 7
    lower = replace(check, metric=Metric.CUSTOM, operator=Operator.AT_LEAST)
    assert cut_of(lower, Faded(((3, 20.0), (7, 80.0)))) == 3


Draw = Callable[[random.Random], float]


def durations(scale: float) -> Draw:
    return lambda dice: dice.lognormvariate(math.log(0.08 * scale), 0.5)


class Traffic:
    """A release under checks of values, window by window."""

    def __init__(self, *checks: Check, seed: int = 1, min_samples: int = 0) -> None:
        self.dice = random.Random(seed)
        by = policy(50, 100, bake_ms=60_000, min_samples=min_samples)
        self.followed = Followed(replace(by, checks=checks))

    def histogram(self, draw: Draw, amount: int) -> Histogram:
        counts = Counter(bucket_of(draw(self.dice)) for _ in range(amount))
        return tuple(sorted(counts.items()))

    def window(self, measure: str, control: Draw, treatment: Draw, amount: int = 200) -> Action:
        arms = (self.histogram(control, amount), self.histogram(treatment, amount))
        decision = self.followed.window(
            (amount, 0), (amount, 0), distributions=(Distribution(1, measure, *arms),)
        )
        return decision.action

    def until_closed(self, measure: str, control: Draw, treatment: Draw, most: int = 60) -> int:
        for number in range(1, most + 1):
            if self.window(measure, control, treatment) in (Action.ROLLBACK, Action.PAUSE):
                return number
        raise AssertionError(self.followed.last.reason)


LATENCY = Check(metric=Metric.LATENCY, quantile=0.95)


def test_a_slower_treatment_is_rolled_back() -> None:
    traffic = Traffic(LATENCY)
    windows = traffic.until_closed("latency", durations(1.0), durations(1.6))

    assert windows < 30
    assert traffic.followed.last.reason.startswith("latency p95 against control: evidence")


def test_an_equally_fast_one_goes_on() -> None:
    traffic = Traffic(LATENCY)
    for _ in range(60):
        if traffic.window("latency", durations(1.0), durations(1.0)) is Action.ADVANCE:
            return
    raise AssertionError(traffic.followed.last.reason)


def test_a_custom_value_that_falls_is_caught_when_small_is_bad() -> None:
    basket = Check(
        metric=Metric.CUSTOM,
        measure="basket_value",
        quantile=0.9,
        operator=Operator.AT_LEAST,
        on_failure=OnFailure.PAUSE,
    )
    traffic = Traffic(basket)
    traffic.until_closed(
        "basket_value",
        lambda dice: dice.gauss(40, 10),
        lambda dice: dice.gauss(25, 10),
    )

    assert "basket_value p90 against control" in traffic.followed.last.reason


def test_a_custom_value_that_rises_is_no_harm_when_small_is_bad() -> None:
    basket = Check(
        metric=Metric.CUSTOM, measure="basket_value", quantile=0.9, operator=Operator.AT_LEAST
    )
    traffic = Traffic(basket)
    for _ in range(40):
        action = traffic.window(
            "basket_value",
            lambda dice: dice.gauss(40, 10),
            lambda dice: dice.gauss(60, 10),
        )
        if action is Action.ADVANCE:
            return
    raise AssertionError(traffic.followed.last.reason)


def test_the_tolerance_is_of_the_share_beyond_the_cut() -> None:
    wide = replace(LATENCY, tolerance=Tolerance(relative=3.0))
    traffic = Traffic(wide, min_samples=10**9)
    for _ in range(40):
        assert traffic.window("latency", durations(1.0), durations(1.25)) is not Action.ROLLBACK


def test_values_without_a_control_group_say_nothing() -> None:
    traffic = Traffic(LATENCY)
    before = traffic.followed.progress.checks[0].evidence
    traffic.followed.window(
        (100, 0), (100, 0), distributions=(Distribution(1, "latency", (), ((90, 100),)),)
    )
    after = traffic.followed.progress.checks[0].evidence
    assert before.bets == ()
    assert len(set(after.bets)) == 1  # prior mass was placed, and nothing was won or lost


def stopped_falsely(runs: int, windows: int, check: Check, rate: float) -> int:
    """Of harmless releases whose control's latency drifts for both arms, how many are stopped."""
    stopped = 0
    for seed in range(runs):
        traffic = Traffic(check, seed=seed, min_samples=10**9)
        for number in range(windows):
            drift = 1.0 + rate * math.sin(number / 5)
            action = traffic.window("latency", durations(drift), durations(drift), amount=60)
            if action is Action.ROLLBACK:
                stopped += 1
                break
    return stopped


def test_harmless_releases_are_stopped_no_more_often_than_promised() -> None:
    """150 releases at a false alarm of 5 %: more than 14 has a chance below 1 in 100.

    (Binomial: P(X > 14 | 150, 0.05) = 0.0097.)
    """
    check = replace(LATENCY, false_alarm=0.05)
    assert stopped_falsely(150, 40, check, rate=0.3) <= 14


@pytest.mark.long
def test_two_thousand_harmless_releases_keep_to_the_false_alarm() -> None:
    """P(X > 34 | 2000, 0.01) is below 1 in 500."""
    assert stopped_falsely(2_000, 60, LATENCY, rate=0.3) <= 34
