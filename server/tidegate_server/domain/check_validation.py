"""Validates the checks of a policy."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from tidegate import histogram

from tidegate_server.domain.checks import ARM_VARIABLE, LATENCY, Check, Compare, Metric
from tidegate_server.domain.field_problems import name_problems
from tidegate_server.domain.policy import HOUR, Policy
from tidegate_server.errors import FieldProblem

MAX_CHECKS = 20
MAX_DISTRIBUTIONS = 8
"""Distributions that one release may need; SDKs keep each in memory."""

MAX_WINDOW_INTERVALS = 60
"""The longest window of an absolute check, in intervals between evaluations."""

MIN_FALSE_ALARM = 1e-6
"""A smaller false-alarm probability would delay every rollback for no gain."""

MIN_QUANTILE = 0.0001
"""The least share of operations that a quantile leaves on either side."""

MAX_RELATIVE = 10.0
MAX_ABSOLUTE = 0.5
"""The widest tolerances: eleven times the control, half of all operations more."""

MAX_BREACHES = 10
MAX_BREACHES_MS = HOUR
"""The consecutive breaches that a check may tolerate: this number, or this time if longer."""

MAX_LATENCY = 86_400.0
"""The largest latency threshold, in seconds."""

MAX_QUERY_LENGTH = 4_000
VARIABLES = ("flag", "release", "arm", "environment")
VARIABLE = re.compile(r"\{\{([^{}]*)\}\}")
"""A variable; its name may have white space around it. Nothing in this may match in several ways:
a long query would take minutes."""


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
        elif not MIN_FALSE_ALARM <= check.false_alarm < 0.5:
            yield FieldProblem(
                f"{pointer}/false_alarm",
                "A false-alarm probability is at least 0.000001 and below 0.5, for example 0.01. "
                "With a smaller one the check would hardly ever fail.",
            )
        if check.compare is not Compare.ABSOLUTE:
            yield from _tolerance_problems(check, pointer)
    yield from _client_evidence_conflicts(policy)
    if len(policy.distributions) > MAX_DISTRIBUTIONS:
        yield FieldProblem(
            "/checks",
            f"A policy can check at most {MAX_DISTRIBUTIONS} different values, because "
            "applications keep each in memory; remove some checks.",
        )


def _client_evidence_conflicts(policy: Policy) -> Iterator[FieldProblem]:
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
    if not MIN_QUANTILE <= check.quantile <= 1 - MIN_QUANTILE:
        yield FieldProblem(
            f"{pointer}/quantile",
            "A quantile is between 0.0001 and 0.9999, for example 0.95. Beyond that there are "
            "too few operations to compare.",
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
    used = [name.strip() for name in VARIABLE.findall(check.query)]
    for name in used:
        if name not in VARIABLES:
            yield FieldProblem(
                pointer,
                f"There is no variable {name!r}; use one of: {', '.join(VARIABLES)}.",
                name=name,
                known=VARIABLES,
            )
    rest = VARIABLE.sub("", check.query)
    for braces, missing in (("{{", "}}"), ("}}", "{{")):
        if braces in rest:
            yield FieldProblem(
                pointer,
                f"A variable has {braces} without {missing}; write it as {{{{ flag }}}}.",
            )
    if check.compare is Compare.CONTROL and ARM_VARIABLE not in used:
        yield FieldProblem(
            pointer,
            "A query that compares with control must contain {{ arm }}, which stands for "
            "control or treatment.",
        )


def _limit_problems(check: Check, pointer: str) -> Iterator[FieldProblem]:
    """Yield a problem if no value, or every value, exceeds an absolute threshold."""
    if check.metric is Metric.ERROR_RATE and not 0 < check.threshold < 1:
        yield FieldProblem(
            pointer,
            "An error rate is above 0 and below 1: 0.02 is two percent. No error rate exceeds 1, "
            "so the check could never fail.",
        )
    if check.metric is Metric.LATENCY and not 0 < check.threshold <= MAX_LATENCY:
        yield FieldProblem(
            pointer,
            "A latency is above 0 and at most 86400 seconds, a day: 0.8 is 800 milliseconds.",
        )
    if check.metric is Metric.CUSTOM and _exceeds_every_value(check):
        yield FieldProblem(
            pointer,
            f"Every value is {check.operator} {check.threshold:g}, so the check could never fail. "
            "Choose a threshold that a value can exceed, or the other operator.",
        )


def _exceeds_every_value(check: Check) -> bool:
    """Return whether no value that can be measured is on the wrong side of the threshold."""
    largest = histogram.upper_bound(histogram.LARGEST_BUCKET)
    extreme = largest if check.operator.large_is_bad else -largest
    return check.operator.holds(extreme, check.threshold)


def _threshold_problems(check: Check, policy: Policy, pointer: str) -> Iterator[FieldProblem]:
    if not math.isfinite(check.threshold):
        yield FieldProblem(f"{pointer}/threshold", "A threshold is a finite number.")
    elif check.compare is Compare.ABSOLUTE:
        yield from _limit_problems(check, f"{pointer}/threshold")
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
    most = min(1_000, max(MAX_BREACHES, MAX_BREACHES_MS // max(1, policy.interval_ms)))
    if not 0 <= check.failure_limit <= most:
        yield FieldProblem(
            f"{pointer}/failure_limit",
            f"This must be between 0 and {most}: at most {MAX_BREACHES} consecutive breaches, or "
            "an hour of them at this interval. Otherwise a release that fails stays open.",
        )
    if not 0 <= check.error_limit <= 1_000:
        yield FieldProblem(f"{pointer}/error_limit", "This must be between 0 and 1000.")


def _tolerance_problems(check: Check, pointer: str) -> Iterator[FieldProblem]:
    tolerance = check.tolerance
    relative, absolute = f"{pointer}/tolerance/relative", f"{pointer}/tolerance/absolute"
    valid = True
    if not (math.isfinite(tolerance.relative) and 0 <= tolerance.relative <= MAX_RELATIVE):
        valid = False
        yield FieldProblem(
            relative,
            f"This must be between 0 and {MAX_RELATIVE:g}: 0.1 tolerates a rate that is a tenth "
            "higher. With more, the check would hardly ever fail.",
        )
    unbounded = not check.sequential and check.metric is not Metric.ERROR_RATE
    if not math.isfinite(tolerance.absolute) or tolerance.absolute < 0:
        valid = False
        yield FieldProblem(absolute, "This must be 0 or more.")
    elif not unbounded and tolerance.absolute > MAX_ABSOLUTE:
        valid = False
        yield FieldProblem(
            absolute,
            f"This must be between 0 and {MAX_ABSOLUTE:g}: 0.01 tolerates a rate one point higher.",
        )
    if valid:
        yield from _reach_problems(check, relative)


def _reach_problems(check: Check, pointer: str) -> Iterator[FieldProblem]:
    """Yield a problem if no value can exceed what the tolerance allows."""
    tolerance = check.tolerance
    if check.sequential and check.metric is not Metric.ERROR_RATE:
        beyond = check.share_beyond
        tolerated = beyond * (1 + tolerance.relative) + tolerance.absolute
        if tolerated >= 1:
            yield FieldProblem(
                pointer,
                f"{beyond:.4g} of the control's operations are beyond its quantile, and this "
                f"tolerance allows {tolerated:.4g} of the treatment's. That is all of them, so "
                "the check could never fail. Choose a smaller tolerance.",
            )
    elif not check.sequential and not check.operator.large_is_bad and tolerance.relative >= 1:
        yield FieldProblem(
            pointer,
            "With the operator >= or > this must be below 1: 0.1 tolerates a tenth less. With 1 a "
            "fall to zero would be tolerated.",
        )
