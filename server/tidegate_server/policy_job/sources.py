"""What sources outside of the SDK say for the checks of the releases that are due.

All of them are asked at once and waited for together, for a bounded time: a source that
hangs costs a tick no more than ``PATIENCE_SECONDS``, well within the lease.

Threads: a pool of ``AT_ONCE`` asks; nothing is shared with it but the source.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from tidegate_server.decisions.windows import Measured
from tidegate_server.domain.checks import Check, Compare, Metric
from tidegate_server.domain.release import Release
from tidegate_server.policy_job.prometheus import Prometheus, Unreadable, filled

PATIENCE_SECONDS = 3.0
AT_ONCE = 8
NOT_CONFIGURED = "no Prometheus is configured: set TIDEGATE_PROMETHEUS_URL"


@dataclass(frozen=True, slots=True)
class Due:
    """A release whose checks need an answer, and where it runs."""

    environment: str
    release: Release


def asks_outside(release: Release) -> bool:
    """Whether any check of a release needs an outside source now."""
    return not release.closed and any(
        check.metric is Metric.PROMETHEUS for check in release.policy.checks
    )


class Sources:
    """The outside sources of one policy job.

    Args:
        prometheus: None where none is configured: then no value ever comes.
    """

    def __init__(self, prometheus: Prometheus | None = None) -> None:
        self._prometheus = prometheus
        self._pool: ThreadPoolExecutor | None = None

    def measure(self, due: Iterable[Due]) -> dict[str, tuple[Measured, ...]]:
        """Return what the sources say, by release id; what did not come in time is a problem."""
        questions = [
            (each.release.id, number, of, query, at_ms)
            for each in due
            for number, check in enumerate(each.release.policy.checks)
            if check.metric is Metric.PROMETHEUS
            for of, query, at_ms in _questions(check, each)
        ]
        answers: dict[str, tuple[Measured, ...]] = {}
        if not questions:
            return answers
        asked = [(question, self._ask(question[3], question[4])) for question in questions]
        wait([future for _, future in asked if future is not None], PATIENCE_SECONDS)
        for (id, number, of, _, _), future in asked:
            value, problem = _outcome(future)
            answers[id] = (*answers.get(id, ()), Measured(number, of, value, problem))
        return answers

    def close(self) -> None:
        """Ask no more."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _ask(self, query: str, at_ms: int | None) -> Future[float] | None:
        if self._prometheus is None:
            return None
        if self._pool is None:
            self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="tidegate-sources")
        return self._pool.submit(self._prometheus.value, query, at_ms)


def _outcome(future: Future[float] | None) -> tuple[float | None, str]:
    if future is None:
        return None, NOT_CONFIGURED
    if not future.done():
        future.cancel()
        return None, f"Prometheus did not answer in {PATIENCE_SECONDS:g} s"
    try:
        return future.result(), ""
    except Unreadable as error:
        return None, str(error)


def _questions(check: Check, due: Due) -> list[tuple[str, str, int | None]]:
    """What to ask for a check: (what it is of, the query, the time or None for now)."""
    release = due.release
    names = {"flag": release.flag, "release": release.id, "environment": due.environment}

    def query(arm: str) -> str:
        return filled(check.query, {**names, "arm": arm})

    found: list[tuple[str, str, int | None]] = [("treatment", query("treatment"), None)]
    if check.compare is Compare.CONTROL:
        found.append(("control", query("control"), None))
    elif check.compare is Compare.BEFORE:
        found.append(("before", query("control"), release.started_ms))
    return found
