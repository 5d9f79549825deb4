from __future__ import annotations

import random
from math import sqrt

from hypothesis import given
from hypothesis import strategies as st
from tidegate.counts import Counts, StratumCounts
from tidegate_server.decisions.sample_ratio import (
    FALSE_ALARM,
    MARGIN,
    SampleRatio,
    update_sample_ratio,
)


def update_all(
    share: float, windows: list[tuple[int, int]], before: SampleRatio | None = None
) -> SampleRatio:
    """The check after windows with so many newly counted users of control and treatment."""
    ratio = before or SampleRatio()
    for number, (controls, treated) in enumerate(windows):
        strata = [StratumCounts(1, share, Counts(sampled=controls), Counts(sampled=treated))]
        ratio = update_sample_ratio(ratio, strata, new_visit=before is None and number == 0)
    return ratio


def test_a_split_as_designed_is_no_evidence() -> None:
    assert update_all(0.1, [(900, 100)] * 500).log_evidence < 0.0


def test_a_split_without_treated_users_is_found() -> None:
    assert update_all(0.1, [(900, 0)]).is_broken


def test_a_split_with_far_too_many_treated_users_is_found() -> None:
    assert update_all(0.05, [(800, 200)]).is_broken


def test_half_of_the_treated_lost_at_a_quarter_is_found_after_some_hundred_users() -> None:
    assert update_all(0.25, [(75, 12)] * 8).is_broken


def test_operations_are_not_counted() -> None:
    strata = [StratumCounts(1, 0.5, Counts(outcomes=9_000), Counts(outcomes=10))]

    assert update_sample_ratio(SampleRatio(), strata, new_visit=True).log_evidence == 0.0


def test_the_check_passes_soon_after_the_split_is_fixed() -> None:
    broken = update_all(0.5, [(1_000, 0)] * 100)
    fixed = update_all(0.5, [(500, 500)] * 2, broken)

    assert broken.is_broken
    assert not fixed.is_broken


def test_every_visit_of_a_stage_begins_afresh_with_a_smaller_part_of_the_false_alarms() -> None:
    broken = update_all(0.5, [(1_000, 0)])
    again = update_sample_ratio(broken, [], new_visit=True)

    assert (broken.visit, again.visit) == (1, 2)
    assert again.log_evidence == 0.0
    limits = [SampleRatio(visit).limit for visit in range(1, 1_000)]
    assert limits[:2] == [2 / FALSE_ALARM, 6 / FALSE_ALARM]
    assert sum(1.0 / limit for limit in limits) <= FALSE_ALARM


def test_a_stratum_without_a_control_group_has_no_split() -> None:
    assert update_all(1.0, [(0, 1_000)] * 50).log_evidence == 0.0


@given(st.permutations([0, 1, 2]), st.lists(st.integers(0, 300), min_size=6, max_size=6))
def test_the_order_of_strata_does_not_matter(order: list[int], users: list[int]) -> None:
    strata = [
        StratumCounts(
            number, (0.1, 0.3, 0.5)[number], Counts(sampled=users[number]),
            Counts(sampled=users[number + 3]),
        )
        for number in range(3)
    ]  # fmt: skip
    straight = update_sample_ratio(SampleRatio(), strata, new_visit=True)
    mixed = update_sample_ratio(SampleRatio(), [strata[at] for at in order], new_visit=True)

    assert abs(straight.log_evidence - mixed.log_evidence) < 1e-6


def test_random_splits_at_the_edge_of_the_margin_are_almost_never_found() -> None:
    """Ville's inequality bounds the share of runs that are ever found, at the worst odds too."""
    dice = random.Random(4)
    runs, found = 1_000, 0
    for _ in range(runs):
        share = dice.uniform(0.02, 0.98)
        odds = share / (1.0 - share) * dice.choice((1.0 / MARGIN, MARGIN))
        ratio = SampleRatio()
        for window in range(20):
            treated = sum(dice.random() < odds / (1.0 + odds) for _ in range(40))
            strata = [
                StratumCounts(1, share, Counts(sampled=40 - treated), Counts(sampled=treated))
            ]
            ratio = update_sample_ratio(ratio, strata, new_visit=window == 0)
            if ratio.is_broken:
                found += 1
                break

    promised = runs * FALSE_ALARM / 2
    assert found <= promised + 4 * sqrt(promised)
