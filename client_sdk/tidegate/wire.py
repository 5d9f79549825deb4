"""Documents in, values out: how JSON becomes the values of ``tidegate.model``.

Parsing is strict about what it knows: a field of the wrong type is an error that
names its JSON pointer. Conditions, which people write, refuse unknown fields too;
the other parts of a snapshot tolerate extra ones, so that an older SDK can live with
a newer server.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any, TypeVar

from tidegate import operators
from tidegate.errors import InvalidCondition, WireError
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
"""How deep conditions may nest."""


def parse_snapshot(document: object, broken: dict[str, WireError] | None = None) -> Snapshot:
    """Return the snapshot in a JSON document.

    Args:
        document: parsed JSON.
        broken: when given, a flag or segment that cannot be read is left out of the
            snapshot and its error is put here under ``flags/KEY`` or ``segments/KEY``.

    Raises:
        WireError: not a snapshot, or one of a newer schema.
    """
    fields = _mapping(document, "")
    schema = _integer(fields, "schema", "")
    if schema > SCHEMA_VERSION:
        raise WireError("/schema", f"{schema} is newer than {SCHEMA_VERSION}: update the SDK")
    return Snapshot(
        project=_text(fields, "project", ""),
        environment=_text(fields, "environment", ""),
        version=_integer(fields, "version", ""),
        flags=_each(fields, "flags", parse_flag, broken),
        segments=_each(fields, "segments", parse_segment, broken),
        schema=schema,
    )


def parse_update(document: object, broken: dict[str, WireError] | None = None) -> Update:
    """Return the update in a stream event's JSON; ``broken`` as in ``parse_snapshot``.

    Raises:
        WireError: not an update.
    """
    fields = _mapping(document, "")
    return Update(
        version=_integer(fields, "version", ""),
        flags=_each(fields, "flags", _or_none(parse_flag), broken),
        segments=_each(fields, "segments", _or_none(parse_segment), broken),
    )


def parse_flag(document: object, at: str = "") -> Flag:
    """Return the flag in a JSON document; ``at`` is the pointer to it."""
    fields = _mapping(document, at)
    type_ = _text(fields, "type", at)
    if type_ not in FLAG_TYPES:
        raise WireError(f"{at}/type", f"must be one of {', '.join(FLAG_TYPES)}")
    release = fields.get("release")
    killed = fields.get("killed")
    if killed is not None and not isinstance(killed, str):
        raise WireError(f"{at}/killed", "must be a variant's key or null")
    return Flag(
        key=_text(fields, "key", at),
        type=type_,
        version=_integer(fields, "version", at),
        salt=_text(fields, "salt", at),
        variants=_list(fields, "variants", at, _parse_variant),
        enabled=_boolean(fields, "enabled", at),
        off_variant=_text(fields, "off_variant", at),
        default=parse_serve(fields.get("default"), f"{at}/default"),
        rules=_list(fields, "rules", at, parse_rule),
        prerequisites=_list(fields, "prerequisites", at, parse_prerequisite),
        killed=killed,
        release=None if release is None else _parse_release(release, f"{at}/release"),
        client_side="client_side" in fields and _boolean(fields, "client_side", at),
    )


def parse_segment(document: object, at: str = "") -> Segment:
    """Return the segment in a JSON document; ``at`` is the pointer to it."""
    fields = _mapping(document, at)
    when = fields.get("when")
    return Segment(
        key=_text(fields, "key", at),
        when=None if when is None else parse_condition(when, f"{at}/when"),
        included=_list(fields, "included", at, _parse_text),
        excluded=_list(fields, "excluded", at, _parse_text),
    )


def parse_rule(document: object, at: str = "") -> Rule:
    """Return the rule in a JSON document; ``at`` is the pointer to it."""
    fields = _mapping(document, at)
    return Rule(
        id=_text(fields, "id", at),
        when=parse_condition(fields.get("when"), f"{at}/when"),
        serve=parse_serve(fields.get("serve"), f"{at}/serve"),
    )


def parse_prerequisite(document: object, at: str = "") -> Prerequisite:
    """Return the prerequisite in a JSON document; ``at`` is the pointer to it."""
    fields = _mapping(document, at)
    return Prerequisite(
        flag=_text(fields, "flag", at),
        variants=_list(fields, "variants", at, _parse_text),
    )


def parse_serve(document: object, at: str = "") -> Serve:
    """Return what a rule serves: ``{"variant": …}`` or ``{"split": […]}``."""
    fields = _mapping(document, at)
    variant = fields.get("variant")
    if variant is not None and not isinstance(variant, str):
        raise WireError(f"{at}/variant", "must be a variant's key")
    split = _list(fields, "split", at, _parse_weighted)
    if (variant is None) == (not split):
        raise WireError(at, "give either a variant or a split")
    return Serve(variant, split)


def parse_condition(document: object, at: str = "", depth: int = 0) -> Condition:
    """Return the condition in a JSON document, its operator and value checked.

    Raises:
        WireError: not exactly one of the five forms, an unknown field or operator, a value
            that does not fit the operator, or nesting beyond ``MAX_DEPTH``.
    """
    fields = _mapping(document, at)
    if depth > MAX_DEPTH:
        raise WireError(at, f"conditions nest deeper than {MAX_DEPTH}; use a segment")
    forms = [form for form in _FORMS if form in fields]
    if len(forms) != 1:
        raise WireError(at, f"give exactly one of {', '.join(_FORMS)}")
    form = forms[0]
    allowed = ("attribute", "operator", "value") if form == "attribute" else (form,)
    for name in fields:
        if name not in allowed:
            raise WireError(f"{at}/{_escape(name)}", f"unknown field beside {form}; remove it")
    if form == "segment":
        return InSegment(_text(fields, "segment", at))
    if form == "attribute":
        return _parse_comparison(fields, at)
    parts = _list(fields, form, at, lambda part, here: parse_condition(part, here, depth + 1))
    if form == "all":
        return All(parts)
    return AnyOf(parts) if form == "any" else NoneOf(parts)


def to_wire(value: Any) -> Any:
    """Return the JSON form of any value of ``tidegate.model``."""
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


def _parse_comparison(fields: Mapping[str, Any], at: str) -> Comparison:
    attribute = _text(fields, "attribute", at)
    if not attribute:
        raise WireError(f"{at}/attribute", "must name an attribute")
    operator = _text(fields, "operator", at)
    value = fields.get("value")
    if operator not in operators.OPERATORS:
        known = ", ".join(operators.OPERATORS)
        raise WireError(f"{at}/operator", f"there is no operator {operator!r}; use one of: {known}")
    try:
        operators.compile(operator, value)
    except InvalidCondition as error:
        raise WireError(f"{at}/value", f"{operator}: {error}") from None
    return Comparison(attribute, operator, tuple(value) if isinstance(value, list) else value)


def _parse_variant(document: object, at: str) -> Variant:
    fields = _mapping(document, at)
    if "value" not in fields:
        raise WireError(f"{at}/value", "is missing")
    return Variant(_text(fields, "key", at), fields["value"])


def _parse_weighted(document: object, at: str) -> WeightedVariant:
    fields = _mapping(document, at)
    return WeightedVariant(_text(fields, "variant", at), _number(fields, "weight", at))


def _parse_opening(document: object, at: str) -> Opening:
    fields = _mapping(document, at)
    return Opening(
        stage=_integer(fields, "stage", at),
        percentage=_number(fields, "percentage", at),
        segments=_list(fields, "segments", at, _parse_text),
    )


def _parse_release(document: object, at: str) -> ActiveRelease:
    fields = _mapping(document, at)
    rule = fields.get("rule")
    if rule is not None and not isinstance(rule, str):
        raise WireError(f"{at}/rule", "must be a rule's id or null")
    breaker = fields.get("local_breaker")
    return ActiveRelease(
        id=_text(fields, "id", at),
        rule=rule,
        control=_text(fields, "control", at),
        treatment=_text(fields, "treatment", at),
        salt=_text(fields, "salt", at),
        stage=_integer(fields, "stage", at),
        step=_integer(fields, "step", at),
        openings=_list(fields, "openings", at, _parse_opening),
        report_interval=_number(fields, "report_interval", at),
        measures=_list(fields, "measures", at, _parse_text),
        local_breaker=None if breaker is None else _parse_tolerance(breaker, f"{at}/local_breaker"),
    )


def _parse_tolerance(document: object, at: str) -> Tolerance:
    fields = _mapping(document, at)
    return Tolerance(_number(fields, "relative", at), _number(fields, "absolute", at))


def _parse_text(document: object, at: str) -> str:
    if not isinstance(document, str):
        raise WireError(at, "must be a string")
    return document


def _or_none(parse: Callable[[object, str], T]) -> Callable[[object, str], T | None]:
    return lambda document, at: None if document is None else parse(document, at)


def _each(
    fields: Mapping[str, Any],
    name: str,
    parse: Callable[[object, str], T],
    broken: dict[str, WireError] | None,
) -> dict[str, T]:
    parsed: dict[str, T] = {}
    for key, document in _mapping(fields.get(name), f"/{name}").items():
        try:
            parsed[key] = parse(document, f"/{name}/{_escape(key)}")
        except WireError as error:
            if broken is None:
                raise
            # Anew: the error's traceback would keep the whole document in memory.
            broken[f"{name}/{key}"] = WireError(error.pointer, error.message)
    return parsed


def _escape(name: object) -> str:
    return str(name).replace("~", "~0").replace("/", "~1")


def _mapping(document: object, at: str) -> Mapping[str, Any]:
    if not isinstance(document, Mapping):
        raise WireError(at, "must be an object")
    return document


def _list(
    fields: Mapping[str, Any], name: str, at: str, parse: Callable[[object, str], T]
) -> tuple[T, ...]:
    documents = fields.get(name, ())
    if not isinstance(documents, list | tuple):
        raise WireError(f"{at}/{name}", "must be a list")
    return tuple(parse(part, f"{at}/{name}/{index}") for index, part in enumerate(documents))


def _text(fields: Mapping[str, Any], name: str, at: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise WireError(f"{at}/{name}", "must be a string" if name in fields else "is missing")
    return value


def _boolean(fields: Mapping[str, Any], name: str, at: str) -> bool:
    value = fields.get(name)
    if not isinstance(value, bool):
        raise WireError(f"{at}/{name}", "must be true or false")
    return value


def _integer(fields: Mapping[str, Any], name: str, at: str) -> int:
    value = fields.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise WireError(f"{at}/{name}", "must be a whole number")
    return value


def _number(fields: Mapping[str, Any], name: str, at: str) -> float:
    value = fields.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise WireError(f"{at}/{name}", "must be a number")
    if isinstance(value, float) and not isfinite(value):
        raise WireError(f"{at}/{name}", "must be a finite number")
    return value
