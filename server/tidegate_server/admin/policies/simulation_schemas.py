"""JSON schemas of simulations: the request, and the results of many releases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from marshmallow import ValidationError, fields, post_load, validate

from tidegate_server.documents.fields import (
    Duration,
    Key,
    Length,
    Number,
    StrictBoolean,
    StrictInteger,
)
from tidegate_server.documents.policy_schemas import PolicyBody
from tidegate_server.documents.strict_schema import Strict
from tidegate_server.domain.policy import DAY, Policy
from tidegate_server.whatif.simulation_plan import Scenario
from tidegate_server.whatif.traffic_model import Outages, Wobble
from tidegate_server.whatif.user_activity import DEFAULT_SKEW, Activity, ActivityKind

MAX_RUNS = 500
MAX_DAYS = 90


@dataclass(frozen=True, slots=True)
class SimulationRequest:
    """What to simulate: a policy, or the one with this key, and the application."""

    policy: Policy | str
    scenario: Scenario
    runs: int
    seed: int
    days: int


def policy_field() -> fields.Nested:
    """Return the field for a policy in the body."""
    return fields.Nested(
        PolicyBody, metadata={"description": "the policy, instead of `policy_key`"}
    )


def policy_key_field() -> Key:
    """Return the field for the key of a policy."""
    return Key(metadata={"description": "the key of a policy of the project or of one in Tidegate"})


def pop_policy(data: dict[str, Any]) -> Policy | str:
    """Remove the policy or its key from a body, and return it.

    Raises:
        ValidationError: the body has both, or neither.
    """
    given = [data.pop(name) for name in ("policy", "policy_key") if name in data]
    if len(given) != 1:
        raise ValidationError(
            {"policy": ["Give either a policy, or the key of one as policy_key."]}
        )
    policy: Policy | str = given[0]
    return policy


class Shares(fields.Dict):
    """Shares of the users by segment; an error's pointer names the segment."""

    def __init__(self, **kwargs: Any) -> None:
        between = validate.Range(min=0, max=1, min_inclusive=False, max_inclusive=False)
        super().__init__(
            keys=Key(),
            values=Number(validate=between),
            load_default=dict,
            validate=Length(max=100),
            **kwargs,
        )

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return super()._deserialize(value, *args, **kwargs)  # type: ignore[no-untyped-call]
        except ValidationError as error:
            if not isinstance(error.messages, dict):
                raise
            flat = {
                key: [message for each in nested.values() for message in each]
                for key, nested in error.messages.items()
            }
            raise ValidationError(flat) from None


class ActivityBody(Strict):
    """How unequally active users are."""

    kind = fields.Enum(
        ActivityKind,
        by_value=True,
        required=True,
        metadata={"description": "the distribution of the users' numbers of operations"},
    )
    skew = Number(
        validate=validate.Range(min=0, max=3, min_inclusive=False),
        metadata={
            "description": "of `log_normal`, the standard deviation of the logarithm; of `zipf`, "
            "the exponent; default: 1"
        },
    )

    @post_load
    def build(self, data: dict[str, Any], **_: Any) -> Activity:
        """Return the activity."""
        kind = data["kind"]
        if kind is ActivityKind.EQUAL and "skew" in data:
            raise ValidationError({"skew": ["Equal users have no skew; leave it out."]})
        return Activity(kind, data.get("skew", DEFAULT_SKEW[kind]))


class OutagesBody(Strict):
    """Outages that hit both arms, at random times."""

    per_day = Number(
        required=True,
        validate=validate.Range(min=0, max=1_000, min_inclusive=False),
        metadata={"description": "how many begin in a day on average"},
    )
    duration_ms = Duration(
        data_key="duration",
        load_default=600_000,
        validate=validate.Range(min=1, max=DAY),
        metadata={"description": "how long each lasts; default: 10m"},
    )
    error_rate = Number(
        load_default=0.2,
        validate=validate.Range(min=0, max=1, min_inclusive=False, max_inclusive=False),
        metadata={"description": "the share of the operations that fail because of it"},
    )

    @post_load
    def build(self, data: dict[str, Any], **_: Any) -> Outages:
        """Return the outages."""
        return Outages(**data)


class WobbleBody(Strict):
    """Over-dispersion: error rates of the arms that move apart and together, equal on average."""

    size = Number(
        required=True,
        validate=validate.Range(min=0, max=1, min_inclusive=False),
        metadata={"description": "how far they are apart: 0.2 for 20 %"},
    )
    memory_windows = Number(
        load_default=0.0,
        validate=validate.Range(min=0, max=10_000),
        metadata={
            "description": "after how many windows a third of it is left; 0: each window has "
            "its own"
        },
    )

    @post_load
    def build(self, data: dict[str, Any], **_: Any) -> Wobble:
        """Return the wobble."""
        return Wobble(**data)


SCENARIO = (
    "traffic", "base_error", "times", "users", "day_night", "segments", "activity", "retries",
    "outages", "wobble",
)  # fmt: skip
"""The fields of the body that describe the application."""


class SimulationBody(Strict):
    """A request to simulate releases under a policy."""

    policy = policy_field()
    policy_key = policy_key_field()
    traffic = Number(
        required=True,
        validate=validate.Range(min=0, min_inclusive=False, max=1e8),
        metadata={"description": "operations per minute that evaluate the flag"},
    )
    base_error = Number(
        required=True,
        validate=validate.Range(min=0, max=1, min_inclusive=False, max_inclusive=False),
        metadata={"description": "the share of operations that fail with the control"},
    )
    times = Number(
        load_default=3.0,
        validate=validate.Range(min=1, min_inclusive=False, max=1_000),
        metadata={"description": "how many times more often the treatment of a bad release fails"},
    )
    users = StrictInteger(
        load_default=None,
        allow_none=True,
        validate=validate.Range(min=1, max=10**9),
        metadata={"description": "how many users there are; default: 100 per operation per minute"},
    )
    segments = Shares(
        metadata={
            "description": "the share of the users in each segment; 0.05 if a segment is missing"
        }
    )
    day_night = Number(
        load_default=0.0,
        validate=validate.Range(min=0, max=1, max_inclusive=False),
        metadata={
            "description": "the share by which the traffic rises by day and falls by night (UTC)"
        },
    )
    activity = fields.Nested(ActivityBody, metadata={"description": "default: equal"})
    retries = StrictInteger(
        load_default=0,
        validate=validate.Range(min=0, max=10),
        metadata={
            "description": "how often a user tries a failed operation again, until it succeeds; "
            "half of these tries fail, too"
        },
    )
    outages = fields.Nested(OutagesBody, metadata={"description": "default: none"})
    wobble = fields.Nested(WobbleBody, metadata={"description": "default: none"})
    runs = StrictInteger(
        load_default=100,
        validate=validate.Range(min=1, max=MAX_RUNS),
        metadata={"description": "how many healthy releases, and as many bad ones"},
    )
    seed = StrictInteger(
        load_default=1,
        metadata={"description": "the seed of the random numbers; the same seed repeats a run"},
    )
    days = StrictInteger(
        load_default=30,
        validate=validate.Range(min=1, max=MAX_DAYS),
        metadata={"description": "a release that has not ended after this many days is undecided"},
    )

    @post_load
    def build(self, data: dict[str, Any], **_: Any) -> Any:
        """Return what to simulate."""
        policy = pop_policy(data)
        if data["base_error"] * data["times"] >= 1.0:
            raise ValidationError({"times": ["base_error times `times` must be below 1."]})
        if sum(data["segments"].values()) >= 1.0:
            raise ValidationError({"segments": ["The shares must add up to less than 1."]})
        scenario = Scenario(**{name: data.pop(name) for name in SCENARIO if name in data})
        return SimulationRequest(policy, scenario, **data)


class EstimateSchema(Strict):
    """An estimate with its 95 % confidence interval."""

    value = Number(required=True)
    low = Number(required=True)
    high = Number(required=True)


class SpreadSchema(Strict):
    """A quantity over many releases: its median and its 90th percentile."""

    median = fields.Nested(EstimateSchema, required=True)
    most = fields.Nested(
        EstimateSchema, required=True, metadata={"description": "the 90th percentile"}
    )


def _estimate(description: str) -> fields.Nested:
    return fields.Nested(
        EstimateSchema, required=True, allow_none=True, metadata={"description": description}
    )


def _spread(description: str) -> fields.Nested:
    return fields.Nested(
        SpreadSchema, required=True, allow_none=True, metadata={"description": description}
    )


class StageForecastSchema(Strict):
    """What the releases of one kind do at one stage."""

    name = fields.String(required=True)
    percentage = Number(required=True)
    reached = _estimate("probability that a release reaches the stage")
    left = _estimate("probability that it leaves the stage for the next one, or completes")
    on_evidence = _estimate(
        "share of the releases that left it that did so on evidence; null also at the last stage, "
        "which a release completes after its bake"
    )
    on_time = _estimate("share of the releases that left it that did so on time")
    detectable_ratio = _spread(
        "the smallest ratio of errors that would have been noticed when it left; 1000: not even "
        "that; null: no check compares errors"
    )
    stopped = _estimate("probability that it is first stopped there")
    undecided = _estimate("probability that it is still there, undecided, in the end")
    cut_short = StrictInteger(
        required=True,
        metadata={"description": "releases that were there when the time limit was over"},
    )
    time_ms = _spread("milliseconds that it spends there before it leaves")
    missing = fields.String(
        required=True,
        allow_none=True,
        metadata={
            "description": "what one release that is still there lacked in its last decision; "
            "null: there is none"
        },
    )


class ForecastSchema(Strict):
    """The results of the releases of one kind. Null: it happened in none of them."""

    runs = StrictInteger(
        required=True, metadata={"description": "how many, without those that were cut short"}
    )
    cut_short = StrictInteger(
        required=True,
        metadata={
            "description": "releases that took too long for the time limit; they count in "
            "`by_stage` only"
        },
    )
    completed = _estimate("probability that it completes")
    stopped = _estimate("probability that the policy stops it at least once")
    undecided = _estimate("probability that it neither completes nor is stopped in time")
    full_ms = _spread("milliseconds until everyone has the treatment, in releases that get there")
    completed_ms = _spread("milliseconds until it completes, in releases that do")
    stopped_ms = _spread("milliseconds until it is stopped, in releases that are")
    hurt = _spread("users who failed with the treatment")
    extra = _spread("failures more than with the control")
    exposed = _spread("operations with the treatment")
    stages = fields.List(
        fields.Integer(),
        required=True,
        metadata={"description": "how many were first stopped at each stage"},
    )
    by_stage = fields.List(
        fields.Nested(StageForecastSchema),
        required=True,
        metadata={"description": "what the releases do at each stage"},
    )


class SimulationAnswer(Strict):
    """The results of healthy and of bad releases."""

    policy = fields.String(required=True)
    seed = StrictInteger(required=True)
    complete = StrictBoolean(
        required=True, metadata={"description": "whether all runs ended within the time limit"}
    )
    healthy = fields.Nested(ForecastSchema, required=True)
    bad = fields.Nested(ForecastSchema, required=True)
