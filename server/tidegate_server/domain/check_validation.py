"""Validates the checks of a policy."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from tidegate_server.domain.checks import ARM_VARIABLE, LATENCY, Check, Compare, Metric
from tidegate_server.domain.field_problems import name_problems
from tidegate_server.domain.policy import HOUR, Policy
from tidegate_server.errors import FieldProblem

MAX_CHECKS = 20
MAX_DISTRIBUTIONS = 8
"""Distributions that one release may need; SDKs keep each in memory."""

MAX_WINDOW_INTERVALS = 60
"""The longest window of an absolute check, in intervals between evaluations."""

MAX_QUERY_LENGTH = 4_000
VARIABLES = ("flag", "release", "arm", "environment")
VARIABLE = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")


def check_problems(policy: Policy) -> Iterator[FieldProblem]:
    """Yield what is wrong with a policy's checks."""
    if not policy.checks:
        yield FieldProblem(
            "/checks",
            "A policy needs at least one check. Leave out error_rate: off to get an error_rate "
            "check against control.",
        )
    if len(policy.checks) > MAX_CHECKS:
        yield FieldProblem("/checks", f"A policy has at most {MAX_CHECKS} checks.")
    known: list[tuple[object, ...]] = []
    for index, check in enumerate(policy.checks):
        pointer = f"/checks/{index}"
        identity = (check.label, check.query, check.on_failure)
        if identity in known:
            yield FieldProblem(
                pointer, "This check repeats an earlier one; change or remove one of them."
            )
        known.append(identity)
        yield from _metric_problems(check, pointer)
        if not check.sequential:
            yield from _threshold_problems(check, policy, pointer)
        elif not 0 < check.false_alarm < 0.5:
            yield FieldProblem(
                f"{pointer}/false_alarm",
                "A false-alarm probability is above 0 and below 0.5, for example 0.01.",
            )
        if check.compare is not Compare.ABSOLUTE:
            yield from _tolerance_problems(check, pointer)
    yield from _mixed_sources_problems(policy)
    if len(policy.distributions) > MAX_DISTRIBUTIONS:
        yield FieldProblem(
            "/checks",
            f"A policy can check at most {MAX_DISTRIBUTIONS} different values, because "
            "applications keep each in memory; remove some checks.",
        )


def _mixed_sources_problems(policy: Policy) -> Iterator[FieldProblem]:
    """Yield a problem where two checks of the same counts differ in what clients decide."""
    first: dict[str, int] = {}
    for index, check in enumerate(policy.checks):
        if check.metric is Metric.PROMETHEUS:
            continue
        counted = check.distribution or str(check.metric)
        earlier = first.setdefault(counted, index)
        if policy.checks[earlier].clients_decide is not check.clients_decide:
            yield FieldProblem(
                f"/checks/{index}/client_evidence",
                f"Checks {earlier} and {index} use the same counts. Write client_evidence: "
                "decide in both, or in neither.",
            )


def _metric_problems(check: Check, pointer: str) -> Iterator[FieldProblem]:
    if not 0 < check.quantile < 1:
        yield FieldProblem(
            f"{pointer}/quantile", "A quantile is above 0 and below 1, for example 0.95."
        )
    if check.metric is Metric.CUSTOM:
        yield from name_problems(check.measure, f"{pointer}/measure")
        if check.measure == LATENCY:
            yield FieldProblem(
                f"{pointer}/measure", "Use metric: latency for latency, or name another value."
            )
    if check.metric is Metric.PROMETHEUS:
        yield from _query_problems(check, f"{pointer}/query")


def _query_problems(check: Check, pointer: str) -> Iterator[FieldProblem]:
    if not check.query.strip() or len(check.query) > MAX_QUERY_LENGTH:
        yield FieldProblem(pointer, f"A query is PromQL of 1 to {MAX_QUERY_LENGTH} characters.")
    used = VARIABLE.findall(check.query)
    for name in used:
        if name not in VARIABLES:
            yield FieldProblem(
                pointer, f"There is no variable {name!r}; use one of: {', '.join(VARIABLES)}."
            )
    if check.compare is Compare.CONTROL and ARM_VARIABLE not in used:
        yield FieldProblem(
            pointer,
            "A query that compares with control must contain {{ arm }}, which stands for "
            "control or treatment.",
        )


def _threshold_problems(check: Check, policy: Policy, pointer: str) -> Iterator[FieldProblem]:
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
    longest = min(MAX_WINDOW_INTERVALS * policy.interval_ms, 24 * HOUR)
    has_window = check.metric is not Metric.PROMETHEUS
    if has_window and not policy.interval_ms <= check.window_ms <= longest:
        yield FieldProblem(
            f"{pointer}/window",
            "A window is at least one interval between evaluations, and at most "
            f"{MAX_WINDOW_INTERVALS} of them or a day, whichever is shorter.",
        )
    for name, limit in (("failure_limit", check.failure_limit), ("error_limit", check.error_limit)):
        if not 0 <= limit <= 1_000:
            yield FieldProblem(f"{pointer}/{name}", "This must be between 0 and 1000.")


def _tolerance_problems(check: Check, pointer: str) -> Iterator[FieldProblem]:
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
