"""JSON schemas of webhooks and their deliveries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from marshmallow import fields, post_load

from tidegate_server.documents.fields import (
    BoundedString,
    Duration,
    Instant,
    Key,
    Length,
    StrictBoolean,
    StrictInteger,
)
from tidegate_server.documents.strict_schema import Strict
from tidegate_server.domain.policy import SECOND
from tidegate_server.domain.webhooks import Format, Webhook
from tidegate_server.store.outbox import Delivery, DeliveryState
from tidegate_server.urls import MAX_URL_LENGTH
from tidegate_server.web.document_schemas import StoredAnswer, page_schema, path_key


class WebhookFields(Strict):
    """The fields of a webhook that people set."""

    key = Key(required=True)
    url = fields.String(
        required=True,
        validate=Length(min=1, max=MAX_URL_LENGTH),
        metadata={
            "description": "an http:// or https:// URL with a public address, or one in the "
            "networks that the operator allows; its path may be a credential, so readers "
            "see only the host. For mail: mailto: and addresses, separated by commas"
        },
    )
    format = fields.Enum(
        Format,
        by_value=True,
        load_default=Format.JSON,
        metadata={
            "description": "json: signed events; slack, teams, discord: messages for an incoming "
            "webhook of that chat; email: mail through the server's mail server"
        },
    )
    enabled = StrictBoolean(
        load_default=True,
        metadata={
            "description": "false: it gets no messages, and a confirmation counts as refused"
        },
    )
    timeout = Duration(
        attribute="timeout_ms",
        load_default=5 * SECOND,
        metadata={"default": "5s", "description": "the longest that one request may take"},
    )
    name = BoundedString(200, load_default="")
    description = BoundedString(4_000, load_default="")


class WebhookBody(WebhookFields):
    """A request to create a webhook."""

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """Return the webhook, without a signing secret."""
        return Webhook(**data, secret_id="")


class WebhookUpdate(WebhookBody):
    """A request to replace a webhook; it keeps its secret."""

    key = path_key()


class WebhookAnswer(WebhookFields, StoredAnswer):
    """A webhook without its secret."""

    old_secret_until = Instant(
        attribute="retires_ms",
        required=True,
        allow_none=True,
        metadata={
            "description": "until when requests are also signed with the secret before a rotation"
        },
    )

    def get_attribute(self, obj: Any, attr: str, default: Any) -> Any:
        """Return None as the end of the old secret if there is none."""
        if attr == "retires_ms" and obj.document.retiring_id is None:
            return None
        return super().get_attribute(obj, attr, default)


class NewWebhookAnswer(WebhookAnswer):
    """A webhook with its signing secret."""

    secret = fields.String(
        required=True,
        dump_only=True,
        metadata={"description": "the key of the signatures of requests; shown only once"},
    )


class AttemptSchema(Strict):
    """The last request that sent a message."""

    at = Instant(attribute="at_ms", required=True)
    took_ms = StrictInteger(
        required=True,
        metadata={"description": "without a response, the webhook's timeout or 0"},
    )
    status = StrictInteger(
        required=True,
        allow_none=True,
        metadata={"description": "the HTTP or SMTP status; null: there was no response"},
    )
    problem = fields.String(
        required=True, metadata={"description": "why it was not delivered; empty if it was"}
    )


class DeliveryAnswer(Strict):
    """A message for a webhook, and whether it was delivered."""

    id = fields.String(
        required=True,
        metadata={
            "description": "the value of the header Tidegate-Delivery, the same in every attempt"
        },
    )
    event = fields.String(attribute="record.notice.event", required=True)
    environment = fields.String(attribute="record.notice.environment", required=True)
    release = fields.String(
        attribute="record.notice.release.id", required=True, allow_none=True, dump_default=None
    )
    flag = fields.String(
        attribute="record.notice.about", required=True, allow_none=True, dump_default=None
    )
    state = fields.Enum(DeliveryState, by_value=True, attribute="record.state", required=True)
    queued_at = Instant(attribute="record.queued_ms", required=True)
    attempts = StrictInteger(attribute="record.attempts", required=True)
    next_attempt_at = Instant(
        attribute="due_ms", required=True, allow_none=True,
        metadata={"description": "null after the last attempt"},
    )  # fmt: skip
    last_attempt = fields.Nested(
        AttemptSchema, attribute="record.last", required=True, allow_none=True
    )


@dataclass(frozen=True, slots=True)
class DeliveryToShow(Delivery):
    """A message for a webhook, with what it says."""

    body: str


class DeliveryWithBody(DeliveryAnswer):
    """A message for a webhook, with what it says."""

    body = fields.String(
        required=True,
        metadata={
            "description": "what is sent, in the webhook's present format; of mail, the text"
        },
    )


DeliveryPage = page_schema("DeliveryPage", DeliveryAnswer)


WebhookPage = page_schema("WebhookPage", WebhookAnswer)
