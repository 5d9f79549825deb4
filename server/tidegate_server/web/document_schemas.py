"""Schemas of answers: a stored document, a page of a list."""

from __future__ import annotations

from typing import Any

from marshmallow import fields, post_dump

from tidegate_server.documents.fields import Instant, Key, StrictInteger
from tidegate_server.documents.strict_schema import Strict


class StoredAnswer(Strict):
    """A stored document as an answer: its fields, its revision, and when it was written."""

    revision = StrictInteger(
        required=True, dump_only=True, metadata={"description": "the number in the ETag"}
    )
    updated_at = Instant(attribute="updated_ms", required=True)

    def get_attribute(self, obj: Any, attr: str, default: Any) -> Any:
        """Look in the document for all but what is known about it."""
        if attr in ("revision", "updated_ms"):
            return getattr(obj, attr)
        return super().get_attribute(obj.document, attr, default)

    @post_dump
    def document_first(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """What is known about the document comes after what it says."""
        for name in ("revision", "updated_at"):
            data[name] = data.pop(name)
        return data


class WithSecret(Strict):
    """An answer that shows the secret of a new document: the first of its bases."""

    def get_attribute(self, obj: Any, attr: str, default: Any) -> Any:
        """Look in the stored document for all but the secret."""
        if attr == "secret":
            return obj.secret
        return super().get_attribute(obj.stored, attr, default)


class Page(Strict):
    """A page of a list; ``next_cursor`` is null on the last one."""

    next_cursor = fields.String(required=True, allow_none=True, dump_only=True)


def key_of_address() -> Key:
    """The key in the body of an update: the one in the address, or left out."""
    return Key(load_default="", metadata={"description": "the key in the address, if given"})
