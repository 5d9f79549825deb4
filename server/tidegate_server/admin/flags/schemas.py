"""JSON schemas of flags' definitions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError, fields, post_dump, post_load, validate
from tidegate.model import FLAG_TYPES, Variant

from tidegate_server.admin.evaluation_counts.schemas import (
    EvaluatedInSchema,
    WithoutObservations,
    stale_field,
)
from tidegate_server.documents.fields import (
    AnyJson,
    BoundedList,
    BoundedString,
    FlatObject,
    Instant,
    Key,
    Name,
    StrictBoolean,
    query_boolean,
)
from tidegate_server.documents.strict_schema import LARGE_BODY_LIMIT, DataclassSchema, Strict
from tidegate_server.documents.warnings import WarningSchema
from tidegate_server.domain.flags import MAX_TAG_LENGTH, FlagDefinition
from tidegate_server.web.document_schemas import StoredAnswer, path_key

ON_AND_OFF = (Variant("on", True), Variant("off", False))
MAX_VARIANTS = 100


class VariantSchema(Strict):
    """A named value of a flag."""

    key = Name(required=True)
    value = AnyJson(
        required=True,
        allow_none=True,
        metadata={"description": "of the flag's type; null: the application's default"},
    )

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """Return the variant."""
        return Variant(**data)


class FlagFields(Strict):
    """The fields of a flag that people set."""

    body_limit = LARGE_BODY_LIMIT

    key = Key(required=True)
    type = fields.String(required=True, validate=validate.OneOf(FLAG_TYPES))
    variants = BoundedList(
        fields.Nested(VariantSchema),
        min_items=1,
        max_items=MAX_VARIANTS,
        metadata={"description": "a boolean flag without variants gets `on` and `off`"},
    )
    name = BoundedString(200, load_default="")
    description = BoundedString(4_000, load_default="", metadata={"description": "in Markdown"})
    tags = BoundedList(
        BoundedString(MAX_TAG_LENGTH, min_length=1), load_default=list, max_items=100
    )
    owner = BoundedString(
        200, load_default="", metadata={"description": "the person or team that answers for it"}
    )
    temporary = StrictBoolean(
        load_default=False,
        metadata={"description": "whether it is to be removed from the code one day"},
    )
    expected_end = fields.Date(
        format="iso",
        load_default=None,
        allow_none=True,
        metadata={"description": "the day by which a temporary flag is to be removed"},
        error_messages={"invalid": "A date is written as 2026-05-01."},
    )
    salt = BoundedString(
        200,
        load_default="",
        metadata={"description": "the salt of bucketing, which never changes; by default the key"},
    )
    client_side = StrictBoolean(
        load_default=False,
        metadata={"description": "whether client tokens may evaluate it"},
    )
    metadata = FlatObject(
        load_default=dict,
        metadata={
            "description": "what every evaluation carries in its metadata; with client tokens "
            "everyone can read it"
        },
    )


class FlagBody(FlagFields, WithoutObservations, DataclassSchema):
    """A request to create a flag."""

    loads_into = FlagDefinition

    @post_load
    def build(self, data: Mapping[str, Any], **kwargs: Any) -> Any:
        """Return the definition. Its salt is empty if the body has none."""
        if "variants" not in data and data["type"] != "boolean":
            raise ValidationError({"variants": ["Give the variants that the flag can serve."]})
        return super().build({"variants": ON_AND_OFF, **data}, **kwargs)


class FlagUpdate(FlagBody):
    """A request to replace a flag. Its type and its salt never change."""

    key = path_key()
    variants = BoundedList(
        fields.Nested(VariantSchema),
        required=True,
        min_items=1,
        max_items=MAX_VARIANTS,
    )


class ArchivedSchema(Strict):
    """Who archived a flag, why and when."""

    actor = fields.String(required=True)
    reason = fields.String(required=True)
    at = Instant(attribute="at_ms", required=True)


class FlagState(FlagFields):
    """A flag's definition, with whether it is archived."""

    archived = fields.Nested(
        ArchivedSchema,
        dump_only=True,
        metadata={"description": "only if the flag is archived"},
    )

    @post_dump
    def omit_archived_if_it_is_not(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Leave out what most flags are not, so that clients of earlier versions can write back."""
        if data.get("archived") is None:
            data.pop("archived", None)
        return data


class FlagAnswer(FlagState, StoredAnswer):
    """A flag's definition, and what was observed of it, if anything was."""

    evaluated = fields.List(
        fields.Nested(EvaluatedInSchema),
        dump_only=True,
        metadata={"description": "where it was ever evaluated, and when last"},
    )
    stale = stale_field()
    warnings = fields.List(
        fields.Nested(WarningSchema),
        dump_only=True,
        metadata={"description": "applications that still ask for an archived flag"},
    )

    @post_dump
    def omit_what_was_not_observed(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Leave out what there is nothing to say about."""
        names = ("evaluated", "stale", "warnings")
        return {name: value for name, value in data.items() if name not in names or value}


class FlagDeletionQuery(Strict):
    """The query of a deletion."""

    force = query_boolean("true: delete the flag even if it is not archived")

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """Return whether to delete a flag that is not archived."""
        return data["force"]
