"""Simulations of a policy as JSON: what is asked, and what many releases come to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from marshmallow import ValidationError, fields, post_load, validate

from tidegate_server.documents.fields import Key, Number, StrictBoolean, StrictInteger
from tidegate_server.documents.policy_schemas import PolicyBody
from tidegate_server.documents.strict_schema import Strict
from tidegate_server.domain.policy import Policy

MOST_RUNS = 500
MOST_DAYS = 90


@dataclass(frozen=True, slots=True)
class SimulationRequest:
    """A simulation that someone wants: of a policy itself, or of the one with this key."""

    policy: Policy | str
    traffic: float
    base_error: float
    times: float
    users: int | None
    segments: Mapping[str, float]
    runs: int
    seed: int
    days: int


def a_policy() -> fields.Nested:
    """A policy in a body, in place of the key of one."""
    return fields.Nested(
        PolicyBody, metadata={"description": "the policy itself, in place of `policy_key`"}
    )


def a_policy_key() -> Key:
    """The key of a policy in a body, in place of one."""
    return Key(metadata={"description": "one of the project's, or that comes with Tidegate"})


def policy_asked(data: dict[str, Any]) -> Policy | str:
    """The one policy of a body, or its key; takes both fields out.

    Raises:
        ValidationError: there are two, or none.
    """
    found = [data.pop(name) for name in ("policy", "policy_key") if name in data]
    if len(found) != 1:
        raise ValidationError(
            {"policy": ["Give either the policy itself, or the key of one as policy_key."]}
        )
    policy: Policy | str = found[0]
    return policy


class Shares(fields.Dict):
    """Shares of the users by segment; what is wrong with one is said at its own place."""

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
                key: [message for each in found.values() for message in each]
                for key, found in error.messages.items()
            }
            raise ValidationError(flat) from None


class SimulationBody(Strict):
    """A policy, and the world to try it in."""

    policy = a_policy()
    policy_key = a_policy_key()
    traffic = Number(
        required=True,
        validate=validate.Range(min=0, min_inclusive=False, max=1e8),
        metadata={"description": "operations a minute that ask for the flag"},
    )
    base_error = Number(
        required=True,
        validate=validate.Range(min=0, max=1, min_inclusive=False, max_inclusive=False),
        metadata={"description": "the share of them that fails with the control"},
    )
    times = Number(
        load_default=3.0,
        validate=validate.Range(min=1, min_inclusive=False, max=1_000),
        metadata={"description": "how many times as often a bad release fails"},
    )
    users = StrictInteger(
        load_default=None,
        allow_none=True,
        validate=validate.Range(min=1, max=10**9),
        metadata={"description": "who makes the traffic; 100 for each operation a minute"},
    )
    segments = Shares(
        metadata={"description": "the share of the users in a segment; 0.05 of those left out"}
    )
    runs = StrictInteger(
        load_default=100,
        validate=validate.Range(min=1, max=MOST_RUNS),
        metadata={"description": "how many healthy releases, and how many bad ones"},
    )
    seed = StrictInteger(load_default=1, metadata={"description": "another seed, other luck"})
    days = StrictInteger(
        load_default=30,
        validate=validate.Range(min=1, max=MOST_DAYS),
        metadata={"description": "after so many days a release is undecided"},
    )

    @post_load
    def build(self, data: dict[str, Any], **_: Any) -> Any:
        """What is asked for."""
        policy = policy_asked(data)
        if data["base_error"] * data["times"] >= 1.0:
            raise ValidationError(
                {"times": ["So many operations fail already that they cannot fail as often."]}
            )
        if sum(data["segments"].values()) >= 1.0:
            raise ValidationError({"segments": ["The segments have more than everyone."]})
        return SimulationRequest(policy, **data)


class EstimateSchema(Strict):
    """A value, and the bounds between which it lies with a confidence of 95 %."""

    value = Number(required=True)
    low = Number(required=True)
    high = Number(required=True)


class SpreadSchema(Strict):
    """A quantity over many releases."""

    median = fields.Nested(EstimateSchema, required=True)
    most = fields.Nested(
        EstimateSchema, required=True, metadata={"description": "what nine of ten stay under"}
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
    """What releases of one kind come to. A null has happened in none of them."""

    runs = StrictInteger(required=True)
    completed = _estimate("probability that it completes")
    stopped = _estimate("probability that the policy stops it at least once")
    undecided = _estimate("probability that it is neither completed nor stopped in time")
    full_ms = _spread("milliseconds until everyone has it, where it got there")
    completed_ms = _spread("milliseconds until it completes, where it does")
    stopped_ms = _spread("milliseconds until it is stopped, where it is")
    hurt = _spread("users who failed with the treatment")
    extra = _spread("failures that the control would not have had")
    exposed = _spread("operations with the treatment")
    stages = fields.List(
        fields.Integer(),
        required=True,
        metadata={"description": "how many were stopped first at each stage"},
    )


class SimulationAnswer(Strict):
    """Healthy and bad releases side by side."""

    policy = fields.String(required=True)
    seed = StrictInteger(required=True)
    complete = StrictBoolean(
        required=True, metadata={"description": "all runs were made in the time there is for one"}
    )
    healthy = fields.Nested(ForecastSchema, required=True)
    bad = fields.Nested(ForecastSchema, required=True)
