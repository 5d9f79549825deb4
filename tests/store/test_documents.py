from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from datetime import date
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from tidegate.model import All, AnyOf, Comparison, Condition, InSegment, NoneOf
from tidegate_server.domain.change import Address, Change, Put
from tidegate_server.domain.kinds import Kind
from tidegate_server.store import Store, documents

texts = st.text(max_size=8)
whole = st.integers(-(2**63), 2**64)
numbers = st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | whole | numbers | texts
json = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
conditions: SearchStrategy[Condition] = st.recursive(
    st.builds(InSegment, texts)
    | st.builds(Comparison, st.just("plan"), st.sampled_from(["equals", "contains"]), texts)
    | st.builds(Comparison, st.just("age"), st.just("less_than"), whole)
    | st.builds(Comparison, st.just("plan"), st.just("in"), st.lists(texts, max_size=3).map(tuple)),
    lambda inner: (
        st.lists(inner, max_size=2)
        .map(tuple)
        .flatmap(lambda parts: st.sampled_from([All(parts), AnyOf(parts), NoneOf(parts)]))
    ),
    max_leaves=5,
)


def values(hint: Any, within: tuple[Any, ...] = ()) -> SearchStrategy[Any]:
    """Any value that a field of this type may have in a stored document.

    ``within`` are the classes that contain the field. A value of one of them is left out there,
    so that what contains itself (the progress of clients, in a progress) ends.
    """
    simple = {
        str: texts,
        int: whole,
        float: numbers,
        bool: st.booleans(),
        bytes: st.binary(max_size=16),
        date: st.dates(),
        type(None): st.none(),
    }
    origin, inner = get_origin(hint), get_args(hint)
    if hint in simple:
        return simple[hint]
    if hint is Any:
        return json
    if hint is Condition:
        return conditions
    if origin in (Union, types.UnionType):
        return st.one_of([values(each, within) for each in inner if each not in within])
    if origin is Literal:
        return st.sampled_from(inner)
    if origin is tuple and inner[-1] is Ellipsis:
        return st.lists(values(inner[0], within), max_size=2).map(tuple)
    if origin is tuple:
        return st.tuples(*(values(each, within) for each in inner))
    if origin in (Mapping, dict):
        return st.dictionaries(values(inner[0], within), values(inner[1], within), max_size=2)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return st.sampled_from(list(hint))
    assert dataclasses.is_dataclass(hint), hint
    hints = get_type_hints(hint)
    within = (*within, hint)
    fields = {field.name: values(hints[field.name], within) for field in dataclasses.fields(hint)}
    return st.builds(hint, **fields)  # type: ignore[arg-type]


def test_every_kind_has_a_class() -> None:
    assert set(documents.CLASSES) == set(Kind)


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_of_document_is_read_as_it_was_written(kind: Kind) -> None:
    @settings(max_examples=50)
    @given(document=values(documents.CLASSES[kind]))
    def check(document: Any) -> None:
        stored = documents.decode(kind, b"7 1700000000123 " + documents.encode(document))
        assert (stored.document, stored.revision) == (documents.completed(kind, document), 7)
        assert stored.updated_ms == 1_700_000_000_123
        assert type(stored.document) is type(document)

    check()


@pytest.mark.parametrize("kind", Kind)
def test_documents_come_back_from_a_real_store_with_revision_and_time(
    store: Store, kind: Kind
) -> None:
    address = Address(kind, "one", "production")

    @settings(max_examples=4)
    @given(document=values(documents.CLASSES[kind]))
    def check(document: Any) -> None:
        before = store.get("shop", address)
        expected = before.revision if before else 0
        committed = store.commit(Change("shop", (Put(address, document, expected),)))
        stored = store.get("shop", address)
        assert stored is not None
        assert stored.document == documents.completed(kind, document)
        assert stored.revision == expected + 1
        assert stored.updated_ms == committed.at_ms

    check()
