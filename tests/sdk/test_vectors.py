"""The published evaluation vectors, as an application sees them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tidegate import Client, Context
from tidegate.evaluation.compiled_snapshot import CompiledSnapshot

from tests.sdk import naive_evaluator
from tests.sdk.documents import compiled
from tests.wire_schemas import SNAPSHOT, violations

FOLDER = Path(__file__).parents[1] / "vectors"
VECTORS = json.loads((FOLDER / "evaluation.json").read_text())
SPLITS = json.loads((FOLDER / "bucketing.json").read_text())["splits"]


SNAPSHOTS = {name: compiled(document) for name, document in VECTORS["snapshots"].items()}


def client_of(snapshot: CompiledSnapshot) -> Client:
    client = Client.offline(VECTORS["snapshots"]["order"])
    client._apply_flags(snapshot)
    return client


def named(case: dict[str, Any]) -> str:
    return f"{case['flag']}: {case['about']}"


@pytest.mark.parametrize("case", VECTORS["cases"], ids=named)
def test_an_evaluation_gives_what_its_vector_says(case: dict[str, Any]) -> None:
    snapshot = SNAPSHOTS[case["snapshot"]]
    client = client_of(snapshot)
    context = Context.of(case["context"])
    details = getattr(client, f"{case['ask']}_details")(case["flag"], case["default"], context)
    expected = dict(case["expected"])
    exposures = expected.pop("exposures")
    assert {
        "value": details.value,
        "variant": details.variant,
        "reason": details.reason,
        "error_code": details.error_code,
        "metadata": dict(details.metadata),
    } == expected
    assert type(details.value) is type(expected["value"])
    assert getattr(client, case["ask"])(case["flag"], case["default"], context) == details.value
    if details.error_code != "TYPE_MISMATCH":
        recorded = snapshot.evaluate(case["flag"], context).exposures
        assert [
            {name: getattr(each, name) for name in ("release", "step", "stratum", "arm")}
            for each in recorded
        ] == exposures


# The naive evaluator reads only valid documents and does not check the type asked for.
NAIVE = [
    case
    for case in VECTORS["cases"]
    if case["snapshot"] != "unreadable" and case["expected"]["error_code"] != "TYPE_MISMATCH"
]


@pytest.mark.parametrize("case", NAIVE, ids=named)
def test_the_naive_evaluator_agrees_with_the_vectors(case: dict[str, Any]) -> None:
    """The expected results were written by hand; this finds mistakes in them."""
    expected = case["expected"]
    answer = naive_evaluator.evaluate(
        VECTORS["snapshots"][case["snapshot"]], case["flag"], case["context"]
    )
    value = case["default"] if answer.value is None else answer.value
    assert (value, answer.variant, answer.reason, answer.error_code, answer.metadata) == (
        expected["value"],
        expected["variant"],
        expected["reason"],
        expected["error_code"],
        expected["metadata"],
    )
    assert [list(each) for each in answer.exposures] == [
        list(each.values()) for each in expected["exposures"]
    ]


@pytest.mark.parametrize("name", VECTORS["snapshots"])
def test_the_snapshots_of_the_vectors_follow_the_published_schema(name: str) -> None:
    problems = violations(SNAPSHOT, VECTORS["snapshots"][name])
    assert bool(problems) == (name == "unreadable")


@pytest.mark.parametrize("row", SPLITS, ids=lambda row: row["about"])
def test_the_variants_of_a_split_take_consecutive_ranges_of_buckets(row: dict[str, Any]) -> None:
    variants = [{"key": part["variant"], "value": part["variant"]} for part in row["split"]]
    flag = {
        "key": "split",
        "type": "string",
        "version": 1,
        "salt": row["salt"],
        "variants": variants,
        "enabled": True,
        "off_variant": variants[0]["key"],
        "default": {"split": row["split"]},
    }
    document = {"project": "p", "environment": "e", "version": 1, "schema": 1, "segments": {}}
    snapshot = compiled({**document, "flags": {"split": flag}})
    for key, variant in row["variants"].items():
        assert snapshot.evaluate("split", Context(key)).variant == variant
