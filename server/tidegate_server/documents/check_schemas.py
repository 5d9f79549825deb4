"""The checks of a policy: which fields go with which metric and comparison, in and out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError, fields, post_dump, post_load, validate
from tidegate.model import Tolerance

from tidegate_server.documents.fields import BoundedString, Duration, Name, Number, StrictInteger
from tidegate_server.documents.strict_schema import Strict
from tidegate_server.domain.checks import Check, Compare, Metric, OnFailure, Operator
from tidegate_server.domain.policy import MINUTE

DEFAULT_QUANTILES = {Metric.LATENCY: 0.95, Metric.CUSTOM: 0.5}


class ToleranceSchema(Strict):
    """How much worse the treatment may be: ``(1 + relative) * control + absolute``."""

    relative = Number(load_default=0.1, validate=validate.Range(min=0, max=100))
    absolute = Number(load_default=0.0, validate=validate.Range(min=0))

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """The tolerance."""
        return Tolerance(**data)


class CheckSchema(Strict):
    """A condition that every evaluation looks at.

    A field that would have no meaning beside the metric and the comparison is refused.
    """

    metric = fields.Enum(Metric, by_value=True, load_default=Metric.ERROR_RATE)
    compare = fields.Enum(Compare, by_value=True, load_default=Compare.CONTROL)
    quantile = Number(
        validate=validate.Range(min=0, max=1),
        metadata={"description": "of latency (0.95) and custom values (0.5)"},
    )
    measure = Name(metadata={"description": "the name of a custom value"})
    query = BoundedString(4_000, metadata={"description": "PromQL, for metric: prometheus"})
    tolerance = fields.Nested(ToleranceSchema)
    false_alarm = Number(
        validate=validate.Range(
            min=0,
            max=0.5,
            min_inclusive=False,
            error="A probability above 0 and at most 0.5 is expected here.",
        ),
        metadata={"description": "probability, over a whole release, of stopping a harmless one"},
    )
    threshold = Number(metadata={"description": "of an absolute check"})
    operator = fields.Enum(
        Operator, by_value=True, metadata={"description": "how a healthy value stands to it"}
    )
    window = Duration(
        attribute="window_ms", metadata={"description": "over how much time a value is taken"}
    )
    failure_limit = StrictInteger(metadata={"description": "breaches in a row that are tolerated"})
    error_limit = StrictInteger(
        metadata={"description": "evaluations in a row in which the source may be unreadable"}
    )
    on_failure = fields.Enum(OnFailure, by_value=True, load_default=OnFailure.ROLLBACK)

    @post_load
    def build(self, data: dict[str, Any], **_: Any) -> Any:
        """The check, its unsaid fields as the metric and the comparison have them."""
        metric, compare = data["metric"], data["compare"]
        apply = applicable(metric, compare)
        misplaced = {
            _written(name): [_misplaced(_written(name), metric, compare)]
            for name in data
            if name not in apply
        }
        missing = {
            name: [f"A check of {metric} compared with {compare} needs a {name}."]
            for name in NEEDED
            if name in apply and name not in data
        }
        if misplaced or missing:
            raise ValidationError({**misplaced, **missing})
        unsaid = {"window_ms": MINUTE, "quantile": DEFAULT_QUANTILES.get(metric, 0.95)}
        return Check(**{**unsaid, **data})

    @post_dump
    def only_what_applies(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Leave out what has no meaning here."""
        apply = applicable(Metric(data["metric"]), Compare(data["compare"]))
        return {name: value for name, value in data.items() if ATTRIBUTES.get(name, name) in apply}


NEEDED = ("measure", "query", "threshold")
ATTRIBUTES = {"window": "window_ms"}


def _written(name: str) -> str:
    return next((said for said, attribute in ATTRIBUTES.items() if attribute == name), name)


def applicable(metric: Metric, compare: Compare) -> frozenset[str]:
    """The attributes of a check that have a meaning for a metric and a comparison."""
    found = {"metric", "compare", "on_failure"}
    if metric in (Metric.LATENCY, Metric.CUSTOM):
        found.add("quantile")
    if metric is Metric.CUSTOM:
        found |= {"measure", "operator"}
    if metric is Metric.PROMETHEUS:
        found |= {"query", "operator"}
    sequential = compare is Compare.CONTROL and metric is not Metric.PROMETHEUS
    if sequential:
        found |= {"tolerance", "false_alarm"}
    else:
        found |= {"operator", "failure_limit", "error_limit"}
        found.add("threshold" if compare is Compare.ABSOLUTE else "tolerance")
        if metric is not Metric.PROMETHEUS:
            found.add("window_ms")
    return frozenset(found)


def _misplaced(name: str, metric: Metric, compare: Compare) -> str:
    return (
        f"{name} has no meaning for {metric} compared with {compare}; leave it out, since it "
        "would not be kept."
    )
