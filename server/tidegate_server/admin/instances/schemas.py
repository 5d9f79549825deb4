"""JSON schemas of SDK instances."""

from __future__ import annotations

from marshmallow import fields

from tidegate_server.documents.fields import Instant, StrictBoolean, StrictInteger
from tidegate_server.documents.strict_schema import Strict
from tidegate_server.web.document_schemas import page_schema


class InstanceAnswer(Strict):
    """An SDK instance, as of its last report."""

    id = fields.String(required=True)
    version = StrictInteger(
        required=True, metadata={"description": "the snapshot version that it uses"}
    )
    live = StrictBoolean(required=True, metadata={"description": "whether it still sends reports"})
    last_seen_at = Instant(attribute="seen_ms", required=True)
    sdk = fields.String(required=True)
    host = fields.String(required=True)
    pid = StrictInteger(required=True)
    samples = StrictBoolean(
        attribute="has_samples",
        required=True,
        metadata={
            "description": "whether its SDK names users of the sample, from which the split "
            "between the arms is checked"
        },
    )


InstancePage = page_schema("InstancePage", InstanceAnswer)
