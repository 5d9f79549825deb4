"""Schema fields that accept exactly one form, where marshmallow's own fields would convert."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sized
from typing import Any

from marshmallow import ValidationError, fields, validate
from tidegate import wire
from tidegate.errors import WireError
from tidegate.evaluation.instants import seconds_since_1970
from tidegate.evaluation.operators import OPERATORS
from tidegate.model import Condition

from tidegate_server.documents.json_pointers import nested
from tidegate_server.documents.suggesting import Suggesting
from tidegate_server.domain.calendar import instant_text
from tidegate_server.domain.field_problems import KEY, NAME
from tidegate_server.near_misses import similar
from tidegate_server.urls import MAX_URL_LENGTH, split_url
from tidegate_server.visible_text import INVISIBLE, code_point

UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
DURATION = re.compile(r"[0-9]{1,9}(ms|s|m|h|d)")
MAX_DURATION_MS = 366 * UNITS["d"]

PATH_KEY = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"


class Length(validate.Length):
    """How long a text or a list may be; what it refuses is told with its length and the limit."""

    def __call__(self, value: Sized) -> Any:
        """Return the value.

        Raises:
            ValidationError: it is too short or too long.
        """
        length, unit = len(value), "character" if isinstance(value, str) else "item"
        if self.min is not None and length < self.min:
            if not length:
                raise ValidationError("This must not be empty.")
            raise ValidationError(f"This must have {self.min} {unit}s at least; it has {length}.")
        if self.max is not None and length > self.max:
            raise ValidationError(
                f"This must have {self.max:,} {unit}s at most; it has {length:,}."
            )
        return value


class BoundedString(fields.String):
    """A string of limited length without control characters or other invisible ones.

    Args:
        max_length, min_length: in characters.
        refused: the characters that it must not have.
        kwargs: options of every field.
    """

    def __init__(
        self,
        max_length: int,
        *,
        min_length: int = 0,
        refused: re.Pattern[str] = INVISIBLE,
        **kwargs: Any,
    ) -> None:
        self._refused = refused
        super().__init__(validate=Length(min=min_length, max=max_length), **kwargs)

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> str:
        if not isinstance(value, str):
            raise ValidationError("This must be a string.")
        if match := self._refused.search(value):
            raise ValidationError(
                f"This has the invisible character {code_point(match[0])}, which can make text "
                "look like other text; remove it."
            )
        return value


def _with_pattern(pattern: re.Pattern[str], metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {**metadata, "pattern": f"^{pattern.pattern}$"}


class PatternString(fields.String):
    """A string that a pattern matches completely; ``message`` is the error if it does not."""

    def __init__(self, pattern: re.Pattern[str], message: str, **kwargs: Any) -> None:
        self._pattern = pattern
        self._message = message
        super().__init__(metadata=_with_pattern(pattern, kwargs.pop("metadata", {})), **kwargs)

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> str:
        if not isinstance(value, str):
            raise ValidationError("This must be a string.")
        if self._pattern.fullmatch(value) is None:
            raise ValidationError(self._message)
        return value


class Key(PatternString):
    """A key, which is part of URLs: lower-case letters, digits, ``.``, ``_``, ``-``."""

    def __init__(self, **kwargs: Any) -> None:
        message = (
            "A key is 1 to 100 lower-case letters, digits, dots, hyphens and underscores, "
            "and starts with a letter or a digit."
        )
        super().__init__(KEY, message, **kwargs)


class Name(PatternString):
    """A name within a document, of a variant, a rule or a stage; upper case is allowed."""

    def __init__(self, **kwargs: Any) -> None:
        message = (
            "A name is 1 to 100 letters, digits, dots, hyphens and underscores, and starts with "
            "a letter or a digit."
        )
        super().__init__(NAME, message, **kwargs)


class Link(BoundedString):
    """A link that pages show: an ``http://`` or ``https://`` URL, or empty."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(MAX_URL_LENGTH, **kwargs)

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> str:
        url = super()._deserialize(value, *args, **kwargs)
        if url and split_url(url) is None:
            raise ValidationError(
                "Write a whole link, which begins with https:// or http:// and has no spaces."
            )
        return url


class StrictBoolean(fields.Boolean):
    """``true`` or ``false``; nothing is converted."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise ValidationError("This must be true or false.")
        return value


def query_boolean(description: str) -> fields.Boolean:
    """Return the field of a query string with ``true`` or ``false``, by default ``false``."""
    return fields.Boolean(
        load_default=False,
        truthy={"true"},
        falsy={"false"},
        metadata={"description": description},
    )


class StrictInteger(fields.Integer):
    """An integer, without a decimal point and without quotes."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValidationError("This must be an integer.")
        return value


MAX_BAD_ITEMS = 100
"""After so many bad items the others of a list are not looked at."""


class BoundedList(fields.List[Any]):
    """A list of limited length. The length is checked before the items."""

    def __init__(self, item: Any, *, max_items: int, min_items: int = 0, **kwargs: Any) -> None:
        self._bounds = Length(min=min_items or None, max=max_items)
        super().__init__(item, validate=self._bounds, **kwargs)

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> list[Any]:
        if not isinstance(value, list):
            raise ValidationError("This must be a list.")
        self._bounds(value)
        items: list[Any] = []
        errors: dict[int, Any] = {}
        for number, item in enumerate(value):
            try:
                items.append(self.inner.deserialize(item, **kwargs))
            except ValidationError as error:
                errors[number] = error.messages
                if len(errors) >= MAX_BAD_ITEMS:
                    break
        if errors:
            raise ValidationError(errors)
        return items


class Number(fields.Float):
    """A number without quotes."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValidationError("This must be a number.")
        return float(value)

    def _serialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        return value if value is None else _integer_if_whole(float(value))


def number_or_null(description: str) -> Number:
    """Return the field of an answer with a number; ``description`` says when it is null."""
    return Number(required=True, allow_none=True, metadata={"description": description})


class Percent(Number):
    """A percentage from 0 to 100 with at most three decimals, the resolution of buckets."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            validate=validate.Range(
                min=0, max=100, error="A percentage is between 0 and 100; this is {input}."
            ),
            **kwargs,
        )

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> float:
        number = super()._deserialize(value, *args, **kwargs)
        if round(number, 3) != number:
            raise ValidationError("A percentage has at most three decimals.")
        return number


def _integer_if_whole(number: float) -> float | int:
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


class Duration(fields.Field[int]):
    """A duration, ``90s`` or ``15m``; whole milliseconds in Python."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> int:
        if not isinstance(value, str) or (match := DURATION.fullmatch(value)) is None:
            raise ValidationError(
                "A duration is an integer with a unit: 500ms, 90s, 15m, 24h or 7d."
            )
        duration_ms = int(value.removesuffix(match[1])) * UNITS[match[1]]
        if duration_ms > MAX_DURATION_MS:
            raise ValidationError("A duration is at most 366d.")
        return duration_ms

    def _serialize(self, value: Any, *args: Any, **kwargs: Any) -> str | None:
        return None if value is None else duration_text(value)


def duration_text(duration_ms: int) -> str:
    """Return a duration in its largest unit without a fraction: ``90s``, ``1d``, ``0s``."""
    if duration_ms == 0:
        return "0s"
    unit = next(unit for unit in reversed(UNITS) if duration_ms % UNITS[unit] == 0)
    return f"{duration_ms // UNITS[unit]}{unit}"


class Instant(fields.Field[int]):
    """A time in ISO 8601 in UTC, in responses only; milliseconds since the epoch in Python."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(dump_only=True, **kwargs)

    def _serialize(self, value: Any, *args: Any, **kwargs: Any) -> str | None:
        return None if value is None else instant_text(value)


class Moment(fields.Field[int]):
    """A time in a request, as ISO 8601; milliseconds since the epoch in Python.

    Without an offset it is in UTC; a date is its first moment.
    """

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> int:
        seconds = seconds_since_1970(value) if isinstance(value, str) else None
        if seconds is None:
            raise ValidationError("A time is written as 2026-05-01T12:00:00Z or 2026-05-01.")
        return round(seconds * 1000)


class AnyJson(fields.Raw):
    """Any JSON value."""


class FlatObject(fields.Dict):
    """An object whose values are true, false, numbers or strings; the domain checks them."""

    def __init__(self, *, metadata: Mapping[str, Any], **kwargs: Any) -> None:
        values = {"type": ["boolean", "number", "string"]}
        super().__init__(metadata={**metadata, "additionalProperties": values}, **kwargs)

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ValidationError("This must be an object, such as {owner: payments}.")
        return value


class ConditionField(fields.Field[Condition]):
    """A condition on a context: the recursive union that ``tidegate.wire`` parses."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Condition:
        try:
            return wire.parse_condition(value)
        except WireError as error:
            message = error.message
            if error.unknown:
                message = Suggesting(f"{message}.", similar(error.unknown, OPERATORS))
            raise ValidationError(nested(error.pointer, message)) from None

    def _serialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        return None if value is None else wire.to_wire(value)


_REFERENCE = {"$ref": "#/components/schemas/Condition"}
_LIST = {"type": "array", "items": _REFERENCE}
_KEY = {"type": "string", "pattern": f"^{KEY.pattern}$"}
_SCALAR = {"type": ["string", "number", "boolean", "null"]}


def _object(properties: Mapping[str, Any], *required: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(required),
        "additionalProperties": False,
    }


def condition_schema(operators: list[str]) -> dict[str, Any]:
    """Return the JSON Schema of a condition, for the OpenAPI document."""
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
        "description": "Which contexts match: a comparison, a segment, or a group of conditions",
        "anyOf": [
            comparison,
            _object({"segment": {"type": "string", "pattern": f"^{KEY.pattern}$"}}, "segment"),
            _object({"all": _LIST}, "all"),
            _object({"any": _LIST}, "any"),
            _object({"none": _LIST}, "none"),
        ],
    }
