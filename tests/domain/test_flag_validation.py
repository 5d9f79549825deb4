from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tidegate.model import (
    All,
    AnyOf,
    Comparison,
    Condition,
    InSegment,
    NoneOf,
    Prerequisite,
    Rule,
    Serve,
    Variant,
    WeightedVariant,
)
from tidegate_server.domain.field_problems import check_key
from tidegate_server.domain.flag_validation import (
    check_definition,
    check_targeting,
    check_targeting_change,
    targeting_warnings,
)
from tidegate_server.domain.flags import FlagDefinition, SegmentDefinition
from tidegate_server.domain.segment_validation import check_segment
from tidegate_server.errors import Invalid

from tests.domain.builders import (
    OFF,
    ON,
    InMemoryStore,
    checkout,
    pointers,
    problems,
    serving,
    store_with_checkout,
)


@pytest.fixture
def store() -> InMemoryStore:
    store = store_with_checkout()
    store.add_segment(SegmentDefinition("staff"))
    return store


def definition_problems(definition: FlagDefinition) -> dict[str, str]:
    with pytest.raises(Invalid) as caught:
        check_definition(definition)
    return problems(caught.value)


def targeting_problems(store: InMemoryStore, **to: Any) -> dict[str, str]:
    after = replace(store.targeting(), **to)
    with pytest.raises(Invalid) as caught:
        check_targeting(
            store.documents.flag("checkout").document, after, store.documents, "production"
        )
    return problems(caught.value)


def condition_problems(store: InMemoryStore, when: Condition) -> dict[str, str]:
    return targeting_problems(store, rules=(Rule("r", when, serving("on")),))


# Keys --------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["a", "7", "new-checkout", "a.b_c", "x" * 100])
def test_valid_keys_are_accepted(key: str) -> None:
    check_key("project", key)


@pytest.mark.parametrize("key", ["", "A", "-a", ".a", "a b", "a/b", "ä", "a\n", "x" * 101])
def test_invalid_keys_are_refused(key: str) -> None:
    with pytest.raises(Invalid, match="is not a valid key") as caught:
        check_key("project", key)
    assert pointers(caught.value) == ["/key"]


# Definitions -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type_", "good", "bad"),
    [
        ("boolean", [True, False], [1, "true"]),
        ("string", ["", "x"], [1, True, ["x"]]),
        ("number", [0, -1.5, 10**18], [True, "1", math.inf, math.nan]),
        ("object", [{}, {"a": 1}, [], [1, {"b": None}]], ["x", 1, True]),
    ],
)
def test_values_are_of_the_flags_type(type_: Any, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        other = not value if type_ == "boolean" else value
        variants = (Variant("a", value), Variant("b", other))
        check_definition(FlagDefinition("f", type_, variants, "f"))
    for value in bad:
        invalid = definition_problems(
            FlagDefinition("f", type_, (ON, OFF, Variant("c", value)), "f")
        )
        assert f"The value of a {type_} flag must be" in invalid["/variants/2/value"]


def test_a_variant_without_a_value_is_valid() -> None:
    check_definition(checkout(salt="checkout", variants=(ON, OFF, Variant("unset", None))))


def test_a_boolean_flag_needs_true_and_false() -> None:
    twice = (ON, Variant("also", True))
    assert definition_problems(checkout(variants=twice)) == {
        "/variants": "A boolean flag needs a variant for true and for false."
    }


def test_a_flag_needs_two_variants() -> None:
    alone = FlagDefinition("f", "string", (Variant("a", "x"),), "f")
    assert "has 2 to 100 variants" in definition_problems(alone)["/variants"]


def test_variant_keys_are_unique() -> None:
    invalid = definition_problems(checkout(variants=(ON, OFF, Variant("on", True))))
    assert invalid == {"/variants/2/key": "There are two variants 'on'; rename or remove one."}


def test_every_problem_is_reported_at_once() -> None:
    both = checkout(key="No", variants=(ON, OFF, Variant("a b", 3)))
    with pytest.raises(Invalid, match="Flag No has 3 invalid fields") as caught:
        check_definition(both)
    assert pointers(caught.value) == ["/key", "/variants/2/key", "/variants/2/value"]


def test_an_unknown_type_is_refused() -> None:
    invalid = definition_problems(checkout(type="json"))
    assert invalid == {"/type": "A flag's type is one of: boolean, string, number, object."}


# Serves ------------------------------------------------------------------------------


def split(*weights: float) -> Serve:
    keys = ("on", "off", "on", "off")
    return Serve(split=tuple(WeightedVariant(k, w) for k, w in zip(keys, weights, strict=False)))


def test_served_variants_must_exist(store: InMemoryStore) -> None:
    invalid = targeting_problems(
        store,
        off_variant="a",
        kill_variant="b",
        default=serving("c"),
        rules=(Rule("r", All(()), Serve(split=(WeightedVariant("d", 100),))),),
    )
    assert list(invalid) == [
        "/off_variant",
        "/kill_variant",
        "/default/variant",
        "/rules/0/serve/split/0/variant",
    ]
    assert invalid["/off_variant"] == "There is no variant 'a'; the flag has on, off."


@pytest.mark.parametrize("serve", [Serve(), Serve("on", (WeightedVariant("on", 100),))])
def test_a_serve_is_either_a_variant_or_a_split(store: InMemoryStore, serve: Serve) -> None:
    assert targeting_problems(store, default=serve) == {
        "/default": "Give either a variant or a split."
    }


@pytest.mark.parametrize("weights", [(33.333, 66.667), (0.001, 99.999), (50, 50.0), (100,)])
def test_weights_sum_to_exactly_100(store: InMemoryStore, weights: tuple[float, ...]) -> None:
    store.edit_targeting(default=split(*weights))
    assert store.targeting().default == split(*weights)


def test_weights_with_another_sum_are_refused(store: InMemoryStore) -> None:
    assert targeting_problems(store, default=split(33.333, 66.666)) == {
        "/default/split": "The weights sum to 99.999; they must sum to exactly 100."
    }


@pytest.mark.parametrize("weight", [0, -1, 100.5, math.nan, math.inf, 0.0001, 33.3333])
def test_invalid_weights_are_refused(store: InMemoryStore, weight: float) -> None:
    assert list(targeting_problems(store, default=split(50, weight))) == ["/default/split/1/weight"]


def test_a_split_cannot_repeat_a_variant(store: InMemoryStore) -> None:
    assert list(targeting_problems(store, default=split(50, 25, 25))) == [
        "/default/split/2/variant"
    ]


@given(st.lists(st.integers(1, 99_999), min_size=1, max_size=1))
def test_any_two_weights_with_three_decimals_can_sum_to_100(cut: list[int]) -> None:
    store_with_checkout().edit_targeting(default=split(cut[0] / 1000, (100_000 - cut[0]) / 1000))


# Rules and conditions ----------------------------------------------------------------


def test_rule_ids_are_unique(store: InMemoryStore) -> None:
    rule = Rule("r", All(()), serving("on"))
    assert list(targeting_problems(store, rules=(rule, rule))) == ["/rules/1/id"]


def test_operators_must_exist_and_their_values_fit(store: InMemoryStore) -> None:
    when = All(
        (
            Comparison("plan", "is_like", "pro"),
            AnyOf((Comparison("age", "greater_than", "7"),)),
            NoneOf((Comparison("ip", "in_cidr", "10.0.0.0/33"), Comparison("", "exists"))),
            Comparison("name", "matches", "(?=x)"),
        )
    )
    invalid = condition_problems(store, when)
    assert list(invalid) == [
        "/rules/0/when/all/0/operator",
        "/rules/0/when/all/1/any/0/value",
        "/rules/0/when/all/2/none/0/value",
        "/rules/0/when/all/2/none/1/attribute",
        "/rules/0/when/all/3/value",
    ]
    assert "use one of: equals, in," in invalid["/rules/0/when/all/0/operator"]


def test_segments_in_a_condition_must_exist(store: InMemoryStore) -> None:
    invalid = condition_problems(store, NoneOf((InSegment("staff"), InSegment("gone"))))
    assert invalid == {
        "/rules/0/when/none/1/segment": "There is no segment 'gone'; create it first."
    }


def test_the_nesting_of_conditions_is_limited(store: InMemoryStore) -> None:
    when: Condition = Comparison("a", "exists")
    for _ in range(40):
        when = All((when,))
    (pointer,) = condition_problems(store, when)
    assert pointer.startswith("/rules/0/when/all/0/all/0")


# Prerequisites -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prerequisites", "pointer"),
    [
        ((Prerequisite("gone", ("on",)),), "/prerequisites/0/flag"),
        ((Prerequisite("checkout", ("on",)),), "/prerequisites/0/flag"),
        ((Prerequisite("b", ("maybe",)),), "/prerequisites/0/variants/0"),
        ((Prerequisite("b", ()),), "/prerequisites/0/variants"),
        ((Prerequisite("b", ("on",)), Prerequisite("b", ("on",))), "/prerequisites/1/flag"),
    ],
)
def test_prerequisites_must_exist(
    store: InMemoryStore, prerequisites: tuple[Prerequisite, ...], pointer: str
) -> None:
    store.add_flag(checkout(key="b"))
    assert list(targeting_problems(store, prerequisites=prerequisites)) == [pointer]


def test_a_cycle_of_prerequisites_is_refused(store: InMemoryStore) -> None:
    for key in ("b", "c", "d"):
        store.add_flag(checkout(key=key))
    store.edit_targeting(flag="b", prerequisites=(Prerequisite("c", ("on",)),))
    store.edit_targeting(flag="c", prerequisites=(Prerequisite("checkout", ("on",)),))
    prerequisites = (Prerequisite("d", ("on",)), Prerequisite("b", ("on",)))
    assert targeting_problems(store, prerequisites=prerequisites) == {
        "/prerequisites/1/flag": "These flags would be prerequisites of each other: "
        "checkout -> b -> c -> checkout. Remove one."
    }


def test_prerequisites_in_different_environments_form_no_cycle(store: InMemoryStore) -> None:
    store.add_flag(checkout(key="b"))
    store.edit_targeting("staging", flag="b", prerequisites=(Prerequisite("checkout", ("on",)),))
    store.edit_targeting(prerequisites=(Prerequisite("b", ("on",)),))


# Segments ----------------------------------------------------------------------------


def segment_problems(store: InMemoryStore, segment: SegmentDefinition) -> dict[str, str]:
    with pytest.raises(Invalid) as caught:
        check_segment(segment, store.documents)
    return problems(caught.value)


def test_a_key_cannot_be_included_and_excluded(store: InMemoryStore) -> None:
    invalid = segment_problems(store, SegmentDefinition("s", included=("a", "b"), excluded=("b",)))
    assert invalid == {"/included/1": "'b' is excluded too; remove it from one list."}


def test_a_segment_that_contains_itself_is_refused(store: InMemoryStore) -> None:
    invalid = segment_problems(store, SegmentDefinition("s", NoneOf((InSegment("s"),))))
    assert invalid == {"/when": "The segment would contain itself: s -> s. Remove one of them."}


def test_a_cycle_of_segments_is_refused(store: InMemoryStore) -> None:
    store.add_segment(SegmentDefinition("b", All((InSegment("staff"),))))
    store.add_segment(SegmentDefinition("c", AnyOf((InSegment("b"),))))
    invalid = segment_problems(store, SegmentDefinition("staff", InSegment("c")))
    assert invalid["/when"].startswith(
        "The segment would contain itself: staff -> c -> b -> staff."
    )


def test_segments_and_operators_in_a_segment_must_exist(store: InMemoryStore) -> None:
    when = All((InSegment("gone"), Comparison("a", "near", 1)))
    assert list(segment_problems(store, SegmentDefinition("s", when))) == [
        "/when/all/0/segment",
        "/when/all/1/operator",
    ]


def test_empty_and_too_many_targeting_keys_are_refused(store: InMemoryStore) -> None:
    many = tuple(f"user-{number}" for number in range(10_001))
    invalid = segment_problems(store, SegmentDefinition("s", included=("",), excluded=many))
    assert list(invalid) == ["/included/0", "/excluded"]


METADATA_MISTAKES: list[tuple[dict[str, Any], str, str]] = [
    ({"flagVersion": 7}, "/metadata/flagVersion", "choose another name"),
    ({"killed": False}, "/metadata/killed", "choose another name"),
    ({"owner": None}, "/metadata/owner", "true, false, a number or a string"),
    ({"owner": ["a"]}, "/metadata/owner", "true, false, a number or a string"),
    ({"limit": math.inf}, "/metadata/limit", "between"),
    ({"limit": math.nan}, "/metadata/limit", "between"),
    ({"limit": 10**400}, "/metadata/limit", "write it as a string"),
    ({"note": "x" * 501}, "/metadata/note", "at most 500 characters"),
    ({"note": "a\u202eb"}, "/metadata/note", "U+202E"),
    ({"two words": 1}, "/metadata", "'two words' is not a valid name"),
    ({"a/b": 1}, "/metadata", "'a/b' is not a valid name"),
    ({f"n{number}": number for number in range(21)}, "/metadata", "at most 20 entries"),
]


@pytest.mark.parametrize(("metadata", "pointer", "text"), METADATA_MISTAKES)
def test_metadata_that_an_evaluation_cannot_carry_is_refused(
    metadata: dict[str, Any], pointer: str, text: str
) -> None:
    found = definition_problems(replace(checkout(salt="checkout"), metadata=metadata))
    assert list(found) == [pointer]
    assert text in found[pointer]


def test_metadata_has_flat_values() -> None:
    values: dict[str, Any] = {"owner": "shop", "priority": 2, "share": 0.1, "note": "x" * 500}
    check_definition(replace(checkout(salt="checkout"), metadata=values))
    full: dict[str, Any] = {f"n{number}": number for number in range(20)}
    check_definition(replace(checkout(salt="checkout"), metadata=full))


def compares(attribute: str) -> Comparison:
    return Comparison(attribute, "equals", "ann")


@pytest.mark.parametrize(
    "name", ["targeting_key", "targetingkey", "TargetingKey", "targeting-key", "TARGETING_KEY"]
)
def test_another_spelling_of_the_targeting_key_is_refused(store: InMemoryStore, name: str) -> None:
    before = store.targeting()
    definition = store.documents.flag("checkout").document
    when = All((compares("targetingKey"), NoneOf((compares(name),))))
    after = replace(before, rules=(Rule("r", when, Serve("on")),))
    with pytest.raises(Invalid, match="Did you mean targetingKey") as refused:
        check_targeting_change(definition, before, after, store.documents, "production", None)
    pointer = "/rules/0/when/all/1/none/0/attribute"
    assert list(problems(refused.value)) == [pointer]
    (problem,) = refused.value.fields
    assert problem.suggestions == ("targetingKey",)
    # A rule that an earlier version has stored does not block other changes.
    off = replace(after, enabled=False)
    check_targeting_change(definition, after, off, store.documents, "production", None)


@pytest.mark.parametrize("name", ["key", "user_id", "userId", "id", "user-key"])
def test_what_may_be_meant_for_the_targeting_key_is_a_warning(
    store: InMemoryStore, name: str
) -> None:
    """An application may really send such an attribute."""
    before = store.targeting()
    after = replace(before, rules=(Rule("r", AnyOf((compares(name),)), Serve("on")),))
    definition = store.documents.flag("checkout").document
    check_targeting_change(definition, before, after, store.documents, "production", None)
    (warning,) = targeting_warnings(after)
    assert warning.pointer == "/rules/0/when/any/0/attribute"
    assert "targetingKey" in warning.detail
    for other in ("targetingKey", "plan", "api_key", "account.id", "order_id"):
        plain = replace(before, rules=(Rule("r", compares(other), Serve("on")),))
        assert list(targeting_warnings(plain)) == []
