"""JSON schemas of receipts of versions and of the kills in force."""

from __future__ import annotations

from marshmallow import fields

from tidegate_server.admin.targeting.schemas import KillSchema, ReceiptSchema
from tidegate_server.documents.fields import Instant, Number, StrictInteger
from tidegate_server.documents.strict_schema import Strict
from tidegate_server.web.document_schemas import page_schema


class WaitingInstanceSchema(Strict):
    """A live instance that has not applied a version."""

    id = fields.String(required=True)
    application = fields.String(required=True)
    host = fields.String(required=True)
    pid = StrictInteger(required=True)
    version = StrictInteger(required=True, metadata={"description": "the version that it uses"})
    last_seen_at = Instant(attribute="seen_ms", required=True)


class VersionReceiptAnswer(Strict):
    """How far a version of the environment has reached the SDK instances, and how fast."""

    version = StrictInteger(required=True)
    committed_at = Instant(attribute="at_ms", required=True)
    actor = fields.String(required=True, metadata={"description": "who made it, as in the audit"})
    action = fields.String(required=True, metadata={"description": "how, as in the audit"})
    live = StrictInteger(required=True, metadata={"description": "instances that report now"})
    applied = StrictInteger(
        required=True, metadata={"description": "of those, how many use it or a later version"}
    )
    waiting = fields.List(
        fields.Nested(WaitingInstanceSchema),
        required=True,
        metadata={"description": "the others, at most 100 of them, the longest silent first"},
    )
    confirmed = StrictInteger(
        required=True,
        metadata={
            "description": "how many instances, which ran when it was committed, have reported "
            "that they apply it; the times are theirs"
        },
    )
    median_ms = Number(required=True, allow_none=True)
    p95_ms = Number(
        required=True,
        allow_none=True,
        metadata={"description": "95 % of the instances took at most this long, to 5 %"},
    )
    slowest_ms = Number(required=True, allow_none=True)


class KilledFlagSchema(Strict):
    """A kill in force."""

    environment = fields.String(required=True)
    flag = fields.String(required=True)
    killed = fields.Nested(KillSchema, required=True)
    serves = fields.String(required=True, metadata={"description": "the variant for everyone"})
    receipt = fields.Nested(ReceiptSchema, required=True, allow_none=True)


KillPage = page_schema("KillPage", KilledFlagSchema)
