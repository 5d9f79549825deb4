"""Policies come as JSON or YAML; what this version does not do is refused by name."""

from __future__ import annotations

from typing import Any

import pytest
from tidegate_server.store import Store

from tests.api.calls import POLICY, PROJECT, Caller, everything, pointers

PATH = f"{PROJECT}/policies/careful"

YAML = """\
key: careful
interval: 1s
stages:
  - percentage: 5
    min_duration: 0s
    min_samples: 10
  - percentage: 100
    min_duration: 0s
    min_samples: 10
bake: 10s
"""


def test_yaml_says_what_json_says(admin: Caller) -> None:
    made = admin.made(f"{PROJECT}/policies", POLICY)
    changed = admin.call(
        "PUT", PATH, match='"1"', data=YAML, headers={"Content-Type": "application/yaml"}
    )
    assert changed.status_code == 200
    assert changed.json == made


def test_defaults_are_written_out(admin: Caller) -> None:
    made = admin.made(
        f"{PROJECT}/policies",
        {"key": "short", "stages": [{"percentage": 5}, {"percentage": 100, "name": "all"}]},
    )
    assert made["interval"] == "30s"
    assert made["bake"] == "1h"
    assert made["no_data"] == {"after": "10m", "action": "hold"}
    assert made["stages"] == [
        {
            "name": name,
            "percentage": percentage,
            "segments": [],
            "min_duration": "15m",
            "min_samples": 500,
        }
        for name, percentage in (("stage-1", 5), ("all", 100))
    ]
    assert made["checks"] == [
        {
            "metric": "error_rate",
            "compare": "control",
            "tolerance": {"relative": 0.1, "absolute": 0},
            "false_alarm": 0.01,
            "on_failure": "rollback",
        }
    ]


def test_durations_come_back_in_their_canonical_form(admin: Caller) -> None:
    made = admin.made(f"{PROJECT}/policies", {**POLICY, "interval": "60s", "bake": "48h"})
    assert (made["interval"], made["bake"]) == ("1m", "2d")


def test_a_stage_of_a_segment_opens_all_of_it(admin: Caller) -> None:
    admin.made(f"{PROJECT}/segments", {"key": "staff"})
    stages = [{"percentage": 5}, {"segments": ["staff"]}, {"percentage": 100}]
    made = admin.made(f"{PROJECT}/policies", {**POLICY, "stages": stages})
    assert made["stages"][1]["percentage"] == 100


NOT_OFFERED: dict[str, dict[str, Any]] = {
    "/holdback": {"holdback": 5},
    "/windows": {"windows": {"timezone": "Europe/Berlin"}},
    "/rollback": {"rollback": {"to": "previous_stage"}},
    "/notify": {"notify": []},
    "/confirm": {"confirm": []},
    "/stages/0/approval": {"stages": [{"percentage": 5, "approval": {}}, {"percentage": 100}]},
    "/stages/1/max_duration": {
        "stages": [{"percentage": 5}, {"percentage": 100, "max_duration": "1d"}]
    },
    "/checks/0/metric": {"checks": [{"metric": "latency"}]},
    "/checks/0/compare": {"checks": [{"compare": "absolute"}]},
    "/checks/0/threshold": {"checks": [{"threshold": 0.5}]},
    "/checks/0/operator": {"checks": [{"operator": "<="}]},
    "/checks/0/window": {"checks": [{"window": "1m"}]},
    "/checks/0/failure_limit": {"checks": [{"failure_limit": 2}]},
    "/checks/0/error_limit": {"checks": [{"error_limit": 4}]},
    "/checks/0/quantile": {"checks": [{"quantile": 0.95}]},
    "/checks/0/query": {"checks": [{"query": "up"}]},
}


@pytest.mark.parametrize("pointer", NOT_OFFERED)
def test_what_is_not_offered_is_refused_in_words(admin: Caller, store: Store, pointer: str) -> None:
    before = everything(store)
    refused = admin.post(f"{PROJECT}/policies", {**POLICY, **NOT_OFFERED[pointer]})
    assert refused.status_code == 422
    assert pointers(refused) == [pointer]
    assert refused.json is not None
    assert "not offered in this version" in refused.json["errors"][0]["detail"]
    assert everything(store) == before


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown field": ({"stage": []}, "/stage"),
    "a misspelt check": ({"checks": [{"metrics": "error_rate"}]}, "/checks/0/metrics"),
    "no stages": ({"stages": []}, "/stages"),
    "a stage without a share": ({"stages": [{}, {"percentage": 100}]}, "/stages/0/percentage"),
    "too much": ({"stages": [{"percentage": 101}]}, "/stages/0/percentage"),
    "too fine": (
        {"stages": [{"percentage": 0.0001}, {"percentage": 100}]},
        "/stages/0/percentage",
    ),
    "a shrinking ladder": (
        {"stages": [{"percentage": 50}, {"percentage": 20}, {"percentage": 100}]},
        "/stages/1/percentage",
    ),
    "not everyone in the end": (
        {"stages": [{"percentage": 5}, {"percentage": 50}]},
        "/stages/1/percentage",
    ),
    "a segment that is not there": (
        {"stages": [{"segments": ["nobody"]}, {"percentage": 100}]},
        "/stages/0/segments/0",
    ),
    "a duration without a unit": ({"interval": 30}, "/interval"),
    "a certain false alarm": ({"checks": [{"false_alarm": 1}]}, "/checks/0/false_alarm"),
    "a negative tolerance": (
        {"checks": [{"tolerance": {"relative": -1}}]},
        "/checks/0/tolerance/relative",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_policies_that_cannot_be_are_refused(admin: Caller, store: Store, what: str) -> None:
    body, pointer = WRONG[what]
    before = everything(store)
    refused = admin.post(f"{PROJECT}/policies", {**POLICY, **body})
    assert refused.status_code == 422, refused.text
    assert pointer in pointers(refused)
    assert everything(store) == before


def test_a_release_keeps_the_policy_it_started_under(checkout: Caller, release: str) -> None:
    assert checkout.put(PATH, {**POLICY, "bake": "1d"}, match='"1"').status_code == 200
    read = checkout.get(release).json
    assert read is not None
    assert (read["policy"]["bake"], read["policy_revision"]) == ("10s", 1)


def test_a_policy_is_deleted(checkout: Caller) -> None:
    assert checkout.delete(PATH, match='"1"').status_code == 204
    assert checkout.get(PATH).status_code == 404
