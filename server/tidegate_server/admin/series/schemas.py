"""JSON schemas of the series of releases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import fields, post_load, validate

from tidegate_server.decisions.decision import Action
from tidegate_server.decisions.stage_gates import GateKind
from tidegate_server.documents.fields import Instant, Number, StrictInteger, number_or_null
from tidegate_server.documents.strict_schema import Strict
from tidegate_server.domain.release import State

DEFAULT_POINTS = 120
MOST_POINTS = 500


class SeriesQuery(Strict):
    """The query string of a series."""

    points = fields.Integer(
        load_default=DEFAULT_POINTS,
        validate=validate.Range(
            min=2, max=MOST_POINTS, error="points must be a whole number from {min} to {max}."
        ),
        metadata={"description": "at most this many points, spread evenly over the time"},
    )

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """Return the number of points."""
        return data["points"]


class SeriesCheckSchema(Strict):
    """A check of the release's policy."""

    number = StrictInteger(
        required=True, metadata={"description": "its position in the policy, from 0"}
    )
    label = fields.String(required=True)
    compared_by = fields.String(
        required=True,
        allow_none=True,
        validate=validate.OneOf(["ratio", "difference"]),
        metadata={
            "description": "whether the numbers in `ratio` are ratios of the arms or, with an "
            "absolute tolerance, differences; null: it does not compare with the control group"
        },
    )
    quantile = number_or_null("the quantile that it compares, 0 to 1; null: none")


class ArmCountsSchema(Strict):
    """What one arm counted since the point before."""

    outcomes = StrictInteger(required=True)
    errors = StrictInteger(required=True)
    failing = StrictInteger(
        required=True, metadata={"description": "users with a failed operation"}
    )


class BandSchema(Strict):
    """How often the treatment fails, relative to control, in this attempt.

    Ratios of failing users, or differences in failing users per operation: see `compared_by`.
    While the true value is constant, it stays between `low` and `high` at every point with a
    probability of at least 1 - 2 `false_alarm`.
    """

    seen = number_or_null("what the counts say; null: control has had no failing user")
    low = number_or_null(
        "smaller values are ruled out; null: none is. It never falls in an attempt"
    )
    high = number_or_null(
        "larger values are ruled out; null: none is. It never rises in an attempt"
    )
    tolerated = Number(
        required=True,
        metadata={"description": "what the check tolerates; when `low` reaches it, it fails"},
    )


class QuantilesSchema(Strict):
    """The quantile of each arm's values in the stage, up to the point."""

    control = number_or_null("null: no values")
    treatment = number_or_null("null: no values")


class PointCheckSchema(Strict):
    """The numbers of a check at a point."""

    number = StrictInteger(required=True)
    evidence = number_or_null("E: evidence of harm; null: the check does not compute it")
    rollback_at = number_or_null("the E at which the check fails")
    advance = number_or_null(
        "A: evidence of safety; null: the check or the stage does not compare with control"
    )
    advance_at = number_or_null("the A that an advance needs")
    ratio = fields.Nested(
        BandSchema,
        required=True,
        allow_none=True,
        metadata={"description": "null: the check does not compare with the control group"},
    )
    quantiles = fields.Nested(
        QuantilesSchema,
        required=True,
        allow_none=True,
        metadata={"description": "null: the check is not about a quantile of both arms"},
    )
    value = number_or_null("the measured value of a threshold check")
    limit = number_or_null("the limit of a threshold check")


class SeriesPointSchema(Strict):
    """A release at one evaluation."""

    at = Instant(attribute="reading.at_ms", required=True)
    since = Instant(
        attribute="since_ms",
        required=True,
        metadata={"description": "when the counts begin: at the point before"},
    )
    window = StrictInteger(
        attribute="reading.window",
        required=True,
        metadata={"description": "the number of the evaluation, from 1"},
    )
    stage = StrictInteger(attribute="reading.stage", required=True)
    step = StrictInteger(attribute="reading.step", required=True)
    attempt = StrictInteger(attribute="reading.attempt", required=True)
    action = fields.Enum(Action, attribute="reading.action", by_value=True, required=True)
    state = fields.Enum(
        State,
        attribute="reading.state",
        by_value=True,
        required=True,
        metadata={"description": "after the decision"},
    )
    control = fields.Nested(ArmCountsSchema, required=True)
    treatment = fields.Nested(ArmCountsSchema, required=True)
    checks = fields.List(fields.Nested(PointCheckSchema), required=True)


class SeriesAnswer(Strict):
    """The numbers of a release over time."""

    checks = fields.List(fields.Nested(SeriesCheckSchema), required=True)
    kept = StrictInteger(
        required=True,
        metadata={"description": "how many points the server has; fewer of earlier times"},
    )
    points = fields.List(
        fields.Nested(SeriesPointSchema),
        required=True,
        metadata={"description": "the earliest first"},
    )


def _time_or_null(attribute: str, description: str) -> Instant:
    return Instant(
        attribute=attribute,
        required=True,
        allow_none=True,
        metadata={"description": f"{description}; null: fewer, or only later than `looked_until`"},
    )


class ForecastTimeSchema(Strict):
    """When something comes, in the rehearsals."""

    reached = Number(
        required=True,
        metadata={"description": "the share of the rehearsals in which it came, 0 to 1"},
    )
    early = _time_or_null("early_ms", "one in ten rehearsals had come there by then")
    median = _time_or_null("median_ms", "half of them had")
    late = _time_or_null("late_ms", "nine in ten had")


class ObstacleSchema(Strict):
    """What rehearsals lacked that did not leave the present stage; fields as in a gate."""

    kind = fields.Enum(GateKind, by_value=True, required=True)
    check = StrictInteger(required=True, allow_none=True)
    arm = fields.String(required=True, allow_none=True)
    share = Number(required=True, metadata={"description": "the share of all rehearsals, 0 to 1"})


class ForecastAnswer(Strict):
    """When the release may open its next stages, from rehearsals of its rest."""

    made_at = Instant(
        attribute="made_ms",
        required=True,
        metadata={"description": "the evaluation that the rehearsals start from"},
    )
    looked_until = Instant(
        attribute="until_ms",
        required=True,
        metadata={"description": "how far they looked ahead: 30 days, or what time allowed"},
    )
    rehearsals = StrictInteger(required=True, metadata={"description": "0: there is no forecast"})
    reason = fields.String(
        required=True, metadata={"description": "why there is no forecast; empty if there is one"}
    )
    next_stage = fields.Nested(
        ForecastTimeSchema,
        required=True,
        allow_none=True,
        metadata={"description": "null: there is no next stage, or no forecast"},
    )
    full = fields.Nested(
        ForecastTimeSchema,
        required=True,
        allow_none=True,
        metadata={"description": "the last stage; null: no forecast"},
    )
    completed = fields.Nested(
        ForecastTimeSchema,
        required=True,
        allow_none=True,
        metadata={"description": "the end of the last stage; null: no forecast"},
    )
    stopped = Number(
        required=True,
        metadata={
            "description": "the share of the rehearsals that the policy rolled back or paused"
        },
    )
    obstacles = fields.List(fields.Nested(ObstacleSchema), required=True)
    operations_per_minute = Number(
        required=True, metadata={"description": "the traffic of all users that they assume"}
    )
    assumptions = fields.List(
        fields.String(), required=True, metadata={"description": "what else they assume"}
    )
