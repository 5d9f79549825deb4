"""Policies are simulated over HTTP."""

from __future__ import annotations

from typing import Any

import pytest
from tidegate_server.admin.policies import simulations
from tidegate_server.store import Store
from tidegate_server.web.computations import Computations

from tests.http_calls import POLICY, PROJECT, Caller, pointers, slug, stored_documents

SIMULATE = f"{PROJECT}/policies/simulate"
SIMULATION = {"traffic": 4_000, "base_error": 0.01, "times": 10, "runs": 5, "seed": 7}
NEVER_LEFT = [{"percentage": 5, "min_samples": 10**9}, {"percentage": 100}]
QUICK = {**POLICY, "key": "quick", "interval": "30s", "bake": "5m"}


def simulate(caller: Caller, **more: Any) -> Any:
    response = caller.post(SIMULATE, {**SIMULATION, **more})
    assert response.status_code == 200, response.text
    return response.json


def test_a_simulation_runs_healthy_and_bad_releases(checkout: Caller, store: Store) -> None:
    before = stored_documents(store)
    answer = simulate(checkout, policy=QUICK)
    assert (answer["policy"], answer["seed"], answer["complete"]) == ("quick", 7, True)
    healthy, bad = answer["healthy"], answer["bad"]
    assert (healthy["runs"], healthy["completed"]["value"], healthy["stopped"]["value"]) == (
        5,
        1,
        0,
    )
    assert 0 < healthy["full_ms"]["median"]["value"] < healthy["completed_ms"]["median"]["value"]
    assert (bad["stopped"]["value"], bad["stages"]) == (1, [5, 0])
    assert (
        bad["hurt"]["median"]["low"]
        <= bad["hurt"]["median"]["value"]
        <= (bad["hurt"]["median"]["high"])
    )
    assert bad["completed_ms"] is None
    assert stored_documents(store) == before


def test_the_same_seed_gives_the_same_answer(checkout: Caller) -> None:
    assert simulate(checkout, policy=QUICK) == simulate(checkout, policy=QUICK)
    assert simulate(checkout, policy=QUICK) != simulate(checkout, policy=QUICK, seed=8)


def test_a_policy_key_names_a_policy_of_the_project_or_a_shipped_one(
    checkout: Caller,
) -> None:
    checkout.post_ok(f"{PROJECT}/policies", QUICK)
    assert simulate(checkout, policy_key="quick")["policy"] == "quick"
    assert simulate(checkout, policy_key="hotfix", runs=1)["policy"] == "hotfix"
    missing = checkout.post(SIMULATE, {**SIMULATION, "policy_key": "nope"})
    assert (missing.status_code, slug(missing)) == (404, "not-found")


def test_a_reader_may_simulate_a_policy_that_is_not_stored(checkout: Caller) -> None:
    reader = checkout.token_for("reader", "default", None)
    assert simulate(reader, policy=QUICK)["complete"] is True
    assert (
        checkout.token_for("sdk", "default", "production").post(SIMULATE, SIMULATION).status_code
        == 403
    )


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"traffic": 0}, "/traffic"),
        ({"base_error": 0}, "/base_error"),
        ({"base_error": 0.2}, "/times"),
        ({"times": 1}, "/times"),
        ({"runs": 501}, "/runs"),
        ({"days": 0}, "/days"),
        ({"users": 0}, "/users"),
        ({"segments": {"staff": 1}}, "/segments/staff"),
        ({"segments": {"Staff!": 0.1}}, "/segments/Staff!"),
        ({"segments": []}, "/segments"),
        ({"segments": {"staff": 0.6, "beta": 0.5}}, "/segments"),
        ({"policy_key": "careful"}, "/policy"),
        ({"policy": None}, "/policy"),
        ({"policy": {**QUICK, "stages": []}}, "/policy/stages"),
        ({"policy": {**QUICK, "stages": [{"percentage": 5}]}}, "/policy/stages/0/percentage"),
        ({"until": "1h"}, "/until"),
        ({"day_night": 1}, "/day_night"),
        ({"retries": 11}, "/retries"),
        ({"activity": {"kind": "pareto"}}, "/activity/kind"),
        ({"activity": {"kind": "zipf", "skew": 0}}, "/activity/skew"),
        ({"activity": {"kind": "equal", "skew": 1}}, "/activity/skew"),
        ({"outages": {"per_day": 0}}, "/outages/per_day"),
        ({"outages": {"per_day": 1, "duration": "2d"}}, "/outages/duration"),
        ({"outages": {"per_day": 1, "error_rate": 1}}, "/outages/error_rate"),
        ({"wobble": {"size": 0}}, "/wobble/size"),
    ],
)
def test_an_invalid_simulation_is_refused_with_its_field(
    checkout: Caller, change: dict[str, Any], pointer: str
) -> None:
    refused = checkout.post(SIMULATE, {**SIMULATION, "policy": QUICK, **change})
    assert refused.status_code == 422, refused.text
    assert pointers(refused) == [pointer]


def compute_here(monkeypatch: pytest.MonkeyPatch, time_limit_seconds: float) -> None:
    """Simulate in this process, with another time limit."""
    monkeypatch.setattr(
        Computations, "run_while", lambda self, wanted, caller, function, *given: function(*given)
    )
    monkeypatch.setattr(simulations, "TIME_LIMIT_SECONDS", time_limit_seconds)


def test_a_simulation_that_is_cut_short_returns_its_results_so_far(
    checkout: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute_here(monkeypatch, 0.0)
    answer = simulate(checkout, policy=QUICK)
    assert (answer["complete"], answer["healthy"]["runs"]) == (False, 0)
    assert answer["healthy"]["stopped"] is None


def test_a_policy_that_gets_stuck_is_answered_with_the_stage_and_what_it_lacks(
    checkout: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute_here(monkeypatch, 1.0)
    stuck = {**QUICK, "interval": "10s", "stages": NEVER_LEFT}
    answer = simulate(checkout, policy=stuck, traffic=40, days=90)
    assert answer["complete"] is False
    for kind in ("healthy", "bad"):
        first, last = answer[kind]["by_stage"]
        assert answer[kind]["runs"] + answer[kind]["cut_short"] > 0
    first, last = answer["healthy"]["by_stage"]
    assert (answer["healthy"]["runs"], answer["healthy"]["cut_short"]) == (0, first["cut_short"])
    assert "1000000000" in first["missing"].replace(",", "")
    assert (last["cut_short"], last["missing"]) == (0, None)


def test_stages_say_what_releases_left_them_on_and_what_would_have_been_noticed(
    checkout: Caller,
) -> None:
    rested = {**QUICK, "stages": [
        {"percentage": 5, "min_duration": "1m", "max_duration": "2m", "undecided": "advance"},
        {"percentage": 100},
    ]}  # fmt: skip
    rare, often = (
        simulate(checkout, policy=rested, traffic=traffic, times=1.5)["healthy"]["by_stage"]
        for traffic in (60, 100_000)
    )
    assert (rare[0]["on_time"]["value"], rare[0]["on_evidence"]["value"]) == (1, 0)
    assert (often[0]["on_time"]["value"], often[0]["on_evidence"]["value"]) == (0, 1)
    assert (
        1.05
        < often[0]["detectable_ratio"]["median"]["value"]
        < rare[0]["detectable_ratio"]["median"]["value"]
        <= 1_000
    )
    assert often[0]["time_ms"]["median"]["value"] >= 60_000


def test_the_days_of_a_simulation_are_obeyed(checkout: Caller) -> None:
    never = {**QUICK, "interval": "5m", "stages": NEVER_LEFT}
    answer = simulate(checkout, policy=never, traffic=40, days=2, runs=3)
    first = answer["healthy"]["by_stage"][0]
    assert (answer["complete"], answer["healthy"]["undecided"]["value"]) == (True, 1)
    assert (first["undecided"]["value"], first["left"]["value"], first["time_ms"]) == (1, 0, None)
    assert "samples" in first["missing"] or "operations" in first["missing"]


def test_the_application_is_described(checkout: Caller) -> None:
    described = {
        "day_night": 0.5,
        "activity": {"kind": "zipf", "skew": 1.2},
        "retries": 2,
        "outages": {"per_day": 500, "duration": "2m", "error_rate": 0.3},
        "wobble": {"size": 0.2, "memory_windows": 3},
    }
    slow = {**QUICK, "interval": "5m"}
    few = {"policy": slow, "users": 2_000, "days": 1, "runs": 2}
    plain, other = simulate(checkout, **few), simulate(checkout, **few, **described)
    assert other["complete"] is True
    assert other["healthy"] != plain["healthy"]


def test_a_policy_may_have_the_key_simulate(checkout: Caller) -> None:
    checkout.post_ok(f"{PROJECT}/policies", {**QUICK, "key": "simulate"})
    stored = checkout.get(SIMULATE)
    assert stored.json is not None
    assert stored.json["key"] == "simulate"
