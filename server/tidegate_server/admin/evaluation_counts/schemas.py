"""JSON schemas of how often flags are evaluated, and of stale flags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from marshmallow import ValidationError, fields, post_load, pre_load, validate, validates_schema

from tidegate_server.documents.fields import Instant, Moment, Number, StrictBoolean, StrictInteger
from tidegate_server.documents.strict_schema import Strict
from tidegate_server.domain.stale import StaleReason
from tidegate_server.store.evaluations import (
    DEFAULT,
    RATE_MINUTES,
    SHARE_HOURS,
    STEPS,
    Evaluated,
    EvaluationPoint,
)
from tidegate_server.web.document_schemas import page_schema

OBSERVED = ("evaluated", "stale")
"""The fields of flags and targetings that say what was observed, not what was configured."""


class WithoutObservations(Strict):
    """A request body that may have what an answer observed; it is ignored."""

    @pre_load
    def ignore_observations(self, data: Any, **_: Any) -> Any:
        """Leave out what was observed, so that a document that was read can be written back."""
        if not isinstance(data, Mapping):
            return data
        return {name: value for name, value in data.items() if name not in OBSERVED}


class VariantEvaluationsSchema(Strict):
    """How a variant was served."""

    last_at = Instant(attribute="last_ms", required=True, allow_none=True)
    count = StrictInteger(
        required=True,
        metadata={"description": f"evaluations within the last {SHARE_HOURS} hours"},
    )


class EvaluatedSchema(Strict):
    """How a flag was evaluated in an environment."""

    last_at = Instant(
        attribute="last_ms",
        required=True,
        allow_none=True,
        metadata={"description": "when an application last asked for it; null: never"},
    )
    in_bulk_at = Instant(
        attribute="bulk_ms",
        required=True,
        allow_none=True,
        metadata={
            "description": "when it was last evaluated together with all other flags, for a page "
            "or an app, of which nobody knows whether it uses the flag; null: never"
        },
    )
    per_minute = Number(
        required=True,
        metadata={"description": f"the mean of the last {RATE_MINUTES} whole minutes"},
    )
    estimated = StrictBoolean(
        required=True,
        metadata={
            "description": "whether counts are estimates: a busy instance counts a part of the time"
        },
    )
    by_variant = fields.Dict(
        keys=fields.String(),
        values=fields.Nested(VariantEvaluationsSchema),
        required=True,
        metadata={"description": "of the variants that were ever served"},
    )
    defaults = fields.Nested(
        VariantEvaluationsSchema,
        required=True,
        allow_none=True,
        metadata={"description": "evaluations that gave the application its own default"},
    )

    def get_attribute(self, obj: Any, attr: str, default: Any) -> Any:
        """Keep the application's own default apart from the variants."""
        if isinstance(obj, Evaluated) and attr == "by_variant":
            return {name: each for name, each in obj.by_variant.items() if name != DEFAULT}
        if isinstance(obj, Evaluated) and attr == "defaults":
            return obj.by_variant.get(DEFAULT)
        return super().get_attribute(obj, attr, default)


class EvaluatedInSchema(Strict):
    """When a flag was last evaluated in one environment."""

    environment = fields.String(required=True)
    last_at = Instant(attribute="last_ms", required=True, allow_none=True)
    in_bulk_at = Instant(attribute="bulk_ms", required=True, allow_none=True)


class StaleSchema(Strict):
    """Why a flag is stale, since when, and what to do about it."""

    reason = fields.Enum(StaleReason, by_value=True, required=True)
    since = Instant(attribute="since_ms", required=True)
    text = fields.String(required=True)
    fix = fields.String(required=True)


def stale_field() -> fields.Nested:
    """Return the field with why a flag is stale."""
    return fields.Nested(
        StaleSchema,
        dump_only=True,
        allow_none=True,
        metadata={"description": "why the flag is stale, and what to do about it; null: it is not"},
    )


class EvaluationPointSchema(Strict):
    """The evaluations in one step of time."""

    at = Instant(attribute="at_ms", required=True, metadata={"description": "when it begins"})
    by_variant = fields.Dict(keys=fields.String(), values=StrictInteger(), required=True)
    defaults = StrictInteger(required=True)
    estimated = StrictBoolean(required=True)

    def get_attribute(self, obj: Any, attr: str, default: Any) -> Any:
        """Keep the application's own default apart from the variants."""
        if isinstance(obj, EvaluationPoint) and attr == "by_variant":
            return {name: each for name, each in obj.by_variant.items() if name != DEFAULT}
        if isinstance(obj, EvaluationPoint) and attr == "defaults":
            return obj.by_variant.get(DEFAULT, 0)
        return super().get_attribute(obj, attr, default)


class AskerSchema(Strict):
    """An application that asked for a flag."""

    application = fields.String(required=True)
    host = fields.String(
        required=True, metadata={"description": "where it last asked; empty: not known"}
    )
    last_at = Instant(attribute="last_ms", required=True)


class EvaluationsAnswer(Strict):
    """The evaluations of a flag over time, and which applications asked."""

    step = fields.String(required=True)
    points = fields.List(fields.Nested(EvaluationPointSchema), required=True)
    askers = fields.List(
        fields.Nested(AskerSchema), required=True, metadata={"description": "the latest first"}
    )


@dataclass(frozen=True, slots=True)
class EvaluationsRequest:
    """A request for the evaluations of a flag over time; None: see ``evaluation_series``."""

    step: str
    from_ms: int | None = None
    to_ms: int | None = None


class EvaluationsQuery(Strict):
    """The query of the evaluations of a flag over time."""

    step = fields.String(load_default="minute", validate=validate.OneOf(tuple(STEPS)))
    from_ = Moment(
        data_key="from",
        metadata={
            "type": "string",
            "description": "the first moment; if left out, the last 60 steps",
        },
    )
    to = Moment(metadata={"type": "string", "description": "the last moment; if left out, now"})

    @validates_schema
    def check_order(self, data: Mapping[str, Any], **_: Any) -> None:
        """Check that the time does not run backwards."""
        if "from_" in data and "to" in data and data["from_"] > data["to"]:
            raise ValidationError("from must not be after to.", "from")

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """Return the request."""
        return EvaluationsRequest(data["step"], data.get("from_"), data.get("to"))


class UnknownFlagSchema(Strict):
    """A flag that does not exist, and that an application asked for."""

    key = fields.String(required=True)
    last_at = Instant(attribute="last_ms", required=True)
    application = fields.String(required=True)


UnknownFlagPage = page_schema("UnknownFlagPage", UnknownFlagSchema)
