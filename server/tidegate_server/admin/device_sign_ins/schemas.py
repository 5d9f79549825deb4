"""JSON schemas of signing in on a device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from marshmallow import fields, post_load

from tidegate_server.admin.me.schemas import PersonalTokenLimits, of_people
from tidegate_server.documents.fields import BoundedString, Duration, Instant, StrictInteger
from tidegate_server.documents.strict_schema import Strict
from tidegate_server.domain.permissions import Permission


@dataclass(frozen=True, slots=True)
class NewDeviceSignIn:
    """What a program says that asks to be signed in: its machine, and the token that it wants."""

    host: str
    token_ms: int
    permissions: tuple[Permission, ...] | None


class DeviceSignInBody(PersonalTokenLimits):
    """A program's request to be signed in."""

    host = BoundedString(
        100, min_length=1, required=True, metadata={"description": "the name of its machine"}
    )

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """Return what the program says."""
        return NewDeviceSignIn(data["host"], data["expires_in"], of_people(data["permissions"]))


class StartedAnswer(Strict):
    """What a program needs to be signed in; the names are those of RFC 8628."""

    device_code = fields.String(
        required=True, metadata={"description": "the program's secret, to ask for the token with"}
    )
    user_code = fields.String(
        required=True, metadata={"description": "to show: a person compares it"}
    )
    verification_uri = fields.String(
        required=True, metadata={"description": "the page where a person types the code"}
    )
    verification_uri_complete = fields.String(
        required=True, metadata={"description": "the same page, with the code"}
    )
    expires_in = StrictInteger(
        required=True, metadata={"description": "seconds until the code expires"}
    )
    interval = StrictInteger(
        required=True, metadata={"description": "seconds to wait between two questions"}
    )


class DeviceCodeBody(Strict):
    """A program's question whether it is signed in."""

    device_code = BoundedString(200, min_length=1, required=True)


class DeviceSignInAnswer(Strict):
    """A program that waits to be signed in."""

    user_code = fields.String(required=True, attribute="code")
    host = fields.String(
        required=True, metadata={"description": "the machine's name, as the program says itself"}
    )
    address = fields.String(
        required=True, metadata={"description": "where the program's request came from"}
    )
    began_at = Instant(attribute="began_ms", required=True)
    expires_at = Instant(attribute="expires_ms", required=True)
    token_expires_in = Duration(
        attribute="token_ms",
        required=True,
        metadata={"description": "how long the token will work"},
    )
    permissions = fields.List(
        fields.Enum(Permission, by_value=True),
        required=True,
        allow_none=True,
        metadata={"description": "the most that the token may do; null: what you may do"},
    )
