from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from tidegate_server.documents import shipped
from tidegate_server.documents.lint import lint
from tidegate_server.documents.policy_schemas import PolicyBody
from tidegate_server.domain.policy import DAY, HOUR
from tidegate_server.domain.release import State
from tidegate_server.whatif.simulation import simulate
from tidegate_server.whatif.traffic_model import Constant, TrafficModel

MONDAY = 1_767_571_200_000  # 2026-01-05, UTC
LONGEST_DAYS = {"standard": 0.5, "hotfix": 0.1, "careful": 3, "dark-launch": 2}


@pytest.mark.parametrize("name", shipped.NAMES)
def test_every_policy_is_valid_and_has_its_name(name: str) -> None:
    linted = lint(shipped.text(name), f"{name}.yaml")

    assert linted.findings == ()
    assert linted.policy == shipped.policy(name)
    assert shipped.policy(name).key == name
    assert shipped.policy(name).description


ADVANCE, HOLD = "advance", "hold"
SHIPPED: dict[str, dict[str, Any]] = {
    "standard": {
        "stages": [
            (1, "15m", 100, "2h", ADVANCE),
            (5, "15m", 200, "4h", ADVANCE),
            (25, "20m", 500, "6h", ADVANCE),
            (50, "30m", 500, "12h", ADVANCE),
            (100, "15m", 100, None, HOLD),
        ],
        "interval": "30s", "bake": "1h", "tolerance": 0.05, "harm_budget": 0.002, "holdback": 0,
    },
    "careful": {
        "stages": [
            (0.5, "30m", 50, "12h", ADVANCE),
            (1, "30m", 100, "12h", ADVANCE),
            (5, "1h", 200, "1d", HOLD),
            (10, "1h", 500, "1d", HOLD),
            (25, "2h", 500, "2d", HOLD),
            (50, "2h", 500, "2d", HOLD),
            (100, "15m", 500, None, HOLD),
        ],
        "interval": "1m", "bake": "1d", "tolerance": 0.05, "harm_budget": 0.002, "holdback": 1,
    },
    "hotfix": {
        "stages": [
            (10, "2m", 50, "30m", ADVANCE),
            (50, "2m", 100, "2h", ADVANCE),
            (100, "15m", 100, None, HOLD),
        ],
        "interval": "10s", "bake": "15m", "tolerance": 0.1, "harm_budget": 0.005, "holdback": 0,
    },
    "dark-launch": {
        "stages": [
            (0.1, "2h", 50, "6h", ADVANCE),
            (1, "4h", 200, "12h", ADVANCE),
            (10, "12h", 500, "36h", ADVANCE),
            (50, "1d", 1000, "2d", ADVANCE),
            (100, "15m", 500, None, HOLD),
        ],
        "interval": "1m", "bake": "1d", "tolerance": 0.05, "harm_budget": 0.002, "holdback": 5,
    },
}  # fmt: skip
FIELDS = ("percentage", "min_duration", "min_samples", "max_duration", "undecided")


@pytest.mark.parametrize("name", shipped.NAMES)
def test_the_times_and_limits_are_those_that_were_simulated(name: str) -> None:
    written = shipped.canonical(name)
    expected = SHIPPED[name]

    assert [tuple(stage[each] for each in FIELDS) for stage in written["stages"]] == (
        expected["stages"]
    )
    assert written["checks"][0]["tolerance"] == {"relative": expected["tolerance"], "absolute": 0}
    for field in ("interval", "bake", "harm_budget", "holdback"):
        assert written[field] == expected[field]


@pytest.mark.parametrize("name", shipped.NAMES)
def test_something_watches_every_check_after_the_last_advance(name: str) -> None:
    watched = lint(shipped.text(name), name).watched

    assert watched
    assert all(each.watchers for each in watched)


@pytest.mark.parametrize("name", shipped.NAMES)
def test_a_healthy_release_completes_in_time(name: str) -> None:
    model = TrafficModel(Constant(3_000), Constant(0.01))
    by = replace(shipped.policy(name), bake_ms=HOUR)
    run = simulate(by, model, random.Random(1), starts_ms=MONDAY)

    assert run.state is State.COMPLETED
    assert run.elapsed_ms <= LONGEST_DAYS[name] * DAY


@pytest.mark.parametrize("name", shipped.NAMES)
def test_a_bad_release_is_stopped_before_half_of_the_users_have_it(name: str) -> None:
    model = TrafficModel(Constant(3_000), Constant(0.01), Constant(5.0))
    runs = [
        simulate(shipped.policy(name), model, random.Random(seed), starts_ms=MONDAY)
        for seed in range(5)
    ]

    assert [run.state for run in runs] == [State.ROLLED_BACK] * 5
    for run in runs:
        assert run.stopped_stage is not None
        assert shipped.policy(name).opened(run.stopped_stage) < 50


@pytest.mark.parametrize("name", shipped.NAMES)
def test_the_canonical_form_is_the_same_policy(name: str) -> None:
    assert PolicyBody().load(shipped.canonical(name)) == shipped.policy(name)


def test_other_names_are_not_shipped() -> None:
    assert not shipped.is_shipped("mine")
