"""Near misses of names."""

from __future__ import annotations

from difflib import SequenceMatcher

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tidegate_server import near_misses
from tidegate_server.near_misses import question, similar

FLAGS = ["new-checkout", "checkout-colour", "banner", "dark_mode", "search.v2", "a"]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("new-chekout", "new-checkout"),
        ("NEW-CHECKOUT", "new-checkout"),
        ("new_checkout", "new-checkout"),
        ("newcheckout", "new-checkout"),
        ("new-checkotu", "new-checkout"),
        ("checkout", "new-checkout"),
        ("baner", "banner"),
        ("dark-mode", "dark_mode"),
        ("search-v2", "search.v2"),
    ],
)
def test_a_near_miss_is_found(name: str, found: str) -> None:
    assert found in similar(name, FLAGS)


@pytest.mark.parametrize("name", ["", "x", "zebra", "payments", "-", "\ud800"])
def test_another_name_is_no_near_miss(name: str) -> None:
    assert similar(name, FLAGS) == ()


@given(st.text(st.characters(codec=None), max_size=300), st.lists(st.text(max_size=30)))
def test_suggestions_are_known_names_and_few(name: str, known: list[str]) -> None:
    found = similar(name, known)
    assert set(found) <= set(known)
    assert len(found) <= 3


def test_a_question_names_each_suggestion() -> None:
    assert question([]) == ""
    assert question(["a"]) == " Did you mean 'a'?"
    assert question(["a", "b", "c"]) == " Did you mean 'a', 'b' or 'c'?"


def test_few_names_are_weighed_exactly_however_many_are_alike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    weighed: list[float] = []

    class Counting(SequenceMatcher[str]):
        def ratio(self) -> float:
            weighed.append(super().ratio())
            return weighed[-1]

    monkeypatch.setattr(near_misses, "SequenceMatcher", Counting)
    known = [f"new-checkout-{number:04d}" for number in range(2_000)]
    assert similar("new-chekout-1234", known)[0] == "new-checkout-1234"
    assert len(weighed) <= near_misses.MAX_WEIGHED
