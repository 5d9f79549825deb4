"""JSON schemas of saved contexts."""

from __future__ import annotations

import json
from typing import Any

from marshmallow import ValidationError

from tidegate_server.documents.fields import AnyJson, BoundedString, Key
from tidegate_server.documents.json_pointers import nested
from tidegate_server.documents.strict_schema import DataclassSchema, Strict
from tidegate_server.domain.saved_contexts import SavedContext
from tidegate_server.web.document_schemas import StoredAnswer, page_schema, path_key

LARGEST = 20_000


class ContextObject(AnyJson):
    """A context as an object."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ValidationError('A context is an object: {"targetingKey": "user-42"}.')
        if not isinstance(value.get("targetingKey", ""), str | None):
            raise ValidationError(nested("/targetingKey", "This must be a string."))
        if len(json.dumps(value)) > LARGEST:
            raise ValidationError(f"As JSON, a context has at most {LARGEST} characters.")
        return value


class SavedContextFields(Strict):
    """The fields of a saved context."""

    key = Key(required=True)
    name = BoundedString(200, load_default="")
    description = BoundedString(4_000, load_default="")
    context = ContextObject(
        required=True,
        metadata={
            "type": "object",
            "properties": {"targetingKey": {"type": ["string", "null"]}},
            "description": "`targetingKey` and any attributes",
        },
    )


class SavedContextBody(SavedContextFields, DataclassSchema):
    """A request to save a context."""

    loads_into = SavedContext


class SavedContextUpdate(SavedContextBody):
    """A request to replace a saved context."""

    key = path_key()


class SavedContextAnswer(SavedContextFields, StoredAnswer):
    """A saved context."""


SavedContextPage = page_schema("SavedContextPage", SavedContextAnswer)
