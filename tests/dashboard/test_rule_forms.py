"""A targeting survives its form: what is shown and sent back unchanged is the same targeting."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tidegate_server.dashboard import rule_forms
from tidegate_server.dashboard.rule_forms import (
    ConditionLine,
    RuleForm,
    TargetingForm,
    from_form,
    from_targeting,
    pressed,
    read_value,
    to_targeting,
)
from tidegate_server.dashboard.rule_sentences import COMPARES

VARIANTS = ("on", "off", "third")

scalars = st.one_of(
    st.text(max_size=12),
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False, allow_infinity=False),
)
names = st.text("abcdefghij.-_", min_size=1, max_size=8)
comparisons = st.one_of(
    st.builds(
        lambda attribute, value: {"attribute": attribute, "operator": "equals", "value": value},
        names,
        scalars,
    ),
    st.builds(
        lambda attribute, value: {"attribute": attribute, "operator": "in", "value": value},
        names,
        st.lists(scalars, min_size=1, max_size=4),
    ),
    st.builds(
        lambda attribute, value: {"attribute": attribute, "operator": "matches", "value": value},
        names,
        st.text(min_size=1, max_size=8),
    ),
    st.builds(lambda attribute: {"attribute": attribute, "operator": "exists"}, names),
    st.builds(lambda key: {"segment": key}, names),
)
conditions = st.recursive(
    comparisons,
    lambda inner: st.builds(
        lambda group, each: {group: each},
        st.sampled_from(["all", "any", "none"]),
        st.lists(inner, min_size=1, max_size=3),
    ),
    max_leaves=6,
)
serves = st.one_of(
    st.builds(lambda key: {"variant": key}, st.sampled_from(VARIANTS)),
    st.builds(
        lambda weight: {
            "split": [
                {"variant": "on", "weight": weight},
                {"variant": "off", "weight": 100 - weight},
            ]
        },
        st.integers(1, 99),
    ),
)
targetings = st.builds(
    lambda enabled, kill, default, rules: {
        "enabled": enabled,
        "off_variant": "off",
        "kill_variant": kill,
        "default": default,
        "rules": [{"id": f"r{n}", "when": w, "serve": s} for n, (w, s) in enumerate(rules)],
        "prerequisites": [{"flag": "search", "variants": ["on", "third"]}],
    },
    st.booleans(),
    st.sampled_from([None, "off", "third"]),
    serves,
    st.lists(st.tuples(conditions, serves), max_size=4),
)


def as_sent(form: TargetingForm) -> dict[str, str]:
    """Return the fields that a browser sends for a form."""
    sent = {"off_variant": form.off_variant, "kill_variant": form.kill_variant}
    if form.enabled:
        sent["enabled"] = "yes"
    for key in VARIANTS:
        sent[f"default-serve-{key}"] = form.default.get(key, "")
    for number, need in enumerate(form.prerequisites):
        sent[f"prerequisite-{number}-flag"] = need.flag
        sent[f"prerequisite-{number}-variants"] = need.variants
    for number, rule in enumerate(form.rules):
        prefix = f"rule-{number}-"
        sent |= {f"{prefix}id": rule.id, f"{prefix}match": rule.match}
        if rule.source:
            sent[f"{prefix}source"] = rule.source
        for place, line in enumerate(rule.lines):
            sent[f"{prefix}line-{place}-attribute"] = line.attribute
            sent[f"{prefix}line-{place}-operator"] = line.operator
            sent[f"{prefix}line-{place}-value"] = line.value
        for key in VARIANTS:
            sent[f"{prefix}serve-{key}"] = rule.serves.get(key, "")
    return sent


def same_meaning(condition: Any) -> Any:
    """Return a condition without groups of one, which mean the same."""
    for group in ("all", "any"):
        if group in condition:
            inner = [same_meaning(each) for each in condition[group]]
            return inner[0] if len(inner) == 1 else {group: inner}
    return condition


@given(targetings)
def test_a_targeting_survives_its_form(targeting: dict[str, Any]) -> None:
    form = from_targeting(targeting)
    read = to_targeting(from_form(as_sent(form)))
    assert read.errors == {}
    for rule in (*targeting["rules"], *read.document["rules"]):
        rule["when"] = same_meaning(rule["when"])
    assert read.document == targeting
    types = [type(rule["when"].get("value")) for rule in targeting["rules"]]
    assert [type(rule["when"].get("value")) for rule in read.document["rules"]] == types


def test_every_operator_has_words() -> None:
    from tidegate.evaluation.operators import OPERATORS

    assert set(COMPARES) == set(OPERATORS)


@pytest.mark.parametrize(
    ("text", "value"),
    [("DE", "DE"), ("42", 42), ('"42"', "42"), ("4.5", 4.5), ("true", True), ("null", "null")],
)
def test_values_are_read_as_people_mean_them(text: str, value: object) -> None:
    assert read_value(text) == value
    assert type(read_value(text)) is type(value)


def form_of(*rules: RuleForm) -> TargetingForm:
    return TargetingForm(True, "off", "", {"on": "100"}, rules)


def test_buttons_add_move_and_remove_lines() -> None:
    first, second = RuleForm(id="a"), RuleForm(id="b")
    form = form_of(first, second)
    assert [rule.id for rule in pressed(form, "move 0 1").rules] == ["b", "a"]
    assert [rule.id for rule in pressed(form, "move 1 0").rules] == ["b", "a"]
    assert [rule.id for rule in pressed(form, "remove-rule 0").rules] == ["b"]
    assert len(pressed(form, "add-line 1").rules[1].lines) == 2
    assert pressed(form, "remove-line 0 0").rules[0].lines == ()
    assert [rule.id for rule in pressed(form, "add-rule").rules] == ["a", "b", "rule-1"]


@given(st.text(max_size=20))
def test_an_unknown_button_changes_nothing(button: str) -> None:
    form = form_of(RuleForm(id="a"))
    if button.split()[:1] not in (["add-rule"], ["add-line"], ["remove-rule"], ["remove-line"]):
        assert pressed(form, button) == form


def test_what_cannot_be_read_is_named_by_its_field() -> None:
    rule = RuleForm("r", "all", (ConditionLine("", "equals", ""),), "", {"on": "60", "off": "30"})
    read = to_targeting(form_of(rule))
    assert set(read.errors) == {"rule-0-line-0-attribute", "rule-0-line-0-value", "rule-0-serve"}
    assert "90 %" in read.errors["rule-0-serve"]


@pytest.mark.parametrize(
    ("pointer", "field"),
    [
        ("/default/variant", "default-serve"),
        ("/rules/1/when/all/0/value", "rule-1-line-0-value"),
        ("/rules/0/serve/split/1/weight", "rule-0-serve"),
        ("/rules/0/id", "rule-0-id"),
        ("/off_variant", "off_variant"),
    ],
)
def test_problems_of_the_api_stand_at_their_fields(pointer: str, field: str) -> None:
    form = form_of(RuleForm("a"), RuleForm("b", lines=(ConditionLine(), ConditionLine())))
    assert rule_forms.field_of(pointer, form) == field
