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
from tidegate.model import Tolerance
from tidegate_server.decisions.decision import Action
from tidegate_server.decisions.distributions import (
    MIN_VALUES,
    FadingHistogram,
    control_quantile_bucket,
    count_beyond,
    fade_in,
    quantile_bucket,
    quantile_value,
)
from tidegate_server.decisions.observations import Distribution
from tidegate_server.domain.checks import Check, Metric, OnFailure, Operator
from tidegate_server.domain.evidence import Histogram, add_histograms, histogram_size
from tidegate_server.domain.release import State

from tests.decisions.simulated_release import EvaluatedRelease, policy

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
    assert histogram_size(add_histograms((one, other))) == histogram_size(one) + histogram_size(
        other
    )


@given(HISTOGRAMS, st.integers(-20, 20))
def test_which_values_are_beyond_a_cut_depends_on_the_operator(
    histogram: Histogram, cut: int
) -> None:
    at = dict(histogram).get(cut, 0)
    above = count_beyond(histogram, cut, large_is_bad=True)
    below = count_beyond(histogram, cut, large_is_bad=False)
    assert above + below + at == histogram_size(histogram)


def test_an_empty_histogram_has_no_quantile() -> None:
    assert quantile_value((), 0.5) is None


def test_the_weight_of_a_window_halves_in_thirty_windows() -> None:
    faded = fade_in(FadingHistogram(), [((3, 1_000),)])
    for _ in range(30):
        faded = fade_in(faded, [])
    assert faded.weights[0][1] == pytest.approx(500)
    for _ in range(1_000):
        faded = fade_in(faded, [])
    assert faded.weights == ()


def test_there_is_no_cut_before_control_has_enough_values() -> None:
    check = Check(metric=Metric.LATENCY, quantile=0.9)
    assert control_quantile_bucket(check, FadingHistogram(((3, MIN_VALUES - 1),))) is None
    assert control_quantile_bucket(check, FadingHistogram(((3, 90.0), (7, 10.0)))) == 3
    assert control_quantile_bucket(check, FadingHistogram(((3, 80.0), (7, 20.0)))) == 7
    lower = replace(check, metric=Metric.CUSTOM, operator=Operator.AT_LEAST, quantile=0.1)
    assert control_quantile_bucket(lower, FadingHistogram(((3, 20.0), (7, 80.0)))) == 3


Draw = Callable[[random.Random], float]


def durations(scale: float) -> Draw:
    return lambda dice: dice.lognormvariate(math.log(0.08 * scale), 0.5)


class Traffic:
    """A release under checks of values, window by window."""

    def __init__(self, *checks: Check, seed: int = 1, min_samples: int = 0) -> None:
        self.dice = random.Random(seed)
        by = policy(50, 100, bake_ms=60_000, min_samples=min_samples)
        self.evaluated = EvaluatedRelease(replace(by, checks=checks))

    def histogram(self, draw: Draw, amount: int) -> Histogram:
        counts = Counter(bucket_of(draw(self.dice)) for _ in range(amount))
        return tuple(sorted(counts.items()))

    def window(self, measure: str, control: Draw, treatment: Draw, amount: int = 200) -> Action:
        arms = (self.histogram(control, amount), self.histogram(treatment, amount))
        decision = self.evaluated.window(
            (amount, 0), (amount, 0), distributions=(Distribution(1, measure, *arms),)
        )
        return decision.action

    def until_closed(self, measure: str, control: Draw, treatment: Draw, most: int = 60) -> int:
        for number in range(1, most + 1):
            if self.window(measure, control, treatment) in (Action.ROLLBACK, Action.PAUSE):
                return number
        raise AssertionError(self.evaluated.last.reason)


LATENCY = Check(metric=Metric.LATENCY, quantile=0.95)


def test_a_slower_treatment_is_rolled_back() -> None:
    traffic = Traffic(LATENCY)
    windows = traffic.until_closed("latency", durations(1.0), durations(1.6))

    assert windows < 30
    seen = traffic.evaluated.progress.checks[0]
    assert seen.seen_treatment.errors > 2 * seen.seen_control.errors > 0
    reason = traffic.evaluated.last.reason
    assert reason.startswith("latency p95 against control: evidence")
    assert reason.endswith(
        f"reached 111: treatment: {seen.seen_treatment.errors:,} of "
        f"{seen.seen_treatment.outcomes:,} operations were slower than control's p95; control: "
        f"{seen.seen_control.errors:,} of {seen.seen_control.outcomes:,} (this stage)"
    )


def test_an_equally_fast_treatment_advances() -> None:
    traffic = Traffic(LATENCY)
    for _ in range(60):
        if traffic.window("latency", durations(1.0), durations(1.0)) is Action.ADVANCE:
            return
    raise AssertionError(traffic.evaluated.last.reason)


def test_a_custom_value_that_falls_rolls_back_when_small_values_are_bad() -> None:
    basket = Check(
        metric=Metric.CUSTOM,
        measure="basket_value",
        quantile=0.1,
        operator=Operator.AT_LEAST,
        on_failure=OnFailure.PAUSE,
    )
    traffic = Traffic(basket)
    traffic.until_closed(
        "basket_value",
        lambda dice: dice.gauss(40, 10),
        lambda dice: dice.gauss(25, 10),
    )

    assert "basket_value p10 against control" in traffic.evaluated.last.reason
    assert "operations were below control's p10" in traffic.evaluated.last.reason
    assert traffic.evaluated.release.state is State.PAUSED


def test_a_custom_value_that_rises_advances_when_small_values_are_bad() -> None:
    basket = Check(
        metric=Metric.CUSTOM, measure="basket_value", quantile=0.1, operator=Operator.AT_LEAST
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
    raise AssertionError(traffic.evaluated.last.reason)


def test_the_tolerance_applies_to_the_share_beyond_the_cut() -> None:
    wide = replace(LATENCY, tolerance=Tolerance(relative=3.0))
    traffic = Traffic(wide, min_samples=10**9)
    for _ in range(40):
        assert traffic.window("latency", durations(1.0), durations(1.25)) is not Action.ROLLBACK


def test_values_without_a_control_group_are_no_evidence() -> None:
    traffic = Traffic(LATENCY)
    before = traffic.evaluated.progress.checks[0].harm
    traffic.evaluated.window(
        (100, 0), (100, 0), distributions=(Distribution(1, "latency", (), ((90, 100),)),)
    )
    after = traffic.evaluated.progress.checks[0].harm
    assert before.bets == ()
    assert len(set(after.bets)) == 1  # prior mass was placed, and nothing was won or lost


def mixed(slow: float, share: float) -> Draw:
    """Return durations of which a share is longer."""
    usual = durations(1.0)
    return lambda dice: usual(dice) * (slow if dice.random() < share else 1.0)


@pytest.mark.parametrize(("quantile", "stopped"), [(0.98, True), (0.5, False)])
def test_the_quantile_selects_the_operations_that_matter(quantile: float, stopped: bool) -> None:
    """Four in a hundred take ten times as long, which hardly changes the median."""
    traffic = Traffic(replace(LATENCY, quantile=quantile), min_samples=10**9)
    actions = [
        traffic.window("latency", durations(1.0), mixed(10.0, 0.04), amount=400)
        for _ in range(25)
        if traffic.evaluated.release.state is not State.ROLLED_BACK
    ]
    assert (Action.ROLLBACK in actions) is stopped


def test_an_absolute_tolerance_is_in_percentage_points() -> None:
    """With 0.1 added to p_c, three times control's 5 % is still within the tolerance."""
    loose = replace(LATENCY, tolerance=Tolerance(relative=0.0, absolute=0.1))
    traffic = Traffic(loose, min_samples=10**9)
    for _ in range(40):
        assert traffic.window("latency", durations(1.0), durations(1.3)) is not Action.ROLLBACK
    traffic.until_closed("latency", durations(1.0), durations(3.0))


def test_a_measure_is_used_only_by_the_checks_of_its_name() -> None:
    size = Check(metric=Metric.CUSTOM, measure="size", quantile=0.9)
    basket = replace(size, measure="basket")
    traffic = Traffic(size, basket, min_samples=10**9)
    traffic.until_closed("size", durations(1.0), durations(3.0))
    one, other = traffic.evaluated.last.checks
    assert (one.failed, other.failed) == (True, False)
    assert other.log_evidence == pytest.approx(0.0)


@pytest.mark.parametrize("false_alarm", [0.001, 0.1])
def test_the_false_alarm_sets_the_limit_of_the_evidence(false_alarm: float) -> None:
    traffic = Traffic(replace(LATENCY, false_alarm=false_alarm))
    traffic.until_closed("latency", durations(1.0), durations(1.6))
    assert traffic.evaluated.last.checks[0].rollback_at == pytest.approx(1 / (0.9 * false_alarm))


@pytest.mark.parametrize(
    ("on_failure", "state"),
    [
        (OnFailure.ROLLBACK, State.ROLLED_BACK),
        (OnFailure.PAUSE, State.PAUSED),
        (OnFailure.WARN, State.RUNNING),
    ],
)
def test_a_failure_has_the_effect_that_the_policy_sets(on_failure: OnFailure, state: State) -> None:
    traffic = Traffic(replace(LATENCY, on_failure=on_failure))
    for _ in range(10):
        if traffic.evaluated.release.state is State.RUNNING:
            traffic.window("latency", durations(1.0), durations(3.0))
    assert traffic.evaluated.release.state is state
    assert "latency p95 against control: evidence" in traffic.evaluated.last.reason


def test_the_reason_says_that_no_values_were_reported() -> None:
    traffic = Traffic(Check(metric=Metric.CUSTOM, measure="basket", quantile=0.5))
    for _ in range(3):
        traffic.evaluated.window((200, 0), (200, 0))
    assert traffic.evaluated.release.stage == 1
    assert "basket p50 against control: 0 of 100 control values to compare" in (
        traffic.evaluated.last.reason
    )


def test_each_stage_counts_its_own_values() -> None:
    traffic = Traffic(LATENCY)
    while traffic.window("latency", durations(1.0), durations(1.0)) is not Action.ADVANCE:
        assert traffic.evaluated.release.stage == 1
    before = traffic.evaluated.progress.checks[0]
    traffic.window("latency", durations(1.0), durations(1.0))
    after = traffic.evaluated.progress.checks[0]
    assert before.seen_treatment.outcomes >= 200
    assert after.seen_treatment.outcomes == 0  # all of them are treated now
    assert after.control.total > 0


def false_alarms(runs: int, windows: int, check: Check, rate: float) -> int:
    """Return how many harmless releases with drifting latency in both arms are stopped."""
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
    """100 releases at a false alarm of 5 %: more than 12 has a chance below 1 in 600.

    (Binomial: P(X > 12 | 100, 0.05) = 0.0015.)
    """
    check = replace(LATENCY, false_alarm=0.05)
    assert false_alarms(100, 30, check, rate=0.3) <= 12


@pytest.mark.long
def test_two_thousand_harmless_releases_keep_to_the_false_alarm() -> None:
    """P(X > 34 | 2000, 0.01) is below 1 in 500."""
    assert false_alarms(2_000, 60, LATENCY, rate=0.3) <= 34
