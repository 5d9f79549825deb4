"""JSON schemas of backtests: the request, and what the policy would have done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from marshmallow import fields, post_load, validate

from tidegate_server.admin.policies.simulation_schemas import (
    policy_field,
    policy_key_field,
    pop_policy,
)
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

MAX_RUNS = 200


@dataclass(frozen=True, slots=True)
class BacktestRequest:
    """What to backtest: a policy, or the one with this key, over a release's ledger."""

    policy: Policy | str
    environment: str
    release: str
    runs: int
    seed: int
    statistics: int | None


class BacktestBody(Strict):
    """A request to run a policy over a release's ledger."""

    policy = policy_field()
    policy_key = policy_key_field()
    environment = Key(required=True)
    release = Name(required=True, metadata={"description": "the release's id"})
    runs = StrictInteger(
        load_default=50,
        validate=validate.Range(min=1, max=MAX_RUNS),
        metadata={"description": "how many runs, if anything has to be drawn at random"},
    )
    seed = StrictInteger(
        load_default=1,
        metadata={"description": "the seed of the random numbers; the same seed repeats a run"},
    )
    statistics = StrictInteger(
        load_default=None,
        allow_none=True,
        validate=validate.OneOf((1, 2)),
        metadata={
            "description": "the version of the statistics that decides; default: the one that the "
            "release ran under"
        },
    )

    @post_load
    def build(self, data: dict[str, Any], **_: Any) -> Any:
        """Return what to backtest."""
        return BacktestRequest(pop_policy(data), **data)


class RangeSchema(Strict):
    """A number over many runs: its median and where nine of ten runs lie."""

    median = Number(required=True)
    low = Number(
        required=True, metadata={"description": "nine of ten runs lie between `low` and `high`"}
    )
    high = Number(required=True)


class ReachedSchema(Strict):
    """A stage, and when it was reached."""

    name = fields.String(required=True)
    percentage = Percent(required=True)
    runs = Number(required=True, metadata={"description": "the share of the runs that reached it"})
    after_ms = fields.Nested(
        RangeSchema,
        required=True,
        allow_none=True,
        metadata={"description": "milliseconds after the ledger's first entry"},
    )


class EndSchema(Strict):
    """A state at the end of the ledger, and the share of the runs that end in it."""

    state = fields.Enum(State, by_value=True, required=True)
    runs = Number(required=True)


class StepSchema(Strict):
    """A decision that changes the release."""

    at = Instant(attribute="at_ms", required=True)
    action = fields.Enum(Action, by_value=True, required=True)
    stage = StrictInteger(required=True)
    reason = fields.String(required=True)


class WasSchema(Strict):
    """What happened in the release."""

    state = fields.Enum(State, by_value=True, required=True, attribute="was_state")
    stages = fields.List(fields.Nested(ReachedSchema), required=True, attribute="was_stages")
    exposed = StrictInteger(required=True, attribute="was.exposed")
    errors = StrictInteger(required=True, attribute="was.errors")
    hurt = StrictInteger(required=True, attribute="was.hurt")


class WouldSchema(Strict):
    """What the other policy would have done."""

    ends = fields.List(fields.Nested(EndSchema), required=True)
    stopped = Number(required=True, metadata={"description": "the share of the runs that it stops"})
    stopped_ms = fields.Nested(RangeSchema, required=True, allow_none=True)
    stages = fields.List(fields.Nested(ReachedSchema), required=True)
    exposed = fields.Nested(
        RangeSchema, required=True, metadata={"description": "operations with the treatment"}
    )
    errors = fields.Nested(
        RangeSchema,
        required=True,
        metadata={"description": "operations that failed with the treatment"},
    )
    hurt = fields.Nested(
        RangeSchema,
        required=True,
        metadata={"description": "users whose first failure was with the treatment"},
    )
    saved = fields.Nested(
        RangeSchema,
        required=True,
        metadata={"description": "how many fewer failures than happened; negative: more"},
    )
    example = fields.List(
        fields.Nested(StepSchema),
        required=True,
        metadata={"description": "every change of the release in a run that ends like most runs"},
    )


class BacktestAnswer(Strict):
    """What happened in a release, and what another policy would have done."""

    policy = fields.String(required=True)
    statistics = StrictInteger(
        required=True, metadata={"description": "the version of the statistics that decides"}
    )
    release = fields.String(required=True)
    begins_at = Instant(attribute="begins_ms", required=True)
    ends_at = Instant(attribute="ends_ms", required=True)
    windows = StrictInteger(required=True)
    runs = StrictInteger(
        required=True,
        metadata={"description": "1 if nothing had to be drawn at random"},
    )
    complete = StrictBoolean(
        required=True, metadata={"description": "whether all runs ended within the time limit"}
    )
    known = Number(
        required=True,
        metadata={"description": "the share of the counts that the ledger has"},
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
