"""Checks that compare one value with a limit at each evaluation.

They fail after more breaches in a row than the policy tolerates. A source that cannot be
read is neither a breach nor a pass; what was never measured never passes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from tidegate.counts import Counts
from tidegate.harm_evidence import RATIOS

from tidegate_server.decisions.distributions import quantile_value
from tidegate_server.decisions.observations import Measured, Window
from tidegate_server.decisions.progress import CheckProgress, Progress, Recent
from tidegate_server.domain.checks import Check, Compare, Metric
from tidegate_server.domain.evidence import Histogram, add_histograms
from tidegate_server.domain.policy import Policy


@dataclass(frozen=True, slots=True)
class Taken:
    """A value and its limit; None: there is none yet. ``problem``: the source is at fault."""

    value: float | None
    limit: float | None
    problem: str = ""


def watch_threshold(
    number: int, check: Check, before: CheckProgress, progress: Progress, window: Window
) -> CheckProgress:
    """A threshold check after a window; ``progress`` has the window in it already."""
    taken = _take(number, check, progress, window)
    if taken.problem:
        return replace(
            before,
            unreadable=before.unreadable + 1,
            passing=False,
            problem=taken.problem,
        )
    if taken.value is None or taken.limit is None:
        return replace(
            before, value=taken.value, limit=taken.limit, unreadable=0, passing=False, problem=""
        )
    passing = check.operator.holds(taken.value, taken.limit)
    return replace(
        before,
        value=taken.value,
        limit=taken.limit,
        breaches=0 if passing else before.breaches + 1,
        unreadable=0,
        passing=passing,
        problem="",
    )


def increments_alone(treated: Counts, highest: float) -> list[float]:
    """Log factor of a window for each bet, against a highest rate instead of a control group.

    For a stage that leaves no control and has none before it; E is then evidence that the
    treatment fails more often than ``highest``.
    """
    return [
        treated.failing * math.log(grid) - treated.outcomes * highest * (grid - 1.0)
        for grid in RATIOS
    ]


def has_failed(check: Check, progress: CheckProgress) -> bool:
    """Whether there were more breaches in a row than are tolerated."""
    return progress.breaches > check.failure_limit


def is_unreadable(check: Check, progress: CheckProgress) -> bool:
    """Whether the source has been unreadable for longer than is tolerated."""
    return progress.unreadable > check.error_limit


def recent_after(recent: Iterable[Recent], policy: Policy, window: Window) -> tuple[Recent, ...]:
    """The last windows with this one added, as far as the policy's thresholds look back."""
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
        tuple((measure, _treated(window, measure)) for measure in measures if measure is not None),
    )
    return (*(each for each in recent if each.closed_ms > oldest), present)


def _treated(window: Window, measure: str) -> Histogram:
    return add_histograms(
        each.treatment for each in window.distributions if each.measure == measure
    )


def _take(number: int, check: Check, progress: Progress, window: Window) -> Taken:
    if check.metric is Metric.PROMETHEUS:
        return _asked(check, [each for each in window.measured if each.check == number])
    oldest = window.closed_ms - check.window_ms
    recent = [each for each in progress.recent if each.closed_ms > oldest]
    value = _value(check, recent)
    if check.compare is Compare.ABSOLUTE:
        return Taken(value, check.threshold)
    base = _before(check, progress)
    if base is None:
        return Taken(value, None, "nothing was measured before the release began")
    return Taken(value, _tolerated(check, base))


def _value(check: Check, recent: list[Recent]) -> float | None:
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


def _before(check: Check, progress: Progress) -> float | None:
    if check.metric is Metric.ERROR_RATE:
        before = progress.before
        return before.errors / before.outcomes if before.outcomes else None
    values = dict(progress.before_distributions).get(check.distribution or "", ())
    return quantile_value(values, check.quantile)


def _asked(check: Check, measured: list[Measured]) -> Taken:
    by_name = {each.of: each for each in measured}
    treated = by_name.get("treatment")
    if treated is None:
        return Taken(None, None, "the source was not asked")
    if treated.value is None:
        return Taken(None, None, treated.problem or "no value")
    if check.compare is Compare.ABSOLUTE:
        return Taken(treated.value, check.threshold)
    base = by_name.get(str(check.compare))
    if base is None or base.value is None:
        why = base.problem if base is not None else "the source was not asked"
        return Taken(treated.value, None, f"of {check.compare}: {why or 'no value'}")
    return Taken(treated.value, _tolerated(check, base.value))


def _tolerated(check: Check, base: float) -> float:
    """The limit that a base value and the tolerance make."""
    slack = abs(base) * check.tolerance.relative + check.tolerance.absolute
    return base + slack if check.operator.large_is_bad else base - slack
