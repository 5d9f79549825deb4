"""JSON schemas of signing in."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from tidegate_server.documents.fields import BoundedList, BoundedString, Instant, Key, Length
from tidegate_server.documents.strict_schema import Strict
from tidegate_server.domain.passwords import LONGEST, SHORTEST
from tidegate_server.domain.permissions import Permission

MAX_PASSWORD = 4 * LONGEST
"""In characters; a longer text is not even compared."""


def password_field(description: str, **options: Any) -> fields.String:
    """Return the field of a password, which may have any character."""
    return fields.String(
        metadata={"description": description},
        validate=Length(min=1, max=MAX_PASSWORD),
        **options,
    )


NEW_PASSWORD = f"at least {SHORTEST} characters, none of the common ones"


class SignInBody(Strict):
    """A request to sign in with a password."""

    email = BoundedString(254, required=True)
    password = password_field("the person's password", required=True)
    code = BoundedString(
        20, load_default="", metadata={"description": "the one-time code of the authenticator app"}
    )
    recovery_code = BoundedString(
        50, load_default="", metadata={"description": "instead of `code`; each works once"}
    )


class AcceptBody(Strict):
    """A request to accept an invitation."""

    invitation = BoundedString(
        500, required=True, metadata={"description": "the link, or what is after its `#`"}
    )
    name = BoundedString(100, load_default="", metadata={"description": "what others see"})
    email = BoundedString(
        254,
        load_default="",
        metadata={"description": "of the first person; others have the one they were invited by"},
    )
    password = password_field(NEW_PASSWORD, required=True)
    code = BoundedString(
        20, load_default="", metadata={"description": "of the second factor, if you have one"}
    )
    recovery_code = BoundedString(50, load_default="")


class LinkBody(Strict):
    """A request to sign in with a link."""

    link = BoundedString(
        500, required=True, metadata={"description": "the link, or what is after its `#`"}
    )


class ProviderSummary(Strict):
    """An identity provider, as the sign-in page shows it."""

    key = fields.String(required=True)
    name = fields.String(required=True, attribute="title")


class MethodsAnswer(Strict):
    """How people sign in."""

    password = fields.Boolean(
        required=True, metadata={"description": "whether an email and a password are enough"}
    )
    providers = fields.List(fields.Nested(ProviderSummary), required=True)


class BeginBody(Strict):
    """A request to begin a sign-in with an identity provider."""

    body_optional = True

    next = BoundedString(
        1_000, load_default="/",
        metadata={"description": "a path of this server to go to afterwards"},
    )  # fmt: skip
    invitation = BoundedString(
        500,
        load_default="",
        metadata={"description": "an invitation to accept with it: the link, or what is after `#`"},
    )
    code = BoundedString(
        20, load_default="",
        metadata={"description": "with an invitation: of the second factor, if you have one"},
    )  # fmt: skip
    recovery_code = BoundedString(50, load_default="")


class BegunAnswer(Strict):
    """Where to send the browser, which has got a cookie to come back with."""

    url = fields.String(required=True)


class CallbackBody(Strict):
    """What a browser brought back from an identity provider: the query of the redirect."""

    state = BoundedString(500, required=True)
    code = BoundedString(4_000, load_default="")
    iss = BoundedString(2_000, load_default="")
    error = BoundedString(500, load_default="")


class GrantSchema(Strict):
    """What somebody may do in a place."""

    permissions = fields.List(fields.Enum(Permission, by_value=True), required=True)
    project = fields.String(required=True, allow_none=True)
    environment = fields.String(required=True, allow_none=True)
    role = fields.String(required=True)


class PersonSummary(Strict):
    """Who somebody is."""

    id = fields.String(required=True)
    email = fields.String(required=True)
    name = fields.String(required=True)
    groups = BoundedList(Key(), required=True, max_items=1_000)


class SessionAnswer(Strict):
    """A session: one browser in which a person is signed in."""

    id = fields.String(required=True)
    person = fields.String(required=True, metadata={"description": "the id of the person"})
    method = fields.String(
        required=True,
        metadata={"description": "how they signed in: password, invitation, identity_provider"},
    )
    provider = fields.String(
        required=True, metadata={"description": "the key of the identity provider; empty: none"}
    )
    address = fields.String(required=True, metadata={"description": "where they signed in from"})
    device = fields.String(
        required=True, metadata={"description": "the browser's description of itself"}
    )
    began_at = Instant(attribute="began_ms", required=True)
    last_seen_at = Instant(
        attribute="last_seen_ms", required=True, metadata={"description": "to about a minute"}
    )
    ends_at = Instant(
        attribute="ends_ms", required=True, metadata={"description": "unless it is used"}
    )
    expires_at = Instant(
        attribute="expires_ms", required=True, metadata={"description": "in any case"}
    )


class SignedInAnswer(Strict):
    """A person who has signed in; the cookie is in the header ``Set-Cookie``."""

    person = fields.Nested(PersonSummary, required=True)
    session = fields.Nested(SessionAnswer, required=True)
    csrf_token = fields.String(
        required=True, metadata={"description": "for the header `Tidegate-CSRF` of each change"}
    )


class CameBackAnswer(SignedInAnswer):
    """A person who has signed in with an identity provider."""

    next = fields.String(required=True, metadata={"description": "where they wanted to go"})


class SignOutThereSchema(Strict):
    """How the browser signs out at the identity provider, too: with a form."""

    name = fields.String(required=True, metadata={"description": "of the provider"})
    url = fields.String(required=True, metadata={"description": "where to send the form"})
    form = fields.Dict(
        keys=fields.String(),
        values=fields.String(),
        required=True,
        metadata={"description": "its fields"},
    )


class SignedOutAnswer(Strict):
    """The session has ended."""

    provider = fields.Nested(
        SignOutThereSchema,
        required=True,
        allow_none=True,
        metadata={"description": "null: there is nothing to sign out of elsewhere"},
    )
