"""JSON schemas of shares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from marshmallow import ValidationError, fields, validates_schema

from tidegate_server.documents.fields import (
    BoundedString,
    Duration,
    Instant,
    Key,
    Name,
)
from tidegate_server.documents.strict_schema import DataclassSchema, Strict
from tidegate_server.domain.policy import HOUR
from tidegate_server.domain.shares import LONGEST_MS, ShareKind
from tidegate_server.web.document_schemas import StoredAnswer, page_schema
from tidegate_server.web.reasons import MAX_REASON


@dataclass(frozen=True, slots=True)
class ShareRequest:
    """What to share, and for how long; ``lasts_ms`` None: until it is revoked."""

    kind: ShareKind
    release: str
    flag: str
    lasts_ms: int | None
    reason: str


class ShareBody(DataclassSchema):
    """A request for a link."""

    loads_into = ShareRequest

    kind = fields.Enum(ShareKind, by_value=True, required=True)
    release = Name(load_default="", metadata={"description": "the id of the release to show"})
    flag = Key(load_default="", metadata={"description": "the flag whose state a badge shows"})
    lasts = Duration(
        data_key="lasts",
        attribute="lasts_ms",
        load_default=7 * 24 * HOUR,
        allow_none=True,
        metadata={
            "default": "7d",
            "description": "how long the link works, at most 90d; null, for a badge: until it is "
            "revoked",
        },
    )
    reason = BoundedString(MAX_REASON, load_default="")

    @validates_schema
    def check(self, data: Mapping[str, Any], **_: Any) -> None:
        """Check that there is one thing to show, and that a report does not stay for ever."""
        if bool(data["release"]) == bool(data["flag"]):
            raise ValidationError("Name a release or a flag, and not both.", "release")
        if data["kind"] is ShareKind.REPORT and not data["release"]:
            raise ValidationError("A report is of a release; name it.", "release")
        if data["lasts_ms"] is None and data["kind"] is ShareKind.REPORT:
            raise ValidationError("A report expires; give at most 90d.", "lasts")
        if data["lasts_ms"] is not None and not 0 < data["lasts_ms"] <= LONGEST_MS:
            raise ValidationError("A link works for at most 90d.", "lasts")


class ShareAnswer(StoredAnswer):
    """A link, without its secret."""

    id = fields.String(required=True)
    kind = fields.Enum(ShareKind, by_value=True, required=True)
    environment = fields.String(required=True)
    release = fields.String(required=True, metadata={"description": "empty: a flag"})
    flag = fields.String(required=True)
    created_by = fields.String(required=True)
    created_at = Instant(attribute="created_ms", required=True)
    expires_at = Instant(
        attribute="expires_ms",
        required=True,
        allow_none=True,
        metadata={"description": "null: when it is revoked"},
    )


class NewShareAnswer(ShareAnswer):
    """A link that was just made."""

    link = fields.String(
        attribute="secret",
        required=True,
        dump_only=True,
        metadata={"description": "the address to give away; shown only once"},
    )


class OpenBody(Strict):
    """What a link presents."""

    secret = BoundedString(200, required=True, min_length=1)


class OpenedAnswer(Strict):
    """What a link shows, and the state for a badge."""

    kind = fields.Enum(ShareKind, by_value=True, required=True)
    environment = fields.String(required=True)
    release = fields.String(required=True)
    flag = fields.String(required=True)
    state = fields.String(
        required=True,
        metadata={"description": "of the release; of a flag `killed`, `on` or `off`"},
    )
    percentage = fields.Float(
        required=True,
        allow_none=True,
        metadata={"description": "what the release has open; null: nothing is opened"},
    )
    expires_at = Instant(attribute="expires_ms", required=True, allow_none=True)


SharePage = page_schema("SharePage", ShareAnswer)
