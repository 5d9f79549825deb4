"""JSON schemas of tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from marshmallow import ValidationError, fields, post_load, validate, validates_schema

from tidegate_server.documents.fields import (
    BoundedList,
    BoundedString,
    Duration,
    Instant,
    Key,
    StrictBoolean,
    StrictInteger,
)
from tidegate_server.documents.strict_schema import Strict
from tidegate_server.domain.permissions import Permission, Role
from tidegate_server.domain.token_edits import MAX_NETWORKS
from tidegate_server.domain.tokens import Token
from tidegate_server.web.document_schemas import StoredAnswer, page_schema


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token to create, and how long it works; None: for ever."""

    token: Token
    expires_in_ms: int | None


class TokenFields(Strict):
    """The fields of a token that people set."""

    name = BoundedString(100, min_length=1, required=True)
    role = fields.Enum(
        Role,
        by_value=True,
        required=True,
        metadata={
            "description": "a named set of permissions; `custom` has those in `permissions`. "
            "`writer` and `reader` are older names of `release_manager` and `viewer`."
        },
    )
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
    permissions = BoundedList(
        fields.Enum(Permission, by_value=True),
        load_default=list,
        max_items=len(Permission),
        metadata={"description": "of a token with the role `custom`: what it may do"},
    )
    owner = BoundedString(
        100,
        load_default="",
        metadata={"description": "who answers for it: a person or a team"},
    )
    networks = BoundedList(
        BoundedString(50),
        load_default=list,
        max_items=MAX_NETWORKS,
        metadata={"description": "the only networks it may be used from, as CIDR; none: any"},
    )
    rate_limit = StrictInteger(
        load_default=None,
        allow_none=True,
        validate=validate.Range(min=1, max=1_000_000),
        metadata={"description": "the most evaluation requests per minute; null: no limit"},
    )
    expires_at = Instant(
        attribute="expires_ms",
        required=True,
        allow_none=True,
        metadata={"description": "when it stops working; null: never"},
    )


class TokenBody(TokenFields):
    """A request to create a token. It names a project or says `whole_server`."""

    whole_server = StrictBoolean(
        load_default=False,
        metadata={"description": "it works for the whole server, with all its projects"},
    )
    expires_in = Duration(
        load_default=None,
        allow_none=True,
        metadata={"description": "how long it works; null: until it is deleted"},
    )

    @validates_schema(skip_on_field_errors=True)
    def check_scope(self, data: Mapping[str, Any], **_: Any) -> None:
        """Refuse a token whose scope is not said, or said twice."""
        if data["project"] is None and not data["whole_server"]:
            raise ValidationError(
                {
                    "project": [
                        "Say where the token works: name a project, or a project and an "
                        "environment, or set whole_server to true."
                    ]
                }
            )
        if data["project"] is not None and data["whole_server"]:
            raise ValidationError(
                {"whole_server": ["The token has a project; leave one of the two out."]}
            )
        if data["expires_in"] == 0:
            raise ValidationError({"expires_in": ["Give a time longer than 0s, or leave it out."]})

    @post_load
    def build(self, data: dict[str, Any], **_: Any) -> Any:
        """Return the token, without an id and a secret."""
        expires_in_ms = data.pop("expires_in")
        del data["whole_server"]
        data["networks"] = tuple(data["networks"])
        data["permissions"] = tuple(data["permissions"])
        token = Token(**data, id="", digest="", created_by="", created_ms=0)
        return NewToken(token, expires_in_ms)


class TokenAnswer(TokenFields, StoredAnswer):
    """A token without its secret."""

    id = fields.String(required=True, dump_only=True)
    permissions = BoundedList(
        fields.Enum(Permission, by_value=True),
        attribute="allowed",
        required=True,
        max_items=len(Permission),
        metadata={"description": "what it may do"},
    )
    created_by = fields.String(required=True, dump_only=True)
    created_at = Instant(attribute="created_ms", required=True)
    previous_secret_until = Instant(
        attribute="previous_until_ms",
        required=True,
        allow_none=True,
        metadata={"description": "how long the secret before the last rotation works"},
    )
    last_used_at = Instant(
        attribute="last_used_ms",
        required=True,
        allow_none=True,
        metadata={"description": "to about a minute; null: never, or before this was noted"},
    )
    last_used_from = fields.String(required=True, allow_none=True, dump_only=True)
    person = fields.String(
        required=True,
        dump_only=True,
        metadata={"description": "the id of the person whose own token it is; empty: nobody's"},
    )
    rotatable = fields.Boolean(
        required=True, dump_only=True, metadata={"description": "whether you may rotate it"}
    )


class NewTokenAnswer(TokenAnswer):
    """A token with its secret."""

    secret = fields.String(
        required=True,
        dump_only=True,
        metadata={"description": "the token to send; shown only once"},
    )


class RotateBody(Strict):
    """How a token changes its secret."""

    body_optional = True

    overlap = Duration(
        load_default=60 * 60 * 1000,
        metadata={
            "default": "1h",
            "description": "how long the secret until now still works; `0s`: not at all",
        },
    )

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """Return the overlap, in milliseconds."""
        return data["overlap"]


TokenPage = page_schema("TokenPage", TokenAnswer)
