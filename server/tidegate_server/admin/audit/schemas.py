"""JSON schemas of the audit log."""

from __future__ import annotations

from marshmallow import fields

from tidegate_server.documents.fields import AnyJson, Instant
from tidegate_server.documents.strict_schema import Strict
from tidegate_server.web.document_schemas import page_schema


class AuditEntryAnswer(Strict):
    """Who did what to what, when and why."""

    id = fields.String(required=True, metadata={"description": "its position in the log"})
    at = Instant(attribute="at_ms", required=True)
    actor = fields.String(required=True)
    action = fields.String(
        required=True, metadata={"description": "`noun.verb`, for example `flag.kill`"}
    )
    target = fields.String(required=True)
    environment = fields.String(required=True)
    reason = fields.String(required=True)
    details = AnyJson(required=True, metadata={"type": "object"})


AuditPage = page_schema("AuditPage", AuditEntryAnswer)
