"""JSON schemas of simulations: the request, and the results of many releases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from marshmallow import ValidationError, fields, post_load, validate

from tidegate_server.documents.fields import Key, Number, StrictBoolean, StrictInteger
from tidegate_server.documents.policy_schemas import PolicyBody
from tidegate_server.documents.strict_schema import Strict
from tidegate_server.domain.policy import Policy

MAX_RUNS = 500
MAX_DAYS = 90


@dataclass(frozen=True, slots=True)
class SimulationRequest:
    """What to simulate: a policy, or the one with this key, and the traffic."""

    policy: Policy | str
    traffic: float
    base_error: float
    times: float
    users: int | None
    segments: Mapping[str, float]
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
            validate=validate.Length(max=100),
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
        return SimulationRequest(policy, **data)


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


class ForecastSchema(Strict):
    """The results of the releases of one kind. Null: it happened in none of them."""

    runs = StrictInteger(required=True)
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


class SimulationAnswer(Strict):
    """The results of healthy and of bad releases."""

    policy = fields.String(required=True)
    seed = StrictInteger(required=True)
    complete = StrictBoolean(
        required=True, metadata={"description": "whether all runs ended within the time limit"}
    )
    healthy = fields.Nested(ForecastSchema, required=True)
    bad = fields.Nested(ForecastSchema, required=True)
