"""Two people's changes of one document are merged where they touch different parts of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tidegate_server.domain.json_merge import SamePart, merge

TARGETING: dict[str, Any] = {
    "enabled": True,
    "default": {"variant": "off"},
    "rules": [
        {"id": "staff", "when": {"segment": "staff"}, "serve": {"variant": "on"}},
        {"id": "beta", "when": {"segment": "beta"}, "serve": {"variant": "on"}},
    ],
}
NEW = {"id": "new", "when": {"segment": "new"}, "serve": {"variant": "off"}}

documents = st.dictionaries(
    st.sampled_from("abcd"),
    st.one_of(
        st.integers(0, 3),
        st.lists(st.builds(lambda key: {"key": key}, st.sampled_from("xyz")), unique_by=str),
    ),
)


def changed(**fields: Any) -> dict[str, Any]:
    return {**TARGETING, **fields}


def test_changes_of_different_fields_are_both_kept() -> None:
    mine, theirs = changed(enabled=False), changed(default={"variant": "on"})
    both = {**TARGETING, "enabled": False, "default": {"variant": "on"}}
    assert merge(TARGETING, mine, theirs) == both
    assert merge(TARGETING, theirs, mine) == both


def test_changes_of_different_rules_are_both_kept() -> None:
    staff, beta = TARGETING["rules"]
    mine = changed(rules=[{**staff, "serve": {"variant": "off"}}, beta, NEW])
    theirs = changed(rules=[staff])
    merged = merge(TARGETING, mine, theirs)
    assert merged["rules"] == [{**staff, "serve": {"variant": "off"}}, NEW]


def test_an_item_keeps_its_place_after_the_one_that_was_before_it() -> None:
    staff, beta = TARGETING["rules"]
    mine = changed(rules=[staff, NEW, beta])
    theirs = changed(rules=[beta, staff])
    assert merge(TARGETING, mine, theirs)["rules"] == [beta, staff, NEW]


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        (changed(default={"variant": "on"}), changed(default={"variant": "third"})),
        (changed(default={"variant": "on"}), {"enabled": True, "rules": TARGETING["rules"]}),
        (
            changed(rules=[{**TARGETING["rules"][0], "when": {"segment": "a"}}]),
            changed(rules=[{**TARGETING["rules"][0], "when": {"segment": "b"}}]),
        ),
    ],
)
def test_two_changes_of_one_part_are_not_merged(mine: Any, theirs: Any) -> None:
    with pytest.raises(SamePart):
        merge(TARGETING, mine, theirs)


@given(documents, documents)
def test_what_only_one_has_changed_is_as_that_one_left_it(before: Any, after: Any) -> None:
    assert merge(before, after, before) == after
    assert merge(before, before, after) == after
    assert merge(before, after, after) == after
