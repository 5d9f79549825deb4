"""Compares documents as JSON does: true is not 1."""

from __future__ import annotations

from dataclasses import fields
from typing import Any


def same(one: object, other: object) -> bool:
    """Return whether two values are the same JSON.

    In Python ``True`` equals 1, also inside a variant's value.
    """
    return one == other and repr(one) == repr(other)


def same_json(one: Any, other: Any) -> bool:
    """Return whether two JSON values mean the same to a reader.

    The order of an object's members does not count, and 1 is 1.0; true is still not 1.
    """
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same_json(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same_json, one, other))
    return bool(one == other)


def changed_fields(before: Any, after: Any) -> str:
    """Return the names of the fields in which two documents of one class differ, with commas."""
    return ", ".join(
        each.name
        for each in fields(after)
        if not same(getattr(before, each.name), getattr(after, each.name))
    )
