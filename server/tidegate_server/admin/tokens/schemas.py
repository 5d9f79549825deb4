"""JSON schemas of tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import fields, post_load, validate

from tidegate_server.documents.fields import BoundedString, Instant, Key, StrictInteger
from tidegate_server.documents.strict_schema import Strict
from tidegate_server.domain.tokens import Role, Token
from tidegate_server.web.document_schemas import StoredAnswer, page_schema


class TokenFields(Strict):
    """The fields of a token that people set."""

    name = BoundedString(100, min_length=1, required=True)
    role = fields.Enum(Role, by_value=True, required=True)
    project = Key(
        load_default=None,
        allow_none=True,
        metadata={"description": "the only project that it may use; null: all"},
    )
    environment = Key(
        load_default=None,
        allow_none=True,
        metadata={"description": "the only environment that it may use; null: all"},
    )
    rate_limit = StrictInteger(
        load_default=None,
        allow_none=True,
        validate=validate.Range(min=1, max=1_000_000),
        metadata={"description": "the most evaluation requests per minute; null: no limit"},
    )


class TokenBody(TokenFields):
    """A request to create a token."""

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """Return the token, without an id and a secret."""
        return Token(**data, id="", digest="", created_by="", created_ms=0)


class TokenAnswer(TokenFields, StoredAnswer):
    """A token without its secret."""

    id = fields.String(required=True, dump_only=True)
    created_by = fields.String(required=True, dump_only=True)
    created_at = Instant(attribute="created_ms", required=True)


class NewTokenAnswer(TokenAnswer):
    """A token with its secret."""

    secret = fields.String(
        required=True,
        dump_only=True,
        metadata={"description": "the token to send; shown only once"},
    )


TokenPage = page_schema("TokenPage", TokenAnswer)
