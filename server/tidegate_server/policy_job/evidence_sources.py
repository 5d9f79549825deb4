"""Asking sources outside of the SDK for the checks of releases, without anybody waiting.

When a release is due, what its checks need to know is asked in threads, and the loop goes on
with other releases. The release stays due, and is evaluated once every answer is there or
its time is over: what did not come by then is a problem of the source, and never a value.

Threads: some for each project, from ``BoundedThreads``, that work off the project's questions. The
lock guards the rounds and the questions that wait; nothing is asked under it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import structlog

from tidegate_server.decisions.observations import Measured
from tidegate_server.domain.checks import Check, Compare, Metric
from tidegate_server.domain.release import Release
from tidegate_server.outbound.bounded_threads import BoundedThreads
from tidegate_server.outbound.pending_requests import Place, Rounds
from tidegate_server.outbound.prometheus import Prometheus, Unreadable, filled

log = structlog.get_logger("tidegate.policy_job")

EACH_AT_A_TIME = 4
MOST_AT_A_TIME = 16

PATIENCE_S = 4.0
"""How long a release waits for its answers, all of them together."""

FRESH_S = 5.0
"""How long answers count; later the source is asked again."""

NOT_CONFIGURED = "no Prometheus is configured: set TIDEGATE_PROMETHEUS_URL"


@dataclass(frozen=True, slots=True)
class Question:
    """What a check needs to know.

    Attributes:
        check: the check's place in the policy, from 0.
        of: ``treatment``, ``control`` or ``before``.
        query: with every variable filled in.
        at_ms: about which time; None: now.
    """

    check: int
    of: str
    query: str
    at_ms: int | None = None


@dataclass(slots=True)
class _Round:
    """The questions of one evaluation and the answers so far. Times are monotonic."""

    questions: Sequence[Question]
    began: float
    answers: dict[Question, Measured] = field(default_factory=dict)
    ended: float | None = None
    told: bool = False

    @property
    def left(self) -> float:
        return self.began + PATIENCE_S - time.monotonic()

    @property
    def over(self) -> bool:
        """Whether every answer is there, or is not waited for any more."""
        if self.ended is None and (len(self.answers) == len(self.questions) or self.left <= 0):
            self.ended = time.monotonic()
        return self.ended is not None

    @property
    def stale(self) -> bool:
        return self.ended is not None and time.monotonic() - self.ended > FRESH_S


class Sources(Rounds[_Round]):
    """The outside sources of one policy job.

    Args:
        prometheus: None where none is configured: then no value ever comes.
    """

    def __init__(self, prometheus: Prometheus | None = None) -> None:
        super().__init__()
        self._prometheus = prometheus
        self._lanes = BoundedThreads("tidegate-sources", EACH_AT_A_TIME, MOST_AT_A_TIME)
        self._waiting: dict[str, deque[tuple[_Round, Question]]] = {}

    def forget_project(self, project: str) -> None:
        """Another process leads the project, and asks for itself."""
        super().forget_project(project)
        with self._lock:
            self._waiting.pop(project, None)

    def measured(
        self, project: str, environment: str, release: Release
    ) -> tuple[Measured, ...] | None:
        """What the sources say for a release's checks; None while they have not all answered."""
        questions = questions_of(environment, release)
        if not questions:
            return ()
        if self._prometheus is None:
            return tuple(Measured(each.check, each.of, None, NOT_CONFIGURED) for each in questions)
        round_ = self._round((project, environment, release.id), questions)
        self._work_off(project, self._prometheus)
        with self._lock:
            if not round_.over:
                return None
            return tuple(
                round_.answers.get(each)
                or Measured(each.check, each.of, None, f"no answer in {PATIENCE_S:g} s")
                for each in questions
            )

    def _round(self, place: Place, questions: Sequence[Question]) -> _Round:
        with self._lock:
            present = self._rounds.get(place)
            if present is not None and present.questions == questions and not present.stale:
                return present
            round_ = self._rounds[place] = _Round(questions, time.monotonic())
            waiting = self._waiting.setdefault(place[0], deque())
            waiting.extend((round_, each) for each in questions)
            return round_

    def _work_off(self, project: str, prometheus: Prometheus) -> None:
        with self._lock:
            wanted = min(len(self._waiting.get(project, ())), EACH_AT_A_TIME)
        for _ in range(wanted):
            if not self._lanes.start(project, partial(self._ask_on, project, prometheus)):
                return

    def _ask_on(self, project: str, prometheus: Prometheus) -> None:
        """Ask what waits, until nothing does. What nobody waits for any more is not asked."""
        while True:
            with self._lock:
                waiting = self._waiting.get(project)
                if not waiting:
                    self._waiting.pop(project, None)
                    return
                round_, question = waiting.popleft()
            left = round_.left
            if left <= 0:
                continue
            answer = _asked(prometheus, question, left)
            with self._lock:
                if not round_.over:
                    round_.answers[question] = answer


def _asked(prometheus: Prometheus, question: Question, left: float) -> Measured:
    value, problem = None, ""
    try:
        value = prometheus.value(question.query, question.at_ms, left)
    except Unreadable as error:
        problem = str(error)
    except Exception as error:
        log.exception("a source cannot be asked", query=question.query)
        problem = f"it cannot be asked ({type(error).__name__})"
    return Measured(question.check, question.of, value, problem)


def questions_of(environment: str, release: Release) -> tuple[Question, ...]:
    """What the checks of a release need to know now; nothing while everyone has the control."""
    if release.closed:
        return ()
    return tuple(
        question
        for number, check in enumerate(release.policy.checks)
        if check.metric is Metric.PROMETHEUS
        for question in _of_check(number, check, environment, release)
    )


def _of_check(number: int, check: Check, environment: str, release: Release) -> list[Question]:
    names = {"flag": release.flag, "release": release.id, "environment": environment}

    def query(arm: str) -> str:
        return filled(check.query, {**names, "arm": arm})

    found = [Question(number, "treatment", query("treatment"))]
    if check.compare is Compare.CONTROL:
        found.append(Question(number, "control", query("control")))
    elif check.compare is Compare.BEFORE:
        # Before the release there was the control alone.
        found.append(Question(number, "before", query("control"), release.started_ms))
    return found
