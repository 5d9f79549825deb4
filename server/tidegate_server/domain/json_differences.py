"""The differences between two JSON documents, each with its place as a JSON pointer and in words.

Items of a list are compared by what identifies them: rules by ``id``, variants by ``key``, stages
by ``name``; where nothing does, those that are equal stay together. So a rule that is inserted
first, or a role that is taken away, is one difference, and not one for each item after it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Final

from tidegate_server.domain.alignment import opcodes
from tidegate_server.domain.field_differences import same_json

Json = Any

IDENTITIES: Final = ("id", "key", "name", "flag", "variant")
"""Fields that identify the items of a list, the first that all items have."""

SHORT_LIST: Final = 20
"""Lists of scalars up to this length are shown as a whole."""

MOST_PAIRS: Final = 50_000
"""How many pairs of equal items of two lists are looked at."""


class Absent:
    """The value of what does not exist; ``null`` is a value."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = Absent()


@dataclass(frozen=True, slots=True)
class Difference:
    """One value that differs.

    Attributes:
        pointer: where it is (RFC 6901): in the document after, or in the one before if it was
            removed.
        field: where it is, in words: ``rules "staff" serve variant``.
        before, after: the value, or ``ABSENT``.
    """

    pointer: str
    field: str
    before: Json | Absent
    after: Json | Absent


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a value is, in words and in both documents, whose lists may count differently."""

    pointer: str = ""
    field: str = ""
    before: str = ""

    def child(self, step: object, word: str, step_before: object = None) -> _Place:
        """Return the place of a part; ``step_before``: its step in the document before, if else."""
        was = step if step_before is None else step_before
        return _Place(
            f"{self.pointer}/{_escaped(step)}",
            f"{self.field} {word}".lstrip(),
            f"{self.before}/{_escaped(was)}",
        )


def _escaped(step: object) -> str:
    return str(step).replace("~", "~0").replace("/", "~1")


def differences(before: Json | Absent, after: Json | Absent) -> list[Difference]:
    """Return what differs between two JSON documents, in the order of the fields after."""
    return list(_differences(before, after, _Place()))


def difference_text(difference: Difference) -> str:
    """Return a difference as one line: ``default variant: "off" → "on"``."""
    field = difference.field or "everything"
    if isinstance(difference.before, Absent):
        return f"{field}: added {_text(difference.after)}"
    if isinstance(difference.after, Absent):
        return f"{field}: removed {_text(difference.before)}"
    return f"{field}: {_text(difference.before)} → {_text(difference.after)}"


def _text(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False)


def _differences(before: Any, after: Any, place: _Place) -> Iterator[Difference]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in dict.fromkeys((*after, *before)):
            yield from _differences(
                before.get(name, ABSENT),
                after.get(name, ABSENT),
                place.child(name, str(name).replace("_", " ")),
            )
    elif isinstance(before, list) and isinstance(after, list):
        yield from _list_differences(before, after, place)
    elif isinstance(after, Absent):
        if before is not after:
            yield Difference(place.before, place.field, before, after)
    elif isinstance(before, Absent) or not same_json(before, after):
        yield Difference(place.pointer, place.field, before, after)


def _list_differences(before: list[Any], after: list[Any], place: _Place) -> Iterator[Difference]:
    identity = identity_of(before, after)
    if identity is not None:
        yield from _identified(before, after, identity, place)
    elif not any(isinstance(each, dict | list) for each in (*before, *after)):
        yield from _scalars(before, after, place)
    else:
        yield from _aligned(before, after, place)


def _aligned(before: list[Any], after: list[Any], place: _Place) -> Iterator[Difference]:
    """Yield what differs between items without a name, of which equal ones belong together."""
    old, new = ([_canonical(each) for each in items] for items in (before, after))
    for tag, a, a_end, b, b_end in opcodes(old, new, MOST_PAIRS):
        if tag == "equal":
            continue
        for was, now in zip_longest(range(a, a_end), range(b, b_end)):
            index = was if now is None else now
            yield from _differences(
                ABSENT if was is None else before[was],
                ABSENT if now is None else after[now],
                place.child(index, f"#{index + 1}", was),
            )


def _canonical(value: Json) -> str:
    """Return a text that is the same for the same JSON, in which 1 and 1.0 are one number."""
    return json.dumps(_with_whole_numbers(value), sort_keys=True)


def _with_whole_numbers(value: Json) -> Json:
    if isinstance(value, Mapping):
        return {name: _with_whole_numbers(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_with_whole_numbers(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def identity_of(*lists: Sequence[Any]) -> str | None:
    """Return the field that identifies the items of all these lists; None: there is none."""
    return next((each for each in IDENTITIES if _identifies(each, *lists)), None)


def _identifies(name: str, *lists: Sequence[Any]) -> bool:
    """Return whether every item is an object with this field, and each value is there once."""
    if not any(lists):
        return False
    for items in lists:
        names = [each.get(name) if isinstance(each, dict) else None for each in items]
        if not all(isinstance(each, str) for each in names) or len(set(names)) < len(names):
            return False
    return True


def _identified(
    before: list[Any], after: list[Any], identity: str, place: _Place
) -> Iterator[Difference]:
    old = {each[identity]: (index, each) for index, each in enumerate(before)}
    new = {each[identity]: (index, each) for index, each in enumerate(after)}
    for name, (index, item) in new.items():
        index_before, was = old.get(name, (None, ABSENT))
        yield from _differences(was, item, place.child(index, f'"{name}"', index_before))
    for name, (index, item) in old.items():
        if name not in new:
            yield from _differences(item, ABSENT, place.child(index, f'"{name}"'))
    order_before, order_after = [n for n in old if n in new], [n for n in new if n in old]
    if order_before != order_after:
        yield Difference(
            place.pointer, f"{place.field} order".lstrip(), before=order_before, after=order_after
        )


def _scalars(before: list[Any], after: list[Any], place: _Place) -> Iterator[Difference]:
    if len(before) == len(after) and all(map(same_json, before, after)):
        return
    if len(before) <= SHORT_LIST and len(after) <= SHORT_LIST:
        yield Difference(place.pointer, place.field, before=before, after=after)
        return
    kept_before, kept_after = _counts(before), _counts(after)
    yield from _surplus(after, kept_before, place, added=True)
    yield from _surplus(before, kept_after, place, added=False)
    if kept_before == kept_after:
        yield Difference(place.pointer, f"{place.field} order".lstrip(), before=before, after=after)


def _surplus(
    items: list[Any], others: Mapping[tuple[str, Any], int], place: _Place, *, added: bool
) -> Iterator[Difference]:
    """Yield the items of a list that another list, given as counts, does not have."""
    left = Counter(others)
    for index, item in enumerate(items):
        if left[_counted(item)] > 0:
            left[_counted(item)] -= 1
            continue
        at = place.child(index, "")
        if added:
            yield Difference(at.pointer, place.field, before=ABSENT, after=item)
        else:
            yield Difference(at.before, place.field, before=item, after=ABSENT)


def _counts(items: list[Any]) -> Counter[tuple[str, Any]]:
    return Counter(_counted(each) for each in items)


def _counted(item: Any) -> tuple[str, Any]:
    """Return an item as the key of a dictionary, where True would be 1."""
    return ("boolean" if isinstance(item, bool) else "", item)
