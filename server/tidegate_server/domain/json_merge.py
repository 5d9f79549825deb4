"""Merges two people's changes of one JSON document, if they touch different parts of it.

Items of a list are told apart by what identifies them, as in ``json_differences``. A condition, and
what a rule or a flag serves, are one part each: half of one and half of another would be something
that nobody wrote.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tidegate_server.domain.field_differences import same_json
from tidegate_server.domain.json_differences import ABSENT, Absent, identity_of

Json = Any

WHOLE: Final = frozenset({"when", "serve", "default", "value", "tolerance"})
"""Fields whose values are one part."""


class SamePart(Exception):
    """Both have changed the same part, each in another way."""


def merge(before: Json, mine: Json, theirs: Json) -> Json:
    """Return a document with the changes of both.

    Args:
        before: the document that both have changed.
        mine, theirs: what each of them made of it.

    Raises:
        SamePart: they have changed the same part.
    """
    return _merge(before, mine, theirs)


def _merge(before: Json | Absent, mine: Json | Absent, theirs: Json | Absent) -> Json | Absent:
    if _same(before, theirs) or _same(mine, theirs):
        return mine
    if _same(before, mine):
        return theirs
    if isinstance(before, Mapping) and isinstance(mine, Mapping) and isinstance(theirs, Mapping):
        return _merge_fields(before, mine, theirs)
    if isinstance(before, list) and isinstance(mine, list) and isinstance(theirs, list):
        return _merge_items(before, mine, theirs)
    raise SamePart


def _merge_fields(
    before: Mapping[str, Json], mine: Mapping[str, Json], theirs: Mapping[str, Json]
) -> dict[str, Json]:
    merged = {}
    for name in dict.fromkeys((*theirs, *mine)):
        parts = [each.get(name, ABSENT) for each in (before, mine, theirs)]
        if name in WHOLE and not _same(parts[0], parts[1]) and not _same(parts[0], parts[2]):
            value = parts[1]
            if not _same(parts[1], parts[2]):
                raise SamePart
        else:
            value = _merge(*parts)
        if not isinstance(value, Absent):
            merged[name] = value
    return merged


def _merge_items(before: list[Json], mine: list[Json], theirs: list[Json]) -> list[Json]:
    identity = identity_of(before, mine, theirs)
    if identity is None:
        raise SamePart
    lists = [{each[identity]: each for each in items} for items in (before, mine, theirs)]
    was, here, there = (list(each) for each in lists)
    merged = {
        name: _merge(*(each.get(name, ABSENT) for each in lists))
        for name in dict.fromkeys((*there, *here))
    }
    kept = {name for name, item in merged.items() if not isinstance(item, Absent)}
    return [merged[name] for name in _order(was, here, there) if name in kept]


def _order(was: list[str], here: list[str], there: list[str]) -> list[str]:
    """Return the order of the items of both: of the one who has moved some."""
    common = set(was) & set(here) & set(there)
    orders = [[name for name in names if name in common] for names in (was, here, there)]
    if orders[0] == orders[1]:
        first, second = there, here
    elif orders[0] == orders[2] or orders[1] == orders[2]:
        first, second = here, there
    else:
        raise SamePart
    order = list(first)
    for at, name in enumerate(second):
        if name not in order:
            after = next((each for each in reversed(second[:at]) if each in order), None)
            order.insert(0 if after is None else order.index(after) + 1, name)
    return order


def _same(one: Json | Absent, other: Json | Absent) -> bool:
    if isinstance(one, Absent) or isinstance(other, Absent):
        return one is other
    return same_json(one, other)
