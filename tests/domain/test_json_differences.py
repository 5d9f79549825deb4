"""What differs between two JSON documents, with pointers and words."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tidegate_server.domain.field_differences import same_json
from tidegate_server.domain.json_differences import (
    ABSENT,
    Absent,
    difference_text,
    differences,
)


def texts(before: Any, after: Any) -> list[str]:
    return [difference_text(each) for each in differences(before, after)]


def rule(id: str, variant: str) -> dict[str, Any]:
    return {"id": id, "serve": {"variant": variant}}


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"a": 1}, {"a": 2}, ["a: 1 → 2"]),
        ({"off_variant": "a"}, {"off_variant": None}, ['off variant: "a" → null']),
        ({"a": True}, {"a": 1}, ["a: true → 1"]),
        ({"a": 1}, {"a": 1.0}, []),
        ({}, {"a": None}, ["a: added null"]),
        ({"a": {"b": "ü"}}, {"a": {}}, ['a b: removed "ü"']),
        ({"tags": ["x"]}, {"tags": ["x", "y"]}, ['tags: ["x"] → ["x", "y"]']),
        ({"tags": []}, {"tags": ["x"]}, ['tags: [] → ["x"]']),
        (ABSENT, {"a": 1}, ['everything: added {"a": 1}']),
        ([1, [2]], [1, [3], 4], ["#2: [2] → [3]", "#3: added 4"]),
    ],
)
def test_a_difference_names_the_field_and_both_values(
    before: Any, after: Any, expected: list[str]
) -> None:
    assert texts(before, after) == expected


def test_a_rule_is_known_by_its_id_wherever_it_stands() -> None:
    before = {"rules": [rule("staff", "on"), rule("pros", "on")]}
    after = {"rules": [rule("new", "on"), rule("staff", "off"), rule("pros", "on")]}
    found = differences(before, after)
    assert [(each.pointer, difference_text(each)) for each in found] == [
        ("/rules/0", 'rules "new": added {"id": "new", "serve": {"variant": "on"}}'),
        ("/rules/1/serve/variant", 'rules "staff" serve variant: "on" → "off"'),
    ]


def test_a_removed_item_has_its_place_before() -> None:
    (found,) = differences([rule("a", "on"), rule("b", "on")], [rule("a", "on")])
    assert (found.pointer, found.after) == ("/1", ABSENT)


def test_another_order_is_a_difference() -> None:
    before, after = [rule("a", "on"), rule("b", "on")], [rule("b", "on"), rule("a", "on")]
    assert texts({"rules": before}, {"rules": after}) == ['rules order: ["a", "b"] → ["b", "a"]']


def test_items_with_the_same_identity_are_compared_by_place() -> None:
    assert texts([rule("a", "x"), rule("a", "y")], [rule("a", "x"), rule("a", "z")]) == [
        '#2 serve variant: "y" → "z"'
    ]


def grant(role: str) -> dict[str, Any]:
    return {"role": role, "project": "shop"}


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("developer responder", "responder", ["removed developer"]),
        ("developer responder", "admin responder", ['#1 role: "developer" → "admin"']),
        ("developer", "viewer developer", ["added viewer"]),
    ],
)
def test_of_items_without_a_name_those_that_are_equal_belong_together(
    before: str, after: str, expected: list[str]
) -> None:
    said: list[str] = []
    each: Any
    for each in differences([grant(r) for r in before.split()], [grant(r) for r in after.split()]):
        if isinstance(each.before, Absent):
            said.append(f"added {each.after['role']}")
        elif isinstance(each.after, Absent):
            said.append(f"removed {each.before['role']}")
        else:
            said.append(difference_text(each))
    assert sorted(said) == sorted(expected)


def test_what_is_removed_within_an_item_that_has_moved_has_its_place_before() -> None:
    before = [rule("a", "on") | {"note": "x"}]
    (_, found) = differences(before, [rule("new", "on"), rule("a", "on")])
    assert (found.pointer, found.after) == ("/0/note", ABSENT)


def test_of_a_long_list_only_what_came_and_went_is_named() -> None:
    before = [f"user-{number}" for number in range(1_000)]
    after = ["first", *before[:500], *before[501:]]
    found = differences({"included": before}, {"included": after})
    assert [(each.pointer, difference_text(each)) for each in found] == [
        ("/included/0", 'included: added "first"'),
        ("/included/500", 'included: removed "user-500"'),
    ]


def test_keys_are_escaped_in_pointers() -> None:
    (found,) = differences({"a/b~c": 1}, {"a/b~c": 2})
    assert found.pointer == "/a~1b~0c"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "a", "b"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["id", "key", "a", "b/~"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(json_values, json_values)
def test_there_are_differences_exactly_if_the_documents_differ(before: Any, after: Any) -> None:
    assert (differences(before, after) == []) == same_json(before, after)


@given(json_values, json_values)
def test_every_pointer_leads_to_its_value(before: Any, after: Any) -> None:
    for found in differences(before, after):
        removed = isinstance(found.after, Absent)
        if found.field.endswith("order"):
            continue
        value = before if removed else after
        for step in found.pointer.split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            value = value[int(name)] if isinstance(value, list) else value[name]
        assert same_json(value, found.before if removed else found.after)
