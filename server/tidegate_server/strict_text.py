"""Strict parsers of JSON and YAML.

They refuse whatever other parsers may read differently: a repeated key, NaN, a lone surrogate,
an integer beyond 64 bits. Request bodies and the files of commands are parsed alike; only
evaluation contexts may have odd numbers and texts.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, NoReturn

import yaml

from tidegate_server.errors import Unreadable

INT64 = range(-(2**63), 2**63)
MAX_DIGITS = 400
MAX_DEPTH = 64
"""How deeply arrays and objects may be nested: more than any document needs."""

MAX_YAML_VALUES = 10_000
"""How many values a YAML text may have. People write it; parsing this many takes milliseconds."""

TOO_DEEP = f"is nested too deeply; at most {MAX_DEPTH} levels are allowed."


def parse_json(text: str, what: str) -> Any:
    """Parse a JSON text.

    Args:
        text: the text.
        what: the subject of error messages: "The body", or a file's name.

    Raises:
        Unreadable: the text is not JSON, or is ambiguous.
    """
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_float=_parse_finite_float,
            parse_int=_parse_int64,
        )
        if "\\ud" in text or "\\uD" in text:
            _refuse_lone_surrogates(value)
    except json.JSONDecodeError as error:
        raise _not_json(error, what) from None
    except RecursionError:
        raise Unreadable(f"{what} {TOO_DEEP}") from None
    except Unreadable as error:  # raised by a hook that does not know ``what``
        raise Unreadable(f"{what} {error}") from None
    return _check_depth(value, what)


def parse_context_json(text: str, what: str) -> Any:
    """Parse a JSON text whose values are compared but not stored, as the SDK would have them.

    An invalid value affects only its own comparison: an integer of any size is a number, beyond
    400 digits an infinite one; an unpaired surrogate is a character that equals no other one.

    Args:
        text: the text.
        what: the subject of error messages.

    Raises:
        Unreadable: the text is not JSON, or has a key twice.
    """
    try:
        return json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_int=lambda digits: int(digits) if len(digits) <= MAX_DIGITS else float(digits),
        )
    except json.JSONDecodeError as error:
        raise _not_json(error, what) from None
    except RecursionError:
        raise Unreadable(f"{what} is nested too deeply.") from None
    except Unreadable as error:
        raise Unreadable(f"{what} {error}") from None


def parse_yaml(text: str, what: str, most_values: int = MAX_YAML_VALUES) -> Any:
    """Parse a YAML text that has only values that JSON has too.

    Args:
        text: the text.
        what: the subject of error messages: "The body", or a file's name.
        most_values: how many values it may have.

    Raises:
        Unreadable: the text is not YAML, is ambiguous, or has a value that JSON has not.
    """
    events: Iterator[yaml.Event] = yaml.parse(text, Loader=YAML_LOADER)
    try:
        return _yaml_document(_limited(events, most_values))
    except yaml.MarkedYAMLError as error:
        place = error.problem_mark
        if "nesting depth" in str(error.problem):  # libyaml's own limit, as it reads ahead
            raise Unreadable(f"{what} {TOO_DEEP}") from None
        where = f" at line {place.line + 1}, column {place.column + 1}" if place else ""
        raise Unreadable(f"{what} is not YAML: {error.problem}{where}.") from None
    except Unreadable as error:  # raised by the loader, which does not know ``what``
        raise Unreadable(f"{what} {error}") from None
    except (yaml.YAMLError, ValueError):
        raise Unreadable(f"{what} is not YAML.") from None


def parse_text(text: str, what: str) -> Any:
    """Parse a text that is JSON or YAML.

    Raises:
        Unreadable: the text is neither, or is ambiguous.
    """
    if what.endswith(".json"):
        return parse_json(text, what)
    if text.lstrip()[:1] in ("{", "["):
        # Try JSON first: YAML parsers may read JSON's escapes differently.
        with suppress(Unreadable):
            return parse_json(text, what)
    return parse_yaml(text, what)


def _not_json(error: json.JSONDecodeError, what: str) -> Unreadable:
    return Unreadable(
        f"{what} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}."
    )


def _check_depth(value: Any, what: str) -> Any:
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return value
    raise Unreadable(f"{what} {TOO_DEEP}")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for key, value in pairs:
        if key in members:
            raise Unreadable(f"has the key {key[:100]!r} twice in one object.")
        members[key] = value
    return members


def _constant(name: str) -> NoReturn:
    raise Unreadable(f"has {name}, which JSON does not have; leave it out, or write a number.")


def _parse_finite_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise Unreadable(f"has the number {text[:40]}, which is too large.")
    return value


def _parse_int64(text: str) -> int:
    if len(text) <= MAX_DIGITS and (value := int(text)) in INT64:
        return value
    raise Unreadable(
        f"has the integer {text[:40]}, which does not fit in 64 bits; write it as a string."
    )


def _refuse_lone_surrogates(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise Unreadable(
            "has an unpaired surrogate (U+D800 to U+DFFF), which is not valid Unicode."
        ) from None


YAML_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's parser, ten times as fast, where the installed PyYAML has it."""

_MAP, _SEQUENCE, _TEXT = (f"tag:yaml.org,2002:{name}" for name in ("map", "seq", "str"))

_CORE_SCHEMA: Mapping[str, tuple[re.Pattern[str], Callable[[str], Any]]] = {
    "tag:yaml.org,2002:null": (re.compile(r"~|null|Null|NULL|"), lambda text: None),
    "tag:yaml.org,2002:bool": (
        re.compile(r"true|True|TRUE|false|False|FALSE"),
        lambda text: text.lower() == "true",
    ),
    "tag:yaml.org,2002:int": (re.compile(r"[-+]?[0-9]+"), lambda text: _parse_int64(text)),
    "tag:yaml.org,2002:float": (
        re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"),
        lambda text: _parse_finite_float(text),
    ),
}
"""YAML 1.2's core schema: how a scalar without quotes or with a tag is read."""


def _yaml_document(events: Iterator[yaml.Event]) -> Any:
    """Return the value of the only document of a stream; None if it has no document."""
    value, documents = None, 0
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise Unreadable("has another document; send one.")
            value = _yaml_value(next(events), events, 1)
    return value


def _limited(events: Iterator[yaml.Event], most_values: int) -> Iterator[yaml.Event]:
    """Yield events; refuse a text with too many values before the rest of it is parsed."""
    values = 0
    for event in events:
        values += isinstance(event, yaml.NodeEvent)
        if values > most_values:
            raise Unreadable(
                f"has more than {most_values} values, the most that YAML may have here; "
                "make it shorter."
            )
        yield event


def _yaml_value(event: yaml.Event, events: Iterator[yaml.Event], level: int) -> Any:
    """Return the value that begins with an event.

    The first thing that is wrong ends it, before the parser reads the rest of the text.
    """
    if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
        raise Unreadable("has anchors or aliases (& and *); write them out.")
    if isinstance(event, yaml.ScalarEvent):
        return _yaml_scalar(event)
    if level > MAX_DEPTH:
        raise Unreadable(TOO_DEEP)
    tag = getattr(event, "tag", None)
    if isinstance(event, yaml.SequenceStartEvent):
        if tag not in (None, "!", _SEQUENCE):
            raise _unknown_tag_error(event, tag)
        items: list[Any] = []
        for inner in events:
            if isinstance(inner, yaml.SequenceEndEvent):
                break
            items.append(_yaml_value(inner, events, level + 1))
        return items
    if tag not in (None, "!", _MAP):
        raise _unknown_tag_error(event, tag)
    members: dict[str, Any] = {}
    for inner in events:
        if isinstance(inner, yaml.MappingEndEvent):
            break
        key = _yaml_value(inner, events, level + 1)
        if not isinstance(key, str):
            raise Unreadable(
                f"has a key on line {_line(inner)} that is not text; put it in quotes."
            )
        if key in members:
            raise Unreadable(f"has the key {key[:100]!r} on line {_line(inner)} again.")
        members[key] = _yaml_value(next(events), events, level + 1)
    return members


def _yaml_scalar(event: yaml.ScalarEvent) -> Any:
    text: str = event.value
    if event.implicit[0]:
        for pattern, convert in _CORE_SCHEMA.values():
            if pattern.fullmatch(text):
                return convert(text)
        return text
    if event.tag in (None, "!", _TEXT):
        return text
    if event.tag not in _CORE_SCHEMA:
        raise _unknown_tag_error(event, event.tag)
    pattern, convert = _CORE_SCHEMA[event.tag]
    if not pattern.fullmatch(text):
        raise Unreadable(f"has on line {_line(event)} a value that its tag does not fit.")
    return convert(text)


def _unknown_tag_error(event: yaml.Event, tag: str | None) -> Unreadable:
    short = repr((tag or "")[:100])
    return Unreadable(f"has the tag {short} on line {_line(event)}; leave it out.")


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark is not None else 1
