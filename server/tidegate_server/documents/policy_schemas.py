"""Policies as people write them, in JSON or YAML."""

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
from tidegate_server.documents.strict_schema import Strict
from tidegate_server.domain.checks import Check
from tidegate_server.domain.policy import HOUR, MINUTE, SECOND, NoData, NoDataAction, Policy, Stage
from tidegate_server.domain.policy_validation import with_stage_names
from tidegate_server.domain.release_gates import Rollback, Windows

MOST_STAGES = 100
MOST_CHECKS = 20
MOST_WEBHOOKS = 20


class StageSchema(Strict):
    """Who is opened, and what must be seen before the next stage."""

    name = Name(metadata={"description": "`stage-N` when left out"})
    segments = BoundedList(
        Key(),
        load_default=list,
        max_items=100,
        metadata={"description": "open to contexts in any of these; without it, to everyone"},
    )
    percentage = Percent(metadata={"description": "share of them; 100 when segments are given"})
    min_duration = Duration(
        attribute="min_duration_ms", load_default=15 * MINUTE, metadata={"default": "15m"}
    )
    min_samples = StrictInteger(
        load_default=500,
        validate=validate.Range(min=0, max=1_000_000_000),
        metadata={"description": "outcomes in each arm"},
    )
    max_duration = Duration(
        attribute="max_duration_ms",
        load_default=None,
        allow_none=True,
        metadata={"description": "after this time the stage is a person's business"},
    )
    approval = fields.Nested(ApprovalSchema, load_default=None, allow_none=True)

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """The stage; a nameless one is named by its policy."""
        if "percentage" not in data and not data["segments"]:
            raise ValidationError({"percentage": ["Give the percentage that is opened."]})
        return Stage(
            name=data.get("name", ""),
            percentage=data.get("percentage", 100.0),
            segments=tuple(data["segments"]),
            min_duration_ms=data["min_duration_ms"],
            min_samples=data["min_samples"],
            max_duration_ms=data["max_duration_ms"],
            approval=data["approval"],
        )


class NoDataSchema(Strict):
    """After how long a silence what is done."""

    after = Duration(attribute="after_ms", load_default=10 * MINUTE, metadata={"default": "10m"})
    action = fields.Enum(NoDataAction, by_value=True, load_default=NoDataAction.HOLD)

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """What silence asks for."""
        return NoData(**data)


class PolicyFields(Strict):
    """What people say of a policy."""

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
        max_items=MOST_STAGES,
        metadata={"description": "each opens at least what the one before it opened"},
    )
    checks = BoundedList(
        fields.Nested(CheckSchema),
        load_default=lambda: [Check()],
        max_items=MOST_CHECKS,
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
        fields.Nested(NotificationSchema), load_default=list, max_items=MOST_WEBHOOKS
    )
    confirm = BoundedList(
        fields.Nested(ConfirmationSchema), load_default=list, max_items=MOST_WEBHOOKS
    )
    local_breaker = StrictBoolean(
        load_default=False,
        metadata={
            "description": "an instance that cannot reach the server may close the release for "
            "itself when the treatment fails there far beyond control"
        },
    )


class PolicyBody(PolicyFields):
    """A policy to be; YAML is welcome too."""

    allow_yaml = True

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """The policy, its nameless stages named by their numbers."""
        policy = Policy(
            key=data["key"],
            stages=tuple(data["stages"]),
            checks=tuple(data["checks"]),
            no_data=data["no_data"],
            interval_ms=data["interval_ms"],
            bake_ms=data["bake_ms"],
            holdback=data["holdback"],
            windows=data["windows"],
            rollback=data["rollback"],
            notify=tuple(data["notify"]),
            confirm=tuple(data["confirm"]),
            local_breaker=data["local_breaker"],
            name=data["name"],
            description=data["description"],
        )
        return with_stage_names(policy)
