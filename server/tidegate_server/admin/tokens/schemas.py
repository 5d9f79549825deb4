"""Tokens as JSON; a secret goes out once, in the answer that made it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import fields, post_load, validate

from tidegate_server.documents.fields import BoundedString, Instant, Key, StrictInteger
from tidegate_server.documents.strict_schema import Strict
from tidegate_server.domain.tokens import Role, Token
from tidegate_server.web.document_schemas import Page, StoredAnswer


class TokenFields(Strict):
    """What people say of a token."""

    name = BoundedString(100, min_length=1, required=True)
    role = fields.Enum(Role, by_value=True, required=True)
    project = Key(
        load_default=None,
        allow_none=True,
        metadata={"description": "the one project it is for; null: all"},
    )
    environment = Key(
        load_default=None,
        allow_none=True,
        metadata={"description": "the one environment it is for; null: all"},
    )
    rate_limit = StrictInteger(
        load_default=None,
        allow_none=True,
        validate=validate.Range(min=1, max=1_000_000),
        metadata={"description": "evaluation requests a minute; null: any number"},
    )


class TokenBody(TokenFields):
    """A token to be."""

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
    """A token with its secret, which is not shown again."""

    secret = fields.String(
        required=True, dump_only=True, metadata={"description": "the token to send; shown once"}
    )


class TokenPage(Page):
    """A page of tokens."""

    items = fields.List(fields.Nested(TokenAnswer), required=True)
