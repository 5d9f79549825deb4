"""The checks of a policy: what is measured, compared with what, and what a failure does.

There are two families. A check against the concurrent control group is a sequential test of
counts; its probability of a false alarm holds over a whole release (``Check.sequential``).
Every other check compares one value with a threshold at each evaluation and fails after some
consecutive breaches; it guarantees no probability.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tidegate import histogram
from tidegate.model import Tolerance

LATENCY = histogram.LATENCY
"""The name of the distribution of durations, in seconds; not allowed for custom values."""

ARM_VARIABLE = "arm"
"""The query variable that a comparison with control must use."""


class Metric(StrEnum):
    """What is measured."""

    ERROR_RATE = "error_rate"
    LATENCY = "latency"
    CUSTOM = "custom"
    PROMETHEUS = "prometheus"


class Compare(StrEnum):
    """What the treatment is compared with."""

    CONTROL = "control"
    ABSOLUTE = "absolute"
    BEFORE = "before"


class Operator(StrEnum):
    """How a healthy value compares with its threshold; ``<=`` means that large values are bad."""

    AT_MOST = "<="
    BELOW = "<"
    AT_LEAST = ">="
    ABOVE = ">"

    @property
    def large_is_bad(self) -> bool:
        """Whether larger values are worse."""
        return self in (Operator.AT_MOST, Operator.BELOW)

    def holds(self, value: float, threshold: float) -> bool:
        """Return whether a value is healthy."""
        match self:
            case Operator.AT_MOST:
                return value <= threshold
            case Operator.BELOW:
                return value < threshold
            case Operator.AT_LEAST:
                return value >= threshold
            case Operator.ABOVE:
                return value > threshold


class OnFailure(StrEnum):
    """What a failed check does."""

    ROLLBACK = "rollback"
    PAUSE = "pause"
    WARN = "warn"


class ClientEvidence(StrEnum):
    """What the reports of clients may do, which anyone can make up."""

    WARN = "warn"
    HOLD = "hold"
    DECIDE = "decide"


@dataclass(frozen=True, slots=True)
class Check:
    """A condition of a policy on one metric.

    Attributes:
        tolerance: how much worse the treatment may be than control, or than before.
        false_alarm: the probability, over a whole release, that a sequential check stops a
            harmless one.
        on_failure: what a failure does.
        metric, compare: what is measured, and compared with what.
        quantile: of latency and custom values, 0 to 1. Compared with control, the check
            counts the operations on the bad side of the control's quantile.
        measure: the name under which the application reports a custom value.
        query: PromQL, with ``{{ flag }}``, ``{{ release }}``, ``{{ arm }}``,
            ``{{ environment }}``.
        operator: how a healthy value compares with the threshold; for a custom value it
            says which direction is bad.
        threshold: of an absolute check.
        window_ms: the time over which a value is measured.
        failure_limit: consecutive breaches that are tolerated.
        error_limit: consecutive evaluations without an answer of the source that are tolerated.
        client_evidence: what the reports of clients may do. With ``decide`` they count as
            those of servers do.
    """

    tolerance: Tolerance = Tolerance()
    false_alarm: float = 0.01
    on_failure: OnFailure = OnFailure.ROLLBACK
    metric: Metric = Metric.ERROR_RATE
    compare: Compare = Compare.CONTROL
    quantile: float = 0.95
    measure: str = ""
    query: str = ""
    operator: Operator = Operator.AT_MOST
    threshold: float = 0.0
    window_ms: int = 60_000
    failure_limit: int = 2
    error_limit: int = 4
    client_evidence: ClientEvidence = ClientEvidence.HOLD

    @property
    def clients_decide(self) -> bool:
        """Whether the reports of clients count as those of servers do."""
        return self.client_evidence is ClientEvidence.DECIDE

    @property
    def clients_hold(self) -> bool:
        """Whether a failure that clients report holds a release; otherwise it only warns."""
        return self.client_evidence is ClientEvidence.HOLD and self.on_failure is not OnFailure.WARN

    @property
    def sequential(self) -> bool:
        """Whether this is a sequential test against the concurrent control group."""
        return self.compare is Compare.CONTROL and self.metric is not Metric.PROMETHEUS

    @property
    def compares_errors(self) -> bool:
        """Whether this compares the error rate with the concurrent control group."""
        return self.metric is Metric.ERROR_RATE and self.compare is Compare.CONTROL

    @property
    def rate_limit(self) -> bool:
        """Whether this compares the treatment's error rate with a threshold."""
        return self.metric is Metric.ERROR_RATE and self.compare is Compare.ABSOLUTE

    @property
    def guarded(self) -> bool:
        """Whether its probability of a false alarm is bounded over a whole release."""
        return self.sequential or self.rate_limit

    @property
    def distribution(self) -> str | None:
        """The distribution that the check needs: ``latency``, a custom name, or None."""
        if self.metric is Metric.LATENCY:
            return LATENCY
        return self.measure if self.metric is Metric.CUSTOM else None

    @property
    def share_beyond(self) -> float:
        """The share of control's values that lie beyond its quantile, on the bad side."""
        return 1 - self.quantile if self.operator.large_is_bad else self.quantile

    @property
    def label(self) -> str:
        """The check in words."""
        what = str(self.metric).replace("_", " ")
        if self.metric is Metric.LATENCY:
            what = f"latency p{100 * self.quantile:g}"
        elif self.metric is Metric.CUSTOM:
            what = f"{self.measure} p{100 * self.quantile:g}"
        match self.compare:
            case Compare.CONTROL:
                return f"{what} against control"
            case Compare.BEFORE:
                return f"{what} against before"
            case Compare.ABSOLUTE:
                return f"{what} {self.operator} {self.threshold:g}"
