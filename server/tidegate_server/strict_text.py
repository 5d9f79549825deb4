"""Strict parsers of JSON and YAML.

They refuse whatever other parsers may read differently: a repeated key, NaN, a lone surrogate,
an integer beyond 64 bits. Request bodies and the files of commands are parsed alike.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Hashable
from contextlib import suppress
from typing import Any, NoReturn

import yaml

from tidegate_server.errors import Unreadable

INT64 = range(-(2**63), 2**63)
MAX_DIGITS = 400
MAX_DEPTH = 64
"""How deeply arrays and objects may be nested: more than any document needs."""

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
            parse_float=_float,
            parse_int=_int,
        )
        if "\\ud" in text or "\\uD" in text:
            _refuse_lone_surrogates(value)
    except json.JSONDecodeError as error:
        raise Unreadable(
            f"{what} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        ) from None
    except RecursionError:
        raise Unreadable(f"{what} {TOO_DEEP}") from None
    except Unreadable as error:  # raised by a hook that does not know ``what``
        raise Unreadable(f"{what} {error}") from None
    return _check_depth(value, what)


def parse_yaml(text: str, what: str) -> Any:
    """Parse a YAML text that has only values that JSON has too.

    Args:
        text: the text.
        what: the subject of error messages: "The body", or a file's name.

    Raises:
        Unreadable: the text is not YAML, is ambiguous, or has a value that JSON has not.
    """
    try:
        value = yaml.load(text, Loader=_Loader)  # noqa: S506 - a subclass of the safe loader
        _refuse_values_beyond_json(value)
    except yaml.MarkedYAMLError as error:
        place = error.problem_mark
        where = f" at line {place.line + 1}, column {place.column + 1}" if place else ""
        raise Unreadable(f"{what} is not YAML: {error.problem}{where}.") from None
    except Unreadable as error:  # raised by the loader, which does not know ``what``
        raise Unreadable(f"{what} {error}") from None
    except (yaml.YAMLError, ValueError):
        raise Unreadable(f"{what} is not YAML.") from None
    except RecursionError:
        raise Unreadable(f"{what} {TOO_DEEP}") from None
    return _check_depth(value, what)


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


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise Unreadable(f"has the number {text[:40]}, which is too large.")
    return value


def _int(text: str) -> int:
    if len(text) <= MAX_DIGITS and (value := int(text)) in INT64:
        return value
    raise Unreadable(
        f"has the integer {text[:40]}, which does not fit in 64 bits; write it as a string."
    )


def _refuse_lone_surrogates(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise Unreadable("has half of a surrogate pair, which is not text.") from None


class _Loader(yaml.SafeLoader):
    """A loader for the core schema of YAML 1.2, without aliases and repeated keys."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise Unreadable("has anchors or aliases (& and *); write them out.")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        members: dict[Hashable, Any] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if not isinstance(key, str):
                raise Unreadable(f"has a key on line {line} that is not text; put it in quotes.")
            if key in members:
                raise Unreadable(f"has the key {key[:100]!r} on line {line} again.")
            members[key] = self.construct_object(value_node, deep=True)
        return members


def _yaml_float(loader: _Loader, node: yaml.ScalarNode) -> float:
    return _float(str(loader.construct_scalar(node)))


def _yaml_int(loader: _Loader, node: yaml.ScalarNode) -> int:
    return _int(str(loader.construct_scalar(node)))


def _yaml_mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Hashable, Any]:
    return loader.construct_mapping(node, deep=True)


for _tag, _pattern, _first in (
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("int", r"^[-+]?[0-9]+$", list("-+0123456789")),
    (
        "float",
        r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$",
        list("-+.0123456789"),
    ),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _first)
_Loader.add_constructor("tag:yaml.org,2002:float", _yaml_float)
_Loader.add_constructor("tag:yaml.org,2002:int", _yaml_int)
_Loader.add_constructor("tag:yaml.org,2002:map", _yaml_mapping)


def _refuse_values_beyond_json(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except (TypeError, UnicodeEncodeError):
        raise Unreadable("has a value that JSON cannot express.") from None
