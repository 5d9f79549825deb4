"""What changed in a document, field by field: in words, and where a field has parts, in lines."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

import yaml

from tidegate_server.dashboard.rule_sentences import plain

CONTEXT = 2
"""How many equal lines stand before and after different ones."""

LONGEST = 400
"""How many characters of a value are shown in words."""

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
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    for number, group in enumerate(matcher.get_grouped_opcodes(CONTEXT)):
        if number:
            yield Line("same", (("\u2026", False),))
        for tag, a, b, c, d in group:
            if tag == "equal":
                yield from (Line("same", ((each, False),)) for each in before[a:b])
            else:
                yield from _replaced(before[a:b], after[c:d])


def _replaced(old: list[str], new: list[str]) -> Iterator[Line]:
    """Yield lines that differ; where there are as many, with the words that differ."""
    if len(old) != len(new):
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
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    if matcher.ratio() < 0.4:
        return ((old, False),), ((new, False),)
    left: list[tuple[str, bool]] = []
    right: list[tuple[str, bool]] = []
    for tag, a, b, c, d in matcher.get_opcodes():
        if a < b:
            left.append(("".join(before[a:b]), tag != "equal"))
        if c < d:
            right.append(("".join(after[c:d]), tag != "equal"))
    return tuple(left), tuple(right)
