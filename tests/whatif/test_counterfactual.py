from __future__ import annotations

import random
import statistics

import pytest
from tidegate.counts import Counts
from tidegate_server.decisions.observations import Distribution
from tidegate_server.whatif.counterfactual import Elsewise, gamma
from tidegate_server.whatif.recording import Fitted, Seen

CONTROL = Counts(9_100, 9_000, 90, 60, 9_000, 3)
TREATMENT = Counts(1_010, 1_000, 30, 20, 1_000, 1)
VALUES = Distribution(1, "latency", ((40, 8_000), (44, 1_000)), ((40, 900), (44, 100)))
SEEN = Seen(0.1, CONTROL, TREATMENT, (VALUES,))
FITTED = Fitted(
    pace=(0.5,),
    control=((900.0, 90_000.0),),
    treatment=((300.0, 10_000.0),),
    first=(0.5, 0.5),
    values={"latency": (VALUES.control, VALUES.treatment)},
)


def under(share: float, seed: int = 1, seen: Seen | None = SEEN) -> Seen:
    return Elsewise(FITTED, random.Random(seed)).window(0, seen, 20_000, share)


def mean(share: float, of: str, arm: str, seen: Seen | None = SEEN) -> float:
    return statistics.fmean(
        getattr(getattr(under(share, seed, seen), arm), of) for seed in range(300)
    )


def test_with_the_recorded_share_nothing_is_drawn() -> None:
    elsewise = Elsewise(FITTED, random.Random(1))

    assert elsewise.window(0, SEEN, 20_000, 0.1) is SEEN
    assert not elsewise.drawn.thinned
    assert (elsewise.drawn.recorded, elsewise.drawn.drawn) == (10_000, 0)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 1.0])
def test_nobody_is_lost_or_added(share: float) -> None:
    found = under(share)

    assert found.share == share
    assert found.control.outcomes + found.treatment.outcomes == 10_000
    assert found.control.exposures + found.treatment.exposures == 10_110
    [values] = found.distributions
    assert sum(count for _, count in (*values.control, *values.treatment)) == 10_000


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 1.0])
def test_the_arms_get_their_shares(share: float) -> None:
    assert mean(share, "outcomes", "treatment") == pytest.approx(10_000 * share, rel=0.02)


def test_a_smaller_share_keeps_what_was_recorded_of_those_who_stay() -> None:
    assert mean(0.05, "errors", "treatment") == pytest.approx(15, rel=0.05)
    assert mean(0.05, "failing", "treatment") == pytest.approx(10, rel=0.05)


def test_those_who_change_sides_fail_as_the_other_side_does() -> None:
    moved_to_control = mean(0.0, "errors", "control") - CONTROL.errors
    moved_to_treatment = mean(0.5, "errors", "treatment") - TREATMENT.errors

    assert moved_to_control == pytest.approx(1_000 * 0.01, rel=0.1)
    assert moved_to_treatment == pytest.approx(4_000 * 0.03, rel=0.1)


def test_failing_users_are_never_more_than_failures() -> None:
    for seed in range(100):
        found = under(0.7, seed)
        for arm in (found.control, found.treatment):
            assert arm.failing <= arm.errors <= arm.outcomes <= arm.exposures


def test_people_who_were_not_counted_are_drawn_whole() -> None:
    assert mean(0.3, "outcomes", "control", None) == pytest.approx(7_000, rel=0.02)
    assert mean(0.3, "errors", "treatment", None) == pytest.approx(3_000 * 0.03, rel=0.05)


def test_a_part_and_the_rest_are_the_whole() -> None:
    part, rest = Elsewise(FITTED, random.Random(1)).part(SEEN, 0.3)

    assert part.control + rest.control == SEEN.control
    assert part.treatment + rest.treatment == SEEN.treatment
    assert part.control.outcomes == pytest.approx(2_700, rel=0.05)


def test_rates_that_are_hardly_known_differ_from_run_to_run() -> None:
    few = Fitted((0.5,), ((900.0, 90_000.0),), ((2.0, 100.0),), (1.0, 1.0))
    rates = [Elsewise(few, random.Random(seed)).excess(0) for seed in range(400)]
    sure = [Elsewise(FITTED, random.Random(seed)).excess(0) for seed in range(400)]

    assert statistics.stdev(rates) > 4 * statistics.stdev(sure)
    assert statistics.fmean(sure) == pytest.approx(0.02, rel=0.1)


def test_an_arm_of_which_nothing_is_known_fails_as_the_control_does() -> None:
    unknown = Fitted((0.5,), ((900.0, 90_000.0),), ((0.0, 0.0),), (1.0, 1.0))
    excess = [Elsewise(unknown, random.Random(seed)).excess(0) for seed in range(2_000)]

    assert statistics.fmean(excess) == pytest.approx(0.0, abs=0.001)


@pytest.mark.parametrize("shape", [1.0, 5.0, 50.0])
def test_quantiles_of_the_gamma_distribution(shape: float) -> None:
    dice = random.Random(1)
    true = sorted(dice.gammavariate(shape, 1.0) for _ in range(20_000))

    for share, deviations in ((0.025, -1.96), (0.5, 0.0), (0.975, 1.96)):
        assert gamma(shape, deviations) == pytest.approx(
            true[int(share * 20_000)], rel=0.05, abs=0.02
        )


def test_the_same_generator_gives_the_same_window() -> None:
    assert under(0.4, 5) == under(0.4, 5)
    assert under(0.4, 5) != under(0.4, 6)


def test_few_operations_of_a_bad_arm_are_taken_as_they_were_seen() -> None:
    few = Fitted((0.5,), ((0.0, 111.0),), ((5.0, 14.0),), (1.0, 1.0))
    excess = [Elsewise(few, random.Random(seed)).excess(0) for seed in range(2_000)]

    assert statistics.fmean(excess) == pytest.approx(5 / 14, abs=0.03)
