"""Backtests as JSON: which policy on which release, and what it would have done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from marshmallow import fields, post_load, validate

from tidegate_server.admin.policies.simulation_schemas import a_policy, a_policy_key, policy_asked
from tidegate_server.decisions.decision import Action
from tidegate_server.documents.fields import (
    Instant,
    Key,
    Name,
    Number,
    Percent,
    StrictBoolean,
    StrictInteger,
)
from tidegate_server.documents.strict_schema import Strict
from tidegate_server.domain.policy import Policy
from tidegate_server.domain.release import State

MOST_RUNS = 200


@dataclass(frozen=True, slots=True)
class BacktestRequest:
    """A backtest that someone wants: of a policy itself, or of the one with this key."""

    policy: Policy | str
    environment: str
    release: str
    runs: int
    seed: int


class BacktestBody(Strict):
    """A policy, and the release on whose record it is to be tried."""

    policy = a_policy()
    policy_key = a_policy_key()
    environment = Key(required=True)
    release = Name(required=True, metadata={"description": "the release's id"})
    runs = StrictInteger(
        load_default=50,
        validate=validate.Range(min=1, max=MOST_RUNS),
        metadata={"description": "how often what has to be drawn is drawn"},
    )
    seed = StrictInteger(load_default=1, metadata={"description": "another seed, other luck"})

    @post_load
    def build(self, data: dict[str, Any], **_: Any) -> Any:
        """What is asked for."""
        return BacktestRequest(policy_asked(data), **data)


class RangeSchema(Strict):
    """A number over many runs."""

    median = Number(required=True)
    low = Number(required=True, metadata={"description": "with `high`, nine of ten runs"})
    high = Number(required=True)


class ReachedSchema(Strict):
    """A stage, and who got there when."""

    name = fields.String(required=True)
    percentage = Percent(required=True)
    runs = Number(required=True, metadata={"description": "the share of the runs that got there"})
    after_ms = fields.Nested(
        RangeSchema,
        required=True,
        allow_none=True,
        metadata={"description": "milliseconds after the record's beginning"},
    )


class EndSchema(Strict):
    """Where a release is when the record ends, in a share of the runs."""

    state = fields.Enum(State, by_value=True, required=True)
    runs = Number(required=True)


class StepSchema(Strict):
    """A decision that moves the release."""

    at = Instant(attribute="at_ms", required=True)
    action = fields.Enum(Action, by_value=True, required=True)
    stage = StrictInteger(required=True)
    reason = fields.String(required=True)


class WasSchema(Strict):
    """What happened."""

    state = fields.Enum(State, by_value=True, required=True, attribute="was_state")
    stages = fields.List(fields.Nested(ReachedSchema), required=True, attribute="was_stages")
    exposed = StrictInteger(required=True, attribute="was.exposed")
    errors = StrictInteger(required=True, attribute="was.errors")
    hurt = StrictInteger(required=True, attribute="was.hurt")


class WouldSchema(Strict):
    """What the other policy would have done."""

    ends = fields.List(fields.Nested(EndSchema), required=True)
    stopped = Number(required=True, metadata={"description": "the share of the runs it stops"})
    stopped_ms = fields.Nested(RangeSchema, required=True, allow_none=True)
    stages = fields.List(fields.Nested(ReachedSchema), required=True)
    exposed = fields.Nested(
        RangeSchema, required=True, metadata={"description": "operations with the treatment"}
    )
    errors = fields.Nested(
        RangeSchema, required=True, metadata={"description": "of these, those that failed"}
    )
    hurt = fields.Nested(
        RangeSchema,
        required=True,
        metadata={"description": "users whose first failure was with the treatment"},
    )
    saved = fields.Nested(
        RangeSchema,
        required=True,
        metadata={"description": "failures fewer than happened; negative: so many more"},
    )
    example = fields.List(
        fields.Nested(StepSchema),
        required=True,
        metadata={"description": "every move of a run that ends as most do"},
    )


class BacktestAnswer(Strict):
    """What another policy would have done with a release, beside what happened."""

    policy = fields.String(required=True)
    release = fields.String(required=True)
    begins_at = Instant(attribute="begins_ms", required=True)
    ends_at = Instant(attribute="ends_ms", required=True)
    windows = StrictInteger(required=True)
    runs = StrictInteger(
        required=True, metadata={"description": "one when nothing had to be drawn"}
    )
    complete = StrictBoolean(required=True, metadata={"description": "all runs were made in time"})
    known = Number(
        required=True, metadata={"description": "the share of the counts that is recorded"}
    )
    was = fields.Nested(WasSchema, required=True)
    would = fields.Nested(WouldSchema, required=True)
    limits = fields.List(
        fields.String(),
        required=True,
        metadata={"description": "what was assumed, and what cannot be known"},
    )

    of_report = frozenset({"was", "would"})

    def get_attribute(self, obj: Any, attr: str, default: Any) -> Any:
        """Read everything from the report except what the backtest itself knows."""
        if attr in self.of_report:
            return obj.report
        if attr in ("release", "complete"):
            return getattr(obj, attr)
        return super().get_attribute(obj.report, attr, default)
