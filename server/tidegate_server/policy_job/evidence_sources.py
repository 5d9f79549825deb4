"""Queries of releases' checks to sources outside of the SDK, which is Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import structlog

from tidegate_server.decisions.observations import Measured
from tidegate_server.domain.checks import Check, Compare, Metric
from tidegate_server.domain.release import Release
from tidegate_server.errors import QueryFailed
from tidegate_server.outbound.bounded_threads import BoundedThreads
from tidegate_server.outbound.pending_requests import PendingRequests, Request
from tidegate_server.outbound.prometheus import Prometheus, fill_variables

log = structlog.get_logger("tidegate.policy_job")

MAX_THREADS_PER_PROJECT = 4
MAX_THREADS = 16

TIMEOUT_S = 4.0
"""How long a release waits for its values."""

FRESH_S = 5.0
"""How long values may be used before the source is asked again."""

NOT_CONFIGURED = "no Prometheus is configured: set TIDEGATE_PROMETHEUS_URL"


@dataclass(frozen=True, slots=True)
class SourceQuery:
    """A query for a value that a check needs.

    Attributes:
        check: the check's place in the policy, from 0.
        of: what the value describes: ``treatment``, ``control`` or ``before``.
        query: PromQL without variables.
        at_ms: the time that it asks about; None: now.
    """

    check: int
    of: str
    query: str
    at_ms: int | None = None


class EvidenceSources(PendingRequests[Measured]):
    """The outside sources of one policy job.

    Args:
        prometheus: the Prometheus server; without one, checks that need it have no value.
        timeout_s: how long a release waits for its values.
        fresh_s: how long values may be used.
    """

    def __init__(
        self,
        prometheus: Prometheus | None = None,
        timeout_s: float = TIMEOUT_S,
        fresh_s: float = FRESH_S,
    ) -> None:
        threads = BoundedThreads("tidegate-sources", MAX_THREADS_PER_PROJECT, MAX_THREADS)
        super().__init__(threads, fresh_s)
        self._prometheus = prometheus
        self._timeout_s = timeout_s

    def measure(
        self, project: str, environment: str, release: Release
    ) -> tuple[Measured, ...] | None:
        """Return the values for a release's checks; None while some are still awaited."""
        queries = release_queries(environment, release)
        if not queries:
            return ()
        prometheus = self._prometheus
        if prometheus is None:
            return tuple(Measured(each.check, each.of, None, NOT_CONFIGURED) for each in queries)
        return self.collect(
            (project, environment, release.id),
            queries,
            lambda: [self._request(project, prometheus, each) for each in queries],
        )

    def _request(
        self, project: str, prometheus: Prometheus, query: SourceQuery
    ) -> Request[Measured]:
        problem = f"no answer in {self._timeout_s:g} s"
        default = Measured(query.check, query.of, None, problem)
        return Request(project, self._timeout_s, default, partial(_measure, prometheus, query))


def _measure(prometheus: Prometheus, query: SourceQuery, left_s: float) -> Measured:
    value, problem = None, ""
    try:
        value = prometheus.value(query.query, query.at_ms, left_s)
    except QueryFailed as error:
        problem = str(error)
    except Exception as error:
        log.exception("source_query_failed", query=query.query)
        problem = f"the query failed ({type(error).__name__})"
    return Measured(query.check, query.of, value, problem)


def release_queries(environment: str, release: Release) -> tuple[SourceQuery, ...]:
    """Return the queries of a release's checks; none while everyone has the control."""
    if release.closed:
        return ()
    return tuple(
        query
        for number, check in enumerate(release.policy.checks)
        if check.metric is Metric.PROMETHEUS
        for query in _check_queries(number, check, environment, release)
    )


def _check_queries(
    number: int, check: Check, environment: str, release: Release
) -> Iterator[SourceQuery]:
    variables = {"flag": release.flag, "release": release.id, "environment": environment}
    treatment, control = (
        fill_variables(check.query, {**variables, "arm": arm}) for arm in ("treatment", "control")
    )
    yield SourceQuery(number, "treatment", treatment)
    if check.compare is Compare.CONTROL:
        yield SourceQuery(number, "control", control)
    elif check.compare is Compare.BEFORE:
        # Before the release everyone was on control.
        yield SourceQuery(number, "before", control, release.started_ms)
