from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tidegate_server.domain import layered_mapping
from tidegate_server.domain.layered_mapping import with_changes

KEYS = st.sampled_from("abcdef")


@given(
    st.dictionaries(KEYS, st.integers()),
    st.lists(st.dictionaries(KEYS, st.none() | st.integers())),
    st.integers(0, 4),
)
def test_a_mapping_with_changes_equals_a_copy_with_them(
    first: dict[str, int], steps: list[dict[str, int | None]], most: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layered_mapping, "MOST_CHANGES", most)
        present: Mapping[str, int] = first
        copy = dict(first)
        for changes in steps:
            before, copy_before = present, dict(copy)
            present = with_changes(present, changes)
            for key, value in changes.items():
                copy.pop(key, None)
                if value is not None:
                    copy[key] = value
            assert before == copy_before
            assert present == copy
            assert sorted(present) == sorted(copy)
            assert len(present) == len(copy)
            for key in "abcdef":
                assert (key in present, present.get(key)) == (key in copy, copy.get(key))
                if key not in copy:
                    with pytest.raises(KeyError):
                        present[key]
