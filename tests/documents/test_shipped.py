from __future__ import annotations

import random
from dataclasses import replace

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
