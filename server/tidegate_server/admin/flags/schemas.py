"""Flags as JSON: what they are in every environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError, fields, post_load, validate
from tidegate.model import FLAG_TYPES, Variant

from tidegate_server.documents.fields import (
    AnyJson,
    BoundedList,
    BoundedString,
    Key,
    Name,
    StrictBoolean,
)
from tidegate_server.documents.strict_schema import Strict
from tidegate_server.domain.flags import FlagDefinition
from tidegate_server.web.document_schemas import Page, StoredAnswer, path_key

ON_AND_OFF = (Variant("on", True), Variant("off", False))
MOST_VARIANTS = 100


class VariantSchema(Strict):
    """A named value."""

    key = Name(required=True)
    value = AnyJson(
        required=True,
        allow_none=True,
        metadata={"description": "of the flag's type; null: the default of the code that asks"},
    )

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """The variant."""
        return Variant(**data)


class FlagFields(Strict):
    """What people say of a flag."""

    key = Key(required=True)
    type = fields.String(required=True, validate=validate.OneOf(FLAG_TYPES))
    variants = BoundedList(
        fields.Nested(VariantSchema),
        min_items=1,
        max_items=MOST_VARIANTS,
        metadata={"description": "a boolean flag without variants gets `on` and `off`"},
    )
    name = BoundedString(200, load_default="")
    description = BoundedString(4_000, load_default="")
    tags = BoundedList(BoundedString(100, min_length=1), load_default=list, max_items=100)
    salt = BoundedString(
        200,
        load_default="",
        metadata={"description": "seeds bucketing and never changes; the key, unless imported"},
    )
    client_side = StrictBoolean(
        load_default=False,
        metadata={"description": "whether client tokens may ask for it"},
    )


class FlagBody(FlagFields):
    """A flag to be."""

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """The definition; without a salt it gets the key, or keeps the one it has."""
        if "variants" not in data and data["type"] != "boolean":
            raise ValidationError({"variants": ["Give the variants that the flag can serve."]})
        return FlagDefinition(
            key=data["key"],
            type=data["type"],
            variants=tuple(data.get("variants", ON_AND_OFF)),
            salt=data["salt"],
            name=data["name"],
            description=data["description"],
            tags=tuple(data["tags"]),
            client_side=data["client_side"],
        )


class FlagUpdate(FlagBody):
    """A flag as it shall be. Its type and its salt never change."""

    key = path_key()
    variants = BoundedList(
        fields.Nested(VariantSchema),
        required=True,
        min_items=1,
        max_items=MOST_VARIANTS,
    )


class FlagAnswer(FlagFields, StoredAnswer):
    """A flag."""


class FlagPage(Page):
    """A page of flags."""

    items = fields.List(fields.Nested(FlagAnswer), required=True)
