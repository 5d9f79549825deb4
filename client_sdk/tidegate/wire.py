"""Parses JSON documents into the values of ``tidegate.model``.

A known field of the wrong type is an error that names its JSON pointer. An unknown field is an
error in a condition, since ignoring it would serve the wrong people. Elsewhere it is ignored,
so that an older SDK works with a newer server.

A large snapshot is parsed while the application works, so parsing a correct document is fast:
only an error builds its pointer, and values that many flags share are created once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import lru_cache
from math import isfinite
from typing import Any, TypeVar

from tidegate.errors import InvalidCondition, WireError
from tidegate.evaluation import operators
from tidegate.evaluation.old_notations import in_present_notation
from tidegate.model import (
    FLAG_TYPES,
    SCHEMA_VERSION,
    ActiveRelease,
    All,
    AnyOf,
    Comparison,
    Condition,
    Flag,
    InSegment,
    NoneOf,
    Opening,
    Prerequisite,
    Rule,
    Segment,
    Serve,
    Snapshot,
    Tolerance,
    Update,
    Variant,
    WeightedVariant,
)

T = TypeVar("T")

MAX_DEPTH = 32
"""How many levels deep conditions may nest."""


def parse_snapshot(document: object, broken: dict[str, WireError] | None = None) -> Snapshot:
    """Parse a snapshot.

    Args:
        document: decoded JSON.
        broken: if given, a flag or segment that cannot be read is left out of the snapshot
            and its error is added here under ``flags/KEY`` or ``segments/KEY``.

    Raises:
        WireError: it is not a snapshot, or it has a newer schema.
    """
    fields = _mapping(document)
    schema = _integer(fields, "schema")
    if schema > SCHEMA_VERSION:
        raise WireError("/schema", f"{schema} is newer than {SCHEMA_VERSION}: update the SDK")
    return Snapshot(
        project=_text(fields, "project"),
        environment=_text(fields, "environment"),
        version=_integer(fields, "version"),
        flags=_parse_each(fields, "flags", parse_flag, broken),
        segments=_parse_each(fields, "segments", _parse_segment, broken),
        schema=schema,
    )


def parse_update(document: object, broken: dict[str, WireError] | None = None) -> Update:
    """Parse an update; ``broken`` works as in ``parse_snapshot``.

    Raises:
        WireError: it is not an update.
    """
    fields = _mapping(document)
    return Update(
        version=_integer(fields, "version"),
        flags=_parse_each(fields, "flags", _or_none(parse_flag), broken),
        segments=_parse_each(fields, "segments", _or_none(_parse_segment), broken),
    )


def parse_flag(document: object) -> Flag:
    """Parse a flag.

    Raises:
        WireError: it is not a flag.
    """
    fields = _mapping(document)
    type_ = _text(fields, "type")
    if type_ not in FLAG_TYPES:
        raise WireError("/type", f"must be one of {', '.join(FLAG_TYPES)}")
    # Positional arguments: keyword arguments take half as long again.
    return Flag(
        _text(fields, "key"),
        type_,
        _integer(fields, "version"),
        _text(fields, "salt"),
        _list(fields, "variants", _parse_variant),
        _boolean(fields, "enabled"),
        _text(fields, "off_variant"),
        _part(fields, "default", _parse_serve),
        _list(fields, "rules", _parse_rule),
        _list(fields, "prerequisites", _parse_prerequisite),
        _optional_text(fields, "killed"),
        _optional(fields, "release", _parse_release),
        "client_side" in fields and _boolean(fields, "client_side"),
        _part(fields, "metadata", _parse_metadata) if "metadata" in fields else _NO_METADATA,
    )


def _parse_metadata(document: object) -> Mapping[str, bool | int | float | str]:
    metadata = _mapping(document)
    for name, value in metadata.items():
        if not isinstance(value, bool | int | float | str):
            raise WireError(f"/{_escape(name)}", "must be true, false, a number or a string")
    return metadata or _NO_METADATA


def _parse_segment(document: object) -> Segment:
    fields = _mapping(document)
    return Segment(
        key=_text(fields, "key"),
        when=_optional(fields, "when", parse_stored_condition),
        included=_texts(fields, "included"),
        excluded=_texts(fields, "excluded"),
    )


def _parse_rule(document: object) -> Rule:
    fields = _mapping(document)
    return Rule(
        _text(fields, "id"),
        _part(fields, "when", parse_stored_condition),
        _part(fields, "serve", _parse_serve),
    )


def _parse_prerequisite(document: object) -> Prerequisite:
    fields = _mapping(document)
    return Prerequisite(
        flag=_text(fields, "flag"),
        variants=_texts(fields, "variants"),
    )


def _parse_serve(document: object) -> Serve:
    fields = _mapping(document)
    variant = _optional_text(fields, "variant")
    split = _list(fields, "split", _parse_weighted)
    if (variant is None) == (not split):
        raise WireError("", "give either a variant or a split")
    return _shared_serve(variant) if not split else Serve(variant, split)


def parse_stored_condition(document: object) -> Condition:
    """Parse a condition that an earlier version may have stored; else as ``parse_condition``."""
    return parse_condition(document, stored=True)


def parse_condition(document: object, depth: int = 0, *, stored: bool = False) -> Condition:
    """Parse a condition and check its operators and values.

    Raises:
        WireError: it is not exactly one of the five forms, has an unknown field or operator
            or a value that does not fit the operator, or nests deeper than ``MAX_DEPTH``.
    """
    fields = _mapping(document)
    if depth > MAX_DEPTH:
        raise WireError("", f"conditions nest deeper than {MAX_DEPTH}; use a segment")
    if "attribute" in fields and _COMPARED.issuperset(fields):
        return _parse_comparison(fields, stored)
    forms = [form for form in _FORMS if form in fields]
    if len(forms) != 1:
        raise WireError("", f"give exactly one of {', '.join(_FORMS)}")
    form = forms[0]
    allowed = _COMPARED if form == "attribute" else (form,)
    for name in fields:
        if name not in allowed:
            raise WireError(f"/{_escape(name)}", f"unknown field next to {form}; remove it")
    if form == "segment":
        return InSegment(_text(fields, "segment"))
    parts = _list(fields, form, lambda part: parse_condition(part, depth + 1, stored=stored))
    if form == "all":
        return All(parts)
    return AnyOf(parts) if form == "any" else NoneOf(parts)


def to_wire(value: Any) -> Any:
    """Return any value of ``tidegate.model`` as JSON."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: to_wire(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, Mapping):
        return {key: to_wire(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_wire(item) for item in value]
    return value


_FORMS = ("attribute", "segment", "all", "any", "none")
_NO_METADATA: Mapping[str, Any] = {}
_COMPARED = frozenset({"attribute", "operator", "value"})

# Most flags have the same two variants. Finding one takes a quarter of the time of creating it.
_shared_variant = lru_cache(maxsize=256)(Variant)
_shared_serve = lru_cache(maxsize=256)(Serve)


def _parse_comparison(fields: Mapping[str, Any], stored: bool) -> Comparison:
    attribute = _text(fields, "attribute")
    if not attribute:
        raise WireError("/attribute", "must not be empty")
    operator = _text(fields, "operator")
    value = fields.get("value")
    if operator not in operators.OPERATORS:
        known = ", ".join(operators.OPERATORS)
        message = f"there is no operator {operator!r}; use one of: {known}"
        raise WireError("/operator", message, operator)
    try:
        operators.compile(operator, value)
    except InvalidCondition as error:
        present = in_present_notation(operator, value) if stored else value
        if present != value:
            return _parse_comparison({**fields, "value": present}, stored=False)
        raise WireError("/value", f"{operator}: {error}") from None
    return Comparison(attribute, operator, tuple(value) if isinstance(value, list) else value)


def _parse_variant(document: object) -> Variant:
    fields = _mapping(document)
    if "value" not in fields:
        raise WireError("/value", "is missing")
    key, value = _text(fields, "key"), fields["value"]
    return _shared_variant(key, value) if isinstance(value, bool) else Variant(key, value)


def _parse_weighted(document: object) -> WeightedVariant:
    fields = _mapping(document)
    return WeightedVariant(_text(fields, "variant"), _number(fields, "weight"))


def _parse_opening(document: object) -> Opening:
    fields = _mapping(document)
    return Opening(
        _integer(fields, "stage"), _number(fields, "percentage"), _texts(fields, "segments")
    )


def _parse_release(document: object) -> ActiveRelease:
    fields = _mapping(document)
    return ActiveRelease(
        _text(fields, "id"),
        _optional_text(fields, "rule"),
        _text(fields, "control"),
        _text(fields, "treatment"),
        _text(fields, "salt"),
        _integer(fields, "stage"),
        _integer(fields, "step"),
        _list(fields, "openings", _parse_opening),
        _number(fields, "report_interval"),
        _texts(fields, "measures"),
        _optional(fields, "local_breaker", _parse_tolerance),
    )


def _parse_tolerance(document: object) -> Tolerance:
    fields = _mapping(document)
    return Tolerance(_number(fields, "relative"), _number(fields, "absolute"))


def _or_none(parse: Callable[[object], T]) -> Callable[[object], T | None]:
    return lambda document: None if document is None else parse(document)


def _parse_each(
    fields: Mapping[str, Any],
    name: str,
    parse: Callable[[object], T],
    broken: dict[str, WireError] | None,
) -> dict[str, T]:
    parsed: dict[str, T] = {}
    for key, document in _part(fields, name, _mapping).items():
        try:
            parsed[key] = parse(document)
        except WireError as error:
            # A new error: this one's traceback would keep the whole document in memory.
            located = _below(f"/{name}/{_escape(key)}", error)
            if broken is None:
                raise located from None
            broken[f"{name}/{key}"] = located
    return parsed


def _below(pointer: str, error: WireError) -> WireError:
    """Return an error of a part as an error of the whole; ``pointer`` is the part's."""
    return WireError(f"{pointer}{error.pointer}", error.message, error.unknown)


def _escape(name: object) -> str:
    return str(name).replace("~", "~0").replace("/", "~1")


def _mapping(document: object) -> Mapping[str, Any]:
    # JSON objects are dicts, and that check is much faster.
    if not isinstance(document, dict) and not isinstance(document, Mapping):
        raise WireError("", "must be an object")
    return document


def _part(fields: Mapping[str, Any], name: str, parse: Callable[[object], T]) -> T:
    try:
        return parse(fields.get(name))
    except WireError as error:
        raise _below(f"/{name}", error) from None


def _optional(fields: Mapping[str, Any], name: str, parse: Callable[[object], T]) -> T | None:
    return None if fields.get(name) is None else _part(fields, name, parse)


def _items(fields: Mapping[str, Any], name: str) -> list[Any] | tuple[Any, ...]:
    documents = fields.get(name, ())
    if not isinstance(documents, (list, tuple)):
        raise WireError(f"/{name}", "must be a list")
    return documents


def _list(fields: Mapping[str, Any], name: str, parse: Callable[[object], T]) -> tuple[T, ...]:
    documents = _items(fields, name)
    if not documents:
        return ()
    parsed: list[T] = []
    try:
        for document in documents:
            parsed.append(parse(document))
    except WireError as error:
        raise _below(f"/{name}/{len(parsed)}", error) from None
    return tuple(parsed)


def _texts(fields: Mapping[str, Any], name: str) -> tuple[str, ...]:
    documents = _items(fields, name)
    for index, document in enumerate(documents):
        if not isinstance(document, str):
            raise WireError(f"/{name}/{index}", "must be a string")
    return tuple(documents)


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise WireError(f"/{name}", "must be a string" if name in fields else "is missing")
    return value


def _optional_text(fields: Mapping[str, Any], name: str) -> str | None:
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise WireError(f"/{name}", "must be a string or null")
    return value


def _boolean(fields: Mapping[str, Any], name: str) -> bool:
    value = fields.get(name)
    if not isinstance(value, bool):
        raise WireError(f"/{name}", "must be true or false")
    return value


def _integer(fields: Mapping[str, Any], name: str) -> int:
    value = fields.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise WireError(f"/{name}", "must be a whole number")
    return value


def _number(fields: Mapping[str, Any], name: str) -> float:
    value = fields.get(name)
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise WireError(f"/{name}", "must be a number")
    if isinstance(value, float) and not isfinite(value):
        raise WireError(f"/{name}", "must be a finite number")
    return value
