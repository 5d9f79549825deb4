"""JSON schemas of evaluations."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from marshmallow import ValidationError, fields, post_load, validate, validates_schema

from tidegate_server.admin.document_history import VersionFields
from tidegate_server.documents.fields import (
    AnyJson,
    BoundedList,
    Instant,
    Key,
    Moment,
    PatternString,
    StrictBoolean,
    StrictInteger,
)
from tidegate_server.documents.json_pointers import nested
from tidegate_server.documents.strict_schema import Strict
from tidegate_server.domain.evaluation_steps import Part
from tidegate_server.domain.kinds import Kind
from tidegate_server.web.pagination import Cursor

SEEN_NAME = re.compile(r"[0-9a-f]{16}")


MOST_FLAGS = 100
"""How many flags one request evaluates at most."""


@dataclass(frozen=True, slots=True)
class EvaluationRequest:
    """For whom to evaluate a flag, and when.

    Attributes:
        attributes: the typed context; its entries replace those of a stored one.
        saved: the key of a saved context; None: none.
        seen: the name of a recently seen user; None: none.
        at_ms: when; None: now.
        version: at which version of the environment; None: any.
    """

    attributes: Mapping[str, Any]
    saved: str | None
    seen: str | None
    at_ms: int | None
    version: int | None

    @property
    def is_of_the_past(self) -> bool:
        """Whether it asks for another time than now."""
        return self.at_ms is not None or self.version is not None


@dataclass(frozen=True, slots=True)
class EvaluationsRequest:
    """Which flags to evaluate, for whom and when.

    ``flags`` are their keys; None: the next ``limit`` flags after the key ``after``.
    """

    request: EvaluationRequest
    flags: tuple[str, ...] | None
    after: str
    limit: int


class ContextField(AnyJson):
    """An evaluation context: an object with a ``targetingKey`` and attributes."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Mapping[str, Any]:
        if not isinstance(value, Mapping):
            raise ValidationError('A context is an object: {"targetingKey": "user-42"}.')
        key = value.get("targetingKey")
        if key is not None and not isinstance(key, str):
            raise ValidationError(nested("/targetingKey", "This must be a string."))
        return value


class EvaluationBody(Strict):
    """For whom to evaluate a flag, and when."""

    body_optional = True

    context = ContextField(
        load_default=None,
        allow_none=True,
        metadata={
            "type": "object",
            "properties": {"targetingKey": {"type": ["string", "null"]}},
            "description": "`targetingKey` and any attributes",
        },
    )
    at_ms = Moment(
        data_key="at",
        load_default=None,
        allow_none=True,
        metadata={"description": "evaluate the flag as it was then; by default as it is now"},
    )

    saved_context = Key(
        load_default=None,
        allow_none=True,
        metadata={"description": "the key of a saved context; `context` adds to it"},
    )
    seen_user = PatternString(
        SEEN_NAME,
        "The name of a seen user has 16 hex digits; `GET .../seen-users` lists them.",
        load_default=None,
        allow_none=True,
        metadata={"description": "the name of a recently seen user; `context` adds to it"},
    )
    version = StrictInteger(
        load_default=None,
        allow_none=True,
        validate=validate.Range(min=1),
        metadata={"description": "evaluate the flag as this version of the environment had it"},
    )

    @validates_schema
    def check_one_of_each(self, data: Mapping[str, Any], **_: Any) -> None:
        """Check that there is one time and one stored context."""
        if data["at_ms"] is not None and data["version"] is not None:
            raise ValidationError("Give either `at` or `version`.", "version")
        if data["saved_context"] is not None and data["seen_user"] is not None:
            raise ValidationError("Give either `saved_context` or `seen_user`.", "seen_user")

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """Return the request."""
        return EvaluationRequest(
            data["context"] or {},
            data["saved_context"],
            data["seen_user"],
            data["at_ms"],
            data["version"],
        )


class SeveralEvaluationsBody(EvaluationBody):
    """Which flags to evaluate, for whom and when."""

    flags = BoundedList(
        Key(),
        load_default=None,
        allow_none=True,
        min_items=1,
        max_items=MOST_FLAGS,
        metadata={"description": "their keys; by default all flags of the environment, in pages"},
    )
    cursor = Cursor(
        load_default="",
        metadata={"type": "string", "description": "next_cursor of the previous page"},
    )
    limit = StrictInteger(
        load_default=MOST_FLAGS,
        validate=validate.Range(min=1, max=MOST_FLAGS),
        metadata={"description": "maximum number of flags"},
    )

    @post_load
    def build(self, data: Mapping[str, Any], **kwargs: Any) -> Any:
        """Return the request."""
        flags = None if data["flags"] is None else tuple(dict.fromkeys(data["flags"]))
        request = super().build(data, **kwargs)
        return EvaluationsRequest(request, flags, data["cursor"], data["limit"])


def _bucket(description: str) -> StrictInteger:
    return StrictInteger(
        required=True,
        allow_none=True,
        metadata={"description": f"{description}; null: there is none"},
    )


class EvaluationStepSchema(Strict):
    """One step of an evaluation."""

    part = fields.Enum(Part, by_value=True, required=True)
    name = fields.String(
        required=True, metadata={"description": "of the rule, the prerequisite or the release"}
    )
    text = fields.String(required=True)
    decides = StrictBoolean(required=True)
    matched = StrictBoolean(
        required=True,
        allow_none=True,
        metadata={"description": "of a rule or a prerequisite: whether the context meets it"},
    )
    why = fields.String(
        required=True, metadata={"description": "of a rule: why the context meets it or not"}
    )
    bucket = _bucket("of a split or a percentage: the bucket of the targeting key, 0 to 99,999")
    opened_below = _bucket(
        "of a split or a percentage: the first bucket after those of the variant that is served, "
        "or that are open"
    )


class ResultSchema(Strict):
    """The result of an evaluation, in OpenFeature's terms, and how it came about."""

    value = AnyJson(
        required=True,
        allow_none=True,
        metadata={"description": "null: the application's default"},
    )
    variant = fields.String(required=True, allow_none=True)
    reason = fields.String(required=True)
    error_code = fields.String(required=True, allow_none=True)
    error_message = fields.String(required=True, allow_none=True)
    metadata = AnyJson(required=True, metadata={"type": "object"})
    steps = fields.List(
        fields.Nested(EvaluationStepSchema),
        required=True,
        metadata={"description": "in the order of evaluation, until one decided"},
    )
    bucket = _bucket("of the step that decided")
    opened_below = _bucket("of the step that decided")


class UsedVersionSchema(VersionFields):
    """A version of a document that the flag is made of."""

    kind = fields.Enum(Kind, by_value=True, required=True)
    key = fields.String(required=True)
    environment = fields.String(required=True)


class EvaluationAnswer(ResultSchema):
    """The result of an evaluation."""

    flag = fields.String(required=True)
    at = Instant(attribute="at_ms", required=True)
    context = AnyJson(
        required=True, metadata={"type": "object", "description": "for which it was evaluated"}
    )
    since = Instant(
        attribute="since_ms",
        required=True,
        allow_none=True,
        metadata={"description": "when the last of `versions` was made; null: there are none"},
    )
    until = Instant(
        attribute="until_ms",
        required=True,
        allow_none=True,
        metadata={
            "description": "when one of `versions` was replaced; null: they are the present ones"
        },
    )
    caveats = fields.List(
        fields.String(), required=True, metadata={"description": "what cannot be told"}
    )
    versions = fields.List(
        fields.Nested(UsedVersionSchema),
        required=True,
        metadata={"description": "of the flag, its prerequisites, segments and release"},
    )
    now = fields.Nested(
        ResultSchema,
        required=True,
        allow_none=True,
        metadata={"description": "the result at present; null if no time was given"},
    )
    changed_since = fields.List(
        fields.Nested(UsedVersionSchema),
        required=True,
        metadata={"description": "what has changed of `versions` since then, the latest first"},
    )


class FlagResultSchema(Strict):
    """The result of one of several flags."""

    flag = fields.String(required=True)
    value = AnyJson(required=True, allow_none=True)
    variant = fields.String(required=True, allow_none=True)
    reason = fields.String(required=True)
    error_code = fields.String(required=True, allow_none=True)
    error_message = fields.String(required=True, allow_none=True)
    decided_by = fields.Nested(
        EvaluationStepSchema,
        required=True,
        allow_none=True,
        metadata={"description": "the step that decided; null: there is no such flag"},
    )


class FlagResultsAnswer(Strict):
    """The results of several flags for one context."""

    items = fields.List(fields.Nested(FlagResultSchema), required=True)
    next_cursor = fields.String(required=True, allow_none=True)
    at = Instant(attribute="at_ms", required=True)
    context = AnyJson(required=True, metadata={"type": "object"})
    caveats = fields.List(fields.String(), required=True)
