"""Rules that compare one attribute with constants: one look-up, with the meaning of the rules."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tidegate import Client, Context

from tests.sdk import naive_evaluator
from tests.sdk.documents import a_flag, a_release, a_snapshot, compiled
from tests.sdk.snapshots import conditions
from tests.sdk.test_evaluation import as_naive

SCALARS = ["pro", "free", "", "1", "True", 0, 1, 1.0, 2, 0.0, -1, 10**30, 1e30, True, False]
VALUES = [*SCALARS, None, ["pro"], {"plan": "pro"}, {"pro"}, b"pro"]
NAMES = ["plan", "size", "targetingKey"]
VARIANTS = ["on", "off"]


def comparison(attribute: str, values: list[Any], equals: bool) -> dict[str, Any]:
    if equals and values:
        return {"attribute": attribute, "operator": "equals", "value": values[0]}
    return {"attribute": attribute, "operator": "in", "value": values}


comparisons = st.builds(
    comparison,
    st.sampled_from(["plan", *NAMES]),
    st.lists(st.sampled_from(SCALARS), max_size=3),
    st.booleans(),
)
wrapped = st.builds(
    lambda form, condition: {form: [condition]} if form else condition,
    st.sampled_from(["", "", "all", "any"]),
    comparisons,
)
serves = st.sampled_from([*({"variant": name} for name in VARIANTS)]) | st.integers(1, 99).map(
    lambda weight: {
        "split": [{"variant": "on", "weight": weight}, {"variant": "off", "weight": 100 - weight}]
    }
)


@st.composite
def flags_with_many_rules(draw: st.DrawFn) -> dict[str, Any]:
    """A flag most of whose rules compare one attribute with constants."""
    whens = draw(st.lists(wrapped | wrapped | wrapped | conditions, min_size=2, max_size=10))
    served = draw(st.booleans())
    rules = [
        {
            "id": f"rule-{number}",
            "when": when,
            "serve": draw(serves) if served else {"variant": draw(st.sampled_from(VARIANTS))},
        }
        for number, when in enumerate(whens)
    ]
    running = a_release((draw(st.integers(0, 100)), []), rule=draw(st.sampled_from(rules))["id"])
    return a_flag("a", rules=rules, release=draw(st.none() | st.just(running)))


@given(flags_with_many_rules(), st.data())
def test_a_table_of_rules_equals_the_rules_one_by_one(
    flag: dict[str, Any], data: st.DataObject
) -> None:
    document = a_snapshot(flag)
    ready = compiled(document)
    for _ in range(8):
        user = {
            name: data.draw(st.sampled_from(VALUES))
            for name in data.draw(st.sets(st.sampled_from(["plan", "size"])))
        }
        user["targetingKey"] = data.draw(st.sampled_from(["pro", "ann", "1", None]))
        answer = as_naive(ready.evaluate("a", Context.of(user)))
        assert answer == naive_evaluator.evaluate(document, "a", user)


@pytest.mark.parametrize("number", [3, 200])
def test_the_first_of_several_rules_with_one_constant_wins(number: int) -> None:
    rules = [
        {"id": f"rule-{n}", "when": comparison("plan", ["pro", f"plan-{n}"], False),
         "serve": {"variant": "off"}}
        for n in range(number)
    ]  # fmt: skip
    client = Client.offline(a_snapshot(a_flag("a", rules=rules)))
    for plan, rule in (("pro", "rule-0"), (f"plan-{number - 1}", f"rule-{number - 1}")):
        details = client.boolean_details("a", True, Context("ann", plan=plan))
        assert (details.value, details.metadata["ruleId"]) == (False, rule)
    assert client.boolean("a", False, Context("ann", plan="basic")) is True
