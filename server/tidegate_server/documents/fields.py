"""Schema fields that take one form only, where marshmallow's own would convert."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError, fields, validate
from tidegate import wire
from tidegate.errors import WireError
from tidegate.model import Condition

from tidegate_server.documents.json_pointers import nested
from tidegate_server.domain import field_problems as domain
from tidegate_server.domain.calendar import instant_text

UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
DURATION = re.compile(r"[0-9]{1,9}(ms|s|m|h|d)")
LONGEST_DURATION_MS = 366 * UNITS["d"]

PATH_KEY = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class BoundedString(fields.String):
    """Words for people: of a bounded length, without control characters."""

    def __init__(self, max_length: int, *, min_length: int = 0, **kwargs: Any) -> None:
        super().__init__(validate=validate.Length(min=min_length, max=max_length), **kwargs)

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> str:
        if not isinstance(value, str):
            raise ValidationError("Text is expected here.")
        if _CONTROL.search(value):
            raise ValidationError("Control characters are not accepted here.")
        return value


def _with_pattern(pattern: re.Pattern[str], metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {**metadata, "pattern": f"^{pattern.pattern}$"}


class PatternString(fields.String):
    """Text that a pattern matches from its first to its last character."""

    def __init__(self, pattern: re.Pattern[str], words: str, **kwargs: Any) -> None:
        self._pattern = pattern
        self._words = words
        super().__init__(metadata=_with_pattern(pattern, kwargs.pop("metadata", {})), **kwargs)

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> str:
        if not isinstance(value, str):
            raise ValidationError("Text is expected here.")
        if self._pattern.fullmatch(value) is None:
            raise ValidationError(self._words)
        return value


class Key(PatternString):
    """A name that addresses use: lower-case letters, digits, ``.``, ``_``, ``-``."""

    def __init__(self, **kwargs: Any) -> None:
        words = (
            "A key is 1 to 100 lower-case letters, digits, dots, dashes and underscores, "
            "and begins with a letter or a digit."
        )
        super().__init__(domain.KEY, words, **kwargs)


class Name(PatternString):
    """A name within a document, of a variant, a rule or a stage; capitals are welcome."""

    def __init__(self, **kwargs: Any) -> None:
        words = (
            "A name is 1 to 100 letters, digits, dots, dashes and underscores, and begins with "
            "a letter or a digit."
        )
        super().__init__(domain.NAME, words, **kwargs)


class StrictBoolean(fields.Boolean):
    """``true`` or ``false``, and nothing that resembles them."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise ValidationError("true or false is expected here.")
        return value


class StrictInteger(fields.Integer):
    """A whole number, without a decimal point and without quotes."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValidationError("A whole number is expected here.")
        return value


class BoundedList(fields.List[Any]):
    """A list whose length is looked at before anything in it is."""

    def __init__(self, item: Any, *, max_items: int, min_items: int = 0, **kwargs: Any) -> None:
        self._bounds = validate.Length(min=min_items or None, max=max_items)
        super().__init__(item, validate=self._bounds, **kwargs)

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> list[Any]:
        if not isinstance(value, list):
            raise ValidationError("A list is expected here.")
        self._bounds(value)
        return super()._deserialize(value, *args, **kwargs)


class Number(fields.Float):
    """A number without quotes."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValidationError("A number is expected here.")
        return float(value)

    def _serialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        return value if value is None else _short(float(value))


class Percent(Number):
    """A percentage from 0 to 100 with at most three decimals, the grain of bucketing."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            validate=validate.Range(
                min=0, max=100, error="A percentage lies between 0 and 100; this is {input}."
            ),
            **kwargs,
        )

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> float:
        number = super()._deserialize(value, *args, **kwargs)
        if round(number, 3) != number:
            raise ValidationError("A percentage has at most three decimals.")
        return number


def _short(number: float) -> float | int:
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


class Duration(fields.Field[int]):
    """A duration, ``90s`` or ``15m``; whole milliseconds inside."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> int:
        if not isinstance(value, str) or (found := DURATION.fullmatch(value)) is None:
            raise ValidationError(
                "A duration is a whole number with a unit: 500ms, 90s, 15m, 24h or 7d."
            )
        duration_ms = int(value.removesuffix(found[1])) * UNITS[found[1]]
        if duration_ms > LONGEST_DURATION_MS:
            raise ValidationError("A duration is at most 366d.")
        return duration_ms

    def _serialize(self, value: Any, *args: Any, **kwargs: Any) -> str | None:
        return None if value is None else duration_text(value)


def duration_text(duration_ms: int) -> str:
    """A duration in the largest unit that leaves no fraction: ``90s``, ``1d``, ``0s``."""
    if duration_ms == 0:
        return "0s"
    unit = next(unit for unit in reversed(UNITS) if duration_ms % UNITS[unit] == 0)
    return f"{duration_ms // UNITS[unit]}{unit}"


class Instant(fields.Field[int]):
    """A point in time as ISO 8601 in UTC; milliseconds since the epoch inside. Answers only."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(dump_only=True, **kwargs)

    def _serialize(self, value: Any, *args: Any, **kwargs: Any) -> str | None:
        return None if value is None else instant_text(value)


class AnyJson(fields.Raw):
    """Any JSON value."""


class ConditionField(fields.Field[Condition]):
    """Whom something is for: the recursive union that ``tidegate.wire`` reads."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Condition:
        try:
            return wire.parse_condition(value)
        except WireError as error:
            raise ValidationError(nested(error.pointer, error.message)) from None

    def _serialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        return None if value is None else wire.to_wire(value)


_REFERENCE = {"$ref": "#/components/schemas/Condition"}
_LIST = {"type": "array", "items": _REFERENCE}
_KEY = {"type": "string", "pattern": f"^{domain.KEY.pattern}$"}
_SCALAR = {"type": ["string", "number", "boolean", "null"]}


def _object(properties: Mapping[str, Any], *required: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(required),
        "additionalProperties": False,
    }


def condition_schema(operators: list[str]) -> dict[str, Any]:
    """The JSON Schema of a condition, for the OpenAPI document."""
    comparison = _object(
        {
            "attribute": {
                "type": "string",
                "minLength": 1,
                "description": "`targetingKey`, or the dotted path of an attribute",
            },
            "operator": {"type": "string", "enum": operators},
            "value": {"anyOf": [_SCALAR, {"type": "array", "items": _SCALAR}]},
        },
        "attribute",
        "operator",
    )
    return {
        "description": "Whom something is for: a comparison, a segment, or a group of conditions",
        "anyOf": [
            comparison,
            _object(
                {"segment": {"type": "string", "pattern": f"^{domain.KEY.pattern}$"}}, "segment"
            ),
            _object({"all": _LIST}, "all"),
            _object({"any": _LIST}, "any"),
            _object({"none": _LIST}, "none"),
        ],
    }
