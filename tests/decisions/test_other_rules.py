"""Other rules stop harmless releases far more often, in situations that every service knows."""

from __future__ import annotations

import pytest
from tidegate_server.whatif.confidence_intervals import share
from tidegate_server.whatif.traffic_model import Constant, TrafficModel

from tests.decisions.many_releases import FALSE_ALARM, HARMLESS, RAMP
from tests.decisions.other_rules import RULES, ConfidenceSequence, PeekedZTest, stopped_by
from tests.decisions.test_false_alarms import stopped
from tests.decisions.test_simulated_releases import most_by_chance

WINDOWS = 120
STAGE_WINDOWS = 30
LEVEL = 0.01
"""Of the z test."""


def stopped_number(rule: str, model: TrafficModel, number: int) -> int:
    return sum(
        stopped_by(RULES[rule](), RAMP, model, seed, windows=WINDOWS, stage_windows=STAGE_WINDOWS)
        for seed in range(number)
    )


def test_looking_at_a_z_test_after_every_window_breaks_its_promise() -> None:
    model = HARMLESS["constant"]
    found = sum(
        stopped_by(PeekedZTest(), RAMP, model, seed, windows=60, stage_windows=STAGE_WINDOWS)
        for seed in range(60)
    )

    assert found > most_by_chance(60, LEVEL, 1e-3)


def test_pooled_totals_mistake_a_shared_outage_for_a_bad_release() -> None:
    model = HARMLESS["an outage for both when the stage changes"]
    found = sum(
        stopped_by(ConfidenceSequence(), RAMP, model, seed, windows=60, stage_windows=10)
        for seed in range(20)
    )

    assert found > most_by_chance(20, FALSE_ALARM, 1e-3)


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_stops_a_release_that_mostly_fails(rule: str) -> None:
    model = TrafficModel(Constant(4_000), Constant(0.01), Constant(50.0))

    assert stopped_number(rule, model, 3) == 3


@pytest.mark.long
def test_how_often_each_rule_stops_harmless_releases(capsys: pytest.CaptureFixture[str]) -> None:
    number = 500
    with capsys.disabled():
        for kind, model in HARMLESS.items():
            found = {rule: stopped_number(rule, model, number) for rule in RULES}
            found["this one"] = stopped(model, number, WINDOWS)
            for rule, count in found.items():
                estimate = share(count, number)
                assert estimate is not None
                low, high = estimate.low, estimate.high
                print(f"{kind}: {rule}: {count / number:.1%} [{low:.1%}, {high:.1%}]")
            assert found["this one"] <= most_by_chance(number, FALSE_ALARM, 1e-3)
