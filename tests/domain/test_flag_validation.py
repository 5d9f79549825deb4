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
from tidegate_server.domain.flag_validation import check_definition, check_targeting
from tidegate_server.domain.flags import FlagDefinition, SegmentDefinition
from tidegate_server.domain.segment_validation import check_segment
from tidegate_server.errors import Invalid

from tests.domain.builders import OFF, ON, Shelf, checkout, pointers, problems, serving, stocked


@pytest.fixture
def shelf() -> Shelf:
    shelf = stocked()
    shelf.add_segment(SegmentDefinition("staff"))
    return shelf


def wrong_definition(definition: FlagDefinition) -> dict[str, str]:
    with pytest.raises(Invalid) as caught:
        check_definition(definition)
    return problems(caught.value)


def wrong_targeting(shelf: Shelf, **to: Any) -> dict[str, str]:
    after = replace(shelf.targeting(), **to)
    with pytest.raises(Invalid) as caught:
        check_targeting(
            shelf.documents.flag("checkout").document, after, shelf.documents, "production"
        )
    return problems(caught.value)


def wrong_condition(shelf: Shelf, when: Condition) -> dict[str, str]:
    return wrong_targeting(shelf, rules=(Rule("r", when, serving("on")),))


# Keys --------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["a", "7", "new-checkout", "a.b_c", "x" * 100])
def test_keys_of_small_letters_digits_and_marks_are_good(key: str) -> None:
    check_key("project", key)


@pytest.mark.parametrize("key", ["", "A", "-a", ".a", "a b", "a/b", "ä", "a\n", "x" * 101])
def test_other_keys_are_refused(key: str) -> None:
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
        found = wrong_definition(FlagDefinition("f", type_, (ON, OFF, Variant("c", value)), "f"))
        assert f"The value of a {type_} flag must be" in found["/variants/2/value"]


def test_a_variant_may_leave_the_value_to_the_code() -> None:
    check_definition(checkout(salt="checkout", variants=(ON, OFF, Variant("unset", None))))


def test_a_boolean_flag_has_both_truths() -> None:
    twice = (ON, Variant("also", True))
    assert wrong_definition(checkout(variants=twice)) == {
        "/variants": "A boolean flag needs a variant for true and for false."
    }


def test_one_variant_makes_no_release_possible() -> None:
    alone = FlagDefinition("f", "string", (Variant("a", "x"),), "f")
    assert "has 2 to 100 variants" in wrong_definition(alone)["/variants"]


def test_a_variants_key_is_used_once() -> None:
    found = wrong_definition(checkout(variants=(ON, OFF, Variant("on", True))))
    assert found == {"/variants/2/key": "There are two variants 'on'; rename or remove one."}


def test_everything_wrong_is_told_at_once() -> None:
    both = checkout(key="No", variants=(ON, OFF, Variant("a b", 3)))
    with pytest.raises(Invalid, match="3 fields of flag No are wrong") as caught:
        check_definition(both)
    assert pointers(caught.value) == ["/key", "/variants/2/key", "/variants/2/value"]


def test_an_unknown_type_is_refused() -> None:
    found = wrong_definition(checkout(type="json"))
    assert found == {"/type": "A flag's type is one of: boolean, string, number, object."}


# Serves ------------------------------------------------------------------------------


def split(*weights: float) -> Serve:
    keys = ("on", "off", "on", "off")
    return Serve(split=tuple(WeightedVariant(k, w) for k, w in zip(keys, weights, strict=False)))


def test_served_variants_exist(shelf: Shelf) -> None:
    found = wrong_targeting(
        shelf,
        off_variant="a",
        kill_variant="b",
        default=serving("c"),
        rules=(Rule("r", All(()), Serve(split=(WeightedVariant("d", 100),))),),
    )
    assert list(found) == [
        "/off_variant",
        "/kill_variant",
        "/default/variant",
        "/rules/0/serve/split/0/variant",
    ]
    assert found["/off_variant"] == "There is no variant 'a'; the flag has on, off."


@pytest.mark.parametrize("serve", [Serve(), Serve("on", (WeightedVariant("on", 100),))])
def test_a_serve_is_either_a_variant_or_a_split(shelf: Shelf, serve: Serve) -> None:
    assert wrong_targeting(shelf, default=serve) == {
        "/default": "Give either a variant or a split."
    }


@pytest.mark.parametrize("weights", [(33.333, 66.667), (0.001, 99.999), (50, 50.0), (100,)])
def test_weights_sum_to_exactly_100(shelf: Shelf, weights: tuple[float, ...]) -> None:
    shelf.retarget(default=split(*weights))
    assert shelf.targeting().default == split(*weights)


def test_weights_that_do_not_are_refused(shelf: Shelf) -> None:
    assert wrong_targeting(shelf, default=split(33.333, 66.666)) == {
        "/default/split": "The weights sum to 99.999; they must sum to exactly 100."
    }


@pytest.mark.parametrize("weight", [0, -1, 100.5, math.nan, math.inf, 0.0001, 33.3333])
def test_impossible_weights_are_refused(shelf: Shelf, weight: float) -> None:
    assert list(wrong_targeting(shelf, default=split(50, weight))) == ["/default/split/1/weight"]


def test_a_split_names_a_variant_once(shelf: Shelf) -> None:
    assert list(wrong_targeting(shelf, default=split(50, 25, 25))) == ["/default/split/2/variant"]


@given(st.lists(st.integers(1, 99_999), min_size=1, max_size=1))
def test_any_two_weights_of_three_decimals_that_sum_to_100_are_good(cut: list[int]) -> None:
    stocked().retarget(default=split(cut[0] / 1000, (100_000 - cut[0]) / 1000))


# Rules and conditions ----------------------------------------------------------------


def test_rule_ids_are_unique(shelf: Shelf) -> None:
    rule = Rule("r", All(()), serving("on"))
    assert list(wrong_targeting(shelf, rules=(rule, rule))) == ["/rules/1/id"]


def test_an_operator_exists_and_its_value_fits(shelf: Shelf) -> None:
    when = All(
        (
            Comparison("plan", "is_like", "pro"),
            AnyOf((Comparison("age", "greater_than", "7"),)),
            NoneOf((Comparison("ip", "in_cidr", "10.0.0.0/33"), Comparison("", "exists"))),
            Comparison("name", "matches", "(?=x)"),
        )
    )
    found = wrong_condition(shelf, when)
    assert list(found) == [
        "/rules/0/when/all/0/operator",
        "/rules/0/when/all/1/any/0/value",
        "/rules/0/when/all/2/none/0/value",
        "/rules/0/when/all/2/none/1/attribute",
        "/rules/0/when/all/3/value",
    ]
    assert "use one of: equals, in," in found["/rules/0/when/all/0/operator"]


def test_a_condition_names_segments_that_exist(shelf: Shelf) -> None:
    found = wrong_condition(shelf, NoneOf((InSegment("staff"), InSegment("gone"))))
    assert found == {"/rules/0/when/none/1/segment": "There is no segment 'gone'; create it first."}


def test_conditions_nest_only_so_deep(shelf: Shelf) -> None:
    when: Condition = Comparison("a", "exists")
    for _ in range(40):
        when = All((when,))
    (pointer,) = wrong_condition(shelf, when)
    assert pointer.startswith("/rules/0/when/all/0/all/0")


# Prerequisites -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "pointer"),
    [
        ((Prerequisite("gone", ("on",)),), "/prerequisites/0/flag"),
        ((Prerequisite("checkout", ("on",)),), "/prerequisites/0/flag"),
        ((Prerequisite("b", ("maybe",)),), "/prerequisites/0/variants/0"),
        ((Prerequisite("b", ()),), "/prerequisites/0/variants"),
        ((Prerequisite("b", ("on",)), Prerequisite("b", ("off",))), "/prerequisites/1/flag"),
    ],
)
def test_prerequisites_name_what_is_there(
    shelf: Shelf, asked: tuple[Prerequisite, ...], pointer: str
) -> None:
    shelf.add_flag(checkout(key="b"))
    assert list(wrong_targeting(shelf, prerequisites=asked)) == [pointer]


def test_a_circle_of_prerequisites_is_named(shelf: Shelf) -> None:
    for key in ("b", "c", "d"):
        shelf.add_flag(checkout(key=key))
    shelf.retarget(flag="b", prerequisites=(Prerequisite("c", ("on",)),))
    shelf.retarget(flag="c", prerequisites=(Prerequisite("checkout", ("on",)),))
    asked = (Prerequisite("d", ("on",)), Prerequisite("b", ("on",)))
    assert wrong_targeting(shelf, prerequisites=asked) == {
        "/prerequisites/1/flag": "These flags would be prerequisites of each other: "
        "checkout -> b -> c -> checkout. Remove one."
    }


def test_a_circle_in_another_environment_is_none(shelf: Shelf) -> None:
    shelf.add_flag(checkout(key="b"))
    shelf.retarget("staging", flag="b", prerequisites=(Prerequisite("checkout", ("on",)),))
    shelf.retarget(prerequisites=(Prerequisite("b", ("on",)),))


# Segments ----------------------------------------------------------------------------


def wrong_segment(shelf: Shelf, segment: SegmentDefinition) -> dict[str, str]:
    with pytest.raises(Invalid) as caught:
        check_segment(segment, shelf.documents)
    return problems(caught.value)


def test_a_key_is_not_included_and_excluded(shelf: Shelf) -> None:
    found = wrong_segment(shelf, SegmentDefinition("s", included=("a", "b"), excluded=("b",)))
    assert found == {"/included/1": "'b' is excluded too; remove it from one list."}


def test_a_segment_that_contains_itself_is_refused(shelf: Shelf) -> None:
    found = wrong_segment(shelf, SegmentDefinition("s", NoneOf((InSegment("s"),))))
    assert found == {"/when": "The segment would contain itself: s -> s. Remove one of them."}


def test_a_circle_of_segments_is_named(shelf: Shelf) -> None:
    shelf.add_segment(SegmentDefinition("b", All((InSegment("staff"),))))
    shelf.add_segment(SegmentDefinition("c", AnyOf((InSegment("b"),))))
    found = wrong_segment(shelf, SegmentDefinition("staff", InSegment("c")))
    assert found["/when"].startswith("The segment would contain itself: staff -> c -> b -> staff.")


def test_a_segment_names_segments_and_operators_that_exist(shelf: Shelf) -> None:
    when = All((InSegment("gone"), Comparison("a", "near", 1)))
    assert list(wrong_segment(shelf, SegmentDefinition("s", when))) == [
        "/when/all/0/segment",
        "/when/all/1/operator",
    ]


def test_an_empty_key_and_too_many_are_refused(shelf: Shelf) -> None:
    many = tuple(f"user-{number}" for number in range(10_001))
    found = wrong_segment(shelf, SegmentDefinition("s", included=("",), excluded=many))
    assert list(found) == ["/included/0", "/excluded"]
