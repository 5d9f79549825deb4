"""JSON schemas of evaluations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from marshmallow import ValidationError, fields, post_load
from tidegate.context import NOBODY, Context

from tidegate_server.admin.document_history import VersionFields
from tidegate_server.documents.fields import AnyJson, Instant, Moment, StrictBoolean
from tidegate_server.documents.json_pointers import nested
from tidegate_server.documents.strict_schema import Strict
from tidegate_server.domain.change import Kind
from tidegate_server.domain.evaluation_steps import Part


@dataclass(frozen=True, slots=True)
class EvaluationRequest:
    """For whom to evaluate a flag, and when; None: now."""

    context: Context
    at_ms: int | None


class ContextField(AnyJson):
    """An evaluation context: an object with a ``targetingKey`` and attributes."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Context:
        if not isinstance(value, Mapping):
            raise ValidationError('A context is an object: {"targetingKey": "user-42"}.')
        key = value.get("targetingKey")
        if key is not None and not isinstance(key, str):
            raise ValidationError(nested("/targetingKey", "This must be a string."))
        return Context.of(value)


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

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """Return the request."""
        return EvaluationRequest(data["context"] or NOBODY, data["at_ms"])


class EvaluationStepSchema(Strict):
    """One step of an evaluation."""

    part = fields.Enum(Part, by_value=True, required=True)
    name = fields.String(
        required=True, metadata={"description": "of the rule, the prerequisite or the release"}
    )
    text = fields.String(required=True)
    decides = StrictBoolean(required=True)


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


class UsedVersionSchema(VersionFields):
    """A version of a document that the flag is made of."""

    kind = fields.Enum(Kind, by_value=True, required=True)
    key = fields.String(required=True)
    environment = fields.String(required=True)


class EvaluationAnswer(ResultSchema):
    """The result of an evaluation."""

    flag = fields.String(required=True)
    at = Instant(attribute="at_ms", required=True)
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
