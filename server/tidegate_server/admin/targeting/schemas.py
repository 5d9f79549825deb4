"""JSON schemas of targeting: what a flag serves in one environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import fields, post_dump, post_load, validates_schema
from marshmallow.exceptions import ValidationError
from tidegate.model import Prerequisite, Rule, Serve, WeightedVariant

from tidegate_server.documents.fields import (
    BoundedList,
    ConditionField,
    Instant,
    Key,
    Name,
    Number,
    Percent,
    StrictBoolean,
    StrictInteger,
)
from tidegate_server.documents.strict_schema import Strict
from tidegate_server.domain.flags import Targeting
from tidegate_server.web.document_schemas import Page, StoredAnswer

MOST_RULES = 500


class WeightedVariantSchema(Strict):
    """A variant and its weight in a split."""

    variant = Name(required=True)
    weight = Percent(
        required=True, metadata={"description": "in percent; the weights of a split add up to 100"}
    )

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """Return the weighted variant."""
        return WeightedVariant(**data)


class ServeSchema(Strict):
    """What to serve: one ``variant``, or a ``split``."""

    variant = Name()
    split = BoundedList(fields.Nested(WeightedVariantSchema), min_items=1, max_items=100)

    @validates_schema
    def one_of_two(self, data: Mapping[str, Any], **_: Any) -> None:
        """Check that there is either a variant or a split."""
        if ("variant" in data) == ("split" in data):
            raise ValidationError("Give either a variant or a split.")

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """Return what to serve."""
        return Serve(data.get("variant"), tuple(data.get("split", ())))

    @post_dump
    def leave_out_the_other(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Leave out the one that is empty."""
        return {key: value for key, value in data.items() if value}


class RuleSchema(Strict):
    """A rule: contexts that meet ``when`` get ``serve``."""

    id = Name(required=True)
    when = ConditionField(required=True)
    serve = fields.Nested(ServeSchema, required=True)

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """Return the rule."""
        return Rule(**data)


class PrerequisiteSchema(Strict):
    """Another flag that must serve one of ``variants``."""

    flag = Key(required=True)
    variants = BoundedList(Name(), required=True, min_items=1, max_items=100)

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """Return the prerequisite."""
        return Prerequisite(data["flag"], tuple(data["variants"]))


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
    rules = BoundedList(fields.Nested(RuleSchema), load_default=list, max_items=MOST_RULES)
    prerequisites = BoundedList(
        fields.Nested(PrerequisiteSchema),
        load_default=list,
        max_items=100,
    )


class TargetingBody(TargetingFields):
    """A request to replace a targeting. Its kill and its release stay."""

    flag = Key(metadata={"description": "if given, the key in the path"})

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """Return the targeting. Its flag is empty if the body names none."""
        return Targeting(
            flag=data.get("flag", ""),
            enabled=data["enabled"],
            off_variant=data["off_variant"],
            default=data["default"],
            rules=tuple(data["rules"]),
            prerequisites=tuple(data["prerequisites"]),
            kill_variant=data["kill_variant"],
        )


class KillSchema(Strict):
    """A kill in force."""

    actor = fields.String(required=True)
    reason = fields.String(required=True)
    at = Instant(attribute="at_ms", required=True)


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


class TargetingPage(Page):
    """A page of the targetings of an environment."""

    items = fields.List(fields.Nested(TargetingAnswer), required=True)
