"""Base schemas of responses: a stored document, a page of a list."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields, missing, post_dump

from tidegate_server.documents.fields import Instant, Key, StrictInteger
from tidegate_server.documents.strict_schema import Strict


class StoredAnswer(Strict):
    """A stored document: its fields, its revision and the time of its last change."""

    revision = StrictInteger(
        required=True, dump_only=True, metadata={"description": "the number in the ETag"}
    )
    updated_at = Instant(attribute="updated_ms", required=True)

    def get_attribute(self, obj: Any, attr: str, default: Any) -> Any:
        """Look in the document, then in what is stored with it."""
        value = super().get_attribute(obj.document, attr, missing)
        return super().get_attribute(obj, attr, default) if value is missing else value

    @post_dump
    def document_first(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Put the revision and time after the document's own fields."""
        for name in ("revision", "updated_at"):
            data[name] = data.pop(name)
        return data


class Page(Strict):
    """A page of a list; ``next_cursor`` is null on the last one."""

    next_cursor = fields.String(required=True, allow_none=True, dump_only=True)


def page_schema(name: str, item: type[Schema], **more: fields.Field[Any]) -> type[Schema]:
    """Return the schema of a page of items, which OpenAPI calls ``name``; with more fields."""
    items = fields.List(fields.Nested(item), required=True)
    return Page.from_dict({"items": items, **more}, name=name)


def path_key() -> Key:
    """Return the field for a key in the body of an update: the key in the path, or omitted."""
    return Key(load_default="", metadata={"description": "if given, the key in the path"})
