"""Compares documents as JSON does: true is not 1."""

from __future__ import annotations

from dataclasses import fields
from typing import Any


def same(one: object, other: object) -> bool:
    """Return whether two values are the same JSON.

    In Python ``True`` equals 1, also inside a variant's value.
    """
    return one == other and repr(one) == repr(other)


def changed_fields(before: Any, after: Any) -> str:
    """Return the names of the fields in which two documents of one class differ, with commas."""
    return ", ".join(
        each.name
        for each in fields(after)
        if not same(getattr(before, each.name), getattr(after, each.name))
    )
