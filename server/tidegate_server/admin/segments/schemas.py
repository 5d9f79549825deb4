"""JSON schemas of segments."""

from __future__ import annotations

from typing import Any

from marshmallow import fields, validate

from tidegate_server.documents.fields import BoundedList, BoundedString, ConditionField, Key
from tidegate_server.documents.strict_schema import LARGE_BODY_LIMIT, DataclassSchema, Strict
from tidegate_server.documents.warnings import warnings_field
from tidegate_server.domain.condition_validation import key_warnings
from tidegate_server.domain.flags import SegmentDefinition
from tidegate_server.web.document_schemas import StoredAnswer, page_schema, path_key

MAX_LISTED = 10_000


def _keys(description: str) -> fields.List[Any]:
    return BoundedList(
        fields.String(validate=validate.Length(min=1, max=500)),
        load_default=list,
        max_items=MAX_LISTED,
        metadata={"description": description},
    )


class SegmentFields(Strict):
    """The fields of a segment that people set."""

    body_limit = LARGE_BODY_LIMIT

    key = Key(required=True)
    name = BoundedString(200, load_default="")
    description = BoundedString(4_000, load_default="")
    when = ConditionField(
        load_default=None,
        allow_none=True,
        metadata={"description": "contexts that meet this condition belong to it; null: none do"},
    )
    included = _keys("targeting keys that belong to it, whatever the condition says")
    excluded = _keys(
        "targeting keys that do not belong to it, even if they are included or meet the condition"
    )


class SegmentBody(SegmentFields, DataclassSchema):
    """A request to create a segment."""

    loads_into = SegmentDefinition


class SegmentUpdate(SegmentBody):
    """A request to replace a segment."""

    key = path_key()


class SegmentAnswer(SegmentFields, StoredAnswer):
    """A segment."""

    warnings = warnings_field("conditions that may never hold")

    def get_attribute(self, obj: Any, attr: str, default: Any) -> Any:
        """Compute the warnings from the segment."""
        if attr == "warnings":
            when = obj.document.when
            return () if when is None else tuple(key_warnings(when, "/when"))
        return super().get_attribute(obj, attr, default)


SegmentPage = page_schema("SegmentPage", SegmentAnswer)
