"""Webhooks as JSON; a signing secret goes out once, in the answer that made it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from marshmallow import fields, post_load, validate

from tidegate_server.api.schemas.stored import Page, StoredAnswer, key_of_address
from tidegate_server.documents.fields import Duration, Instant, Key, Text, Truth
from tidegate_server.documents.strict import Strict
from tidegate_server.domain.policy import SECOND
from tidegate_server.domain.webhooks import LONGEST_URL, Format


@dataclass(frozen=True, slots=True)
class WebhookRequest:
    """A webhook that someone wants; its secret is the server's business."""

    key: str
    url: str
    format: Format
    enabled: bool
    timeout_ms: int
    name: str
    description: str


class WebhookFields(Strict):
    """What people say of a webhook."""

    key = Key(required=True)
    url = fields.String(
        required=True,
        validate=validate.Length(min=1, max=LONGEST_URL),
        metadata={
            "description": "http:// or https://; its path may be a credential, so a reader's "
            "answer has the host alone"
        },
    )
    format = fields.Enum(
        Format,
        by_value=True,
        load_default=Format.JSON,
        metadata={"description": "json: signed events; slack: a text for an incoming webhook"},
    )
    enabled = Truth(
        load_default=True,
        metadata={"description": "whether it is told; one that is asked while it is not refuses"},
    )
    timeout = Duration(
        attribute="timeout_ms",
        load_default=5 * SECOND,
        metadata={"default": "5s", "description": "how long a request may take altogether"},
    )
    name = Text(200, load_default="")
    description = Text(4_000, load_default="")


class WebhookBody(WebhookFields):
    """A webhook to be."""

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """What is asked for."""
        return WebhookRequest(**data)


class WebhookUpdate(WebhookBody):
    """A webhook as it shall be; its secret stays."""

    key = key_of_address()


class WebhookAnswer(WebhookFields, StoredAnswer):
    """A webhook without its secret."""

    old_secret_until = Instant(
        attribute="retires_ms",
        required=True,
        allow_none=True,
        metadata={"description": "until when the secret before a rotation signs along"},
    )

    def get_attribute(self, obj: Any, attr: str, default: Any) -> Any:
        """Say when the old secret ends only where there is one."""
        if attr == "retires_ms" and obj.document.retiring_id is None:
            return None
        return super().get_attribute(obj, attr, default)


class NewWebhookAnswer(WebhookAnswer):
    """A webhook with its secret, which is not shown again."""

    secret = fields.String(
        required=True,
        dump_only=True,
        metadata={"description": "what requests are signed with; shown once"},
    )

    def get_attribute(self, obj: Any, attr: str, default: Any) -> Any:
        """Look in the stored webhook for all but the secret."""
        if attr == "secret":
            return obj.secret
        return super().get_attribute(obj.stored, attr, default)


class WebhookPage(Page):
    """A page of webhooks."""

    items = fields.List(fields.Nested(WebhookAnswer), required=True)
