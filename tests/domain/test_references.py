from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from tidegate.evaluation.conditions import segments_in
from tidegate.model import All, AnyOf, Comparison, InSegment, NoneOf
from tidegate_server.domain.references import find_cycle, reachable

GRAPHS = st.dictionaries(st.integers(0, 7).map(str), st.lists(st.integers(0, 7).map(str)))


def test_segments_are_found_anywhere_in_a_condition() -> None:
    when = All((InSegment("a"), AnyOf((NoneOf((InSegment("b"),)), Comparison("x", "exists")))))
    assert list(segments_in(when)) == ["a", "b"]
    assert list(segments_in(None)) == []


@given(GRAPHS)
def test_a_cycle_is_found_exactly_if_a_key_reaches_itself(
    graph: dict[str, list[str]],
) -> None:
    def names(key: str) -> list[str]:
        return graph.get(key, [])

    way = find_cycle("0", names)
    assert bool(way) == ("0" in reachable(names("0"), names))
    if way:
        assert way[0] == way[-1] == "0"
        assert all(after in names(before) for before, after in pairwise(way))
        assert len(set(way)) == len(way) - 1
