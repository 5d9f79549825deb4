"""In which fields two documents differ, as JSON sees it: true is not 1."""

from __future__ import annotations

from dataclasses import fields
from typing import Any


def same(one: object, other: object) -> bool:
    """Whether two values would be written as the same JSON.

    Python's own equality takes ``True`` for 1, also deep within a variant's value.
    """
    return one == other and repr(one) == repr(other)


def changed_fields(before: Any, after: Any) -> str:
    """The names of the fields in which two documents of one class differ, with commas."""
    return ", ".join(
        each.name
        for each in fields(after)
        if not same(getattr(before, each.name), getattr(after, each.name))
    )
