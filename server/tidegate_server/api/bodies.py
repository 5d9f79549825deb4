"""Request bodies, read strictly: one meaning or a refusal.

JSON and YAML that different readers understand differently (a key given twice, NaN, half a
surrogate pair, a number beyond 64 bits) is refused here, so that nothing behind this module
has to think of it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Hashable
from typing import Any, NoReturn

import yaml
from flask import Request
from werkzeug.exceptions import BadRequest, UnsupportedMediaType

JSON = "application/json"
YAML = "application/yaml"
YAML_TYPES = frozenset({YAML, "application/x-yaml", "text/yaml"})

WHOLE_NUMBERS = range(-(2**63), 2**63)
LONGEST_NUMBER = 400
DEEPEST = 64
"""How deeply arrays and objects may lie in each other: more than anything here needs."""

TOO_DEEP = f"The body is nested too deeply; {DEEPEST} levels are the most."


def read_body(request: Request, *, yaml_too: bool = False) -> Any:
    """The value that a request's body stands for.

    Raises:
        UnsupportedMediaType: the content type is not JSON (nor YAML, where that is welcome).
        BadRequest: the text is not well-formed, or has no single meaning.
        RequestEntityTooLarge: it is longer than the application allows.
    """
    content_type = request.mimetype
    if content_type != JSON and not (yaml_too and content_type in YAML_TYPES):
        accepted = f"{JSON} or {YAML}" if yaml_too else JSON
        raise UnsupportedMediaType(
            f"The body must be sent as Content-Type: {accepted}; this one is "
            f"{content_type or 'not named'}."
        )
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("The body must be sent without a Content-Encoding.")
    try:
        text = request.get_data(cache=False).decode()
    except UnicodeDecodeError as error:
        raise BadRequest(
            f"The body is not UTF-8: byte {error.start} begins no character."
        ) from None
    value = parse_json(text) if content_type == JSON else parse_yaml(text)
    if _deeper_than(value, DEEPEST):
        raise BadRequest(TOO_DEEP)
    return value


def parse_json(text: str) -> Any:
    """The value of a JSON text; raises ``BadRequest`` for what has no single meaning."""
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_float=_float,
            parse_int=_int,
        )
    except json.JSONDecodeError as error:
        raise BadRequest(
            f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        ) from None
    except RecursionError:
        raise BadRequest(TOO_DEEP) from None
    if "\\ud" in text or "\\uD" in text:
        _refuse_lone_surrogates(value)
    return value


def _deeper_than(value: Any, limit: int) -> bool:
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(limit):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise BadRequest(f"The body gives the key {key[:100]!r} twice in one object.")
        found[key] = value
    return found


def _constant(name: str) -> NoReturn:
    raise BadRequest(f"{name} is not JSON; leave the field out, or write a number.")


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise BadRequest(f"The number {text[:40]} is too large.")
    return value


def _int(text: str) -> int:
    if len(text) <= LONGEST_NUMBER and (value := int(text)) in WHOLE_NUMBERS:
        return value
    raise BadRequest(f"The whole number {text[:40]} does not fit in 64 bits; write it as a string.")


def _refuse_lone_surrogates(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise BadRequest("The body has one half of a surrogate pair, which is no text.") from None


class _Loader(yaml.SafeLoader):
    """YAML that means JSON: the core schema of YAML 1.2, no aliases, no key twice."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise BadRequest("Anchors and aliases (& and *) are not accepted: write it out.")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        found: dict[Hashable, Any] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if not isinstance(key, str):
                raise BadRequest(f"A key must be text: put the one on line {line} in quotes.")
            if key in found:
                raise BadRequest(f"The key {key[:100]!r} on line {line} is given twice.")
            found[key] = self.construct_object(value_node, deep=True)
        return found


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


def parse_yaml(text: str) -> Any:
    """The value of a YAML text, limited to what JSON can say.

    Raises:
        BadRequest: it is not YAML, or uses what JSON has no word for.
    """
    try:
        value = yaml.load(text, Loader=_Loader)  # noqa: S506 - a subclass of the safe loader
    except yaml.MarkedYAMLError as error:
        place = error.problem_mark
        where = f" at line {place.line + 1}, column {place.column + 1}" if place else ""
        raise BadRequest(f"The body is not YAML: {error.problem}{where}.") from None
    except (yaml.YAMLError, ValueError):
        raise BadRequest("The body is not YAML.") from None
    except RecursionError:
        raise BadRequest(TOO_DEEP) from None
    _refuse_what_json_cannot_say(value)
    return value


def _refuse_what_json_cannot_say(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except (TypeError, UnicodeEncodeError):
        raise BadRequest("The body has a value that JSON cannot express.") from None
