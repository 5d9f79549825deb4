"""JSON schemas of hooks, of alerts and of what an alert did."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import INCLUDE, Schema, fields, post_load, validate

from tidegate_server.admin.hooks.alert_payloads import AlertStatus
from tidegate_server.documents.fields import BoundedList, BoundedString, Instant, Key, StrictBoolean
from tidegate_server.documents.strict_schema import LARGE_BODY_LIMIT, DataclassSchema, Strict
from tidegate_server.domain.hook_edits import MAX_FLAGS
from tidegate_server.domain.hooks import AlertKind, Hook, HookAction
from tidegate_server.web.document_schemas import StoredAnswer, page_schema


class HookFields(Strict):
    """The fields of a hook that people set."""

    name = BoundedString(
        100, min_length=1, required=True, metadata={"description": "its name in the audit log"}
    )
    kind = fields.Enum(
        AlertKind,
        by_value=True,
        required=True,
        metadata={"description": "the monitoring system that sends the alerts"},
    )
    action = fields.Enum(
        HookAction,
        by_value=True,
        required=True,
        metadata={"description": "what a firing alert does to the flags"},
    )
    environment = Key(required=True)
    flags = BoundedList(
        Key(),
        required=True,
        min_items=1,
        max_items=MAX_FLAGS,
        metadata={"description": "the flags that it acts on"},
    )
    enabled = StrictBoolean(
        load_default=True,
        metadata={"description": "false: an alert is read and answered, but changes nothing"},
    )
    description = BoundedString(4_000, load_default="")


class HookBody(HookFields, DataclassSchema):
    """A request to create or replace a hook."""

    loads_into = Hook

    @post_load
    def build(self, data: Mapping[str, Any], **kwargs: Any) -> Any:
        """Return the hook, without an id and a secret."""
        unset = {"id": "", "digest": "", "created_by": "", "created_ms": 0}
        return super().build({**data, **unset}, **kwargs)


class HookAnswer(HookFields, StoredAnswer):
    """A hook without its secret."""

    id = fields.String(required=True, dump_only=True)
    path = fields.String(
        required=True, dump_only=True, metadata={"description": "the path to send alerts to"}
    )
    created_by = fields.String(required=True, dump_only=True)
    created_at = Instant(attribute="created_ms", required=True)

    def get_attribute(self, obj: Any, attr: str, default: Any) -> Any:
        """Return the path that belongs to the id."""
        if attr == "path":
            return f"/api/v1/hooks/{obj.document.id}"
        return super().get_attribute(obj, attr, default)


class NewHookAnswer(HookAnswer):
    """A hook with its secret."""

    secret = fields.String(
        required=True,
        dump_only=True,
        metadata={"description": "the bearer token or Basic password to send; shown only once"},
    )


HookPage = page_schema("HookPage", HookAnswer)


class AlertBody(Schema):
    """An alert in its sender's own format, which may have any other fields."""

    class Meta:
        """marshmallow's options."""

        unknown = INCLUDE

    body_limit = LARGE_BODY_LIMIT
    error_messages = {"type": "An alert is an object with named fields."}  # noqa: RUF012


class OutcomeSchema(Strict):
    """What an alert did to one flag."""

    flag = fields.String(required=True)
    done = StrictBoolean(
        required=True, metadata={"description": "whether this alert changed the flag"}
    )
    outcome = fields.String(required=True, metadata={"description": "what happened"})
    release = fields.String(required=True, allow_none=True)


class HeardAnswer(Strict):
    """How Tidegate read an alert, and what the alert did."""

    status = fields.String(
        required=True, validate=validate.OneOf([each.value for each in AlertStatus])
    )
    summary = fields.String(required=True)
    outcomes = fields.List(fields.Nested(OutcomeSchema), required=True)


class ReceivedAlertAnswer(HeardAnswer):
    """An alert that a hook received."""

    at = Instant(attribute="at_ms", required=True)


class ReceivedAlertsAnswer(Strict):
    """The last alerts of a hook."""

    items = fields.List(
        fields.Nested(ReceivedAlertAnswer),
        required=True,
        metadata={"description": "the last 50 of 30 days, the latest first"},
    )
