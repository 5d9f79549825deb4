"""What changed in a document, field by field: in words, and where a field has parts, in lines."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

import yaml

from tidegate_server.dashboard.rule_sentences import plain
from tidegate_server.domain.alignment import Opcode, opcodes

CONTEXT = 2
"""How many equal lines stand before and after different ones."""

LONGEST = 400
"""How many characters of a value are shown in words."""

ALIKE = 0.4
"""How much of two lines must be equal for the words that differ to be marked."""

MOST_LINES = 50_000
MOST_WORDS = 10_000
"""How many pairs of equal lines, or of equal words of two lines, are looked at."""

MOST_MARKED = 200
"""In how many lines of a field the words that differ are marked."""

WORDS = re.compile(r"\w+|\s+|[^\w\s]")

Parts = tuple[tuple[str, bool], ...]
"""A text in pieces; True: this piece differs."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a document: ``same``, ``del`` or ``ins``."""

    kind: str
    parts: Parts


@dataclass(frozen=True, slots=True)
class FieldDifference:
    """How one field changed.

    Attributes:
        name: the field in words.
        before, after: its values in words, in pieces; None: there was none, or ``lines`` has them.
        lines: the lines of a value that has parts.
    """

    name: str
    before: Parts | None
    after: Parts | None
    lines: tuple[Line, ...] = ()


def field_differences(changes: Iterable[Mapping[str, Any]]) -> list[FieldDifference]:
    """Return the changes of a document, as the API names them, for a page."""
    return [_field(each) for each in changes]


def _field(change: Mapping[str, Any]) -> FieldDifference:
    name = str(change["field"]) or "everything"
    before, after = change.get("before", ...), change.get("after", ...)
    if isinstance(before, dict) and after is None:
        after = ...
    if isinstance(after, dict) and before is None:
        before = ...
    if any(isinstance(each, dict) or _has_parts(each) for each in (before, after)):
        return FieldDifference(name, None, None, tuple(_lines(_yaml(before), _yaml(after))))
    old = None if before is ... else _words(before)
    new = None if after is ... else _words(after)
    if old is None or new is None:
        whole_old, whole_new = old and ((old, False),), new and ((new, False),)
        return FieldDifference(name, whole_old or None, whole_new or None)
    return FieldDifference(name, *_marked(old, new))


def _has_parts(value: Any) -> bool:
    if isinstance(value, str):
        return "\n" in value.strip()
    return isinstance(value, list) and any(isinstance(each, dict | list) for each in value)


def _words(value: Any) -> str:
    text = ", ".join(map(plain, value)) if isinstance(value, list) else plain(value)
    text = text or "nothing"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}\u2026"


def _yaml(value: Any) -> list[str]:
    if value is ...:
        return []
    if isinstance(value, str):
        return value.splitlines()
    text: str = yaml.safe_dump(
        value, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100
    )
    return text.splitlines()


def _lines(before: list[str], after: list[str]) -> Iterator[Line]:
    found = _Found(opcodes(before, after, MOST_LINES))
    left = MOST_MARKED
    for number, group in enumerate(found.get_grouped_opcodes(CONTEXT)):
        if number:
            yield Line("same", (("\u2026", False),))
        for tag, a, b, c, d in group:
            if tag == "equal":
                yield from (Line("same", ((each, False),)) for each in before[a:b])
            else:
                yield from _replaced(before[a:b], after[c:d], mark=b - a <= left)
                left -= b - a


def _replaced(old: list[str], new: list[str], *, mark: bool) -> Iterator[Line]:
    """Yield lines that differ; where there are as many, with the words that differ."""
    if len(old) != len(new) or not mark:
        yield from (Line("del", ((each, False),)) for each in old)
        yield from (Line("ins", ((each, False),)) for each in new)
        return
    for was, now in zip(old, new, strict=True):
        before, after = _marked(was, now)
        yield Line("del", before)
        yield Line("ins", after)


def _marked(old: str, new: str) -> tuple[Parts, Parts]:
    """Return two texts in pieces, of which the words that differ are marked."""
    before, after = WORDS.findall(old), WORDS.findall(new)
    found = opcodes(before, after, MOST_WORDS)
    equal = sum(b - a for tag, a, b, _, _ in found if tag == "equal")
    if 2 * equal < ALIKE * (len(before) + len(after)):
        return ((old, False),), ((new, False),)
    left: list[tuple[str, bool]] = []
    right: list[tuple[str, bool]] = []
    for tag, a, b, c, d in found:
        if a < b:
            left.append(("".join(before[a:b]), tag != "equal"))
        if c < d:
            right.append(("".join(after[c:d]), tag != "equal"))
    return tuple(left), tuple(right)


class _Found(SequenceMatcher[str]):
    """Groups what was found already."""

    def __init__(self, found: list[Opcode]) -> None:
        super().__init__()
        self._found = found

    def get_opcodes(self) -> list[Opcode]:
        """Return what was found."""
        return self._found
