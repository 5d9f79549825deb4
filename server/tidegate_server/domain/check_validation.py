"""What a policy's checks may say: each must be one that can be answered."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from tidegate_server.domain import field_problems
from tidegate_server.domain.checks import ARM_VARIABLE, LATENCY, Check, Compare, Metric
from tidegate_server.domain.policy import HOUR, Policy
from tidegate_server.errors import FieldProblem

MOST_CHECKS = 20
MOST_MEASURES = 8
"""Distributions that SDKs keep for one release; more would not fit their memory."""

MOST_WINDOWS_KEPT = 60
"""Evaluations over which an absolute check may look back."""

LONGEST_QUERY = 4_000
VARIABLES = ("flag", "release", "arm", "environment")
VARIABLE = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")


def of_checks(policy: Policy) -> Iterator[FieldProblem]:
    """Every check that could not be kept."""
    if not policy.checks:
        yield FieldProblem(
            "/checks",
            "A policy without checks could not tell a bad release from a good one. "
            "Leave the field out to get an error_rate check against control.",
        )
    if len(policy.checks) > MOST_CHECKS:
        yield FieldProblem("/checks", f"A policy has at most {MOST_CHECKS} checks.")
    seen: list[tuple[object, ...]] = []
    for index, check in enumerate(policy.checks):
        same = (check.label, check.query, check.on_failure)
        if same in seen:
            yield FieldProblem(
                f"/checks/{index}", "This check is there already; change or remove one of them."
            )
        seen.append(same)
        yield from _of_check(check, policy, f"/checks/{index}")
    if len(policy.distributions) > MOST_MEASURES:
        yield FieldProblem(
            "/checks",
            f"Checks of more than {MOST_MEASURES} different values do not fit into an "
            "application's memory; leave some out.",
        )


def _of_check(check: Check, policy: Policy, pointer: str) -> Iterator[FieldProblem]:
    yield from _of_metric(check, pointer)
    if check.sequential:
        if not 0 < check.false_alarm < 0.5:
            yield FieldProblem(
                f"{pointer}/false_alarm",
                "This is a probability above 0 and below 0.5; 0.01 is a good one.",
            )
    else:
        yield from _of_threshold(check, policy, pointer)
    if check.compare is not Compare.ABSOLUTE:
        yield from _of_tolerance(check, pointer)


def _of_metric(check: Check, pointer: str) -> Iterator[FieldProblem]:
    if not 0 < check.quantile < 1:
        yield FieldProblem(
            f"{pointer}/quantile", "A quantile lies between 0 and 1, both excluded: 0.95."
        )
    if check.metric is Metric.CUSTOM:
        yield from field_problems.of_name(check.measure, f"{pointer}/measure")
        if check.measure == LATENCY:
            yield FieldProblem(
                f"{pointer}/measure", "latency has a metric of its own; name another value."
            )
    if check.metric is Metric.PROMETHEUS:
        yield from _of_query(check, f"{pointer}/query")


def _of_query(check: Check, pointer: str) -> Iterator[FieldProblem]:
    if not check.query.strip() or len(check.query) > LONGEST_QUERY:
        yield FieldProblem(pointer, f"A query is PromQL of 1 to {LONGEST_QUERY} characters.")
    used = VARIABLE.findall(check.query)
    for name in used:
        if name not in VARIABLES:
            yield FieldProblem(
                pointer, f"There is no variable {name!r}; there are {', '.join(VARIABLES)}."
            )
    if check.compare is Compare.CONTROL and ARM_VARIABLE not in used:
        yield FieldProblem(
            pointer,
            "To compare the arms the query has to name one: use {{ arm }}, which stands for "
            "control or treatment.",
        )


def _of_threshold(check: Check, policy: Policy, pointer: str) -> Iterator[FieldProblem]:
    if not math.isfinite(check.threshold):
        yield FieldProblem(f"{pointer}/threshold", "A threshold is a finite number.")
    elif check.rate_limit and not 0 < check.threshold <= 1:
        yield FieldProblem(
            f"{pointer}/threshold",
            "An error rate is above 0 and at most 1: 0.02 is two percent.",
        )
    if check.metric is Metric.ERROR_RATE and not check.operator.large_is_bad:
        yield FieldProblem(f"{pointer}/operator", "An error rate has an upper limit: <= or <.")
    if check.metric is Metric.LATENCY and not check.operator.large_is_bad:
        yield FieldProblem(f"{pointer}/operator", "A latency has an upper limit: <= or <.")
    longest = min(MOST_WINDOWS_KEPT * policy.interval_ms, 24 * HOUR)
    looks_back = check.metric is not Metric.PROMETHEUS
    if looks_back and not policy.interval_ms <= check.window_ms <= longest:
        yield FieldProblem(
            f"{pointer}/window",
            "A value is taken over at least one interval between evaluations, and at most over "
            f"{MOST_WINDOWS_KEPT} of them or a day.",
        )
    for name, limit in (("failure_limit", check.failure_limit), ("error_limit", check.error_limit)):
        if not 0 <= limit <= 1_000:
            yield FieldProblem(f"{pointer}/{name}", "This must be between 0 and 1000.")


def _of_tolerance(check: Check, pointer: str) -> Iterator[FieldProblem]:
    tolerance = check.tolerance
    if not (math.isfinite(tolerance.relative) and 0 <= tolerance.relative <= 100):
        yield FieldProblem(
            f"{pointer}/tolerance/relative",
            "This must be between 0 and 100: 0.1 tolerates a rate that is a tenth higher.",
        )
    unbounded = not check.sequential and check.metric is not Metric.ERROR_RATE
    if not math.isfinite(tolerance.absolute) or tolerance.absolute < 0:
        yield FieldProblem(f"{pointer}/tolerance/absolute", "This must be 0 or more.")
    elif not unbounded and tolerance.absolute >= 1:
        yield FieldProblem(
            f"{pointer}/tolerance/absolute",
            "This must be 0 or more and below 1: 0.01 tolerates a rate one point higher.",
        )
