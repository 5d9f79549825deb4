"""The checks of a policy, and which fields belong to which metric and comparison."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError, fields, post_dump, post_load, validate
from tidegate.model import Tolerance

from tidegate_server.documents.fields import (
    BoundedString,
    Duration,
    Name,
    Number,
    StrictInteger,
)
from tidegate_server.documents.strict_schema import DataclassSchema
from tidegate_server.domain.check_validation import MAX_QUERY_LENGTH
from tidegate_server.domain.checks import (
    Check,
    ClientEvidence,
    Compare,
    Metric,
    OnFailure,
    Operator,
)
from tidegate_server.domain.policy import MINUTE

DEFAULT_QUANTILES = {Metric.LATENCY: 0.95, Metric.CUSTOM: 0.5}


class ToleranceSchema(DataclassSchema):
    """How much worse the treatment may be: ``(1 + relative) * control + absolute``."""

    loads_into = Tolerance

    relative = Number(load_default=0.05, validate=validate.Range(min=0, max=100))
    absolute = Number(load_default=0.0, validate=validate.Range(min=0))


class CheckSchema(DataclassSchema):
    """A condition on a metric, tested at every evaluation of a release.

    A field that does not apply to the metric and the comparison is refused.
    """

    loads_into = Check

    metric = fields.Enum(Metric, by_value=True, load_default=Metric.ERROR_RATE)
    compare = fields.Enum(Compare, by_value=True, load_default=Compare.CONTROL)
    quantile = Number(
        validate=validate.Range(min=0, max=1),
        metadata={"description": "of latency (0.95) and custom values (0.5)"},
    )
    measure = Name(metadata={"description": "the name of a custom value"})
    query = BoundedString(
        MAX_QUERY_LENGTH, metadata={"description": "PromQL, for metric: prometheus"}
    )
    tolerance = fields.Nested(ToleranceSchema)
    false_alarm = Number(
        validate=validate.Range(
            min=0,
            max=0.5,
            min_inclusive=False,
            error="This must be a probability above 0 and at most 0.5.",
        ),
        metadata={
            "description": "the probability, over a whole release, that the check stops a "
            "harmless one"
        },
    )
    threshold = Number(metadata={"description": "of an absolute check"})
    operator = fields.Enum(
        Operator,
        by_value=True,
        metadata={"description": "how a healthy value compares with the threshold"},
    )
    window = Duration(
        attribute="window_ms", metadata={"description": "the time over which a value is measured"}
    )
    failure_limit = StrictInteger(
        metadata={"description": "consecutive breaches that are tolerated"}
    )
    error_limit = StrictInteger(
        metadata={"description": "consecutive evaluations without an answer that are tolerated"}
    )
    on_failure = fields.Enum(OnFailure, by_value=True, load_default=OnFailure.ROLLBACK)
    client_evidence = fields.Enum(
        ClientEvidence,
        by_value=True,
        metadata={
            "description": "what the reports of clients may do, which anyone can make up: `warn`, "
            "`hold`, or `decide` as those of servers do"
        },
    )

    @post_load
    def build(self, data: Mapping[str, Any], **kwargs: Any) -> Any:
        """Return the check, with the defaults of its metric and comparison."""
        metric, compare = data["metric"], data["compare"]
        applicable = applicable_attributes(metric, compare)
        inapplicable = {
            _field_name(name): [
                f"{_field_name(name)} does not apply to {metric} compared with {compare}; leave "
                "it out."
            ]
            for name in data
            if name not in applicable
        }
        missing = {
            name: [f"A check of {metric} compared with {compare} needs {name}."]
            for name in REQUIRED
            if name in applicable and name not in data
        }
        if inapplicable or missing:
            raise ValidationError({**inapplicable, **missing})
        defaults = {"window_ms": MINUTE, "quantile": DEFAULT_QUANTILES.get(metric, 0.95)}
        return super().build({**defaults, **data}, **kwargs)

    @post_dump
    def remove_inapplicable(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Leave out the fields that do not apply."""
        applicable = applicable_attributes(Metric(data["metric"]), Compare(data["compare"]))
        return {
            name: value for name, value in data.items() if ATTRIBUTES.get(name, name) in applicable
        }


REQUIRED = ("measure", "query", "threshold")
ATTRIBUTES = {"window": "window_ms"}


def _field_name(attribute: str) -> str:
    return next((name for name, each in ATTRIBUTES.items() if each == attribute), attribute)


def applicable_attributes(metric: Metric, compare: Compare) -> frozenset[str]:
    """Return the attributes of ``Check`` that apply to a metric and a comparison."""
    names = {"metric", "compare", "on_failure"}
    if metric in (Metric.LATENCY, Metric.CUSTOM):
        names.add("quantile")
    if metric is Metric.CUSTOM:
        names |= {"measure", "operator"}
    if metric is Metric.PROMETHEUS:
        names |= {"query", "operator"}
    else:
        names.add("client_evidence")
    sequential = compare is Compare.CONTROL and metric is not Metric.PROMETHEUS
    if sequential:
        names |= {"tolerance", "false_alarm"}
    else:
        names |= {"operator", "failure_limit", "error_limit"}
        names.add("threshold" if compare is Compare.ABSOLUTE else "tolerance")
        if metric is not Metric.PROMETHEUS:
            names.add("window_ms")
    return frozenset(names)
