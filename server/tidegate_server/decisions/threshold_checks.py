"""Checks that compare one value with a limit at each evaluation.

A check fails after more breaches in a row than the policy allows. A source that cannot be
read is neither a breach nor a pass. Without a value, a check does not pass.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from tidegate_server.decisions.distributions import quantile_value
from tidegate_server.decisions.observations import Measured, Window
from tidegate_server.decisions.progress import CheckProgress, Progress, Recent
from tidegate_server.domain.checks import Check, Compare, Metric
from tidegate_server.domain.evidence import add_histograms
from tidegate_server.domain.policy import Policy


@dataclass(frozen=True, slots=True)
class ThresholdValue:
    """A value and its limit; None: not known yet. ``problem``: why the source cannot be read."""

    value: float | None
    limit: float | None
    problem: str = ""


def update_threshold_check(
    number: int, check: Check, before: CheckProgress, progress: Progress, window: Window
) -> CheckProgress:
    """Return a threshold check after a window; ``progress`` already includes the window."""
    current = _current_value(number, check, progress, window)
    if current.problem:
        return replace(
            before,
            unreadable=before.unreadable + 1,
            passing=False,
            problem=current.problem,
        )
    if current.value is None or current.limit is None:
        return replace(
            before,
            value=current.value,
            limit=current.limit,
            unreadable=0,
            passing=False,
            problem="",
        )
    passing = check.operator.holds(current.value, current.limit)
    return replace(
        before,
        value=current.value,
        limit=current.limit,
        breaches=0 if passing else before.breaches + 1,
        unreadable=0,
        passing=passing,
        problem="",
    )


def has_failed(check: Check, progress: CheckProgress) -> bool:
    """Return whether there were more breaches in a row than the policy allows."""
    return progress.breaches > check.failure_limit


def is_unreadable(check: Check, progress: CheckProgress) -> bool:
    """Return whether the source has been unreadable for longer than the policy allows."""
    return progress.unreadable > check.error_limit


def add_recent_window(
    recent: Iterable[Recent], policy: Policy, window: Window
) -> tuple[Recent, ...]:
    """Return the last windows with this one, as far back as the policy's thresholds need."""
    checks = [
        check
        for check in policy.checks
        if not check.sequential and check.metric is not Metric.PROMETHEUS
    ]
    if not checks:
        return ()
    oldest = window.closed_ms - max(check.window_ms for check in checks)
    measures = dict.fromkeys(check.distribution for check in checks)
    treated = window.treatment
    present = Recent(
        window.closed_ms,
        treated.outcomes,
        treated.errors,
        tuple(
            (measure, window.treated_values(measure)) for measure in measures if measure is not None
        ),
    )
    return (*(each for each in recent if each.closed_ms > oldest), present)


def _current_value(number: int, check: Check, progress: Progress, window: Window) -> ThresholdValue:
    if check.metric is Metric.PROMETHEUS:
        return _prometheus_value(check, [each for each in window.measured if each.check == number])
    oldest = window.closed_ms - check.window_ms
    recent = [each for each in progress.recent if each.closed_ms > oldest]
    value = _recent_value(check, recent)
    if check.compare is Compare.ABSOLUTE:
        return ThresholdValue(value, check.threshold)
    base = _value_before_release(check, progress)
    if base is None:
        return ThresholdValue(value, None, "nothing was measured before the release began")
    return ThresholdValue(value, _limit(check, base))


def _recent_value(check: Check, recent: list[Recent]) -> float | None:
    if check.metric is Metric.ERROR_RATE:
        outcomes = sum(each.outcomes for each in recent)
        return sum(each.errors for each in recent) / outcomes if outcomes else None
    values = add_histograms(
        histogram
        for each in recent
        for measure, histogram in each.distributions
        if measure == check.distribution
    )
    return quantile_value(values, check.quantile)


def _value_before_release(check: Check, progress: Progress) -> float | None:
    if check.metric is Metric.ERROR_RATE:
        before = progress.before
        return before.errors / before.outcomes if before.outcomes else None
    values = dict(progress.before_distributions).get(check.distribution or "", ())
    return quantile_value(values, check.quantile)


def _prometheus_value(check: Check, measured: list[Measured]) -> ThresholdValue:
    by_query = {each.of: each for each in measured}
    treated = by_query.get("treatment")
    if treated is None:
        return ThresholdValue(None, None, "the source was not asked")
    if treated.value is None:
        return ThresholdValue(None, None, treated.problem or "no value")
    if check.compare is Compare.ABSOLUTE:
        return ThresholdValue(treated.value, check.threshold)
    base = by_query.get(str(check.compare))
    if base is None or base.value is None:
        problem = base.problem if base is not None else "the source was not asked"
        return ThresholdValue(treated.value, None, f"of {check.compare}: {problem or 'no value'}")
    return ThresholdValue(treated.value, _limit(check, base.value))


def _limit(check: Check, base: float) -> float:
    """Return the limit: the base value and the tolerance."""
    slack = abs(base) * check.tolerance.relative + check.tolerance.absolute
    return base + slack if check.operator.large_is_bad else base - slack
