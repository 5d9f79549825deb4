"""JSON schemas of SDK instances."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from marshmallow import fields, post_load

from tidegate_server.documents.fields import Instant, StrictBoolean, StrictInteger
from tidegate_server.documents.strict_schema import Strict
from tidegate_server.web.document_schemas import page_schema
from tidegate_server.web.pagination import PageQuery, PageRequest


class InstanceAnswer(Strict):
    """An SDK instance, as of its last report."""

    id = fields.String(required=True)
    version = StrictInteger(
        required=True, metadata={"description": "the snapshot version that it uses"}
    )
    live = StrictBoolean(required=True, metadata={"description": "whether it still sends reports"})
    behind_since = Instant(
        attribute="behind_since_ms",
        required=True,
        allow_none=True,
        metadata={
            "description": "when the version after its own was committed; null: it uses the "
            "present version, or that is not known"
        },
    )
    last_seen_at = Instant(attribute="seen_ms", required=True)
    started_at = Instant(
        attribute="started_ms",
        required=True,
        allow_none=True,
        metadata={"description": "null: its SDK does not say it"},
    )
    application = fields.String(
        required=True, metadata={"description": "what the application calls itself; may be empty"}
    )
    token = fields.String(
        required=True, metadata={"description": "the name of the token that it uses; may be empty"}
    )
    sdk = fields.String(
        required=True, metadata={"description": "the name and the version of its SDK"}
    )
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


@dataclass(frozen=True, slots=True)
class InstanceListRequest:
    """A request for a page of the instances that meet both conditions; None: any."""

    page: PageRequest
    live: bool | None
    behind: bool | None


class InstanceListQuery(PageQuery):
    """The query of the list of instances."""

    live = fields.Boolean(
        truthy={"true"},
        falsy={"false"},
        metadata={"description": "only instances that still report; false: only the others"},
    )
    behind = fields.Boolean(
        truthy={"true"},
        falsy={"false"},
        metadata={"description": "only instances that use an old version; false: only the others"},
    )

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """Return the request."""
        page = PageRequest(data["cursor"], data["limit"])
        return InstanceListRequest(page, data.get("live"), data.get("behind"))


InstancePage = page_schema(
    "InstancePage",
    InstanceAnswer,
    version=StrictInteger(
        required=True, metadata={"description": "the present version of the environment"}
    ),
    total=StrictInteger(
        required=True, metadata={"description": "how many instances all pages have together"}
    ),
)
