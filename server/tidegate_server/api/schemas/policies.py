"""Policies as JSON or YAML.

What the format knows and this version does not do is refused by name, because a gate that
is written down and not kept is worse than none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from marshmallow import ValidationError, fields, post_load, validate

from tidegate_server.api.fields import Duration, Items, Key, Name, Number, Percent, Text, Whole
from tidegate_server.api.schemas.strict import Page, StoredAnswer, Strict, key_of_address
from tidegate_server.domain import policy
from tidegate_server.domain.policy import (
    ErrorRateCheck,
    NoData,
    NoDataAction,
    OnFailure,
    Policy,
    Stage,
    Tolerance,
)

MOST_STAGES = 100
MOST_CHECKS = 20


def _not_offered(*names: str) -> dict[str, str]:
    return {
        name: f"{name} is not offered in this version; leave it out, since it would not be kept."
        for name in names
    }


class OnlyOne(fields.String):
    """A word of which the format knows several and this version does one."""

    def __init__(self, offered: str, *others: str) -> None:
        self._others = others
        super().__init__(
            load_default=offered,
            dump_default=offered,
            validate=validate.OneOf((offered,), error=f"Must be {offered}."),
        )

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(value, str) and value in self._others:
            raise ValidationError(
                f"{value} is not offered in this version; {self.load_default} is."
            )
        return super()._deserialize(value, *args, **kwargs)


class StageSchema(Strict):
    """Who is opened, and what must be seen before the next stage."""

    not_offered: ClassVar[Mapping[str, str]] = _not_offered("max_duration", "approval")

    name = Name(metadata={"description": "`stage-N` when left out"})
    segments = Items(
        Key(),
        load_default=list,
        most=100,
        metadata={"description": "open to contexts in any of these; without it, to everyone"},
    )
    percentage = Percent(metadata={"description": "share of them; 100 when segments are given"})
    min_duration = Duration(
        attribute="min_duration_ms", load_default=15 * policy.MINUTE, metadata={"default": "15m"}
    )
    min_samples = Whole(
        load_default=500,
        validate=validate.Range(min=0, max=1_000_000_000),
        metadata={"description": "outcomes in each arm"},
    )

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
        )


class ToleranceSchema(Strict):
    """How much worse the treatment may be: ``(1 + relative) * control + absolute``."""

    relative = Number(load_default=0.1, validate=validate.Range(min=0, max=100))
    absolute = Number(load_default=0.0, validate=validate.Range(min=0, max=1))

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """The tolerance."""
        return Tolerance(**data)


class CheckSchema(Strict):
    """A condition that every evaluation looks at."""

    not_offered: ClassVar[Mapping[str, str]] = _not_offered(
        "threshold", "operator", "window", "failure_limit", "error_limit", "quantile", "query"
    )

    metric = OnlyOne("error_rate", "latency", "prometheus", "custom")
    compare = OnlyOne("control", "absolute", "before")
    tolerance = fields.Nested(ToleranceSchema, load_default=Tolerance)
    false_alarm = Number(
        load_default=0.01,
        validate=validate.Range(
            min=0,
            max=0.5,
            min_inclusive=False,
            error="A probability above 0 and at most 0.5 is expected here.",
        ),
        metadata={"description": "probability, over a whole release, of stopping a harmless one"},
    )
    on_failure = fields.Enum(OnFailure, by_value=True, load_default=OnFailure.ROLLBACK)

    @post_load
    def build(self, data: dict[str, Any], **_: Any) -> Any:
        """The check."""
        return ErrorRateCheck(data["tolerance"], data["false_alarm"], data["on_failure"])


class NoDataSchema(Strict):
    """After how long a silence what is done."""

    after = Duration(
        attribute="after_ms", load_default=10 * policy.MINUTE, metadata={"default": "10m"}
    )
    action = fields.Enum(NoDataAction, by_value=True, load_default=NoDataAction.HOLD)

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """What silence asks for."""
        return NoData(**data)


class PolicyFields(Strict):
    """What people say of a policy."""

    not_offered: ClassVar[Mapping[str, str]] = _not_offered(
        "holdback", "windows", "rollback", "notify", "confirm"
    )

    key = Key(required=True)
    name = Text(200, load_default="")
    description = Text(4_000, load_default="")
    interval = Duration(
        attribute="interval_ms",
        load_default=30 * policy.SECOND,
        metadata={"default": "30s", "description": "time between evaluations"},
    )
    stages = Items(
        fields.Nested(StageSchema),
        required=True,
        least=1,
        most=MOST_STAGES,
        metadata={"description": "each opens at least what the one before it opened"},
    )
    checks = Items(
        fields.Nested(CheckSchema),
        load_default=lambda: [ErrorRateCheck()],
        most=MOST_CHECKS,
    )
    no_data = fields.Nested(NoDataSchema, load_default=NoData)
    bake = Duration(
        attribute="bake_ms",
        load_default=policy.HOUR,
        metadata={"default": "1h", "description": "how long the last stage must stay healthy"},
    )


class PolicyBody(PolicyFields):
    """A policy to be; YAML is welcome too."""

    yaml_too = True

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """The policy, its nameless stages named by their numbers."""
        stages = tuple(
            stage if stage.name else replace(stage, name=f"stage-{number}")
            for number, stage in enumerate(data["stages"], start=1)
        )
        return Policy(
            key=data["key"],
            stages=stages,
            checks=tuple(data["checks"]),
            no_data=data["no_data"],
            interval_ms=data["interval_ms"],
            bake_ms=data["bake_ms"],
            name=data["name"],
            description=data["description"],
        )


class PolicyUpdate(PolicyBody):
    """A policy as it shall be; YAML is welcome too."""

    key = key_of_address()


class PolicyAnswer(PolicyFields, StoredAnswer):
    """A policy."""


class PolicyPage(Page):
    """A page of policies."""

    items = fields.List(fields.Nested(PolicyAnswer), required=True)
