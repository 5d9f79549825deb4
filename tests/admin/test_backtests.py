"""Policies are backtested on recorded releases over HTTP."""

from __future__ import annotations

from typing import Any

import pytest
from tidegate_server.admin.policies import backtests
from tidegate_server.store import Store
from tidegate_server.web.computations import Computations
from tidegate_server.whatif.traffic_model import Constant, TrafficModel

from tests.admin.test_replay import write_ledger
from tests.decisions.simulated_release import policy
from tests.http_calls import POLICY, PROJECT, Caller, pointers, slug, stored_documents
from tests.ledger.recorded_release import simulate_with_ledger

BACKTEST = f"{PROJECT}/policies/backtest"
OTHER = {**POLICY, "key": "other", "interval": "30s", "bake": "5m"}
BOLD = [{"percentage": 50, "min_samples": 10}, {"percentage": 100}]
MODEL = TrafficModel(Constant(4_000), Constant(0.01), Constant(4.0))


@pytest.fixture
def recorded(checkout: Caller, release: str, store: Store) -> str:
    """The id of a release of two stages with the ledger of a bad release."""
    write_ledger(store, release, simulate_with_ledger(policy(5, 100, min_samples=10), MODEL).ledger)
    return release.rpartition("/")[2]


def backtest_body(release: str, **more: Any) -> dict[str, Any]:
    return {"environment": "production", "release": release, "runs": 8, **more}


def backtest(caller: Caller, release: str, **more: Any) -> Any:
    response = caller.post(BACKTEST, backtest_body(release, **more))
    assert response.status_code == 200, response.text
    return response.json


def test_another_policy_runs_over_a_recorded_release(
    checkout: Caller, recorded: str, store: Store
) -> None:
    before = stored_documents(store)
    answer = backtest(checkout, recorded, policy={**OTHER, "stages": BOLD})

    assert (answer["policy"], answer["release"]) == ("other", recorded)
    assert (answer["runs"], answer["complete"]) == (8, True)
    assert 0 < answer["known"] < 1
    assert answer["was"]["exposed"] > 0
    would = answer["would"]
    assert sum(each["runs"] for each in would["ends"]) == pytest.approx(1)
    assert would["exposed"]["low"] <= would["exposed"]["median"] <= would["exposed"]["high"]
    assert would["stages"][0]["runs"] == 1
    assert answer["limits"]
    assert stored_documents(store) == before


def test_a_policy_key_names_a_policy_of_the_project_or_a_shipped_one(
    checkout: Caller, recorded: str
) -> None:
    answer = backtest(checkout, recorded, policy_key="careful")

    assert answer["policy"] == "careful"
    assert backtest(checkout, recorded, policy_key="standard")["policy"] == "standard"
    missing = checkout.post(BACKTEST, backtest_body(recorded, policy_key="nope"))
    assert (missing.status_code, slug(missing)) == (404, "not-found")


def test_the_same_seed_gives_the_same_answer(checkout: Caller, recorded: str) -> None:
    one = backtest(checkout, recorded, policy=OTHER, seed=3)

    assert one == backtest(checkout, recorded, policy=OTHER, seed=3)


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"runs": 0}, "/runs"),
        ({"release": "what is that"}, "/release"),
        ({"environment": None}, "/environment"),
        ({"policy_key": "careful"}, "/policy"),
        ({"policy": {**OTHER, "stages": [{"percentage": 5}]}}, "/policy/stages/0/percentage"),
        (
            {"policy": {**OTHER, "error_rate": "off", "checks": [{"metric": "latency"}]}},
            "/policy/checks",
        ),
        ({"since": "1h"}, "/since"),
    ],
)
def test_an_invalid_backtest_is_refused_with_its_field(
    checkout: Caller, recorded: str, change: dict[str, Any], pointer: str
) -> None:
    refused = checkout.post(BACKTEST, {**backtest_body(recorded, policy=OTHER), **change})
    assert refused.status_code == 422, refused.text
    assert pointers(refused) == [pointer]


def test_a_release_without_a_ledger_is_refused(checkout: Caller, release: str) -> None:
    refused = checkout.post(BACKTEST, backtest_body(release.rpartition("/")[2], policy=OTHER))
    assert refused.status_code == 422
    assert pointers(refused) == ["/release"]


def test_a_backtest_of_an_unknown_release_is_not_found(checkout: Caller) -> None:
    assert checkout.post(BACKTEST, backtest_body("rel_none", policy=OTHER)).status_code == 404


def test_a_token_of_another_environment_cannot_backtest(checkout: Caller, recorded: str) -> None:
    elsewhere = checkout.token_for("reader", "default", "development")
    assert elsewhere.post(BACKTEST, backtest_body(recorded, policy=OTHER)).status_code == 403
    here = checkout.token_for("reader", "default", "production")
    assert backtest(here, recorded, policy=OTHER, runs=1)["policy"] == "other"


def test_a_backtest_that_is_cut_short_returns_its_results_so_far(
    checkout: Caller, recorded: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        Computations,
        "run_while",
        lambda self, wanted, caller, function, *given: function(*given),
    )
    monkeypatch.setattr(backtests, "TIME_LIMIT_SECONDS", 0.0)
    answer = backtest(checkout, recorded, policy={**OTHER, "stages": BOLD})
    assert (answer["runs"], answer["complete"]) == (1, False)
