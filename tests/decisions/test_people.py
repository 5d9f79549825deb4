"""Users harmed and spared are estimated from the users who failed."""

from __future__ import annotations

import random

import pytest
from tidegate.counts import StratumCounts
from tidegate_server.decisions.people import NO_USERS, UserTally, affected_users, tally_users
from tidegate_server.whatif.sampling import binomial

from tests.decisions.simulated_release import arms


def tally(*strata: StratumCounts, rate: float | None = None) -> UserTally:
    result = NO_USERS
    for each in strata:
        result = tally_users(result, [each], rate=rate, rate_failures=100.0)
    return result


def test_what_control_does_not_explain_is_harm_and_the_same_on_control_is_spared() -> None:
    found = affected_users(tally(arms(0.1, (9_000, 90), (1_000, 40))))
    assert found.failed == 40
    assert found.expected == pytest.approx(10.0)
    assert found.harmed.estimate == pytest.approx(30.0)
    assert found.spared.estimate == pytest.approx(270.0)
    assert 0.0 < found.harmed.low < 30.0 < found.harmed.high <= 40.0
    assert found.spared.low < 270.0 < found.spared.high


def test_a_treatment_that_fails_less_harms_nobody() -> None:
    found = affected_users(tally(arms(0.5, (1_000, 60), (1_000, 10))))
    assert (found.harmed.estimate, found.harmed.low) == (0.0, 0.0)
    assert (found.spared.estimate, found.spared.low) == (0.0, 0.0)


def test_changing_shares_and_rates_do_not_look_like_harm() -> None:
    # As often in both arms; control's rate fell while the treatment's share rose.
    found = affected_users(
        tally(arms(0.1, (9_000, 900), (1_000, 100)), arms(0.9, (500, 5), (4_500, 45)))
    )
    assert found.harmed.estimate == pytest.approx(0.0)
    assert found.spared.estimate == pytest.approx(0.0)


def test_without_a_control_group_its_last_known_rate_counts() -> None:
    found = affected_users(
        tally(arms(0.5, (1_000, 10), (1_000, 10)), arms(1.0, (0, 0), (1_000, 40)), rate=0.01)
    )
    assert found.failed == 50
    assert found.expected == pytest.approx(20.0)
    assert found.harmed.estimate == pytest.approx(30.0)
    assert found.spared.estimate == 0.0
    unknown = affected_users(tally(arms(1.0, (0, 0), (1_000, 40))))
    assert (unknown.failed, unknown.harmed.high) == (0, 0.0)


def test_nothing_counted_is_nobody_harmed() -> None:
    found = affected_users(NO_USERS)
    assert (found.failed, found.harmed.estimate, found.spared.high) == (0, 0.0, 0.0)


@pytest.mark.parametrize("ratio", [1.0, 1.5, 4.0])
def test_the_ranges_hold_the_true_numbers_in_most_releases(ratio: float) -> None:
    """The range of 95 % misses in 25 of 500; more than 42 have a probability of 5e-4."""
    dice = random.Random(7)
    releases, missed_harmed, missed_spared = 500, 0, 0
    rate = 0.01
    for _ in range(releases):
        strata, harmed, spared = [], 0.0, 0.0
        for share in (0.05, 0.2, 0.5):
            operations = 8_000
            treated = round(operations * share)
            controls = operations - treated
            strata.append(
                arms(
                    share,
                    (controls, binomial(dice, controls, rate)),
                    (treated, binomial(dice, treated, rate * ratio)),
                )
            )
            harmed += treated * rate * (ratio - 1.0)
            spared += controls * rate * (ratio - 1.0)
        found = affected_users(tally(*strata))
        missed_harmed += not found.harmed.low <= harmed <= found.harmed.high
        missed_spared += not found.spared.low <= spared <= found.spared.high
    assert missed_harmed <= 42
    assert missed_spared <= 42
