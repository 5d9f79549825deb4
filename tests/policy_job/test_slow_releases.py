"""A release that is slow to evaluate, or cannot be read, delays only itself."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from tidegate_server.decisions.decide import decide
from tidegate_server.domain.release_gates import Event, Notification
from tidegate_server.errors import StoreUnavailable
from tidegate_server.policy_job import PolicyJob, evaluate_release, loop
from tidegate_server.store import evidence

from tests.policy_job.deployment import ENVIRONMENT, HEALTHY, QUICK, Clock, Deployment

LONG = 0.1


@dataclass
class Evaluations:
    """The releases that were evaluated, in their order; ``slow`` ones take too long.

    ``seconds`` is the job's monotonic clock, so that a busy machine makes no release slow.
    """

    slow: set[str] = field(default_factory=set)
    order: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def take(self) -> list[str]:
        order, self.order = self.order, []
        return order


@pytest.fixture
def evaluations(monkeypatch: pytest.MonkeyPatch) -> Evaluations:
    evaluations = Evaluations()

    def slowly(release: Any, *rest: Any) -> Any:
        evaluations.order.append(release.id)
        if release.id in evaluations.slow:
            evaluations.seconds += LONG
        return decide(release, *rest)

    monkeypatch.setattr(evaluate_release, "decide", slowly)
    monkeypatch.setattr(evaluate_release, "TIME_BOX_S", LONG / 2)
    clock = SimpleNamespace(monotonic=lambda: evaluations.seconds)
    monkeypatch.setattr(evaluate_release, "time", clock)
    monkeypatch.setattr(loop, "time", clock)
    return evaluations


@pytest.fixture
def two(deployment: Deployment) -> tuple[PolicyJob, Clock]:
    """A job with the releases ``rel_checkout`` and ``rel_search``, each due every second."""
    clock = Clock(deployment.store.now_ms())
    notified = replace(QUICK, notify=(Notification("ops", (Event.WARNED,)),))
    for flag in ("checkout", "search"):
        deployment.start(notified, flag=flag, now_ms=clock())
        deployment.sdk.report(deployment.release(f"rel_{flag}"), *HEALTHY[1])
    return PolicyJob(deployment.store, "job-1", clock), clock


def second(job: PolicyJob, clock: Clock, evaluations: Evaluations) -> list[str]:
    """Let a second pass; return which releases were evaluated, in their order."""
    clock.now_ms += 1_000
    job.tick()
    return evaluations.take()


def test_the_other_releases_go_first_and_keep_their_interval(
    two: tuple[PolicyJob, Clock], evaluations: Evaluations
) -> None:
    evaluations.slow = {"rel_checkout"}
    first = second(*two, evaluations)
    assert first == ["rel_checkout"]  # nobody knew; what comes after it is left for the next tick
    two[0].tick()
    assert evaluations.take() == ["rel_search"]
    for _ in range(5):
        assert second(*two, evaluations)[0] == "rel_search"


def test_slow_releases_together_leave_most_of_the_time_to_the_others(
    two: tuple[PolicyJob, Clock], evaluations: Evaluations
) -> None:
    evaluations.slow = {"rel_checkout", "rel_search"}
    job, clock = two
    for _ in range(3):
        clock.now_ms += 10_000
        job.tick()
    evaluations.take()
    clock.now_ms += 10_000
    job.tick()
    job.tick()
    assert len(evaluations.take()) == 1
    clock.now_ms += int(LONG * 1_000)  # a tenth of the time has not passed yet
    job.tick()
    assert evaluations.take() == []
    clock.now_ms += 5_000
    job.tick()
    assert len(evaluations.take()) == 1


def test_a_release_that_is_quick_again_is_evaluated_with_the_others(
    two: tuple[PolicyJob, Clock], evaluations: Evaluations
) -> None:
    evaluations.slow = {"rel_checkout"}
    job, clock = two
    second(job, clock, evaluations)
    evaluations.slow = set()
    clock.now_ms += 10_000
    job.tick()
    evaluations.take()
    assert sorted(second(job, clock, evaluations)) == ["rel_checkout", "rel_search"]


def test_people_are_warned_once_and_the_metric_shows_it_until_it_is_over(
    two: tuple[PolicyJob, Clock], evaluations: Evaluations, deployment: Deployment, raw: redis.Redis
) -> None:
    evaluations.slow = {"rel_checkout"}
    job, clock = two
    for _ in range(4):
        clock.now_ms += 10_000
        job.tick()
    warnings = [
        message for message in raw.hvals("tg:{shop}:deliveries:ops") if b"warned" in message
    ]
    assert len(warnings) == 1
    assert b"this release is evaluated after all others" in warnings[0]
    overruns = deployment.store.evidence.overruns("shop", ENVIRONMENT)
    assert overruns.keys() == {"rel_checkout"}
    evaluations.slow = set()
    clock.now_ms += 10_000
    job.tick()
    assert deployment.store.evidence.overruns("shop", ENVIRONMENT) == {}


def test_a_release_whose_evidence_cannot_be_read_in_time_delays_only_itself(
    deployment: Deployment, evaluations: Evaluations, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = deployment.store.evidence.totals_many

    def unreadable(project: str, environment: str, releases: Any) -> Any:
        if "rel_checkout" in releases:
            raise StoreUnavailable("it did not answer in time")
        return read(project, environment, releases)

    monkeypatch.setattr(deployment.store.evidence, "totals_many", unreadable)
    clock = Clock(deployment.store.now_ms())
    for flag in ("checkout", "search"):
        deployment.start(flag=flag, now_ms=clock())
    job = PolicyJob(deployment.store, "job-1", clock)
    for _ in range(5):
        assert second(job, clock, evaluations) == ["rel_search"]


def test_evidence_from_before_reports_were_limited_is_bounded_at_the_first_evaluation(
    two: tuple[PolicyJob, Clock],
    evaluations: Evaluations,
    deployment: Deployment,
    raw: redis.Redis,
) -> None:
    key = f"tg:{{shop}}:evidence:{ENVIRONMENT}:rel_checkout"
    before = raw.hlen(key)
    invented: dict[Any, Any] = {
        f"{step}|1|control|exposures": 1 for step in range(1_000, 1_000 + 30_000)
    }
    raw.hset(key, mapping=invented)
    assert len(invented) > evidence.MAX_FIELDS
    assert sorted(second(*two, evaluations)) == ["rel_checkout", "rel_search"]
    assert raw.hlen(key) == before
    progress = deployment.progress()
    assert progress is not None
    assert (progress.control.outcomes, progress.treatment.outcomes) == (900, 100)
