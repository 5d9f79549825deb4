"""JSON schemas of people."""

from __future__ import annotations

from typing import Any

from marshmallow import ValidationError, fields, post_load, validate, validates_schema

from tidegate_server.admin.sign_in.schemas import PersonSummary
from tidegate_server.documents.fields import (
    BoundedList,
    BoundedString,
    Duration,
    Instant,
    Key,
    StrictBoolean,
)
from tidegate_server.documents.strict_schema import DataclassSchema, Strict
from tidegate_server.domain.calendar import DAY_MS
from tidegate_server.domain.people import Person, RoleGrant
from tidegate_server.domain.people_edits import MAX_GRANTS, MAX_GROUPS
from tidegate_server.web import token_secrets
from tidegate_server.web.document_schemas import StoredAnswer, page_schema

INVITATION_MS = 7 * DAY_MS
SIGN_IN_MS = 15 * 60_000
SIGN_IN_MAX_MS = 60 * 60_000
"""How long links work: invitations, and those that only sign in."""


class RoleGrantSchema(DataclassSchema):
    """A role in a place."""

    loads_into = RoleGrant

    role = Key(
        required=True,
        metadata={
            "description": "`admin`, `release_manager`, `developer`, `responder`, `viewer`, or the "
            "key of a custom role"
        },
    )
    project = Key(
        load_default=None,
        allow_none=True,
        metadata={"description": "the only project where it holds; null: the whole server"},
    )
    environment = Key(
        load_default=None,
        allow_none=True,
        metadata={"description": "the only environment where it holds; null: all"},
    )


def grants_field() -> BoundedList:
    """Return the field of the grants of a person or a group."""
    return BoundedList(fields.Nested(RoleGrantSchema), load_default=list, max_items=MAX_GRANTS)


class ProvidedGroupsSchema(Strict):
    """In which groups somebody was at an identity provider at their last sign-in with it."""

    provider = fields.String(required=True)
    issuer = fields.String(required=True)
    groups = fields.List(
        fields.String(),
        required=True,
        metadata={"description": "as the provider names them; its mappings say what they give"},
    )


class IdentitySchema(Strict):
    """Who somebody is at the issuer of an identity provider."""

    id = fields.String(required=True)
    issuer = fields.String(required=True)
    subject = fields.String(required=True)
    linked_at = Instant(attribute="linked_ms", required=True)


class PersonFields(Strict):
    """The fields of a person that admins set."""

    email = BoundedString(
        254, min_length=3, required=True, metadata={"description": "unique; kept in lower case"}
    )
    name = BoundedString(100, load_default="")
    active = StrictBoolean(
        load_default=True,
        metadata={"description": "false: their sessions and their own tokens have ended"},
    )
    grants = grants_field()
    groups = BoundedList(Key(), load_default=list, max_items=MAX_GROUPS)
    provided = fields.List(
        fields.Nested(ProvidedGroupsSchema),
        required=True,
        dump_only=True,
        metadata={"description": "what identity providers said, for admins of the whole server"},
    )


class PersonBody(PersonFields):
    """A request to create a person."""

    @post_load
    def build(self, data: dict[str, Any], **_: Any) -> Any:
        """Return the person, with a new id."""
        return _person(token_secrets.new_id(), data)


class PersonUpdate(PersonFields):
    """A request to replace a person."""

    id = BoundedString(100, load_default="", metadata={"description": "if given, as in the path"})

    @post_load
    def build(self, data: dict[str, Any], **_: Any) -> Any:
        """Return the person; the id is the path's."""
        return _person(data.pop("id"), data)


def _person(id: str, data: dict[str, Any]) -> Person:
    return Person(
        id=id,
        email=data["email"],
        name=data["name"],
        active=data["active"],
        grants=tuple(dict.fromkeys(data["grants"])),
        groups=tuple(dict.fromkeys(data["groups"])),
    )


class PersonAnswer(PersonFields, StoredAnswer):
    """A person, with the grants and groups that you may change."""

    id = fields.String(required=True, dump_only=True)
    has_password = fields.Boolean(required=True, dump_only=True)
    has_second_factor = fields.Boolean(
        required=True,
        dump_only=True,
        metadata={"description": "whether signing in with the password needs a one-time code"},
    )
    identities = fields.List(
        fields.Nested(IdentitySchema),
        required=True,
        dump_only=True,
        metadata={"description": "with which they sign in with identity providers"},
    )
    manageable = fields.Boolean(
        required=True,
        dump_only=True,
        metadata={
            "description": "whether you may do all that they may, and so change how they sign in"
        },
    )


PersonPage = page_schema("PersonPage", PersonAnswer)


class InviteBody(Strict):
    """A request to invite a person, or to let them sign in with a link."""

    body_optional = True

    expires_in = Duration(
        load_default=None,
        validate=validate.Range(
            min=60_000, max=30 * DAY_MS, error="An invitation works for 1m to 30d."
        ),
        metadata={
            "description": "how long the link works; by default 7d, and 15m if it only signs in"
        },
    )
    signs_in_only = StrictBoolean(
        load_default=False,
        metadata={
            "description": "whether it signs in and changes nothing else; it works for at most 1h"
        },
    )

    @validates_schema
    def _check_times(self, data: dict[str, Any], **_: Any) -> None:
        if data["signs_in_only"] and (data["expires_in"] or 0) > SIGN_IN_MAX_MS:
            raise ValidationError("A link that only signs in works for 1m to 1h.", "expires_in")

    @post_load
    def _with_default(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        default = SIGN_IN_MS if data["signs_in_only"] else INVITATION_MS
        return {**data, "expires_in": data["expires_in"] or default}


class InvitedAnswer(Strict):
    """An invitation. The link is shown only in this answer."""

    person = fields.Nested(PersonSummary, required=True)
    link = fields.String(
        required=True, metadata={"description": "for this person alone; it works once"}
    )
    secret = fields.String(
        required=True, metadata={"description": "what is after the `#` of the link"}
    )
    expires_at = Instant(attribute="expires_ms", required=True)
