"""JSON schemas of scheduled changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError, fields, post_load, validate, validates_schema

from tidegate_server.admin.audit.schemas import ChangedDocumentSchema
from tidegate_server.admin.change_requests.schemas import (
    ClosingSchema,
    ConflictSchema,
    OperationFields,
    PlaceSchema,
    PlannedActionSchema,
    RequestApprovalSchema,
    loaded_operations,
    operations_field,
)
from tidegate_server.admin.scheduled_changes.service import NewSchedule
from tidegate_server.documents.fields import (
    BoundedList,
    BoundedString,
    Duration,
    Instant,
    StrictInteger,
)
from tidegate_server.documents.gate_schemas import TimeOfDay
from tidegate_server.documents.strict_schema import LARGE_BODY_LIMIT, DataclassSchema, Strict
from tidegate_server.domain.release_gates import EVERY_DAY, Day
from tidegate_server.domain.scheduled_changes import (
    DEFAULT_LATE_LIMIT_MS,
    MOST_LATE_LIMIT_MS,
    OnConflict,
    Recurrence,
    RunOutcome,
    ScheduleState,
)
from tidegate_server.web.document_schemas import StoredAnswer, page_schema
from tidegate_server.web.pagination import StatePageQuery, state_field
from tidegate_server.web.reasons import MAX_REASON


class RecurrenceSchema(DataclassSchema):
    """Which days, and when, on the wall clock of the time zone."""

    loads_into = Recurrence

    time = TimeOfDay(required=True)
    days = BoundedList(
        fields.Enum(Day, by_value=True),
        load_default=lambda: list(EVERY_DAY),
        min_items=1,
        max_items=7,
    )
    month_days = BoundedList(
        StrictInteger(validate=validate.Range(min=1, max=31)),
        load_default=list,
        max_items=31,
        metadata={"description": "only on these days of a month; without it, on all"},
    )

    @post_load
    def build(self, data: Mapping[str, Any], **kwargs: Any) -> Any:
        """Return the recurrence."""
        if data["time"] == 24 * 60:
            raise ValidationError({"time": ["Write 00:00, on the day that then begins."]})
        return super().build(data, **kwargs)


class ScheduledChangeBody(Strict):
    """A request to schedule a change: once (`at`), or again and again (`every`)."""

    body_limit = LARGE_BODY_LIMIT

    reason = BoundedString(MAX_REASON, min_length=1, required=True)
    operations = operations_field()
    timezone = BoundedString(
        100, min_length=1, load_default="UTC", metadata={"description": "IANA name"}
    )
    at = BoundedString(
        40,
        load_default=None,
        allow_none=True,
        metadata={
            "description": "when it runs once: `2026-05-01T09:00` on the wall clock of the time "
            "zone, or with an offset"
        },
    )
    every = fields.Nested(RecurrenceSchema, load_default=None, allow_none=True)
    until = BoundedString(
        40,
        load_default=None,
        allow_none=True,
        metadata={"description": "no run is due after this time"},
    )
    on_conflict = fields.Enum(
        OnConflict,
        by_value=True,
        load_default=OnConflict.FAIL,
        metadata={"description": "what a run does if what it changes was changed since"},
    )
    late_limit = Duration(
        load_default=DEFAULT_LATE_LIMIT_MS,
        validate=validate.Range(min=0, max=MOST_LATE_LIMIT_MS, error="This is at most 30d."),
        metadata={
            "description": "how late a run may be made after downtime; a later one is missed"
        },
    )

    @validates_schema(skip_on_field_errors=True)
    def check_times(self, data: Mapping[str, Any], **_: Any) -> None:
        """Refuse a schedule that says not when, or twice."""
        if (data["at"] is None) == (data["every"] is None):
            raise ValidationError({"at": ["Give either at or every."]})
        if data["until"] is not None and data["every"] is None:
            raise ValidationError({"until": ["Only what is repeated has an end; leave it out."]})

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """Return the schedule."""
        listed = loaded_operations(data)
        return NewSchedule(
            reason=data["reason"],
            operations=listed.operations,
            if_match=listed.if_match,
            timezone=data["timezone"],
            at=data["at"],
            every=data["every"],
            until=data["until"],
            on_conflict=data["on_conflict"],
            late_limit_ms=data["late_limit"],
        )


class RunSchema(Strict):
    """A run."""

    due_at = Instant(attribute="due_ms", required=True)
    at = Instant(attribute="at_ms", required=True)
    outcome = fields.Enum(RunOutcome, by_value=True, required=True)
    message = fields.String(required=True)


class ScheduledChangeSummary(StoredAnswer):
    """A scheduled change, as lists have it."""

    id = fields.String(required=True)
    state = fields.Enum(ScheduleState, by_value=True, required=True)
    reason = fields.String(required=True)
    owner = fields.String(attribute="owner.name", required=True)
    timezone = fields.String(required=True)
    every = fields.Nested(
        RecurrenceSchema,
        required=True,
        allow_none=True,
        metadata={"description": "null: it runs once"},
    )
    until = Instant(attribute="until_ms", required=True, allow_none=True)
    next_run_at = Instant(
        attribute="next_run_ms",
        required=True,
        allow_none=True,
        metadata={"description": "null: there is no run any more"},
    )
    held_until = Instant(
        attribute="held_until_ms",
        required=True,
        allow_none=True,
        metadata={"description": "until when a freeze holds the next run; null: it does not"},
    )
    held_because = fields.String(required=True)
    created_at = Instant(attribute="created_ms", required=True)
    actions = fields.List(
        fields.Nested(PlannedActionSchema), attribute="plan.actions", required=True
    )
    last_run = fields.Nested(
        RunSchema,
        required=True,
        allow_none=True,
        metadata={"description": "null: none was due yet"},
    )


class ScheduledChangeAnswer(ScheduledChangeSummary):
    """A scheduled change."""

    next_runs = fields.List(Instant(), required=True, metadata={"description": "at most five"})
    on_conflict = fields.Enum(OnConflict, by_value=True, required=True)
    late_limit = Duration(attribute="late_limit_ms", required=True)
    approvals = fields.List(
        fields.Nested(RequestApprovalSchema), attribute="approvers", required=True
    )
    places = fields.List(
        fields.Nested(PlaceSchema),
        attribute="plan.places",
        required=True,
        metadata={"description": "the protected environments that it concerns"},
    )
    operations = fields.List(
        fields.Nested(OperationFields),
        required=True,
        metadata={"description": "without their bodies for who can neither write nor approve here"},
    )
    changes = fields.List(
        fields.Nested(ChangedDocumentSchema),
        attribute="plan.changes",
        required=True,
        metadata={"description": "what it would have changed when it was scheduled"},
    )
    conflicts = fields.List(
        fields.Nested(ConflictSchema),
        required=True,
        metadata={"description": "what was changed since"},
    )
    runs = fields.List(
        fields.Nested(RunSchema), required=True, metadata={"description": "the last 50"}
    )
    cancelled = fields.Nested(ClosingSchema, required=True, allow_none=True)


ScheduledChangePage = page_schema("ScheduledChangePage", ScheduledChangeSummary)


class ScheduleListQuery(StatePageQuery):
    """The query of the list of scheduled changes."""

    state = state_field(ScheduleState)
