"""Policies are written in JSON or YAML, and invalid ones are refused with the field."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import yaml
from tidegate.model import Tolerance
from tidegate_server.domain.change import Address, Change, Put
from tidegate_server.domain.checks import Check
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.policy import Policy
from tidegate_server.store import Store

from tests.http_calls import (
    POLICY,
    PRODUCTION,
    PROJECT,
    Caller,
    pointers,
    stored_documents,
)

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


def test_yaml_and_json_give_the_same_policy(admin: Caller) -> None:
    created = admin.post_ok(f"{PROJECT}/policies", POLICY)
    changed = admin.call(
        "PUT", PATH, match='"1"', data=YAML, headers={"Content-Type": "application/yaml"}
    )
    assert changed.status_code == 200
    assert changed.json == created


def test_a_stored_policy_includes_the_defaults(admin: Caller) -> None:
    created = admin.post_ok(
        f"{PROJECT}/policies",
        {"key": "short", "stages": [{"percentage": 5}, {"percentage": 100, "name": "all"}]},
    )
    assert created["interval"] == "30s"
    assert created["bake"] == "1h"
    assert created["no_data"] == {"after": "10m", "action": "hold"}
    assert created["stages"] == [
        {
            "name": name,
            "percentage": percentage,
            "segments": [],
            "min_duration": "15m",
            "min_samples": 500,
            "max_duration": None,
            "undecided": "hold",
            "approval": None,
        }
        for name, percentage in (("stage-1", 5), ("all", 100))
    ]
    assert created["checks"] == [
        {
            "metric": "error_rate",
            "compare": "control",
            "tolerance": {"relative": 0.05, "absolute": 0},
            "false_alarm": 0.01,
            "on_failure": "rollback",
            "client_evidence": "hold",
        }
    ]
    assert created["harm_budget"] == 0.002


def test_durations_are_returned_in_canonical_form(admin: Caller) -> None:
    created = admin.post_ok(f"{PROJECT}/policies", {**POLICY, "interval": "60s", "bake": "48h"})
    assert (created["interval"], created["bake"]) == ("1m", "2d")


def test_a_segment_stage_without_a_percentage_opens_all_of_the_segment(admin: Caller) -> None:
    admin.post_ok(f"{PROJECT}/segments", {"key": "staff"})
    stages = [{"percentage": 5}, {"segments": ["staff"]}, {"percentage": 100}]
    created = admin.post_ok(f"{PROJECT}/policies", {**POLICY, "stages": stages})
    assert created["stages"][1]["percentage"] == 100


WITHOUT_EFFECT: dict[str, dict[str, Any]] = {
    "/checks/0/threshold": {"checks": [{"threshold": 0.5}]},
    "/checks/0/operator": {"checks": [{"operator": "<="}]},
    "/checks/0/window": {"checks": [{"window": "1m"}]},
    "/checks/0/failure_limit": {"checks": [{"failure_limit": 2}]},
    "/checks/0/error_limit": {"checks": [{"error_limit": 4}]},
    "/checks/0/quantile": {"checks": [{"quantile": 0.95}]},
    "/checks/0/query": {"checks": [{"query": "up"}]},
    "/checks/0/measure": {"checks": [{"metric": "latency", "measure": "basket"}]},
    "/checks/0/tolerance": {
        "checks": [{"compare": "absolute", "threshold": 0.1, "tolerance": {"relative": 0.1}}]
    },
    "/checks/0/client_evidence": {
        "checks": [
            {
                "metric": "prometheus",
                "compare": "absolute",
                "query": "up",
                "threshold": 1,
                "client_evidence": "warn",
            }
        ]
    },
    "/checks/0/false_alarm": {
        "checks": [{"compare": "absolute", "threshold": 0.1, "false_alarm": 0.01}]
    },
}


@pytest.mark.parametrize("pointer", WITHOUT_EFFECT)
def test_a_field_without_effect_is_refused(admin: Caller, store: Store, pointer: str) -> None:
    before = stored_documents(store)
    refused = admin.post(f"{PROJECT}/policies", {**POLICY, **WITHOUT_EFFECT[pointer]})
    assert refused.status_code == 422
    assert pointers(refused) == [pointer]
    assert refused.json is not None
    assert "does not apply to" in refused.json["errors"][0]["detail"]
    assert stored_documents(store) == before


FULL: dict[str, Any] = {
    "key": "full",
    "name": "Everything at once",
    "description": "",
    "interval": "30s",
    "stages": [
        {
            "name": "few",
            "segments": [],
            "percentage": 5,
            "min_duration": "15m",
            "min_samples": 500,
            "max_duration": "1d",
            "undecided": "advance",
            "approval": {
                "approvers": ["ana", "bob"],
                "count": 2,
                "timeout": "4h",
                "on_timeout": "rollback",
                "not_the_starter": True,
            },
        },
        {
            "name": "all",
            "segments": [],
            "percentage": 100,
            "min_duration": "15m",
            "min_samples": 500,
            "max_duration": None,
            "undecided": "hold",
            "approval": None,
        },
    ],
    "checks": [
        {
            "metric": "error_rate",
            "compare": "control",
            "tolerance": {"relative": 0.1, "absolute": 0.001},
            "false_alarm": 0.01,
            "on_failure": "rollback",
            "client_evidence": "decide",
        },
        {
            "metric": "latency",
            "compare": "control",
            "quantile": 0.99,
            "tolerance": {"relative": 0.2, "absolute": 0},
            "false_alarm": 0.005,
            "on_failure": "pause",
            "client_evidence": "warn",
        },
        {
            "metric": "custom",
            "compare": "before",
            "quantile": 0.5,
            "measure": "basket_value",
            "tolerance": {"relative": 0.1, "absolute": 2.5},
            "operator": ">=",
            "window": "5m",
            "failure_limit": 3,
            "error_limit": 2,
            "on_failure": "warn",
            "client_evidence": "hold",
        },
        {
            "metric": "prometheus",
            "compare": "absolute",
            "query": 'queue{flag="{{ flag }}"}',
            "threshold": 100,
            "operator": "<",
            "failure_limit": 0,
            "error_limit": 4,
            "on_failure": "rollback",
        },
    ],
    "harm_budget": 0.001,
    "no_data": {"after": "10m", "action": "pause"},
    "bake": "1h",
    "holdback": 2.5,
    "windows": {
        "timezone": "Europe/Berlin",
        "advance": [{"days": ["mon", "tue"], "from": "09:00", "to": "16:30"}],
        "freeze": [{"reason": "holidays", "from": "2026-12-20", "to": "2027-01-02"}],
    },
    "rollback": {"to": "previous_stage", "cooldown": "30m", "max_retries": 2},
    "notify": [],
    "confirm": [],
    "local_breaker": False,
}


def test_a_policy_says_what_watches_each_check_after_the_last_advance(admin: Caller) -> None:
    created = admin.post_ok(f"{PROJECT}/policies", FULL)

    assert [each["watchers"] for each in created["after_last_advance"]] == [
        ["holdback", "probe"],
        ["holdback", "value_probe"],
        ["limit"],
        ["limit"],
    ]
    assert created["after_last_advance"][0] == {
        "check": 0,
        "label": "error rate against control",
        "watchers": ["holdback", "probe"],
        "text": "the control group of the holdback and the probe of errors",
    }


def test_every_field_is_returned_as_it_was_written(admin: Caller) -> None:
    created = admin.post_ok(f"{PROJECT}/policies", FULL)
    assert {name: created[name] for name in FULL} == FULL


ERRORS_AGAINST_CONTROL = ("error_rate", "control")


def kinds(policy: dict[str, Any]) -> list[tuple[str, str]]:
    return [(check["metric"], check["compare"]) for check in policy["checks"]]


@pytest.mark.parametrize(
    "checks",
    [
        [],
        [{"metric": "latency"}],
        [{"compare": "absolute", "threshold": 0.5}],
        [{"compare": "before"}],
        [{"metric": "prometheus", "query": "up{arm='{{ arm }}'}"}],
    ],
)
def test_errors_are_compared_with_control_whatever_else_is_checked(
    admin: Caller, checks: list[dict[str, Any]]
) -> None:
    created = admin.post_ok(f"{PROJECT}/policies", {**POLICY, "checks": checks, "holdback": 5})

    assert kinds(created)[: len(checks)] == [
        (check.get("metric", "error_rate"), check.get("compare", "control")) for check in checks
    ]
    assert kinds(created)[len(checks) :] == [ERRORS_AGAINST_CONTROL]
    assert (created["error_rate"], created["warnings"]) == ("on", [])


def test_error_rate_off_leaves_the_check_out_and_warns(checkout: Caller) -> None:
    policy = {**POLICY, "key": "fast", "error_rate": "off", "checks": [{"metric": "latency"}]}
    created = checkout.post_ok(f"{PROJECT}/policies", policy)

    assert kinds(created) == [("latency", "control")]
    [warning] = created["warnings"]
    assert warning["pointer"] == "/error_rate"
    assert "errors are not compared with control" in warning["detail"]

    started = checkout.post_ok(
        f"{PRODUCTION}/releases", {"flag": "checkout", "treatment": "on", "policy": "fast"}
    )
    assert kinds(started["policy"]) == [("latency", "control")]
    assert started["warnings"] == created["warnings"]
    explanation = checkout.get(f"{PRODUCTION}/releases/{started['id']}/explanation").json
    assert explanation is not None
    assert warning["detail"] in explanation["limits"]


def without_check(policy: Policy) -> Policy:
    """Return a policy as earlier versions stored it: without the check of the error rate."""
    return replace(policy, checks=tuple(each for each in policy.checks if each.distribution))


def rewrite(store: Store, address: Address, change: Callable[[Any], Any]) -> None:
    stored = store.get("default", address)
    assert stored is not None
    store.commit(Change("default", (Put(address, change(stored.document), stored.revision),)))


def test_a_policy_of_an_earlier_version_gets_the_check_and_its_release_does_not(
    checkout: Caller, store: Store
) -> None:
    checkout.post_ok(
        f"{PROJECT}/policies", {**POLICY, "key": "fast", "checks": [{"metric": "latency"}]}
    )
    body = {"flag": "checkout", "treatment": "on", "policy": "fast"}
    running = checkout.post_ok(f"{PRODUCTION}/releases", body)
    assert kinds(running["policy"]) == [("latency", "control"), ERRORS_AGAINST_CONTROL]
    rewrite(store, Address(Kind.POLICY, "fast"), without_check)
    rewrite(
        store,
        Address(Kind.RELEASE, running["id"], "production"),
        lambda release: replace(release, policy=without_check(release.policy)),
    )

    read = checkout.get(f"{PRODUCTION}/releases/{running['id']}").json
    assert read is not None
    assert kinds(read["policy"]) == [("latency", "control")]
    assert read["policy"]["error_rate"] == "off"
    assert read["warnings"][0]["pointer"] == "/error_rate"
    policy = checkout.get(f"{PROJECT}/policies/fast").json
    assert policy is not None
    assert kinds(policy) == [("latency", "control"), ERRORS_AGAINST_CONTROL]
    assert policy["checks"][1]["tolerance"] == {"relative": 0.1, "absolute": 0}
    checkout.post_ok(f"{PRODUCTION}/releases/{running['id']}/rollback", {})
    again = checkout.post_ok(f"{PRODUCTION}/releases", body)
    assert again["policy"]["checks"] == policy["checks"]


def test_documents_of_an_earlier_version_warn_of_what_is_refused_today(
    checkout: Caller, store: Store
) -> None:
    checkout.post_ok(f"{PROJECT}/policies", {**POLICY, "key": "lax"})
    body = {"flag": "checkout", "treatment": "on", "policy": "lax"}
    running = checkout.post_ok(f"{PRODUCTION}/releases", body)

    def lax(policy: Policy) -> Policy:
        return replace(policy, checks=(Check(tolerance=Tolerance(1_000.0)),))

    at = Address(Kind.RELEASE, running["id"], "production")
    rewrite(store, at, lambda release: replace(release, policy=lax(release.policy)))
    rewrite(store, Address(Kind.POLICY, "lax"), lax)
    flag = Address(Kind.TARGETING, "checkout", "production")
    rewrite(store, flag, lambda targeting: replace(targeting, kill_variant="on"))

    policy = checkout.get(f"{PROJECT}/policies/lax").json
    assert policy is not None
    assert [each["pointer"] for each in policy["warnings"]] == ["/checks/0/tolerance/relative"]
    assert policy["warnings"][0]["detail"].startswith("Stored by an earlier version")
    release = checkout.get(f"{PRODUCTION}/releases/{running['id']}").json
    assert release is not None
    warned = [each["pointer"] for each in release["warnings"]]
    assert warned == ["/treatment", "/checks/0/tolerance/relative"]


def test_a_policy_may_be_written_as_yaml(admin: Caller) -> None:
    text = yaml.safe_dump(FULL)
    kind = {"Content-Type": "application/yaml"}
    answer = admin.call("POST", f"{PROJECT}/policies", data=text, headers=kind)
    assert answer.status_code == 201, answer.text
    assert answer.json is not None
    assert {name: answer.json[name] for name in FULL} == FULL


INVALID: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown field": ({"stage": []}, "/stage"),
    "a misspelt check": ({"checks": [{"metrics": "error_rate"}]}, "/checks/0/metrics"),
    "no stages": ({"stages": []}, "/stages"),
    "a stage without a percentage": ({"stages": [{}, {"percentage": 100}]}, "/stages/0/percentage"),
    "a percentage above 100": ({"stages": [{"percentage": 101}]}, "/stages/0/percentage"),
    "a percentage with too many decimals": (
        {"stages": [{"percentage": 0.0001}, {"percentage": 100}]},
        "/stages/0/percentage",
    ),
    "percentages that fall": (
        {"stages": [{"percentage": 50}, {"percentage": 20}, {"percentage": 100}]},
        "/stages/1/percentage",
    ),
    "a last stage below 100 percent": (
        {"stages": [{"percentage": 5}, {"percentage": 50}]},
        "/stages/1/percentage",
    ),
    "an unknown segment": (
        {"stages": [{"segments": ["nobody"]}, {"percentage": 100}]},
        "/stages/0/segments/0",
    ),
    "an unknown time zone": (
        {"windows": {"timezone": "Mars/Olympus"}},
        "/windows/timezone",
    ),
    "a freeze that ends before it begins": (
        {"windows": {"freeze": [{"from": "2026-12-24", "to": "2026-12-20"}]}},
        "/windows/freeze/0/to",
    ),
    "a freeze without a valid time": (
        {"windows": {"freeze": [{"from": "christmas!", "to": "2026-12-20"}]}},
        "/windows/freeze/0/from",
    ),
    "a freeze in a notation that the SDK does not read": (
        {"windows": {"freeze": [{"from": "2026-12-20", "to": "20261224"}]}},
        "/windows/freeze/0/to",
    ),
    "an invalid time of day": (
        {"windows": {"advance": [{"from": "9 o'clock"}]}},
        "/windows/advance/0/from",
    ),
    "more approvals than approvers": (
        {
            "stages": [
                {"percentage": 5, "approval": {"approvers": ["ana"], "count": 2}},
                {"percentage": 100},
            ]
        },
        "/stages/0/approval/count",
    ),
    "a longest duration below the shortest": (
        {"stages": [{"percentage": 5, "max_duration": "1m"}, {"percentage": 100}]},
        "/stages/0/max_duration",
    ),
    "an undecided stage without a longest duration": (
        {"stages": [{"percentage": 5, "undecided": "advance"}, {"percentage": 100}]},
        "/stages/0/undecided",
    ),
    "an unknown way to end an undecided stage": (
        {"stages": [{"percentage": 5, "undecided": "guess"}, {"percentage": 100}]},
        "/stages/0/undecided",
    ),
    "a harm budget of nothing": ({"harm_budget": 0}, "/harm_budget"),
    "a harm budget beyond what an advance may risk": ({"harm_budget": 0.11}, "/harm_budget"),
    "a rollback target without retries or checks": (
        {"rollback": {"to": "previous_stage"}},
        "/rollback/to",
    ),
    "a holdback that leaves nothing to open": (
        {"stages": [{"percentage": 95}, {"percentage": 100}], "holdback": 5},
        "/holdback",
    ),
    "an unknown webhook to notify": ({"notify": [{"webhook": "nobody"}]}, "/notify/0/webhook"),
    "an unknown webhook to confirm": (
        {"confirm": [{"webhook": "nobody"}]},
        "/confirm/0/webhook",
    ),
    "a Prometheus check without a query": (
        {"checks": [{"metric": "prometheus"}]},
        "/checks/0/query",
    ),
    "a query without the variant": (
        {"checks": [{"metric": "prometheus", "query": "up"}]},
        "/checks/0/query",
    ),
    "a query with an unclosed variable": (
        {
            "checks": [
                {
                    "metric": "prometheus",
                    "compare": "absolute",
                    "threshold": 1,
                    "query": "up{x='{{ flag'}",
                }
            ]
        },
        "/checks/0/query",
    ),
    "a query with an unopened variable": (
        {
            "checks": [
                {
                    "metric": "prometheus",
                    "compare": "absolute",
                    "threshold": 1,
                    "query": "up{x='flag }}'}",
                }
            ]
        },
        "/checks/0/query",
    ),
    "a query with a doubly opened variable": (
        {
            "checks": [
                {
                    "metric": "prometheus",
                    "compare": "absolute",
                    "threshold": 1,
                    "query": "up{x='{{ {{ flag }}'}",
                }
            ]
        },
        "/checks/0/query",
    ),
    "a query with an unknown variable": (
        {
            "checks": [
                {
                    "metric": "prometheus",
                    "compare": "absolute",
                    "threshold": 1,
                    "query": "up{x='{{ user }}'}",
                }
            ]
        },
        "/checks/0/query",
    ),
    "an absolute check without a threshold": (
        {"checks": [{"compare": "absolute"}]},
        "/checks/0/threshold",
    ),
    "an error rate above 1": (
        {"checks": [{"compare": "absolute", "threshold": 2}]},
        "/checks/0/threshold",
    ),
    "a custom check without a measure": ({"checks": [{"metric": "custom"}]}, "/checks/0/measure"),
    "a quantile of 1": (
        {"checks": [{"metric": "latency", "quantile": 1}]},
        "/checks/0/quantile",
    ),
    "a window longer than the stored evidence": (
        {"checks": [{"compare": "absolute", "threshold": 0.1, "window": "2d"}]},
        "/checks/0/window",
    ),
    "a local breaker without an error rate check": (
        {"local_breaker": True, "error_rate": "off", "checks": [{"metric": "latency"}]},
        "/local_breaker",
    ),
    "an error rate check that is off": (
        {"error_rate": "off", "checks": [{"metric": "latency"}, {}]},
        "/error_rate",
    ),
    "no check at all": ({"error_rate": "off"}, "/checks"),
    "an error rate setting that does not exist": ({"error_rate": "no"}, "/error_rate"),
    "one stage at 100 percent with a comparison": (
        {"stages": [{"percentage": 100}]},
        "/stages/0/percentage",
    ),
    "a duration without a unit": ({"interval": 30}, "/interval"),
    "a false alarm probability of 1": ({"checks": [{"false_alarm": 1}]}, "/checks/0/false_alarm"),
    "a negative tolerance": (
        {"checks": [{"tolerance": {"relative": -1}}]},
        "/checks/0/tolerance/relative",
    ),
}


@pytest.mark.parametrize("problem", INVALID)
def test_an_invalid_policy_is_refused(admin: Caller, store: Store, problem: str) -> None:
    body, pointer = INVALID[problem]
    before = stored_documents(store)
    refused = admin.post(f"{PROJECT}/policies", {**POLICY, **body})
    assert refused.status_code == 422, refused.text
    assert pointer in pointers(refused)
    assert stored_documents(store) == before


def test_a_release_keeps_the_policy_it_started_under(checkout: Caller, release: str) -> None:
    assert checkout.put(PATH, {**POLICY, "bake": "1d"}, match='"1"').status_code == 200
    read = checkout.get(release).json
    assert read is not None
    assert (read["policy"]["bake"], read["policy_revision"]) == ("10s", 1)


def test_a_policy_is_deleted(checkout: Caller) -> None:
    assert checkout.delete(PATH, match='"1"').status_code == 204
    assert checkout.get(PATH).status_code == 404


def test_a_policy_has_a_record_of_its_releases(checkout: Caller, release: str) -> None:
    record = f"{PROJECT}/policies/careful/record"
    assert checkout.get(record).json == {
        "releases": 1, "completed": 0, "rolled_back": 0, "live": 1
    }  # fmt: skip
    assert checkout.post(f"{release}/rollback").status_code == 200
    assert checkout.get(record).json == {
        "releases": 1, "completed": 0, "rolled_back": 1, "live": 0
    }  # fmt: skip
    assert checkout.get(f"{PROJECT}/policies/nothing/record").status_code == 404
