"""Webhooks confirm that a release may advance; slow ones delay no other release."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from structlog.testing import capture_logs
from tidegate_server.admin.ledgers.replays import replay
from tidegate_server.decisions.decision import Action
from tidegate_server.decisions.observations import Answer as ConfirmationAnswer
from tidegate_server.domain import webhook_edits
from tidegate_server.domain.release import State
from tidegate_server.domain.release_gates import Confirmation
from tidegate_server.domain.webhooks import Webhook
from tidegate_server.outbound.http_client import HttpResult
from tidegate_server.policy_job import PolicyJob
from tidegate_server.webhooks.confirmations import (
    ConfirmationRequests,
    Proposal,
    parse_confirmation,
)
from tidegate_server.webhooks.signing import signing_secret

from tests.decisions.simulated_release import policy, release
from tests.policy_job.deployment import HEALTHY, Clock, Deployment
from tests.receiver import BREAK, DRIP, HANG, LOOPBACK, Answer, Behaviour, Receiver, StartReceiver
from tests.waiting import until

SECRET_KEY = b"a secret key for tests only"
YES, NO = Answer(200, {"confirmed": True}), Answer(200, {"confirmed": False, "reason": "lunch"})
CONFIRMED = policy(10, 50, 100, interval_ms=1_000, bake_ms=3_000, min_samples=10)
BROKEN = ((900, 2), (100, 25))
PATIENCE_SECONDS = 60.0


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (HttpResult(1, 200, b'{"confirmed": true}'), ConfirmationAnswer("ops", True)),
        (
            HttpResult(1, 200, b'{"confirmed": true, "reason": "fine"}'),
            ConfirmationAnswer("ops", True, "fine"),
        ),
        (
            HttpResult(1, 200, b'{"confirmed": false, "reason": "not\\n on a  Friday"}'),
            ConfirmationAnswer("ops", False, "not on a Friday"),
        ),
        (HttpResult(1, 200, b'{"confirmed": false}'), ConfirmationAnswer("ops", False)),
        (
            HttpResult(1, 503, b'{"confirmed": true}'),
            ConfirmationAnswer("ops", False, "answered 503"),
        ),
        (HttpResult(1, 409, b'{"reason": "frozen"}'), ConfirmationAnswer("ops", False, "frozen")),
        (
            HttpResult(1, problem="refused: not a public address", refused=True),
            ConfirmationAnswer("ops", False, "refused: not a public address"),
        ),
    ],
)
def test_only_an_explicit_yes_confirms(result: HttpResult, expected: ConfirmationAnswer) -> None:
    assert parse_confirmation("ops", result) == expected


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
def test_an_unreadable_answer_refuses(body: bytes) -> None:
    answer = parse_confirmation("ops", HttpResult(1, 200, body))
    assert not answer.confirmed
    assert answer.reason == 'the answer has no "confirmed": true or false'


def test_a_long_reason_is_cut() -> None:
    body = json.dumps({"confirmed": False, "reason": "because " * 1_000}).encode()
    assert len(parse_confirmation("ops", HttpResult(1, 200, body)).reason) == 300


class JobRun:
    """A policy job with a clock that the test moves, and traffic for a release."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.clock = Clock(deployment.store.now_ms())
        self.job = PolicyJob(
            deployment.store, "job-1", self.clock, secret_key=SECRET_KEY, networks=LOOPBACK
        )

    def webhook(self, key: str, url: str, **changes: object) -> None:
        """Create or change a webhook."""
        webhook = replace(Webhook(key, url, f"secret of {key}"), **changes)  # type: ignore[arg-type]
        contents = self.deployment.contents()
        self.deployment.store.commit(
            webhook_edits.put_webhook(contents, webhook, actor="dana", networks=LOOPBACK)
        )

    def start(self, *webhooks: str, flag: str = "checkout") -> None:
        """Start a release that these webhooks must confirm."""
        confirm = tuple(Confirmation(key) for key in webhooks)
        by = replace(CONFIRMED, key=f"for-{flag}", confirm=confirm)
        self.deployment.start(by, flag, now_ms=self.clock())

    def report(
        self,
        counts: tuple[tuple[int, int], tuple[int, int]] | None = None,
        flag: str = "checkout",
    ) -> None:
        """Report counts; healthy ones of the current stage unless others are given."""
        subject = self.deployment.release(f"rel_{flag}")
        self.deployment.sdk.report(subject, *(counts or HEALTHY[subject.stage]))

    def until(self, condition: Callable[[], bool], *reporting: str) -> None:
        """Let windows with healthy traffic pass until the condition holds."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, self.deployment.release()
            for flag in reporting or ("checkout",):
                self.report(flag=flag)
            self.clock.now_ms += 1_000
            self.job.tick()
            time.sleep(0.01)

    def until_asked(self, webhook: Receiver) -> None:
        """Let windows pass until a webhook has been asked."""
        self.until(lambda: bool(webhook.received))


@pytest.fixture
def run(deployment: Deployment) -> JobRun:
    return JobRun(deployment)


def test_a_release_advances_when_all_webhooks_confirm(
    run: JobRun, start_receiver: StartReceiver
) -> None:
    webhook, other = start_receiver(YES), start_receiver(YES)
    run.webhook("ops", webhook.url)
    run.webhook("change-board", other.url)
    run.start("ops", "change-board")
    run.until(lambda: run.deployment.release().state is State.COMPLETED)

    assert [each.json["then"]["action"] for each in webhook.received] == [
        "advance",
        "advance",
        "complete",
    ]
    assert len(other.received) == 3
    asked = [entry for entry in run.deployment.ledger() if entry.window.answers]
    assert [entry.decision.action for entry in asked] == [
        Action.ADVANCE,
        Action.ADVANCE,
        Action.COMPLETE,
    ]
    assert {answer.webhook for answer in asked[0].window.answers} == {"ops", "change-board"}
    assert all(not entry.decision.asks for entry in run.deployment.ledger())


def test_a_request_describes_the_next_step_and_is_signed(
    run: JobRun, start_receiver: StartReceiver
) -> None:
    webhook = start_receiver(YES)
    run.webhook("ops", webhook.url)
    run.start("ops")
    run.until_asked(webhook)

    (request, *_) = webhook.received
    assert request.is_signed_with(signing_secret(SECRET_KEY, "secret of ops"))
    assert request.headers["Tidegate-Event"] == request.json["event"] == "confirm"
    assert request.headers["Tidegate-Delivery"] == request.json["id"]
    release = request.json["release"]
    assert (release["id"], release["stage"], release["percentage"]) == ("rel_checkout", 1, 10)
    assert request.json["then"] == {
        "action": "advance",
        "state": "running",
        "stage": 2,
        "stage_name": "stage-2",
        "percentage": 50,
        "stage_basis": "evidence",
    }
    assert (request.json["project"], request.json["environment"]) == ("shop", "production")
    assert "operations" in request.json["reason"]


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (NO, "not confirmed by ops: lunch"),
        (Answer(500), "not confirmed by ops: answered 500"),
        (BREAK, "not confirmed by ops: no answer in 0.5 s"),
        (HANG, "not confirmed by ops: no answer in 0.5 s"),
        (DRIP, "not confirmed by ops: no answer in 0.5 s"),
    ],
)
def test_a_refusal_holds_the_release_with_its_reason_until_it_ends(
    run: JobRun, start_receiver: StartReceiver, behaviour: Behaviour, reason: str
) -> None:
    webhook = start_receiver(behaviour)
    run.webhook("ops", webhook.url, timeout_ms=500)
    run.start("ops")
    run.until(lambda: run.deployment.release().state is State.HOLDING)
    assert run.deployment.release().reason == reason
    assert run.deployment.release().stage == 1
    (answer,) = run.deployment.ledger()[-1].window.answers
    assert not answer.confirmed

    webhook.behave(YES)
    run.until(lambda: run.deployment.release().stage == 2)


def test_a_closed_port_refuses_like_a_silent_one(run: JobRun) -> None:
    run.webhook("ops", "http://127.0.0.1:1/", timeout_ms=500)
    run.start("ops")
    with capture_logs() as logs:
        run.until(lambda: run.deployment.release().state is State.HOLDING)
    assert run.deployment.release().reason == "not confirmed by ops: no answer in 0.5 s"
    lines = [each for each in logs if each["event"] == "webhook_not_confirmed"]
    assert {(each["webhook"], each["problem"]) for each in lines} == {("ops", "connection refused")}


def test_an_address_that_is_not_allowed_is_not_asked(
    run: JobRun, start_receiver: StartReceiver
) -> None:
    webhook = start_receiver(YES)
    run.webhook("ops", webhook.url)
    run.start("ops")
    run.job = PolicyJob(run.deployment.store, "job-1", run.clock, secret_key=SECRET_KEY)
    run.until(lambda: run.deployment.release().state is State.HOLDING)
    reason = "not confirmed by ops: refused: not a public address"
    assert run.deployment.release().reason == reason
    assert webhook.received == []


def test_a_replay_needs_no_webhook(run: JobRun, start_receiver: StartReceiver) -> None:
    run.webhook("ops", start_receiver(NO, Answer(500), YES).url)
    run.start("ops")
    run.until(lambda: run.deployment.release().state is State.COMPLETED)
    replayed = replay(run.deployment.store, "shop", "production", "rel_checkout", None, 10**6)

    answers = [entry.window.answers for entry in run.deployment.ledger()]
    assert [each[0].confirmed for each in answers if each] == [False, False, True, True, True]
    assert replayed.differences == ()
    assert replayed.replay.decisions == len(answers)


def test_one_refusal_among_several_holds_the_release(
    run: JobRun, start_receiver: StartReceiver
) -> None:
    run.webhook("ops", start_receiver(YES).url)
    run.webhook("change-board", start_receiver(NO).url)
    run.start("ops", "change-board")
    run.until(lambda: run.deployment.release().state is State.HOLDING)
    assert run.deployment.release().reason == "not confirmed by change-board: lunch"


def test_a_disabled_webhook_refuses_without_a_request(
    run: JobRun, start_receiver: StartReceiver
) -> None:
    webhook = start_receiver(YES)
    run.webhook("ops", webhook.url, enabled=False)
    run.start("ops")
    run.until(lambda: run.deployment.release().state is State.HOLDING)
    assert run.deployment.release().reason == "not confirmed by ops: the webhook is disabled"
    assert webhook.received == []


def test_without_the_secret_key_no_webhook_confirms(
    run: JobRun, start_receiver: StartReceiver
) -> None:
    webhook = start_receiver(YES)
    run.webhook("ops", webhook.url)
    run.start("ops")
    run.job = PolicyJob(run.deployment.store, "job-1", run.clock)
    run.until(lambda: run.deployment.release().state is State.HOLDING)
    assert "the policy job has no secret key" in run.deployment.release().reason


def test_a_webhook_that_hangs_delays_no_other_release(
    run: JobRun, start_receiver: StartReceiver
) -> None:
    webhook = start_receiver(HANG)
    run.webhook("ops", webhook.url, timeout_ms=30_000)
    run.start("ops")
    run.start(flag="search")
    run.until(
        lambda: run.deployment.release("rel_search").state is State.COMPLETED,
        "checkout",
        "search",
    )
    assert run.deployment.release().stage == 1
    assert run.deployment.release().state is State.RUNNING
    assert len(webhook.received) == 1, "the webhook is asked once"


def test_a_release_that_fails_while_it_waits_is_rolled_back(
    run: JobRun, start_receiver: StartReceiver
) -> None:
    webhook = start_receiver(HANG)
    run.webhook("ops", webhook.url, timeout_ms=30_000)
    run.start("ops")
    run.until_asked(webhook)
    run.report(BROKEN)
    run.clock.now_ms += 1_000
    run.job.tick()
    assert run.deployment.release().state is State.ROLLED_BACK


def test_an_answer_does_not_count_after_a_person_acted(
    run: JobRun, start_receiver: StartReceiver
) -> None:
    webhook = start_receiver(YES)
    run.webhook("ops", webhook.url)
    run.start("ops")
    run.until_asked(webhook)
    run.deployment.pause()
    for _ in range(5):
        run.report()
        run.clock.now_ms += 1_000
        run.job.tick()
    assert run.deployment.release().state is State.PAUSED
    assert run.deployment.release().stage == 1
    assert all(not entry.window.answers for entry in run.deployment.ledger())


def proposal(revision: int = 1, *webhooks: str) -> Proposal:
    subject = release(CONFIRMED)
    return Proposal(
        "shop", "production", subject, revision, webhooks or ("ops",), "advance", subject, "fine"
    )


def wait_for_answers(
    requests: ConfirmationRequests, proposal: Proposal
) -> tuple[ConfirmationAnswer, ...]:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (answers := requests.confirm(proposal)) is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return answers


class TestConfirmationRequests:
    @pytest.fixture
    def requests(self, run: JobRun) -> ConfirmationRequests:
        return ConfirmationRequests(run.deployment.store, SECRET_KEY, LOOPBACK)

    def test_a_release_is_completed_once_its_answers_have_arrived(
        self, requests: ConfirmationRequests, run: JobRun, start_receiver: StartReceiver
    ) -> None:
        webhook = start_receiver(YES)
        webhook.hold()
        run.webhook("ops", webhook.url)
        assert requests.confirm(proposal()) is None
        assert requests.waiting
        assert requests.completed() == []
        webhook.release()
        until(lambda: not requests.waiting, "the answer")
        assert requests.completed() == [("shop", "production", "rel_1")]
        assert requests.completed() == []
        assert requests.confirm(proposal()) == (ConfirmationAnswer("ops", True),)

    def test_an_answer_is_used_once_and_for_one_revision(
        self, requests: ConfirmationRequests, run: JobRun, start_receiver: StartReceiver
    ) -> None:
        webhook = start_receiver(YES)
        run.webhook("ops", webhook.url)
        wait_for_answers(requests, proposal(1))
        wait_for_answers(requests, proposal(1))
        webhook.hold()
        assert requests.confirm(proposal(1)) is None
        webhook.wait_for(3)
        assert requests.confirm(proposal(2)) is None
        webhook.wait_for(4)
        webhook.release()
        assert wait_for_answers(requests, proposal(2)) == (ConfirmationAnswer("ops", True),)
        assert len(webhook.received) == 4

    def test_the_requests_of_a_project_that_another_process_leads_are_dropped(
        self, requests: ConfirmationRequests, run: JobRun, start_receiver: StartReceiver
    ) -> None:
        run.webhook("ops", start_receiver(HANG).url, timeout_ms=30_000)
        assert requests.confirm(proposal()) is None
        assert requests.waiting
        requests.forget_project("another")
        assert requests.waiting
        requests.forget_project("shop")
        assert not requests.waiting

    def test_a_deleted_webhook_refuses(self, requests: ConfirmationRequests) -> None:
        (answer,) = wait_for_answers(requests, proposal(1, "nobody"))
        assert answer == ConfirmationAnswer("nobody", False, "the webhook no longer exists")

    def test_releases_behind_a_webhook_that_hangs_are_refused_in_time(
        self, requests: ConfirmationRequests, run: JobRun, start_receiver: StartReceiver
    ) -> None:
        run.webhook("ops", start_receiver(HANG).url, timeout_ms=500)
        proposals = [
            replace(proposal(), release=replace(release(CONFIRMED), id=f"rel_{number}"))
            for number in range(30)
        ]
        assert all(requests.confirm(each) is None for each in proposals)
        answers = [wait_for_answers(requests, each) for each in proposals]
        assert answers == [(ConfirmationAnswer("ops", False, "no answer in 0.5 s"),)] * 30
