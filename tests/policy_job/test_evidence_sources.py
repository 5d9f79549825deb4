"""Outside sources are queried while other releases go on; without an answer there is no value."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from tidegate_server.decisions.observations import Measured
from tidegate_server.domain.checks import Check, Compare, Metric, Operator
from tidegate_server.domain.release import Release
from tidegate_server.outbound.prometheus import Prometheus
from tidegate_server.policy_job import PolicyJob
from tidegate_server.policy_job.evidence_sources import (
    MAX_THREADS_PER_PROJECT,
    EvidenceSources,
    SourceQuery,
    release_queries,
)

from tests.decisions.simulated_release import policy, release
from tests.policy_job.deployment import QUICK, Clock, Deployment
from tests.receiver import HANG, Answer, Receiver, receiver
from tests.waiting import until

PATIENCE_SECONDS = 60.0
SHORT_S = 0.3
CHECK = Check(
    metric=Metric.PROMETHEUS,
    compare=Compare.ABSOLUTE,
    query='errors{flag="{{ flag }}", arm="{{ arm }}", in="{{environment}}", of="{{ release }}"}',
    operator=Operator.BELOW,
    threshold=100.0,
    failure_limit=0,
    error_limit=1,
)


def vector(value: str) -> Answer:
    result = [{"metric": {}, "value": [1, value]}]
    return Answer(200, {"status": "success", "data": {"resultType": "vector", "result": result}})


def release_with(*checks: Check, **changes: Any) -> Release:
    return release(replace(policy(10, 100), checks=checks), **changes)


def wait_for_values(
    sources: EvidenceSources, subject: Release, project: str = "shop"
) -> tuple[Measured, ...]:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (measured := sources.measure(project, "production", subject)) is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return measured


@pytest.fixture
def server() -> Iterator[Receiver]:
    """A server that answers like Prometheus, with the value 5."""
    with receiver(vector("5")) as server:
        yield server


@pytest.fixture
def sources(server: Receiver) -> EvidenceSources:
    return EvidenceSources(Prometheus(server.origin))


@pytest.fixture
def impatient(server: Receiver) -> EvidenceSources:
    return EvidenceSources(Prometheus(server.origin), timeout_s=SHORT_S)


class TestReleaseQueries:
    def test_every_variable_is_filled_in(self) -> None:
        (query,) = release_queries("production", release_with(CHECK))
        assert query == SourceQuery(
            0, "treatment", 'errors{flag="checkout", arm="treatment", in="production", of="rel_1"}'
        )

    def test_they_cover_both_arms_or_the_time_before(self) -> None:
        control = replace(CHECK, compare=Compare.CONTROL, query="{{ arm }}")
        before = replace(control, compare=Compare.BEFORE)
        subject = release_with(Check(), control, before, started_ms=5_000)
        assert release_queries("production", subject) == (
            SourceQuery(1, "treatment", "treatment"),
            SourceQuery(1, "control", "control"),
            SourceQuery(2, "treatment", "treatment"),
            SourceQuery(2, "before", "control", 5_000),
        )

    def test_there_are_none_without_a_prometheus_check_or_in_a_closed_release(self) -> None:
        assert release_queries("production", release_with(Check())) == ()
        assert release_queries("production", release_with(CHECK, closed=True)) == ()


class TestEvidenceSources:
    def test_every_query_of_a_release_gets_a_value(self, sources: EvidenceSources) -> None:
        both = replace(CHECK, compare=Compare.CONTROL)
        assert wait_for_values(sources, release_with(CHECK, both)) == (
            Measured(0, "treatment", 5.0),
            Measured(1, "treatment", 5.0),
            Measured(1, "control", 5.0),
        )

    def test_a_release_is_completed_once_its_values_have_arrived(
        self, sources: EvidenceSources, server: Receiver
    ) -> None:
        assert not sources.waiting
        server.hold()
        assert sources.measure("shop", "production", release_with(CHECK)) is None
        assert sources.waiting
        assert sources.completed() == []
        server.release()
        until(lambda: not sources.waiting, "the answer")
        assert sources.completed() == [("shop", "production", "rel_1")]
        assert sources.completed() == []

    def test_values_are_kept_until_they_are_forgotten(
        self, sources: EvidenceSources, server: Receiver
    ) -> None:
        for _ in range(3):
            wait_for_values(sources, release_with(CHECK))
        assert len(server.received) == 1
        sources.forget(("shop", "production", "rel_1"))
        wait_for_values(sources, release_with(CHECK))
        assert len(server.received) == 2

    def test_old_values_are_read_again(self, server: Receiver) -> None:
        sources = EvidenceSources(Prometheus(server.origin), fresh_s=0.0)
        wait_for_values(sources, release_with(CHECK))
        server.hold()
        assert sources.measure("shop", "production", release_with(CHECK)) is None
        server.wait_for(2)

    def test_a_query_that_hangs_has_no_value_and_the_others_keep_theirs(
        self, impatient: EvidenceSources, server: Receiver
    ) -> None:
        server.behave(vector("5"), HANG)
        both = replace(CHECK, compare=Compare.CONTROL)
        measured = wait_for_values(impatient, release_with(both))
        assert sorted(each.value is None for each in measured) == [False, True]
        assert sorted("no answer in" in each.problem for each in measured) == [False, True]

    def test_after_a_hang_values_are_read_again(
        self, impatient: EvidenceSources, server: Receiver
    ) -> None:
        server.behave(HANG)
        releases = [release_with(CHECK, id=f"rel_{number}") for number in range(30)]
        for each in releases:
            impatient.measure("shop", "production", each)
        assert all(wait_for_values(impatient, each)[0].value is None for each in releases)
        server.behave(vector("7"))
        deadline = time.monotonic() + PATIENCE_SECONDS
        for each in releases:
            while wait_for_values(impatient, each)[0].value != 7.0:
                assert time.monotonic() < deadline
                impatient.forget(("shop", "production", each.id))

    def test_one_project_does_not_delay_another(
        self, sources: EvidenceSources, server: Receiver
    ) -> None:
        server.behave(HANG)
        for number in range(30):
            sources.measure("noisy", "production", release_with(CHECK, id=f"rel_{number}"))
        server.wait_for(MAX_THREADS_PER_PROJECT)
        server.behave(vector("7"))
        (measured,) = wait_for_values(sources, release_with(CHECK), "shop")
        assert measured.value == 7.0

    def test_an_unexpected_error_is_a_problem_and_no_value(
        self, sources: EvidenceSources, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object) -> float:
            raise ZeroDivisionError

        monkeypatch.setattr(Prometheus, "value", fail)
        (measured,) = wait_for_values(sources, release_with(CHECK))
        assert (measured.value, measured.problem) == (None, "the query failed (ZeroDivisionError)")

    def test_without_a_prometheus_there_is_never_a_value(self) -> None:
        measured = EvidenceSources().measure("shop", "production", release_with(CHECK))
        assert measured is not None
        assert measured[0].value is None
        assert "set TIDEGATE_PROMETHEUS_URL" in measured[0].problem

    def test_the_values_of_a_project_that_another_process_leads_are_dropped(
        self, sources: EvidenceSources
    ) -> None:
        wait_for_values(sources, release_with(CHECK))
        sources.forget_project("shop")
        assert not sources.waiting
        assert sources.completed() == []


def test_a_release_whose_source_hangs_delays_no_other_release(
    server: Receiver, deployment: Deployment
) -> None:
    server.behave(HANG)
    sources = EvidenceSources(Prometheus(server.origin), timeout_s=2.0)
    clock = Clock(deployment.store.now_ms())
    deployment.start(replace(QUICK, key="queries", checks=(CHECK,)), now_ms=clock())
    deployment.start(replace(QUICK, key="plain"), "search", now_ms=clock())
    job = PolicyJob(deployment.store, "job-1", clock, sources=sources)
    clock.now_ms += 1_000
    assert job.tick() == 1
    assert (len(deployment.ledger()), len(deployment.ledger("rel_search"))) == (0, 1)

    # Once its time is over the release is evaluated too, without a value.
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not deployment.ledger():
        assert time.monotonic() < deadline
        time.sleep(0.01)
        job.tick()
    (entry,) = deployment.ledger()
    assert "no answer in 2 s" in entry.window.measured[0].problem
    assert entry.decision.checks[0].unreadable == 1
    assert deployment.release().stage == 1
