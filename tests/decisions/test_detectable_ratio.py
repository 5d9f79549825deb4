from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tidegate.counts import Counts, StratumCounts
from tidegate.harm_evidence import (
    ONSET_START,
    WEIGHTS,
    HarmEvidence,
    bets_of_share,
    epoch_false_alarm,
    update_harm_evidence,
)
from tidegate_server.decisions.detectable_ratio import (
    LARGEST_RATIO,
    QUANTILE,
    ControlFailures,
    detectable_ratio,
)

FIRST = epoch_false_alarm(0.01, epoch=1)

PAIRS = st.lists(
    st.builds(ControlFailures, st.floats(0.001, 0.95), st.integers(0, 2_000)),
    min_size=1,
    max_size=6,
)


def by_bisection(control: list[ControlFailures], false_alarm: float, ratio: float) -> float | None:
    """The definition: the smallest ratio that a search finds to have been noticed."""

    def noticed(tried: float) -> bool:
        for j, weight in enumerate(WEIGHTS):
            mean = variance = 0.0
            for each in control:
                if each.failures and 0.0 < each.share < 1.0:
                    log_ratio, scale = bets_of_share(each.share, ratio)[j]
                    treated = tried * each.failures * each.share / (1.0 - each.share)
                    mean += treated * (log_ratio - scale) - each.failures * scale
                    variance += treated * (log_ratio - scale) ** 2 + each.failures * scale**2
            if mean - QUANTILE * math.sqrt(variance) >= -math.log(
                false_alarm * ONSET_START * weight
            ):
                return True
        return False

    low, high = ratio, LARGEST_RATIO
    if not noticed(high):
        return None
    if noticed(low):
        return low
    for _ in range(60):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if noticed(middle) else (middle, high)
    return high


@given(PAIRS, st.floats(1.0, 2.0), st.sampled_from([1, 2, 10]))
def test_the_closed_form_is_what_a_search_finds(
    control: list[ControlFailures], ratio: float, epoch: int
) -> None:
    false_alarm = epoch_false_alarm(0.01, epoch=epoch)
    found = detectable_ratio(control, false_alarm, ratio)
    searched = by_bisection(control, false_alarm, ratio)

    if searched is None or found is None:
        assert (searched or LARGEST_RATIO) == pytest.approx(found or LARGEST_RATIO, rel=1e-6)
    else:
        assert found == pytest.approx(searched, rel=1e-6)


@given(PAIRS, st.floats(0.001, 0.95), st.integers(1, 500))
def test_more_failures_of_control_make_smaller_ratios_detectable(
    control: list[ControlFailures], share: float, more: int
) -> None:
    """A single share: what is added there can only help."""
    few = [ControlFailures(share, sum(each.failures for each in control))]
    many = [ControlFailures(share, few[0].failures + more)]

    assert (detectable_ratio(many, FIRST, 1.05) or math.inf) <= (
        detectable_ratio(few, FIRST, 1.05) or math.inf
    ) * (1.0 + 1e-9)


@given(PAIRS)
def test_it_is_at_least_the_tolerance_and_rises_with_the_epoch(
    control: list[ControlFailures],
) -> None:
    first = detectable_ratio(control, FIRST, 1.05) or math.inf
    second = detectable_ratio(control, epoch_false_alarm(0.01, epoch=2), 1.05) or math.inf

    assert 1.05 <= first <= second


def test_without_failures_of_control_nothing_would_have_been_noticed() -> None:
    assert detectable_ratio([], FIRST, 1.05) is None
    assert detectable_ratio([ControlFailures(0.05, 0, 10_000)], FIRST, 1.05) is None
    assert detectable_ratio([ControlFailures(1.0, 50)], FIRST, 1.05) is None


def test_an_absolute_tolerance_hides_smaller_ratios() -> None:
    control = [ControlFailures(0.25, 400, 40_000)]
    relative = detectable_ratio(control, FIRST, 1.0)
    both = detectable_ratio(control, FIRST, 1.0, 0.01)

    assert relative is not None
    assert both is not None
    # One per cent more at a rate of one per cent: twice as often is tolerated.
    assert both > 2.0 > relative


def test_operations_without_failures_count_where_an_absolute_excess_is_tolerated() -> None:
    failing = [ControlFailures(0.5, 200, 20_000)]
    # A smaller share where control had no failures: there, too, an excess would be tolerated.
    quiet = [*failing, ControlFailures(0.1, 0, 200_000)]
    relative = [detectable_ratio(each, FIRST, 1.05) for each in (failing, quiet)]
    absolute = [detectable_ratio(each, FIRST, 1.0, 0.001) or 0.0 for each in (failing, quiet)]

    assert relative[0] == relative[1]
    assert absolute[1] > 1.1 * absolute[0]


@pytest.mark.parametrize(("share", "failures"), [(0.05, 40), (0.25, 60), (0.5, 200)])
def test_the_stated_ratio_is_noticed_in_about_four_of_five_releases(
    share: float, failures: int
) -> None:
    ratio = detectable_ratio([ControlFailures(share, failures)], FIRST, 1.05)
    assert ratio is not None
    dice = random.Random(failures)
    windows, runs, noticed = 10, 300, 0
    treated = ratio * failures * share / (1.0 - share) / windows
    for _ in range(runs):
        evidence = HarmEvidence()
        for window in range(windows):
            counts = [_poisson(dice, mean) for mean in (failures / windows, treated)]
            arms = (Counts(failing=each) for each in counts)
            strata = [StratumCounts(1, share, *arms)]
            evidence = update_harm_evidence(evidence, strata, 1.05, new_stage=window == 0)
            if evidence.log_value >= -math.log(FIRST):
                noticed += 1
                break

    # Four of five, less three standard deviations.
    assert noticed / runs >= 0.8 - 3 * math.sqrt(0.8 * 0.2 / runs)


def _poisson(dice: random.Random, mean: float) -> int:
    """Knuth's method: as many exponential gaps as fit."""
    count, gaps = 0, dice.expovariate(1.0)
    while gaps < mean:
        count, gaps = count + 1, gaps + dice.expovariate(1.0)
    return count
