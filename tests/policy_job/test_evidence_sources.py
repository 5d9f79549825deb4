"""Outside sources are asked without anybody waiting, and what they do not say is no value."""

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
from tidegate_server.policy_job import evidence_sources as sources_module
from tidegate_server.policy_job.evidence_sources import Question, Sources, questions_of

from tests.decisions.ramp import policy, release
from tests.policy_job.deployment import QUICK, Clock, Deployment
from tests.receiver import HANG, Answer, Receiver, receiver
from tests.waiting import until

PATIENCE_SECONDS = 60.0
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


def asking(*checks: Check, **changes: Any) -> Release:
    return release(replace(policy(10, 100), checks=checks), **changes)


def sources_at(told: Receiver) -> Sources:
    return Sources(Prometheus(told.origin))


def answers(sources: Sources, of: Release, project: str = "shop") -> tuple[Measured, ...]:
    """What the sources say in the end."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (found := sources.measured(project, "production", of)) is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return found


@pytest.fixture
def told() -> Iterator[Receiver]:
    with receiver(vector("5")) as told:
        yield told


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources_module, "PATIENCE_S", 0.3)


class TestQuestions:
    def test_have_every_variable_filled_in(self) -> None:
        (question,) = questions_of("production", asking(CHECK))
        assert question == Question(
            0, "treatment", 'errors{flag="checkout", arm="treatment", in="production", of="rel_1"}'
        )

    def test_are_about_both_arms_or_about_the_time_before(self) -> None:
        control = replace(CHECK, compare=Compare.CONTROL, query="{{ arm }}")
        before = replace(control, compare=Compare.BEFORE)
        assert questions_of("production", asking(Check(), control, before, started_ms=5_000)) == (
            Question(1, "treatment", "treatment"),
            Question(1, "control", "control"),
            Question(2, "treatment", "treatment"),
            Question(2, "before", "control", 5_000),
        )

    def test_are_not_asked_where_nothing_needs_them(self) -> None:
        assert questions_of("production", asking(Check())) == ()
        assert questions_of("production", asking(CHECK, closed=True)) == ()


class TestSources:
    def test_answer_all_questions_of_a_release(self, told: Receiver) -> None:
        both = replace(CHECK, compare=Compare.CONTROL)
        assert answers(sources_at(told), asking(CHECK, both)) == (
            Measured(0, "treatment", 5.0),
            Measured(1, "treatment", 5.0),
            Measured(1, "control", 5.0),
        )

    def test_say_when_they_have_answered(self, told: Receiver) -> None:
        sources = sources_at(told)
        assert not sources.waits
        assert sources.measured("shop", "production", asking(CHECK)) is None
        until(lambda: not sources.waits, "the answer")
        assert sources.answered() == [("shop", "production", "rel_1")]
        assert sources.answered() == []

    def test_are_asked_again_once_an_answer_was_used(self, told: Receiver) -> None:
        sources = sources_at(told)
        for _ in range(3):
            answers(sources, asking(CHECK))
        assert len(told.received) == 1
        sources.forget(("shop", "production", "rel_1"))
        answers(sources, asking(CHECK))
        assert len(told.received) == 2

    def test_are_asked_again_when_an_answer_is_old(
        self, told: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sources = sources_at(told)
        answers(sources, asking(CHECK))
        monkeypatch.setattr(sources_module, "FRESH_S", -1.0)
        sources.measured("shop", "production", asking(CHECK))
        until(lambda: len(told.received) == 2, "the second question")

    @pytest.mark.usefixtures("impatient")
    def test_that_hang_are_given_up_and_what_came_in_time_is_kept(self, told: Receiver) -> None:
        told.behave(vector("5"), HANG)
        both = replace(CHECK, compare=Compare.CONTROL)
        found = answers(sources_at(told), asking(both))
        assert sorted(each.value is None for each in found) == [False, True]
        assert sorted("no answer in" in each.problem for each in found) == [False, True]

    @pytest.mark.usefixtures("impatient")
    def test_that_hung_answer_again_when_they_can(self, told: Receiver) -> None:
        told.behave(HANG)
        sources = sources_at(told)
        many = [asking(CHECK, id=f"rel_{number}") for number in range(30)]
        for each in many:
            sources.measured("shop", "production", each)
        assert all(answers(sources, each)[0].value is None for each in many)
        told.behave(vector("7"))
        deadline = time.monotonic() + PATIENCE_SECONDS
        for each in many:
            while answers(sources, each)[0].value != 7.0:
                assert time.monotonic() < deadline
                sources.forget(("shop", "production", each.id))

    def test_of_one_project_do_not_keep_another_waiting(self, told: Receiver) -> None:
        told.behave(HANG)
        sources = sources_at(told)
        for number in range(30):
            sources.measured("noisy", "production", asking(CHECK, id=f"rel_{number}"))
        told.wait_for(sources_module.EACH_AT_A_TIME)
        told.behave(vector("7"))
        (found,) = answers(sources, asking(CHECK), "shop")
        assert found.value == 7.0

    def test_that_fail_in_an_unknown_way_are_a_problem(
        self, told: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*_: object) -> float:
            raise ZeroDivisionError

        monkeypatch.setattr(Prometheus, "value", broken)
        (found,) = answers(sources_at(told), asking(CHECK))
        assert (found.value, found.problem) == (None, "it cannot be asked (ZeroDivisionError)")

    def test_that_nobody_configured_never_have_a_value(self) -> None:
        measured = Sources().measured("shop", "production", asking(CHECK))
        assert measured is not None
        assert measured[0].value is None
        assert "set TIDEGATE_PROMETHEUS_URL" in measured[0].problem

    def test_are_not_asked_for_a_project_that_another_process_leads(self, told: Receiver) -> None:
        sources = sources_at(told)
        answers(sources, asking(CHECK))
        sources.forget_project("shop")
        assert not sources.waits
        assert sources.answered() == []


def test_nobody_waits_for_a_release_whose_source_hangs(
    told: Receiver, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources_module, "PATIENCE_S", 2.0)
    told.behave(HANG)
    clock = Clock(deployment.store.now_ms())
    deployment.start(replace(QUICK, key="asks", checks=(CHECK,)), now_ms=clock())
    deployment.start(replace(QUICK, key="plain"), "search", now_ms=clock())
    job = PolicyJob(deployment.store, "job-1", clock, sources=sources_at(told))
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
