"""How one list becomes another, however long and alike they are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tidegate_server.domain.alignment import opcodes
from tidegate_server.domain.json_differences import differences

ITEMS = st.lists(st.sampled_from("abc"), max_size=20)


@given(ITEMS, ITEMS, st.sampled_from([0, 5, 1_000]))
def test_the_parts_cover_both_lists_in_order(
    before: list[str], after: list[str], most: int
) -> None:
    at, there = 0, 0
    for tag, a, a_end, b, b_end in opcodes(before, after, most):
        assert (a, b) == (at, there)
        assert (tag == "equal") == (before[a:a_end] == after[b:b_end])
        at, there = a_end, b_end
    assert (at, there) == (len(before), len(after))


def test_equal_ends_are_kept_where_the_rest_is_replaced() -> None:
    assert opcodes("xaaay", "xbabay", 0) == [
        ("equal", 0, 1, 0, 1),
        ("replace", 1, 3, 1, 4),
        ("equal", 3, 5, 4, 6),
    ]


@pytest.mark.parametrize("items", [2_000, 10_000])
def test_long_lists_of_equal_items_are_compared(items: int) -> None:
    """To find the least difference of these would take minutes."""
    assert opcodes("a" * items, "ba" * (items // 2), 50_000)
    before, after = [[1]] * items, [[2], [1]] * (items // 2)
    assert differences({"value": before}, {"value": after})
