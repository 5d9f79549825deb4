"""SDK instances as JSON."""

from __future__ import annotations

from marshmallow import fields

from tidegate_server.documents.fields import Instant, StrictBoolean, StrictInteger
from tidegate_server.documents.strict_schema import Strict
from tidegate_server.web.document_schemas import Page


class InstanceAnswer(Strict):
    """A process that evaluates flags, as its last report told of it."""

    id = fields.String(required=True)
    version = StrictInteger(
        required=True, metadata={"description": "the snapshot version it serves"}
    )
    live = StrictBoolean(required=True, metadata={"description": "whether it still reports"})
    last_seen_at = Instant(attribute="seen_ms", required=True)
    sdk = fields.String(required=True)
    host = fields.String(required=True)
    pid = StrictInteger(required=True)


class InstancePage(Page):
    """A page of instances."""

    items = fields.List(fields.Nested(InstanceAnswer), required=True)
