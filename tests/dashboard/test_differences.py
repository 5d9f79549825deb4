"""What changed in a field, line by line, of texts of any length."""

from __future__ import annotations

import pytest
from tidegate_server.dashboard.differences import FieldDifference, field_differences


def difference(before: str, after: str) -> FieldDifference:
    [found] = field_differences([{"field": "text", "before": before, "after": after}])
    return found


def lines(before: str, after: str) -> list[tuple[str, str]]:
    found = difference(before, after).lines
    return [(each.kind, "".join(text for text, _ in each.parts)) for each in found]


def test_one_line_among_thousands_of_equal_ones_is_shown_with_those_around_it() -> None:
    before = ["same"] * 5_000
    after = [*before[:2_500], "another", *before[2_500:]]
    shown = lines("\n".join(before), "\n".join(after))
    assert shown == [*[("same", "same")] * 2, ("ins", "another"), *[("same", "same")] * 2]


def test_the_words_that_differ_are_marked() -> None:
    found = difference("one\nto two\nthree", "one\nto four\nthree").lines
    assert [each.parts for each in found if each.kind != "same"] == [
        (("to ", False), ("two", True)),
        (("to ", False), ("four", True)),
    ]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a\n" * 2_000, "b\na\n" * 1_000),
        ("x\n" + "a " * 30_000, "x\n" + "b a " * 15_000),
        ("a b c\n" * 5_000, "a b d\n" * 5_000),
    ],
)
def test_texts_that_are_long_and_alike_are_shown_as_replaced(before: str, after: str) -> None:
    """To find the least difference of these would take minutes."""
    shown = lines(before, after)
    for kind, text in (("del", before), ("ins", after)):
        told = [line for each, line in shown if each == kind]
        assert set(told) <= set(text.splitlines())
        assert told
