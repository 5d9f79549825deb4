"""JSON schemas of identity providers."""

from __future__ import annotations

from typing import Any

from flask import request
from marshmallow import fields, post_load

from tidegate_server.admin.people.schemas import grants_field
from tidegate_server.documents.fields import (
    BoundedList,
    BoundedString,
    Key,
    Length,
    StrictBoolean,
    StrictInteger,
)
from tidegate_server.documents.strict_schema import DataclassSchema, Strict
from tidegate_server.domain.identity_provider_edits import MAX_DOMAINS, MAX_MAPPINGS
from tidegate_server.domain.identity_providers import (
    DEFAULT_SCOPES,
    GroupMapping,
    IdentityProvider,
)
from tidegate_server.domain.people_edits import MAX_GROUPS
from tidegate_server.urls import MAX_URL_LENGTH
from tidegate_server.web.document_schemas import StoredAnswer, page_schema, path_key

MAX_SECRET = 4_000


def callback_path(key: str) -> str:
    """Return the path to which a provider sends people back."""
    return f"/sign-in/with/{key}/callback"


def sign_out_path(key: str) -> str:
    """Return the path to which a provider says that somebody has signed out there."""
    return f"/api/v1/sign-in/with/{key}/sign-out"


class GroupMappingSchema(DataclassSchema):
    """What the members of one group of a provider get."""

    loads_into = GroupMapping

    provider_group = BoundedString(
        300, min_length=1, required=True,
        metadata={"description": "as the provider names it in the groups claim"},
    )  # fmt: skip
    groups = BoundedList(
        Key(), load_default=list, max_items=MAX_GROUPS,
        metadata={"description": "groups of this server whose members they are"},
    )  # fmt: skip
    grants = grants_field()


class IdentityProviderFields(Strict):
    """The fields of an identity provider that admins set."""

    key = Key(required=True)
    name = BoundedString(
        60, load_default="", metadata={"description": "on the button of the sign-in page"}
    )
    issuer = fields.String(
        required=True,
        validate=Length(min=1, max=MAX_URL_LENGTH),
        metadata={"description": "https://, exactly as the provider writes it"},
    )
    client_id = BoundedString(500, min_length=1, required=True)
    enabled = StrictBoolean(
        load_default=True,
        metadata={
            "description": "false: nobody signs in with it, its sessions have ended, and its "
            "groups give nothing"
        },
    )
    scopes = BoundedList(
        BoundedString(200, min_length=1), load_default=lambda: list(DEFAULT_SCOPES), max_items=20
    )
    groups_claim = BoundedString(
        300, load_default="groups",
        metadata={"description": "a name, or a path with dots; empty: none"},
    )  # fmt: skip
    group_mappings = BoundedList(
        fields.Nested(GroupMappingSchema), load_default=list, max_items=MAX_MAPPINGS
    )
    create_people = StrictBoolean(
        load_default=False,
        metadata={"description": "create people when they sign in for the first time"},
    )
    email_domains = BoundedList(
        BoundedString(253, min_length=1), load_default=list, max_items=MAX_DOMAINS,
        metadata={
            "description": "people with an email there are created, or known by their email at "
            "their first sign-in; empty: nobody is"
        },
    )  # fmt: skip
    require_verified_email = StrictBoolean(
        load_default=True,
        metadata={
            "description": "create people only if the provider says `email_verified`; who is here "
            "already is never known by an email without it"
        },
    )


class IdentityProviderBody(IdentityProviderFields, DataclassSchema):
    """A request to create an identity provider. It has no secret yet."""

    loads_into = IdentityProvider

    @post_load
    def build(self, data: Any, **_: Any) -> Any:
        """Return the provider, without repetitions in its lists."""
        for name in ("scopes", "email_domains"):
            data[name] = tuple(dict.fromkeys(data[name]))
        data["group_mappings"] = tuple(data["group_mappings"])
        return IdentityProvider(**data)


class IdentityProviderUpdate(IdentityProviderBody):
    """A request to replace an identity provider; it keeps its secret."""

    key = path_key()


class IdentityProviderAnswer(IdentityProviderFields, StoredAnswer):
    """An identity provider, with the addresses that it has to know of this server."""

    has_client_secret = fields.Boolean(required=True, dump_only=True)
    redirect_uri = fields.String(
        required=True, dump_only=True,
        metadata={"description": "where the provider sends people back; register it there"},
    )  # fmt: skip
    post_logout_redirect_uri = fields.String(
        required=True, dump_only=True,
        metadata={"description": "where it sends them after they signed out there, too"},
    )  # fmt: skip
    backchannel_logout_uri = fields.String(
        required=True, dump_only=True,
        metadata={"description": "where it says that somebody signed out"},
    )  # fmt: skip

    def get_attribute(self, obj: Any, attr: str, default: Any) -> Any:
        """Return what follows from the document and from this server's address."""
        provider: IdentityProvider = obj.document
        server = request.host_url.rstrip("/")
        if attr == "has_client_secret":
            return bool(provider.sealed_client_secret)
        if attr == "redirect_uri":
            return server + callback_path(provider.key)
        if attr == "post_logout_redirect_uri":
            return f"{server}/sign-in"
        if attr == "backchannel_logout_uri":
            return server + sign_out_path(provider.key)
        return super().get_attribute(obj, attr, default)


IdentityProviderPage = page_schema("IdentityProviderPage", IdentityProviderAnswer)


class ProviderTestAnswer(Strict):
    """What a provider answered when it was asked for what it publishes."""

    works = fields.Boolean(required=True)
    problem = fields.String(required=True, metadata={"description": "empty: there is none"})
    authorization_endpoint = fields.String(
        required=True, metadata={"description": "where people sign in; empty: unknown"}
    )
    keys = StrictInteger(required=True, metadata={"description": "how many keys it signs with"})
    signs_out = fields.Boolean(
        required=True, metadata={"description": "whether people can sign out there, too"}
    )


class ClientSecretBody(Strict):
    """A request to keep the secret that a provider gave."""

    client_secret = fields.String(
        required=True,
        validate=Length(min=1, max=MAX_SECRET),
        metadata={"description": "kept encrypted; no answer shows it"},
    )
