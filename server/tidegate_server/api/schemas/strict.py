"""The schema that all others are: nothing unknown passes, and every refusal names a mend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from marshmallow import RAISE, Schema, ValidationError, fields, post_dump

from tidegate_server.api.fields import Instant, Key, Whole

UNKNOWN = "There is no such field here; leave it out."
SET_BY_SERVER = "The server sets this field; leave it out."


class Strict(Schema):
    """A schema that refuses unknown fields.

    ``not_offered`` names fields that the format knows and this version does not do, each
    with the words that say so: accepting and ignoring one would be a promise not kept.
    """

    class Meta:
        """Options of marshmallow's."""

        unknown = RAISE

    error_messages = {  # noqa: RUF012 - marshmallow declares it for instances
        "unknown": UNKNOWN,
        "type": "An object with named fields is expected here.",
    }
    not_offered: ClassVar[Mapping[str, str]] = {}

    def handle_error(self, error: ValidationError, data: Any, **kwargs: Any) -> None:
        """Say more than «unknown» of names that are known after all."""
        messages = error.messages
        if not isinstance(messages, dict):
            return
        for name, found in messages.items():
            if found != [UNKNOWN]:
                continue
            if name in self.not_offered:
                messages[name] = [self.not_offered[name]]
            elif name in self.dump_fields:
                messages[name] = [SET_BY_SERVER]


class StoredAnswer(Strict):
    """A stored document as an answer: its fields, its revision, and when it was written."""

    revision = Whole(
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


class Page(Strict):
    """A page of a list; ``next_cursor`` is null on the last one."""

    next_cursor = fields.String(required=True, allow_none=True, dump_only=True)


def key_of_address() -> Key:
    """The key in the body of an update: the one in the address, or left out."""
    return Key(load_default="", metadata={"description": "the key in the address, if given"})
