"""JSON schemas of targeting: what a flag serves in one environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from marshmallow import fields, post_dump, post_load, validates_schema
from marshmallow.exceptions import ValidationError
from tidegate.model import Prerequisite, Rule, Serve, WeightedVariant

from tidegate_server.admin.action_schemas import IncidentBody
from tidegate_server.admin.evaluation_counts.schemas import (
    EvaluatedSchema,
    WithoutObservations,
    stale_field,
)
from tidegate_server.admin.ladders import ladder_field
from tidegate_server.documents.fields import (
    BoundedList,
    BoundedString,
    ConditionField,
    Instant,
    Key,
    Name,
    Number,
    Percent,
    StrictBoolean,
    StrictInteger,
)
from tidegate_server.documents.strict_schema import LARGE_BODY_LIMIT, DataclassSchema, Strict
from tidegate_server.documents.warnings import warnings_field
from tidegate_server.domain.flag_validation import targeting_warnings
from tidegate_server.domain.flags import MAX_TAG_LENGTH, Targeting
from tidegate_server.web.document_schemas import StoredAnswer, page_schema

MAX_RULES = 500


class WeightedVariantSchema(DataclassSchema):
    """A variant and its weight in a split."""

    loads_into = WeightedVariant

    variant = Name(required=True)
    weight = Percent(
        required=True, metadata={"description": "in percent; the weights of a split add up to 100"}
    )


class ServeSchema(DataclassSchema):
    """What to serve: one ``variant``, or a ``split``."""

    loads_into = Serve

    variant = Name()
    split = BoundedList(fields.Nested(WeightedVariantSchema), min_items=1, max_items=100)

    @validates_schema
    def check_variant_or_split(self, data: Mapping[str, Any], **_: Any) -> None:
        """Check that there is either a variant or a split."""
        if ("variant" in data) == ("split" in data):
            raise ValidationError("Give either a variant or a split.")

    @post_dump
    def omit_empty_fields(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Leave out the one that is empty."""
        return {key: value for key, value in data.items() if value}


class RuleSchema(DataclassSchema):
    """A rule: contexts that meet ``when`` get ``serve``."""

    loads_into = Rule

    id = Name(required=True)
    when = ConditionField(required=True)
    serve = fields.Nested(ServeSchema, required=True)


class PrerequisiteSchema(DataclassSchema):
    """Another flag that must serve one of ``variants``."""

    loads_into = Prerequisite

    flag = Key(required=True)
    variants = BoundedList(Name(), required=True, min_items=1, max_items=100)


class TargetingFields(Strict):
    """The fields of a targeting that people set."""

    enabled = StrictBoolean(required=True)
    off_variant = Name(
        required=True, metadata={"description": "the variant served while the flag is disabled"}
    )
    kill_variant = Name(
        load_default=None,
        allow_none=True,
        metadata={
            "description": "the variant served while the flag is killed; null: the off variant"
        },
    )
    default = fields.Nested(ServeSchema, required=True)
    rules = BoundedList(fields.Nested(RuleSchema), load_default=list, max_items=MAX_RULES)
    prerequisites = BoundedList(
        fields.Nested(PrerequisiteSchema),
        load_default=list,
        max_items=100,
    )


class TargetingBody(TargetingFields, WithoutObservations, DataclassSchema):
    """A request to replace a targeting. Its kill and its release stay."""

    body_limit = LARGE_BODY_LIMIT
    loads_into = Targeting

    flag = Key(metadata={"description": "if given, the key in the path"})

    @post_load
    def build(self, data: Mapping[str, Any], **kwargs: Any) -> Any:
        """Return the targeting. Its flag is empty if the body names none."""
        return super().build({"flag": "", **data}, **kwargs)


@dataclass(frozen=True, slots=True)
class TagRequest:
    """A request to kill or to restore the flags with a tag."""

    tag: str
    reason: str
    url: str


class TagBody(IncidentBody):
    """The tag whose flags are killed or restored, and why."""

    loads_into = TagRequest
    body_optional = False

    tag = BoundedString(MAX_TAG_LENGTH, min_length=1, required=True)


class KillSchema(Strict):
    """A kill in force."""

    actor = fields.String(required=True)
    reason = fields.String(required=True)
    at = Instant(attribute="at_ms", required=True)
    url = fields.String(
        required=True, metadata={"description": "a link to the incident; may be empty"}
    )
    tag = fields.String(
        required=True,
        metadata={
            "description": "the tag whose flags were all killed at once; empty: only this flag was"
        },
    )


class TagAnswer(Strict):
    """The flags that were killed or restored together."""

    tag = fields.String(required=True)
    flags = fields.List(fields.String(), required=True)
    version = StrictInteger(
        required=True,
        metadata={
            "description": "the version of the environment since which it is so; its receipt says "
            "how far that has reached"
        },
    )


class ReceiptSchema(Strict):
    """How many live SDK instances have applied a kill, and how long each took."""

    live = StrictInteger(required=True)
    applied = StrictInteger(required=True)
    waiting = fields.List(
        fields.String(),
        required=True,
        metadata={"description": "the ids of live instances that have not applied it"},
    )
    median_ms = Number(required=True, allow_none=True)
    p95_ms = Number(
        required=True,
        allow_none=True,
        metadata={"description": "95 % of the instances took at most this long"},
    )
    slowest_ms = Number(required=True, allow_none=True)


class TargetingAnswer(TargetingFields, StoredAnswer):
    """The targeting of a flag, with its kill and its release."""

    flag = Key(required=True, dump_only=True)
    killed = fields.Nested(
        KillSchema, attribute="kill", required=True, allow_none=True, dump_only=True
    )
    release = fields.String(
        required=True,
        allow_none=True,
        dump_only=True,
        metadata={"description": "the id of the active release"},
    )
    receipt = fields.Nested(ReceiptSchema, required=True, allow_none=True, dump_only=True)
    ladder = ladder_field()
    evaluated = fields.Nested(EvaluatedSchema, required=True, dump_only=True)
    stale = stale_field()
    warnings = warnings_field("conditions that may never hold")

    def get_attribute(self, obj: Any, attr: str, default: Any) -> Any:
        """Compute the warnings from the targeting."""
        if attr == "warnings":
            return tuple(targeting_warnings(obj.document))
        return super().get_attribute(obj, attr, default)


class DependentSchema(Strict):
    """A flag that needs another one to serve one of ``variants``."""

    flag = fields.String(required=True)
    variants = fields.List(fields.String(), required=True)


DependentPage = page_schema("DependentFlagPage", DependentSchema)
