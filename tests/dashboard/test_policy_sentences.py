"""The page of a policy says in words what each check does, when, and in which unit."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from marshmallow import ValidationError
from tidegate_server.dashboard import icons
from tidegate_server.dashboard.check_sentences import check_rule
from tidegate_server.dashboard.policy_sentences import rules
from tidegate_server.documents.check_schemas import CheckSchema
from tidegate_server.domain.checks import Compare, Metric, Operator


def check(**fields: Any) -> dict[str, Any]:
    """Return a check as the API answers it."""
    schema = CheckSchema()
    answer: dict[str, Any] = schema.dump(schema.load(fields))
    return answer


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        (
            {},
            "Rolls back when users fail more often than with the control, by more than 5 % of the "
            "control's rate. It stops a harmless release at most once in 100.",
        ),
        (
            {"tolerance": {"relative": 0, "absolute": 0.001}, "on_failure": "warn"},
            "Only warns when users fail more often than with the control, by more than 0.1 "
            "percentage points. It warns of a harmless release at most once in 100.",
        ),
        (
            {"metric": "latency", "tolerance": {"relative": 0.25, "absolute": 0.01}},
            "Rolls back when more operations are slow than with the control, by more than 25 % of "
            "the control's share plus 1 percentage points. Slow is slower than 95 % of the "
            "control's. It stops a harmless release at most once in 100.",
        ),
        (
            {"metric": "custom", "measure": "basket", "operator": ">=", "quantile": 0.1},
            "Rolls back when more values of basket are low than with the control, by more than "
            "5 % of the control's share. Low is below 90 % of the control's. It stops a harmless "
            "release at most once in 100.",
        ),
        (
            {"compare": "absolute", "threshold": 0.02, "failure_limit": 0},
            "Rolls back when the share of failed operations is above 2 %, 1 time in a row.",
        ),
        (
            {
                "metric": "latency",
                "compare": "absolute",
                "threshold": 0.8,
                "on_failure": "pause",
            },
            "Pauses when latency p95 is above 800 ms, 3 times in a row.",
        ),
        (
            {"metric": "custom", "measure": "basket", "compare": "before", "operator": ">="},
            "Rolls back when basket p50 is below what it was before the release, by more than 5 % "
            "of that, 3 times in a row.",
        ),
        (
            {
                "metric": "prometheus",
                "compare": "control",
                "query": 'sum(errors{arm="{{ arm }}"})',
                "tolerance": {"relative": 0, "absolute": 100},
            },
            "Rolls back when the answer of its Prometheus query is above what it is with the "
            "control, by more than 100, 3 times in a row.",
        ),
    ],
)
def test_a_check_says_what_it_does_when(fields: dict[str, Any], says: str) -> None:
    rule = check_rule(check(**fields))
    assert f"{rule.verb} {rule.when}".replace("\u00a0", " ") == says


MEASURED: dict[Metric, dict[str, Any]] = {
    Metric.ERROR_RATE: {},
    Metric.LATENCY: {},
    Metric.CUSTOM: {"measure": "basket"},
    Metric.PROMETHEUS: {"query": 'sum(errors{arm="{{ arm }}"})'},
}


@pytest.mark.parametrize("on_failure", ["rollback", "pause", "warn"])
def test_every_kind_of_check_has_its_words(on_failure: str) -> None:
    said = set()
    for metric, compare, operator in itertools.product(Metric, Compare, Operator):
        fields: dict[str, Any] = {"metric": metric, "compare": compare, **MEASURED[metric]}
        if compare is Compare.ABSOLUTE:
            fields["threshold"] = 3
        try:
            made = check(**fields, operator=operator, on_failure=on_failure)
        except ValidationError:
            made = check(**fields, on_failure=on_failure)
        rule = check_rule(made)
        assert rule.icon in icons.PATHS
        assert "None" not in rule.when
        said.add(rule.when)
    assert len(said) > 30


@pytest.mark.parametrize("action", ["hold", "pause", "rollback"])
def test_a_policy_says_what_it_does_without_data(action: str) -> None:
    *_, last = rules({"checks": [], "no_data": {"after": "10m", "action": action}})
    assert last.verb in ("Holds", "Pauses", "Rolls back")
    assert last.when.startswith("after 10\u00a0min without data.")
