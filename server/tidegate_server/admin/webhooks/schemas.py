"""Webhooks as JSON; a signing secret goes out once, in the answer that made it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import fields, post_load, validate

from tidegate_server.documents.fields import (
    BoundedString,
    Duration,
    Instant,
    Key,
    StrictBoolean,
    StrictInteger,
)
from tidegate_server.documents.strict_schema import Strict
from tidegate_server.domain.policy import SECOND
from tidegate_server.domain.webhooks import Format, Webhook
from tidegate_server.store.outbox import DeliveryState
from tidegate_server.urls import LONGEST_URL
from tidegate_server.web.document_schemas import Page, StoredAnswer, path_key


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
    enabled = StrictBoolean(
        load_default=True,
        metadata={"description": "whether it is told; one that is asked while it is not refuses"},
    )
    timeout = Duration(
        attribute="timeout_ms",
        load_default=5 * SECOND,
        metadata={"default": "5s", "description": "how long a request may take altogether"},
    )
    name = BoundedString(200, load_default="")
    description = BoundedString(4_000, load_default="")


class WebhookBody(WebhookFields):
    """A webhook to be."""

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """Return the webhook, without a signing secret."""
        return Webhook(**data, secret_id="")


class WebhookUpdate(WebhookBody):
    """A webhook as it shall be; its secret stays."""

    key = path_key()


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


class AttemptSchema(Strict):
    """The last request with a message."""

    at = Instant(attribute="at_ms", required=True)
    took_ms = StrictInteger(required=True)
    status = StrictInteger(
        required=True, allow_none=True, metadata={"description": "null: there was no answer"}
    )
    problem = fields.String(required=True, metadata={"description": "empty when it was delivered"})


class DeliveryAnswer(Strict):
    """A message for a webhook, and what became of it."""

    id = fields.String(
        required=True, metadata={"description": "the header Tidegate-Delivery, the same each time"}
    )
    event = fields.String(attribute="record.notice.event", required=True)
    environment = fields.String(attribute="record.notice.environment", required=True)
    release = fields.String(
        attribute="record.notice.release.id", required=True, allow_none=True, dump_default=None
    )
    flag = fields.String(
        attribute="record.notice.release.flag", required=True, allow_none=True, dump_default=None
    )
    state = fields.Enum(DeliveryState, by_value=True, attribute="record.state", required=True)
    queued_at = Instant(attribute="record.queued_ms", required=True)
    attempts = StrictInteger(attribute="record.attempts", required=True)
    next_attempt_at = Instant(
        attribute="due_ms", required=True, allow_none=True,
        metadata={"description": "null once it is settled"},
    )  # fmt: skip
    last_attempt = fields.Nested(
        AttemptSchema, attribute="record.last", required=True, allow_none=True
    )


class DeliveryPage(Page):
    """A page of a webhook's messages, the latest first."""

    items = fields.List(fields.Nested(DeliveryAnswer), required=True)


class WebhookPage(Page):
    """A page of webhooks."""

    items = fields.List(fields.Nested(WebhookAnswer), required=True)
