"""Evaluation contexts."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import pytest
from tidegate import Context
from tidegate.context import NOBODY
from werkzeug.local import LocalProxy


def test_a_context_has_a_key_and_attributes() -> None:
    user = Context("user-42", plan="pro", country="DE")
    assert user.targeting_key == "user-42"
    assert user.attributes == {"plan": "pro", "country": "DE"}


def test_an_attribute_may_have_any_name() -> None:
    user = Context("ann", targeting_key="x", self=1, attributes=2)
    assert user.targeting_key == "ann"
    assert user.attributes == {"targeting_key": "x", "self": 1, "attributes": 2}


def test_a_context_can_be_made_from_openfeatures_flat_form() -> None:
    flat = MappingProxyType({"targetingKey": "ann", "plan": "pro", "a.b": {"c": 1}})
    assert Context.of(flat) == Context("ann", **{"plan": "pro", "a.b": {"c": 1}})
    assert Context.of({}) == NOBODY == Context()


@pytest.mark.parametrize("key", [None, 7, True, ["ann"], {}])
def test_a_key_that_is_not_a_string_counts_as_missing(key: object) -> None:
    assert Context.of({"targetingKey": key}) == NOBODY


class Named(str):
    """A text that is shown as another one, like an ``enum.Enum`` that is a text."""

    __slots__ = ()

    def __str__(self) -> str:
        return "Named.PRO"


@pytest.mark.parametrize("key", [Named("pro"), LocalProxy(lambda: "pro")])
def test_a_key_that_stands_for_text_is_that_text(key: str) -> None:
    """A report is made in another thread, where a proxy stands for nothing."""
    found = Context(key).targeting_key
    assert (type(found), found) == (str, "pro")


def test_a_key_that_has_no_text_counts_as_missing() -> None:
    class Unreadable(str):
        __slots__ = ()

        def isascii(self) -> bool:
            raise ZeroDivisionError

    assert Context(Unreadable("ann")).targeting_key == "ann"
    not_text: Any = LocalProxy(lambda: "\ud800")
    assert Context(not_text).targeting_key is None


def test_equal_contexts_are_equal() -> None:
    assert Context("ann", plan="pro") == Context("ann", plan="pro")
    assert hash(Context("ann", plan="pro")) == hash(Context("ann", plan="pro"))
    assert Context("ann", plan="pro") != Context("ann", plan="free")
    assert Context("ann") != Context("bob")
    assert Context("ann") != "ann"


def test_its_repr_hides_its_attributes() -> None:
    """Attributes may be personal data, and a repr ends up in logs."""
    assert repr(Context("ann", email="ann@example.org")) == "Context('ann', 1 attributes)"
