"""Webhooks are asked before a percentage is raised, and nobody waits for those that are slow."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from tidegate_server.admin.ledgers.replays import replay
from tidegate_server.decisions.decision import Action
from tidegate_server.decisions.observations import Answer as Said
from tidegate_server.domain import webhook_edits
from tidegate_server.domain.release import State
from tidegate_server.domain.release_gates import Confirmation
from tidegate_server.domain.webhooks import Webhook
from tidegate_server.outbound.http_client import HttpResult
from tidegate_server.policy_job import PolicyJob
from tidegate_server.webhooks.confirmations import Asker, Question, understood
from tidegate_server.webhooks.signing import signing_secret

from tests.decisions.ramp import policy, release
from tests.policy_job.deployment import HEALTHY, Clock, Deployment
from tests.receiver import BREAK, DRIP, HANG, Answer, Behaviour, Receiver, StartReceiver
from tests.waiting import until

SECRET_KEY = b"a secret key for tests only"
YES, NO = Answer(200, {"confirmed": True}), Answer(200, {"confirmed": False, "reason": "lunch"})
CONFIRMED = policy(10, 50, 100, interval_ms=1_000, bake_ms=3_000, min_samples=10)
BROKEN = ((900, 2), (100, 25))
PATIENCE_SECONDS = 60.0


@pytest.mark.parametrize(
    ("answered", "expected"),
    [
        (HttpResult(1, 200, b'{"confirmed": true}'), Said("ops", True)),
        (HttpResult(1, 200, b'{"confirmed": true, "reason": "fine"}'), Said("ops", True, "fine")),
        (
            HttpResult(1, 200, b'{"confirmed": false, "reason": "not\\n on a  Friday"}'),
            Said("ops", False, "not on a Friday"),
        ),
        (HttpResult(1, 200, b'{"confirmed": false}'), Said("ops", False)),
        (HttpResult(1, 503, b'{"confirmed": true}'), Said("ops", False, "answered 503")),
        (HttpResult(1, 409, b'{"reason": "frozen"}'), Said("ops", False, "frozen")),
        (HttpResult(1, None, problem="no answer in 5 s"), Said("ops", False, "no answer in 5 s")),
    ],
)
def test_an_answer_confirms_by_an_explicit_yes_alone(answered: HttpResult, expected: Said) -> None:
    assert understood("ops", answered) == expected


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"ok",
        b"[]",
        b"true",
        b'{"confirmed": 1}',
        b'{"confirmed": "true"}',
        b'{"confirm": true}',
        b'{"confirmed": true',
        b"[" * 50_000,
        b"\xff\xfe",
    ],
)
def test_what_is_not_understood_refuses(body: bytes) -> None:
    answer = understood("ops", HttpResult(1, 200, body))
    assert not answer.confirmed
    assert answer.reason == 'its answer does not say "confirmed": true or false'


def test_a_long_reason_is_cut() -> None:
    body = json.dumps({"confirmed": False, "reason": "because " * 1_000}).encode()
    assert len(understood("ops", HttpResult(1, 200, body)).reason) == 300


class Shift:
    """A policy job that asks, on a clock of its own, and traffic for one release."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.clock = Clock(deployment.store.now_ms())
        self.job = PolicyJob(deployment.store, "job-1", self.clock, secret_key=SECRET_KEY)

    def webhook(self, key: str, url: str, **changes: object) -> None:
        """Create or change a webhook."""
        webhook = replace(Webhook(key, url, f"secret of {key}"), **changes)  # type: ignore[arg-type]
        contents = self.deployment.contents()
        self.deployment.store.commit(webhook_edits.put_webhook(contents, webhook, actor="dana"))

    def start(self, *asked: str, flag: str = "checkout") -> None:
        """Start a release that these are asked about."""
        confirm = tuple(Confirmation(key) for key in asked)
        by = replace(CONFIRMED, key=f"for-{flag}", confirm=confirm)
        self.deployment.start(by, flag, now_ms=self.clock())

    def report(
        self,
        counts: tuple[tuple[int, int], tuple[int, int]] | None = None,
        flag: str = "checkout",
    ) -> None:
        """Report healthy counts of the present stage, unless others are given."""
        subject = self.deployment.release(f"rel_{flag}")
        self.deployment.sdk.report(subject, *(counts or HEALTHY[subject.stage]))

    def until(self, condition: Callable[[], bool], *reporting: str) -> None:
        """Let windows pass with healthy traffic until something holds."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, self.deployment.release()
            for flag in reporting or ("checkout",):
                self.report(flag=flag)
            self.clock.now_ms += 1_000
            self.job.tick()
            time.sleep(0.01)

    def until_asked(self, told: Receiver) -> None:
        """Let windows pass until a receiver has been asked."""
        self.until(lambda: bool(told.received))


@pytest.fixture
def shift(deployment: Deployment) -> Shift:
    return Shift(deployment)


def test_a_release_goes_on_when_all_confirm(shift: Shift, start_receiver: StartReceiver) -> None:
    told, other = start_receiver(YES), start_receiver(YES)
    shift.webhook("ops", told.url)
    shift.webhook("change-board", other.url)
    shift.start("ops", "change-board")
    shift.until(lambda: shift.deployment.release().state is State.COMPLETED)

    assert [each.json["then"]["action"] for each in told.received] == [
        "advance",
        "advance",
        "complete",
    ]
    assert len(other.received) == 3
    asked = [entry for entry in shift.deployment.ledger() if entry.window.answers]
    assert [entry.decision.action for entry in asked] == [
        Action.ADVANCE,
        Action.ADVANCE,
        Action.COMPLETE,
    ]
    assert {answer.webhook for answer in asked[0].window.answers} == {"ops", "change-board"}
    assert all(not entry.decision.asks for entry in shift.deployment.ledger())


def test_a_question_says_what_is_about_to_happen_and_is_signed(
    shift: Shift, start_receiver: StartReceiver
) -> None:
    told = start_receiver(YES)
    shift.webhook("ops", told.url)
    shift.start("ops")
    shift.until_asked(told)

    (question, *_) = told.received
    assert question.is_signed_with(signing_secret(SECRET_KEY, "secret of ops"))
    assert question.headers["Tidegate-Event"] == question.json["event"] == "confirm"
    assert question.headers["Tidegate-Delivery"] == question.json["id"]
    release = question.json["release"]
    assert (release["id"], release["stage"], release["percentage"]) == ("rel_checkout", 1, 10)
    assert question.json["then"] == {
        "action": "advance",
        "state": "running",
        "stage": 2,
        "stage_name": "stage-2",
        "percentage": 50,
    }
    assert (question.json["project"], question.json["environment"]) == ("shop", "production")
    assert "operations" in question.json["reason"]


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        (NO, "not confirmed by ops: lunch"),
        (Answer(500), "not confirmed by ops: answered 500"),
        (BREAK, "not confirmed by ops: the answer is not valid HTTP, or it is incomplete"),
        (HANG, "not confirmed by ops: no answer in 0.5 s"),
        (DRIP, "not confirmed by ops: no answer in 0.5 s"),
    ],
)
def test_a_refusal_holds_with_its_reason_until_it_is_over(
    shift: Shift, start_receiver: StartReceiver, behaviour: Behaviour, words: str
) -> None:
    told = start_receiver(behaviour)
    shift.webhook("ops", told.url, timeout_ms=500)
    shift.start("ops")
    shift.until(lambda: shift.deployment.release().state is State.HOLDING)
    assert shift.deployment.release().reason == words
    assert shift.deployment.release().stage == 1
    (answer,) = shift.deployment.ledger()[-1].window.answers
    assert not answer.confirmed

    told.behave(YES)
    shift.until(lambda: shift.deployment.release().stage == 2)


def test_a_replay_needs_no_webhook(shift: Shift, start_receiver: StartReceiver) -> None:
    shift.webhook("ops", start_receiver(NO, Answer(500), YES).url)
    shift.start("ops")
    shift.until(lambda: shift.deployment.release().state is State.COMPLETED)
    again = replay(shift.deployment.store, "shop", "production", "rel_checkout", None, 10**6)

    answers = [entry.window.answers for entry in shift.deployment.ledger()]
    assert [each[0].confirmed for each in answers if each] == [False, False, True, True, True]
    assert again.differences == ()
    assert again.replay.decisions == len(answers)


def test_one_refusal_among_several_holds(shift: Shift, start_receiver: StartReceiver) -> None:
    shift.webhook("ops", start_receiver(YES).url)
    shift.webhook("change-board", start_receiver(NO).url)
    shift.start("ops", "change-board")
    shift.until(lambda: shift.deployment.release().state is State.HOLDING)
    assert shift.deployment.release().reason == "not confirmed by change-board: lunch"


def test_a_disabled_one_refuses_without_being_asked(
    shift: Shift, start_receiver: StartReceiver
) -> None:
    told = start_receiver(YES)
    shift.webhook("ops", told.url, enabled=False)
    shift.start("ops")
    shift.until(lambda: shift.deployment.release().state is State.HOLDING)
    assert shift.deployment.release().reason == "not confirmed by ops: it is disabled"
    assert told.received == []


def test_a_job_without_the_secret_key_confirms_nothing(
    shift: Shift, start_receiver: StartReceiver
) -> None:
    told = start_receiver(YES)
    shift.webhook("ops", told.url)
    shift.start("ops")
    shift.job = PolicyJob(shift.deployment.store, "job-1", shift.clock)
    shift.until(lambda: shift.deployment.release().state is State.HOLDING)
    assert "nobody here can ask it" in shift.deployment.release().reason


def test_nobody_waits_for_one_that_hangs(shift: Shift, start_receiver: StartReceiver) -> None:
    told = start_receiver(HANG)
    shift.webhook("ops", told.url, timeout_ms=30_000)
    shift.start("ops")
    shift.start(flag="search")
    shift.until(
        lambda: shift.deployment.release("rel_search").state is State.COMPLETED,
        "checkout",
        "search",
    )
    assert shift.deployment.release().stage == 1
    assert shift.deployment.release().state is State.RUNNING
    assert len(told.received) == 1, "a question is put once"


def test_a_release_that_fails_while_it_asks_is_rolled_back(
    shift: Shift, start_receiver: StartReceiver
) -> None:
    told = start_receiver(HANG)
    shift.webhook("ops", told.url, timeout_ms=30_000)
    shift.start("ops")
    shift.until_asked(told)
    shift.report(BROKEN)
    shift.clock.now_ms += 1_000
    shift.job.tick()
    assert shift.deployment.release().state is State.ROLLED_BACK


def test_an_answer_counts_for_nothing_once_a_person_has_acted(
    shift: Shift, start_receiver: StartReceiver
) -> None:
    told = start_receiver(YES)
    shift.webhook("ops", told.url)
    shift.start("ops")
    shift.until_asked(told)
    shift.deployment.pause()
    for _ in range(5):
        shift.report()
        shift.clock.now_ms += 1_000
        shift.job.tick()
    assert shift.deployment.release().state is State.PAUSED
    assert shift.deployment.release().stage == 1
    assert all(not entry.window.answers for entry in shift.deployment.ledger())


def question(revision: int = 1, *webhooks: str) -> Question:
    subject = release(CONFIRMED)
    return Question(
        "shop", "production", subject, revision, webhooks or ("ops",), "advance", subject, "fine"
    )


def answers(asker: Asker, asked: Question) -> tuple[Said, ...]:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (found := asker.answers(asked)) is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


class TestAsker:
    @pytest.fixture
    def asker(self, shift: Shift) -> Asker:
        return Asker(shift.deployment.store, SECRET_KEY)

    def test_says_once_whose_question_was_answered(
        self, asker: Asker, shift: Shift, start_receiver: StartReceiver
    ) -> None:
        shift.webhook("ops", start_receiver(YES).url)
        assert asker.answers(question()) is None
        until(lambda: not asker.waits, "the answer")
        assert asker.answered() == [("shop", "production", "rel_1")]
        assert asker.answered() == []
        assert asker.answers(question()) == (Said("ops", True),)

    def test_asks_again_about_another_revision(
        self, asker: Asker, shift: Shift, start_receiver: StartReceiver
    ) -> None:
        told = start_receiver(YES)
        shift.webhook("ops", told.url)
        answers(asker, question(1))
        answers(asker, question(1))
        assert asker.answers(question(2)) is None
        told.wait_for(3)
        assert answers(asker, question(2)) == (Said("ops", True),)
        assert len(told.received) == 3

    def test_forgets_a_question_that_is_not_open_any_more(
        self, asker: Asker, shift: Shift, start_receiver: StartReceiver
    ) -> None:
        shift.webhook("ops", start_receiver(HANG).url, timeout_ms=30_000)
        assert asker.answers(question()) is None
        assert asker.waits
        asker.forget_project("another")
        assert asker.waits
        asker.forget_project("shop")
        assert not asker.waits

    def test_one_that_is_gone_refuses(self, asker: Asker) -> None:
        (answer,) = answers(asker, question(1, "nobody"))
        assert answer == Said("nobody", False, "there is no such webhook any more")

    def test_whom_a_hanging_one_keeps_from_being_asked_hears_no_in_time(
        self, asker: Asker, shift: Shift, start_receiver: StartReceiver
    ) -> None:
        shift.webhook("ops", start_receiver(HANG).url, timeout_ms=500)
        many = [
            replace(question(), release=replace(release(CONFIRMED), id=f"rel_{number}"))
            for number in range(30)
        ]
        assert all(asker.answers(each) is None for each in many)
        found = [answers(asker, each) for each in many]
        assert found == [(Said("ops", False, "no answer in 0.5 s"),)] * 30
