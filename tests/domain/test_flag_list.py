"""Which flags a list shows, in which order, in pages that together are the whole list."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from typing import Any, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tidegate.model import Serve, Variant
from tidegate_server.domain.change import Stored
from tidegate_server.domain.flag_list import (
    FlagFilter,
    FlagList,
    FlagRow,
    FlagState,
    Order,
    SortBy,
    flag_rows,
    list_flags,
    search_words,
    searched_list,
    updated_list,
    updated_rows,
)
from tidegate_server.domain.flag_words import flag_text, updated_words, words_of_flags
from tidegate_server.domain.flags import Archived, FlagDefinition, Kill, Targeting
from tidegate_server.domain.policy import Policy, Stage
from tidegate_server.domain.release import Release, State

Project: TypeAlias = tuple[dict[str, Stored], dict[str, Stored], dict[str, Stored]]

VARIANTS = (Variant("on", True), Variant("off", False))


def definition(key: str, **more: object) -> FlagDefinition:
    return FlagDefinition(key, "boolean", VARIANTS, key, **more)  # type: ignore[arg-type]


def targeting(flag: str, **more: Any) -> Targeting:
    fields: dict[str, Any] = {"enabled": True, "off_variant": "off", "default": Serve("on")}
    return Targeting(flag, **fields | more)


def rows(*definitions: FlagDefinition) -> tuple[FlagRow, ...]:
    found = flag_rows(
        {each.key: Stored(each, 1, at) for at, each in enumerate(definitions, 1)},
        {each.key: Stored(targeting(each.key), 1, 0) for each in definitions},
        {},
    )
    return tuple(found.values())


def keys(found: FlagList) -> list[str]:
    return list(found.page("", 1000)[0])


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        ("SHOP", ["banner", "checkout"]),
        ("shop red", ["banner"]),
        ("pay", ["checkout"]),
        ("nothing", []),
        ("  ", ["banner", "checkout", "old-ui"]),
    ],
)
def test_a_search_looks_in_everything_that_people_write(search: str, expected: list[str]) -> None:
    flags = rows(
        definition("banner", name="The Banner", description="red or blue", tags=("shop",)),
        definition("checkout", owner="Payments", name="Shop checkout"),
        definition("old-ui"),
    )
    found = list_flags(flags, FlagFilter(words=search_words(search)), Order())
    assert keys(found) == expected


def test_the_state_is_what_decides_first() -> None:
    kill = Kill("dana", "errors", 1)
    found = flag_rows(
        {key: Stored(definition(key), 1, 1) for key in ("a", "b", "c")},
        {
            "a": Stored(targeting("a", enabled=False, kill=kill), 1, 1),
            "b": Stored(targeting("b", enabled=False), 1, 1),
            "c": Stored(targeting("c"), 1, 1),
            "new": Stored(targeting("new"), 1, 1),
        },
        {},
    )
    assert {key: row.state for key, row in found.items()} == {
        "a": FlagState.KILLED,
        "b": FlagState.DISABLED,
        "c": FlagState.ENABLED,
    }
    listed = list_flags(found.values(), FlagFilter(state=FlagState.KILLED), Order())
    assert keys(listed) == ["a"]
    assert (listed.all, listed.by_state[FlagState.DISABLED]) == (3, 1)


def test_archived_flags_are_in_lists_of_their_own() -> None:
    flags = rows(definition("a"), definition("b", archived=Archived("dana", "", 1)))
    assert keys(list_flags(flags, FlagFilter(), Order())) == ["a"]
    assert keys(list_flags(flags, FlagFilter(archived=True), Order())) == ["b"]


def test_flags_without_an_expected_end_come_last() -> None:
    flags = rows(
        definition("a"),
        definition("b", temporary=True, expected_end=date(2026, 5, 1)),
        definition("c", temporary=True, expected_end=date(2026, 4, 1)),
    )
    assert keys(list_flags(flags, FlagFilter(), Order(SortBy.EXPECTED_END))) == ["c", "b", "a"]


def test_the_latest_change_comes_first_when_sorted_that_way() -> None:
    flags = rows(definition("a"), definition("b"), definition("c"))
    assert keys(list_flags(flags, FlagFilter(), Order(SortBy.UPDATED, True))) == ["c", "b", "a"]


@given(
    st.lists(
        st.tuples(st.text("ab", min_size=1, max_size=4), st.sampled_from(["", "x", "y"])),
        unique_by=lambda each: each[0],
        max_size=12,
    ),
    st.sampled_from(SortBy),
    st.booleans(),
    st.integers(1, 5),
)
def test_the_pages_together_are_the_list(
    flags: list[tuple[str, str]], by: SortBy, descending: bool, limit: int
) -> None:
    known = rows(*(definition(key, owner=owner, name=owner) for key, owner in flags))
    found = list_flags(known, FlagFilter(), Order(by, descending))
    pages: list[str] = []
    after: str | None = ""
    while after is not None:
        page, after = found.page(after, limit)
        pages += page
        assert len(page) <= limit
        assert after != ""
    assert pages == keys(found)
    assert sorted(pages) == sorted(key for key, _ in flags)
    if by is SortBy.OWNER:
        owner = dict(flags)
        owners = [owner[key] for key in pages]
        assert owners == sorted(owners, reverse=descending)


def release(flag: str, state: State) -> Release:
    return Release(
        id=f"rel_{flag}",
        flag=flag,
        rule=None,
        control="off",
        treatment="on",
        salt="salt",
        policy=Policy("careful", (Stage("all", 100.0),)),
        policy_revision=1,
        state=state,
        stage=1,
        step=1,
        reason="",
        started_by="dana",
        started_ms=1,
        stage_entered_ms=1,
        updated_ms=1,
    )


KEYS = st.sampled_from("abcdef")
WORDS = st.lists(st.sampled_from(["shop", "red", "a"]), max_size=2).map(tuple)


@st.composite
def projects(draw: st.DrawFn) -> Project:
    """Draw definitions, targetings, and a release for some of them."""
    flags, targetings, releases = {}, {}, {}
    for key in draw(st.sets(KEYS)):
        archived = draw(st.sampled_from([None, None, Archived("dana", "", 1)]))
        name = draw(st.sampled_from(["", "Shop", "Red shop"]))
        owner = draw(st.sampled_from(["", "payments"]))
        at_ms = draw(st.integers(1, 3))
        flags[key] = Stored(definition(key, name=name, owner=owner, archived=archived), 1, at_ms)
        if draw(st.booleans()):
            releases[f"rel_{key}"] = Stored(release(key, draw(st.sampled_from(State))), 1, 1)
        kill = draw(st.sampled_from([None, Kill("dana", "errors", 1)]))
        enabled, released = draw(st.booleans()), f"rel_{key}" in releases
        where = targeting(
            key, enabled=enabled, kill=kill, release=f"rel_{key}" if released else None
        )
        if draw(st.integers(0, 9)):
            targetings[key] = Stored(where, 1, draw(st.integers(1, 3)))
    return flags, targetings, releases


FILTERS = st.builds(
    FlagFilter,
    archived=st.booleans(),
    words=WORDS,
    owner=st.sampled_from([None, "payments"]),
    state=st.sampled_from([None, *FlagState]),
    releasing=st.sampled_from([None, True, False]),
)
ORDERS = st.builds(Order, st.sampled_from(SortBy), st.booleans())


@given(projects(), projects(), st.sets(KEYS), FILTERS, ORDERS)
def test_an_updated_list_equals_a_new_one(
    before: Project, after: Project, touched: set[str], chosen: FlagFilter, order: Order
) -> None:
    rows_before, rows_after = flag_rows(*before), flag_rows(*after)
    changed = touched | {
        key
        for key in {*rows_before, *rows_after, *before[0], *after[0]}
        if rows_before.get(key) != rows_after.get(key)
    }
    updated = updated_rows(rows_before, *after, changed)
    assert updated == rows_after
    found = list_flags(rows_before.values(), chosen, order)
    again = updated_list(found, rows_before, updated, changed, (chosen, order))
    assert contents(again) == contents(list_flags(rows_after.values(), chosen, order))


@given(projects(), FILTERS, ORDERS)
def test_a_search_in_a_list_equals_a_list_of_the_search(
    project: Project, chosen: FlagFilter, order: Order
) -> None:
    found = flag_rows(*project)
    without = replace(chosen, words=(), state=None)
    candidates = words_of_flags(project[0]).containing_all(chosen.words)
    everything = list_flags(found.values(), without, order)
    expected = contents(list_flags(found.values(), chosen, order))
    chosen_ones = project[0].keys() if candidates is None else candidates
    assert contents(searched_list(everything, found, chosen, chosen_ones)) == expected
    few = [found[key] for key in chosen_ones if key in found]
    assert contents(list_flags(few, chosen, order)) == expected


@given(projects(), projects(), st.sets(KEYS))
def test_updated_words_equal_new_ones(before: Project, after: Project, touched: set[str]) -> None:
    (old, *_), (new, *_) = before, after
    changed = touched | {key for key in {*old, *new} if old.get(key) != new.get(key)}
    updated, expected = updated_words(words_of_flags(old), old, new, changed), words_of_flags(new)
    assert updated.flags == expected.flags
    assert sorted(updated.words.split("\n")) == sorted(expected.words.split("\n"))


TEXTS = st.text(st.sampled_from("aAbß\u0130 \n\u2003"), max_size=8)


@given(st.dictionaries(st.sampled_from("xyz"), TEXTS), TEXTS)
def test_words_find_what_is_in_the_text(names: dict[str, str], search: str) -> None:
    flags = {key: Stored(definition(key, name=name), 1, 1) for key, name in names.items()}
    words = search_words(search)
    candidates = words_of_flags(flags).containing_all(words)
    expected = {
        key
        for key, each in flags.items()
        if all(word in flag_text(each.document) for word in words)
    }
    assert (flags.keys() if candidates is None else candidates) == expected


def contents(found: FlagList) -> tuple[list[str], Mapping[FlagState, int], list[str], bool]:
    return [*found.keys], found.by_state, [*found.positions], found.descending
