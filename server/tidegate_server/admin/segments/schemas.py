"""JSON schemas of segments."""

from __future__ import annotations

from typing import Any

from marshmallow import fields, post_dump, validate

from tidegate_server.documents.fields import (
    BoundedList,
    BoundedString,
    ConditionField,
    Key,
    Length,
    StrictBoolean,
    StrictInteger,
    query_boolean,
)
from tidegate_server.documents.strict_schema import LARGE_BODY_LIMIT, DataclassSchema, Strict
from tidegate_server.documents.warnings import warnings_field
from tidegate_server.domain.condition_validation import key_warnings
from tidegate_server.domain.flags import SegmentDefinition
from tidegate_server.domain.key_hashes import Mode
from tidegate_server.web.document_schemas import StoredAnswer, page_schema, path_key

MAX_LISTED = 10_000
MAX_LOOKED_UP = 100


def _keys(description: str) -> fields.List[Any]:
    return BoundedList(
        fields.String(validate=Length(min=1, max=500)),
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


class KeySetSchema(Strict):
    """The keys that were uploaded to a list; only their hashes are kept."""

    count = StrictInteger(required=True)
    digest = fields.String(
        required=True, metadata={"description": "the same for the same keys of one list"}
    )


class SegmentState(SegmentFields):
    """A segment with its uploaded keys."""

    included_set = fields.Nested(
        KeySetSchema,
        dump_only=True,
        metadata={"description": "uploaded keys that belong to it; only if there are some"},
    )
    excluded_set = fields.Nested(
        KeySetSchema,
        dump_only=True,
        metadata={"description": "uploaded keys that do not belong to it; only if there are some"},
    )

    @post_dump
    def omit_missing_sets(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Leave out what most segments do not have, so that older clients can write back."""
        for name in ("included_set", "excluded_set"):
            if data.get(name) is None:
                data.pop(name, None)
        return data


class SegmentBody(SegmentFields, DataclassSchema):
    """A request to create a segment."""

    loads_into = SegmentDefinition


class SegmentUpdate(SegmentBody):
    """A request to replace a segment."""

    key = path_key()


class SegmentAnswer(SegmentState, StoredAnswer):
    """A segment."""

    warnings = warnings_field("conditions that may never hold")

    def get_attribute(self, obj: Any, attr: str, default: Any) -> Any:
        """Compute the warnings from the segment."""
        if attr == "warnings":
            when = obj.document.when
            return () if when is None else tuple(key_warnings(when, "/when"))
        return super().get_attribute(obj, attr, default)


SegmentPage = page_schema("SegmentPage", SegmentAnswer)


class SegmentUseSchema(Strict):
    """Something that uses a segment."""

    kind = fields.String(
        required=True, validate=validate.OneOf(("rule", "segment", "policy", "release"))
    )
    key = fields.String(
        required=True,
        metadata={"description": "of the flag, the segment or the policy; the id of the release"},
    )
    name = fields.String(
        required=True, metadata={"description": "of the rule or the stage; empty for a segment"}
    )
    environment = fields.String(
        required=True, metadata={"description": "empty for a segment and a policy"}
    )
    text = fields.String(required=True)


class SegmentUsesAnswer(Strict):
    """What uses a segment."""

    items = fields.List(fields.Nested(SegmentUseSchema), required=True)


class ListQuery(Strict):
    """The query of the uploaded keys of one list."""

    list = fields.String(load_default="included", validate=validate.OneOf(("included", "excluded")))


class UploadQuery(ListQuery):
    """The query of an upload."""

    mode = fields.Enum(
        Mode,
        by_value=True,
        required=True,
        metadata={"description": "`replace`: afterwards the list has these keys and no others"},
    )
    column = fields.String(
        load_default="",
        validate=Length(max=200),
        metadata={
            "description": "the column of CSV, or the field of NDJSON objects, that has the key; "
            "by default the only column, or the one called `targetingKey` or `key`; the field `key`"
        },
    )
    allow_empty = query_boolean("with mode `replace`, a body without keys removes all")
    dry_run = query_boolean("only say what would change")


class UploadAnswer(Strict):
    """What an upload did, or would do."""

    segment = fields.String(required=True)
    list = fields.String(required=True)
    received = StrictInteger(
        required=True, metadata={"description": "how many keys came, repetitions included"}
    )
    added = StrictInteger(required=True)
    removed = StrictInteger(required=True)
    count = StrictInteger(required=True, metadata={"description": "how many the list has now"})
    revision = StrictInteger(required=True, metadata={"description": "of the segment"})
    dry_run = StrictBoolean(required=True)


class LookupBody(Strict):
    """Targeting keys to look for."""

    keys = BoundedList(
        fields.String(validate=Length(min=1, max=500)),
        required=True,
        min_items=1,
        max_items=MAX_LOOKED_UP,
    )


class FoundKeySchema(Strict):
    """Where a targeting key is, listed or uploaded."""

    key = fields.String(required=True)
    included = StrictBoolean(required=True)
    excluded = StrictBoolean(required=True)


class LookupAnswer(Strict):
    """Where targeting keys are."""

    items = fields.List(fields.Nested(FoundKeySchema), required=True)
