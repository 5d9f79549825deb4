"""Why a condition holds or does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tidegate.context import Context
from tidegate.evaluation.conditions import ConditionCompiler
from tidegate.model import All, AnyOf, Comparison, Condition, InSegment, NoneOf, Segment
from tidegate_server.domain.condition_explanation import LONGEST_VALUE, ConditionExplainer

PLAN = Comparison("plan", "in", ("pro", "team"))
AGE = Comparison("user.age", "greater_than", 17)
SEGMENTS = {
    "staff": Segment("staff", None, ("ann",), ("eve",)),
    "paying": Segment("paying", PLAN),
    "inner": Segment("inner", InSegment("paying")),
}


def why(condition: Condition, key: str | None = "bob", **attributes: object) -> str:
    return ConditionExplainer(SEGMENTS).explain(condition, Context(key, **attributes)).why


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (PLAN, 'plan is "free", which does not meet: in ["pro", "team"]'),
        (AGE, "user.age is 30, which meets: greater than 17"),
        (
            Comparison("country", "equals", "DE"),
            'country is missing, so it does not meet: equals "DE"',
        ),
        (Comparison("country", "exists"), "country is missing"),
        (
            Comparison("targetingKey", "equals", "bob"),
            'targetingKey is "bob", which meets: equals "bob"',
        ),
        (All((AGE, PLAN)), 'plan is "free", which does not meet: in ["pro", "team"]'),
        (AnyOf((PLAN, AGE)), "user.age is 30, which meets: greater than 17"),
        (NoneOf((PLAN, AGE)), "user.age is 30, which meets: greater than 17"),
        (All(()), "it has no parts"),
        (InSegment("nothing"), "there is no segment nothing"),
        (InSegment("staff"), "not in segment staff, which does not list the targeting key"),
        (
            InSegment("inner"),
            "not in segment inner: not in segment paying: "
            'plan is "free", which does not meet: in ["pro", "team"]',
        ),
    ],
)  # fmt: skip
def test_the_part_that_decides_is_named_with_its_value(condition: Condition, expected: str) -> None:
    assert why(condition, plan="free", user={"age": 30}) == expected


def test_a_listed_key_is_named_as_listed() -> None:
    assert why(InSegment("staff"), "ann") == "in segment staff, which includes the targeting key"
    assert (
        why(InSegment("staff"), "eve") == "not in segment staff, which excludes the targeting key"
    )


def test_all_parts_are_named_where_none_decides_alone() -> None:
    both = why(All((PLAN, AGE)), plan="pro", user={"age": 30})
    assert "plan" in both
    assert "user.age" in both


def test_a_long_value_is_cut() -> None:
    assert len(why(PLAN, plan="x" * 10_000)) < LONGEST_VALUE + 100


conditions = st.recursive(
    st.sampled_from([PLAN, AGE, InSegment("staff"), InSegment("inner")]),
    lambda inner: (
        st.lists(inner, max_size=3)
        .map(tuple)
        .flatmap(lambda parts: st.sampled_from([All(parts), AnyOf(parts), NoneOf(parts)]))
    ),
    max_leaves=6,
)


@given(conditions, st.sampled_from(["ann", "eve", "bob"]), st.sampled_from(["pro", "free"]))
def test_an_explanation_agrees_with_the_evaluation(
    condition: Condition, key: str, plan: str
) -> None:
    context = Context(key, plan=plan)
    explained = ConditionExplainer(SEGMENTS).explain(condition, context)
    assert explained.holds == ConditionCompiler(SEGMENTS).test(condition)(context)
    assert explained.why
