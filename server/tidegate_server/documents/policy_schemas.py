"""Policies in JSON or YAML."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError, fields, post_load, validate

from tidegate_server.documents.check_schemas import CheckSchema
from tidegate_server.documents.fields import (
    BoundedList,
    BoundedString,
    Duration,
    Key,
    Name,
    Number,
    Percent,
    StrictBoolean,
    StrictInteger,
)
from tidegate_server.documents.gate_schemas import (
    ApprovalSchema,
    ConfirmationSchema,
    NotificationSchema,
    RollbackSchema,
    WindowsSchema,
)
from tidegate_server.documents.strict_schema import DataclassSchema, Strict
from tidegate_server.domain.check_validation import MAX_CHECKS
from tidegate_server.domain.error_rate import with_error_rate_check
from tidegate_server.domain.gate_validation import MAX_WEBHOOKS
from tidegate_server.domain.policy import (
    HOUR,
    MINUTE,
    SECOND,
    ErrorRate,
    NoData,
    NoDataAction,
    Policy,
    Stage,
    Undecided,
)
from tidegate_server.domain.policy_validation import (
    HARM_BUDGET_RANGE,
    MAX_HARM_BUDGET,
    MAX_SAMPLES,
    MIN_HARM_BUDGET,
    with_stage_names,
)
from tidegate_server.domain.release_gates import Rollback, Windows

MAX_STAGES = 100


class StageSchema(DataclassSchema):
    """Who gets the treatment at this point, and what is needed before the next stage."""

    loads_into = Stage

    name = Name(metadata={"description": "`stage-N` when left out"})
    segments = BoundedList(
        Key(),
        load_default=list,
        max_items=100,
        metadata={"description": "open to contexts in any of these; without it, to everyone"},
    )
    percentage = Percent(
        metadata={"description": "the share of them; 100 when only segments are given"}
    )
    min_duration = Duration(
        attribute="min_duration_ms", load_default=15 * MINUTE, metadata={"default": "15m"}
    )
    min_samples = StrictInteger(
        load_default=500,
        validate=validate.Range(min=0, max=MAX_SAMPLES),
        metadata={"description": "outcomes in each arm"},
    )
    max_duration = Duration(
        attribute="max_duration_ms",
        load_default=None,
        allow_none=True,
        metadata={
            "description": "the time in which the evidence should decide; then `undecided` applies"
        },
    )
    undecided = fields.Enum(
        Undecided,
        by_value=True,
        load_default=Undecided.HOLD,
        metadata={
            "description": "what to do when the evidence has not decided within `max_duration`: "
            "`hold` until a person acts, `advance` on time, or `rollback`"
        },
    )
    approval = fields.Nested(ApprovalSchema, load_default=None, allow_none=True)

    @post_load
    def build(self, data: Mapping[str, Any], **kwargs: Any) -> Any:
        """Return the stage. ``PolicyBody`` names stages without a name."""
        if "percentage" not in data and not data["segments"]:
            raise ValidationError({"percentage": ["Give the percentage to open."]})
        return super().build({"name": "", "percentage": 100.0, **data}, **kwargs)


class NoDataSchema(DataclassSchema):
    """What happens after how long without data."""

    loads_into = NoData

    after = Duration(attribute="after_ms", load_default=10 * MINUTE, metadata={"default": "10m"})
    action = fields.Enum(NoDataAction, by_value=True, load_default=NoDataAction.HOLD)


class PolicyFields(Strict):
    """The fields of a policy."""

    key = Key(required=True)
    name = BoundedString(200, load_default="")
    description = BoundedString(4_000, load_default="")
    interval = Duration(
        attribute="interval_ms",
        load_default=30 * SECOND,
        metadata={"default": "30s", "description": "time between evaluations"},
    )
    stages = BoundedList(
        fields.Nested(StageSchema),
        required=True,
        min_items=1,
        max_items=MAX_STAGES,
        metadata={"description": "each opens at least what the one before it opened"},
    )
    checks = BoundedList(
        fields.Nested(CheckSchema),
        load_default=list,
        max_items=MAX_CHECKS,
        metadata={"description": "an `error_rate` check against control is added if there is none"},
    )
    error_rate = fields.Enum(
        ErrorRate,
        by_value=True,
        load_default=ErrorRate.ON,
        metadata={"description": "`off` leaves the `error_rate` check against control out"},
    )
    harm_budget = Number(
        load_default=0.002,
        validate=validate.Range(
            min=MIN_HARM_BUDGET,
            max=MAX_HARM_BUDGET,
            error=HARM_BUDGET_RANGE,
        ),
        metadata={
            "description": "the excess errors that an advance may risk at the next stage, as a "
            "share of all traffic"
        },
    )
    no_data = fields.Nested(NoDataSchema, load_default=NoData)
    bake = Duration(
        attribute="bake_ms",
        load_default=HOUR,
        metadata={"default": "1h", "description": "how long the last stage must stay healthy"},
    )
    holdback = Percent(
        load_default=0.0,
        metadata={"description": "percent of everyone kept on control while the last stage bakes"},
    )
    windows = fields.Nested(WindowsSchema, load_default=Windows)
    rollback = fields.Nested(RollbackSchema, load_default=Rollback)
    notify = BoundedList(
        fields.Nested(NotificationSchema), load_default=list, max_items=MAX_WEBHOOKS
    )
    confirm = BoundedList(
        fields.Nested(ConfirmationSchema), load_default=list, max_items=MAX_WEBHOOKS
    )
    local_breaker = StrictBoolean(
        load_default=False,
        metadata={
            "description": "whether an instance that cannot reach the server may close the "
            "release for itself, if the treatment fails there far more than control"
        },
    )


class PolicyBody(PolicyFields, DataclassSchema):
    """A policy, in JSON or YAML."""

    loads_into = Policy
    allow_yaml = True

    @post_load
    def build(self, data: Mapping[str, Any], **kwargs: Any) -> Any:
        """Return the policy with the names of its stages and its check of the error rate."""
        return with_error_rate_check(with_stage_names(super().build(data, **kwargs)))
