"""JSON schemas of one's own account."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from marshmallow import fields, post_load, validate

from tidegate_server.admin.sign_in.schemas import (
    NEW_PASSWORD,
    GrantSchema,
    PersonSummary,
    SessionAnswer,
    password_field,
)
from tidegate_server.admin.tokens.schemas import TokenAnswer
from tidegate_server.documents.fields import BoundedList, BoundedString, Duration, Key
from tidegate_server.documents.strict_schema import Strict
from tidegate_server.domain.calendar import DAY_MS
from tidegate_server.domain.permissions import EVALUATION, Permission
from tidegate_server.web.document_schemas import page_schema


class MeAnswer(Strict):
    """Who makes the request, and what they may do."""

    name = fields.String(required=True, metadata={"description": "as in the audit log"})
    person = fields.Nested(
        PersonSummary, required=True, allow_none=True, metadata={"description": "null: a program"}
    )
    session = fields.Nested(SessionAnswer, required=True, allow_none=True)
    csrf_token = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "for the header `Tidegate-CSRF`; null: there is no session"},
    )
    grants = fields.List(fields.Nested(GrantSchema), required=True)
    has_password = fields.Boolean(required=True)
    has_second_factor = fields.Boolean(required=True)
    recovery_codes_left = fields.Integer(required=True)


class PasswordBody(Strict):
    """The present password, to prove that it is really you."""

    password = password_field("your present password", required=True)


class NewPasswordBody(PasswordBody):
    """A request to change the password."""

    new_password = password_field(NEW_PASSWORD, required=True)


class CodeBody(Strict):
    """A one-time code of the authenticator app."""

    code = BoundedString(20, required=True)


class SecretAnswer(Strict):
    """The secret for an authenticator app."""

    secret = fields.String(required=True, metadata={"description": "Base32, to type"})
    uri = fields.String(required=True, metadata={"description": "for a QR code"})


class RecoveryCodesAnswer(Strict):
    """Codes that each replace a one-time code once. They are shown only in this answer."""

    recovery_codes = fields.List(fields.String(), required=True)


@dataclass(frozen=True, slots=True)
class NewPersonalToken:
    """A token of one's own to create; ``permissions`` None: all that the person has."""

    name: str
    expires_in_ms: int
    permissions: tuple[Permission, ...] | None
    project: str | None
    environment: str | None


class PersonalTokenLimits(Strict):
    """How long a token of one's own works, and the most that it may do."""

    expires_in = Duration(
        load_default=90 * DAY_MS,
        validate=validate.Range(min=60_000, error="Give at least 1m."),
        metadata={"default": "90d", "description": "how long it works, at most 366d"},
    )
    permissions = BoundedList(
        fields.Enum(Permission, by_value=True),
        load_default=None,
        allow_none=True,
        max_items=len(Permission),
        min_items=1,
        metadata={"description": "the most that it may do; null: what you may do"},
    )


def of_people(permissions: list[Permission] | None) -> tuple[Permission, ...] | None:
    """Return the permissions of a token of one's own, without those that only programs use."""
    if permissions is None:
        return None
    return tuple(each for each in permissions if each not in EVALUATION)


class PersonalTokenBody(PersonalTokenLimits):
    """A request to create a token of one's own."""

    name = BoundedString(100, min_length=1, required=True)
    project = Key(load_default=None, allow_none=True)
    environment = Key(load_default=None, allow_none=True)

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """Return the token."""
        return NewPersonalToken(
            data["name"],
            data["expires_in"],
            of_people(data["permissions"]),
            data["project"],
            data["environment"],
        )


PersonalTokenPage = page_schema("PersonalTokenPage", TokenAnswer)
