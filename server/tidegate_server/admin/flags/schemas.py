"""JSON schemas of flags' definitions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError, fields, post_load, validate
from tidegate.model import FLAG_TYPES, Variant

from tidegate_server.documents.fields import (
    AnyJson,
    BoundedList,
    BoundedString,
    FlatObject,
    Key,
    Name,
    StrictBoolean,
)
from tidegate_server.documents.strict_schema import LARGE_BODY_LIMIT, DataclassSchema, Strict
from tidegate_server.domain.flags import FlagDefinition
from tidegate_server.web.document_schemas import StoredAnswer, page_schema, path_key

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
    description = BoundedString(4_000, load_default="")
    tags = BoundedList(BoundedString(100, min_length=1), load_default=list, max_items=100)
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


class FlagBody(FlagFields, DataclassSchema):
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


class FlagAnswer(FlagFields, StoredAnswer):
    """A flag's definition."""


FlagPage = page_schema("FlagPage", FlagAnswer)
