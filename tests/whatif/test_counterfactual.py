from __future__ import annotations

import random
import statistics

import pytest
from tidegate.counts import Counts
from tidegate_server.decisions.observations import Distribution
from tidegate_server.whatif.counterfactual import Counterfactual, gamma_quantile
from tidegate_server.whatif.recording import SegmentCounts, TrafficEstimate

CONTROL = Counts(9_100, 9_000, 90, 60, 9_000, 3, 1_800)
TREATMENT = Counts(1_010, 1_000, 30, 20, 1_000, 1, 200)
VALUES = Distribution(1, "latency", ((40, 8_000), (44, 1_000)), ((40, 900), (44, 100)))
RECORDED = SegmentCounts(0.1, CONTROL, TREATMENT, (VALUES,))
ESTIMATE = TrafficEstimate(
    pace=(0.5,),
    control=((900.0, 90_000.0),),
    treatment=((300.0, 10_000.0),),
    first_failures=(0.5, 0.5),
    values={"latency": (VALUES.control, VALUES.treatment)},
)


def counts_with(
    share: float, seed: int = 1, recorded: SegmentCounts | None = RECORDED
) -> SegmentCounts:
    return Counterfactual(ESTIMATE, random.Random(seed)).window(0, recorded, 20_000, share)


def mean(share: float, quantity: str, arm: str, recorded: SegmentCounts | None = RECORDED) -> float:
    return statistics.fmean(
        getattr(getattr(counts_with(share, seed, recorded), arm), quantity) for seed in range(300)
    )


def test_with_the_recorded_share_nothing_is_drawn() -> None:
    counterfactual = Counterfactual(ESTIMATE, random.Random(1))

    assert counterfactual.window(0, RECORDED, 20_000, 0.1) is RECORDED
    assert not counterfactual.drawn.random
    assert (counterfactual.drawn.recorded, counterfactual.drawn.drawn) == (10_000, 0)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 1.0])
def test_no_operation_is_lost_or_added(share: float) -> None:
    counts = counts_with(share)

    assert counts.share == share
    assert counts.control.outcomes + counts.treatment.outcomes == 10_000
    assert counts.control.exposures + counts.treatment.exposures == 10_110
    assert counts.control.sampled + counts.treatment.sampled == 2_000
    [values] = counts.distributions
    assert sum(count for _, count in (*values.control, *values.treatment)) == 10_000


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 1.0])
def test_each_arm_gets_its_share(share: float) -> None:
    assert mean(share, "outcomes", "treatment") == pytest.approx(10_000 * share, rel=0.02)
    assert mean(share, "sampled", "treatment") == pytest.approx(2_000 * share, rel=0.02)


def test_users_who_stay_in_their_arm_keep_what_was_recorded() -> None:
    assert mean(0.05, "errors", "treatment") == pytest.approx(15, rel=0.05)
    assert mean(0.05, "failing", "treatment") == pytest.approx(10, rel=0.05)


def test_users_who_change_arms_fail_at_the_other_arm_s_rate() -> None:
    moved_to_control = mean(0.0, "errors", "control") - CONTROL.errors
    moved_to_treatment = mean(0.5, "errors", "treatment") - TREATMENT.errors

    assert moved_to_control == pytest.approx(1_000 * 0.01, rel=0.1)
    assert moved_to_treatment == pytest.approx(4_000 * 0.03, rel=0.1)


def test_failing_users_are_never_more_than_failures() -> None:
    for seed in range(100):
        counts = counts_with(0.7, seed)
        for arm in (counts.control, counts.treatment):
            assert arm.failing <= arm.errors <= arm.outcomes <= arm.exposures


def test_a_window_that_was_not_counted_is_drawn_completely() -> None:
    assert mean(0.3, "outcomes", "control", None) == pytest.approx(7_000, rel=0.02)
    assert mean(0.3, "errors", "treatment", None) == pytest.approx(3_000 * 0.03, rel=0.05)


def test_a_part_and_the_rest_add_up_to_the_whole() -> None:
    part, rest = Counterfactual(ESTIMATE, random.Random(1)).split(RECORDED, 0.3)

    assert part.control + rest.control == RECORDED.control
    assert part.treatment + rest.treatment == RECORDED.treatment
    assert part.control.outcomes == pytest.approx(2_700, rel=0.05)


def test_an_uncertain_rate_differs_between_runs() -> None:
    few = TrafficEstimate((0.5,), ((900.0, 90_000.0),), ((2.0, 100.0),), (1.0, 1.0))
    rates = [Counterfactual(few, random.Random(seed)).excess_rate(0) for seed in range(400)]
    certain = [Counterfactual(ESTIMATE, random.Random(seed)).excess_rate(0) for seed in range(400)]

    assert statistics.stdev(rates) > 4 * statistics.stdev(certain)
    assert statistics.fmean(certain) == pytest.approx(0.02, rel=0.1)


def test_an_arm_without_operations_fails_at_the_control_s_rate() -> None:
    unknown = TrafficEstimate((0.5,), ((900.0, 90_000.0),), ((0.0, 0.0),), (1.0, 1.0))
    excess = [Counterfactual(unknown, random.Random(seed)).excess_rate(0) for seed in range(2_000)]

    assert statistics.fmean(excess) == pytest.approx(0.0, abs=0.001)


@pytest.mark.parametrize("shape", [1.0, 5.0, 50.0])
def test_gamma_quantiles_match_drawn_numbers(shape: float) -> None:
    rng = random.Random(1)
    true = sorted(rng.gammavariate(shape, 1.0) for _ in range(20_000))

    for share, deviations in ((0.025, -1.96), (0.5, 0.0), (0.975, 1.96)):
        assert gamma_quantile(shape, deviations) == pytest.approx(
            true[int(share * 20_000)], rel=0.05, abs=0.02
        )


def test_the_same_generator_gives_the_same_window() -> None:
    assert counts_with(0.4, 5) == counts_with(0.4, 5)
    assert counts_with(0.4, 5) != counts_with(0.4, 6)


def test_a_bad_arm_with_few_operations_keeps_its_own_rate() -> None:
    few = TrafficEstimate((0.5,), ((0.0, 111.0),), ((5.0, 14.0),), (1.0, 1.0))
    excess = [Counterfactual(few, random.Random(seed)).excess_rate(0) for seed in range(2_000)]

    assert statistics.fmean(excess) == pytest.approx(5 / 14, abs=0.03)
