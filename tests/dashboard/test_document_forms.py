"""Documents survive their forms: contexts, variants, metadata and policies, and descriptions."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from tidegate_server.dashboard.context_forms import read_context, shown_attributes
from tidegate_server.dashboard.markdown import markdown, plain_markdown
from tidegate_server.dashboard.policy_forms import (
    FieldErrors,
    policy_form,
    typed_form,
    with_changes,
)
from tidegate_server.dashboard.variant_forms import (
    metadata_lines,
    read_metadata,
    read_variants,
    typed_variants,
    variant_lines,
)
from tidegate_server.documents import shipped

scalars = st.one_of(
    st.text(max_size=12),
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False, allow_infinity=False),
)
attributes = st.dictionaries(
    st.text(min_size=1, max_size=8).filter(lambda name: name != "targetingKey"),
    st.one_of(scalars, st.lists(scalars, max_size=3)),
    max_size=4,
)

POLICY: dict[str, Any] = {
    "key": "careful",
    "interval": "30s",
    "stages": [
        {"name": "few", "percentage": 5, "min_duration": "10m", "max_duration": "2h"},
        {"name": "all", "percentage": 100, "min_samples": 0},
    ],
    "checks": [{"metric": "error_rate"}],
}


def as_sent(document: Any) -> dict[str, str]:
    """Return the fields that a browser sends for the form of a policy."""
    form = policy_form(document)
    sent = {f"f-{name}": text for name, text in form.fields.items()}
    for name, items in form.items.items():
        for number, item in enumerate(items):
            sent |= {f"{name}-{number}-{each}": text for each, text in item.items()}
    return {name: text.replace("\n", "\r\n") for name, text in sent.items()}


def edited(document: Any, typed: dict[str, str], button: str = "save", yaml: Any = None) -> Any:
    """Return a policy after its form was sent with what was typed."""
    form = typed_form({**as_sent(document), **typed}, button)
    return with_changes(yaml or document, form, policy_form(document).as_shown)


@given(attributes)
def test_a_context_survives_its_form(context: dict[str, Any]) -> None:
    assert read_context("", shown_attributes(context)) == context


@pytest.mark.parametrize(
    ("typed", "says"),
    [("country", "Line 1"), ("a: 1\n: 2", "Line 2"), ("{", "line 1"), ('{"a": 1\n,}', "line 2")],
)
def test_a_context_that_cannot_be_read_names_the_line(typed: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        read_context("user", typed)


@pytest.mark.parametrize(
    ("type", "values"),
    [
        ("boolean", [True, False]),
        ("string", ["", "two\nlines", '"quoted"']),
        ("number", [1, -2.5, 0]),
        ("object", [{"a": [1, {"b": None}]}, {}]),
    ],
)
def test_variants_survive_their_form(type: str, values: list[Any]) -> None:
    variants = [{"key": f"v{n}", "value": value} for n, value in enumerate(values)]
    lines = variant_lines({"type": type, "variants": variants})
    sent = {f"variants-{n}-key": each.key for n, each in enumerate(lines)}
    sent |= {f"variants-{n}-value": each.value for n, each in enumerate(lines)}
    read = read_variants(typed_variants(sent, "save"), type)
    assert read.errors == {}
    assert read.variants == variants


def test_a_variant_that_cannot_be_read_names_the_line() -> None:
    sent = {"variants-0-key": "wide", "variants-0-value": '{\n "a": 1,\n}'}
    errors = read_variants(typed_variants(sent, "save"), "object").errors
    assert errors["variants-0-value"].startswith("Line 3, '}', is not JSON")
    sent = {"variants-0-key": "", "variants-0-value": "many"}
    errors = read_variants(typed_variants(sent, "save"), "number").errors
    assert set(errors) == {"variants-0-key", "variants-0-value"}


def test_buttons_add_and_remove_variants() -> None:
    sent = {"variants-0-key": "on", "variants-0-value": "true"}
    assert len(typed_variants(sent, "add-variant")) == 2
    assert typed_variants(sent, "remove-variant 0") == ()
    assert len(typed_variants(sent, "remove-variant 7")) == 1


def test_metadata_survives_its_form() -> None:
    metadata = {"ticket": "PAY-1", "count": 3, "looks like a number": "3", "urgent": True}
    assert read_metadata(metadata_lines(metadata)) == metadata


FULL: dict[str, Any] = {
    **POLICY,
    "description": "Opens slowly.\nAsks before half.\n",
    "stages": [
        {**POLICY["stages"][0], "approval": {"approvers": ["ana"], "not_the_starter": True}},
        {"name": "half", "percentage": 50.125, "approval": {}, "undecided": "advance"},
        POLICY["stages"][1],
    ],
    "checks": [
        {"metric": "error_rate", "tolerance": {"relative": 0.07}, "false_alarm": 0.0123456789},
        {"metric": "prometheus", "query": "up{}\n", "compare": "absolute", "threshold": 0.5},
    ],
    "no_data": {"after": "5m"},
    "windows": {
        "advance": [{"days": ["mon", "fri"], "to": "16:00"}],
        "freeze": [{"from": "2026-12-20", "to": "2027-01-02", "reason": "two\nlines"}],
    },
    "notify": [{"webhook": "chat", "events": ["held", "rolled_back"]}],
    "confirm": [{"webhook": "gate"}],
    "local_breaker": False,
    "error_rate": False,
    "unknown": {"stays": True},
}
"""A policy with something in every part, also what is no policy."""


@pytest.mark.parametrize("document", [POLICY, FULL, *({**FULL, name: "odd"} for name in FULL)])
def test_a_policy_that_nobody_changes_stays_the_same(document: dict[str, Any]) -> None:
    assert edited(document, {}) == document


@pytest.mark.parametrize("name", shipped.NAMES)
def test_each_field_of_a_policy_is_changed_alone(name: str) -> None:
    document = yaml.safe_load(shipped.text(name))
    sent = as_sent(document)
    for field in sent:
        if field.endswith("-was"):
            continue
        changed = edited(document, {field: "" if sent[field] == "yes" else "77"})
        assert changed != document, field
        assert policy_form(changed).items.keys() == policy_form(document).items.keys()
        other = as_sent(changed)
        differs = {each for each in sent if other.get(each, "") != sent[each]}
        if not field.endswith(("metric", "compare")):
            assert differs <= {field, re.sub("approval-.*", "approval-count", field)}


def test_only_what_was_changed_in_the_form_is_written() -> None:
    """The YAML may have changed meanwhile; what the form does not have stays."""
    yaml = {**POLICY, "interval": "1m", "holdback": 1, "odd": 2}
    changed = edited(POLICY, {"f-bake": "1h", "stages-0-percentage": "2.5"}, yaml=yaml)
    assert changed == {
        **yaml,
        "bake": "1h",
        "stages": [{**POLICY["stages"][0], "percentage": 2.5}, POLICY["stages"][1]],
    }


def test_items_that_the_form_did_not_show_stay() -> None:
    yaml = {**POLICY, "stages": [*POLICY["stages"], {"name": "new"}, "no stage"]}
    changed = edited(POLICY, {"stages-0-percentage": "2.5"}, yaml=yaml)
    assert changed["stages"][2:] == [{"name": "new"}, "no stage"]


def test_a_removed_item_takes_nothing_from_the_others() -> None:
    assert edited(FULL, {}, "remove stages 0") == {**FULL, "stages": FULL["stages"][1:]}
    assert edited(FULL, {}, "remove stages 7") == FULL
    typed = {"stages-2-percentage": "99"}
    assert edited(FULL, typed, "remove stages 0")["stages"] == [
        FULL["stages"][1],
        {**FULL["stages"][2], "percentage": 99},
    ]


def test_a_new_item_is_added_at_the_end() -> None:
    assert edited(POLICY, {}, "add stages")["stages"] == [*POLICY["stages"], {}]
    assert edited(POLICY, {}, "add checks")["checks"][1:] == [{"metric": "latency"}]
    assert edited(POLICY, {}, "add windows-freeze")["windows"] == {"freeze": [{}]}


def test_shares_are_typed_in_percent() -> None:
    typed = {"checks-0-tolerance-relative": "7.5 %", "f-harm_budget": "0.1"}
    changed = edited(POLICY, typed)
    assert changed["checks"][0]["tolerance"] == {"relative": 0.075}
    assert changed["harm_budget"] == 0.001
    assert policy_form(changed).items["checks"][0]["tolerance-relative"] == "7.5"
    assert edited(POLICY, {"f-harm_budget": "much"})["harm_budget"] == "much"


def test_another_comparison_drops_what_does_not_apply_to_it() -> None:
    changed = edited(FULL, {"checks-0-compare": "absolute", "checks-0-threshold": "0.02"})
    assert changed["checks"][0] == {
        "metric": "error_rate",
        "compare": "absolute",
        "threshold": 0.02,
    }


def test_an_approval_is_asked_for_by_its_number() -> None:
    assert policy_form(FULL).items["stages"][1]["approval-count"] == "1"
    changed = edited(FULL, {"stages-0-approval-count": "", "stages-2-approval-approvers": "bo"})
    assert "approval" not in changed["stages"][0]
    assert changed["stages"][1]["approval"] == {}
    assert changed["stages"][2]["approval"] == {"approvers": ["bo"]}


def test_what_is_emptied_in_the_form_leaves_nothing_behind() -> None:
    changed = edited(FULL, {"f-no_data-after": "", "checks-0-tolerance-relative": ""})
    assert "no_data" not in changed
    assert "tolerance" not in changed["checks"][0]


@pytest.mark.parametrize(
    ("pointer", "name"),
    [
        ("/stages/0/percentage", "stages-0-percentage"),
        ("/stages/0/segments/3", "stages-0-segments"),
        ("/stages/0/nonsense", "stages-0"),
        ("/stages/9/percentage", "stages"),
        ("/windows/freeze/0/from", "windows-freeze-0-from"),
        ("/checks/1/tolerance", "checks-1"),
        ("/no_data/after", "no_data-after"),
    ],
)
def test_what_is_wrong_stands_at_the_field_of_the_form(pointer: str, name: str) -> None:
    errors = FieldErrors(policy_form(FULL))
    errors.add(pointer, "wrong")
    assert errors.messages == {name: "wrong"}


def test_what_is_wrong_elsewhere_stands_at_no_field() -> None:
    errors = FieldErrors(policy_form(FULL))
    for pointer in ("", "/unknown", "/windows"):
        errors.add(pointer, "wrong")
    assert errors.messages == {}


def test_a_description_is_markdown_without_html() -> None:
    shown = markdown("**Pay** in `one` step:\n\n- fast\n- [safe](https://example.com)")
    assert "<strong>Pay</strong>" in shown
    assert "<li>fast</li>" in shown
    assert '<a href="https://example.com"' in shown
    assert plain_markdown("**Pay** in\n`one` step\n\nmore") == "Pay in one step"


@given(st.text(alphabet="<>&\"'()[]!`*_-\n: ajsvcriptxonerhglsdm=/", max_size=80))
def test_no_description_becomes_other_html(text: str) -> None:
    shown = markdown(text).lower()
    for start in shown.split("<")[1:]:
        tag = start.lstrip("/").split(">")[0].split(" ")[0].rstrip("/")
        assert tag in {"p", "em", "strong", "code", "a", "ul", "ol", "li", "br"}, shown
    assert 'href="javascript:' not in shown
    assert 'href="data:' not in shown
