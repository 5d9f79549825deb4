"""Messages reach webhooks that misbehave, and none stands in another's way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from structlog.testing import capture_logs
from tidegate.backoff import Backoff
from tidegate_server.domain import webhook_edits
from tidegate_server.domain.change import Change, WebhookMessage
from tidegate_server.domain.project_documents import webhook_address
from tidegate_server.domain.release_events import TEST, ReleaseEvent
from tidegate_server.domain.release_gates import Event, Notification
from tidegate_server.domain.webhooks import Format, Webhook
from tidegate_server.store.embedded import EmbeddedValkey
from tidegate_server.store.outbox import Delivery, DeliveryState
from tidegate_server.webhooks.sender import DeliverySettings, WebhookSender
from tidegate_server.webhooks.signing import signing_secret

from tests.decisions.ramp import policy
from tests.policy_job.deployment import HEALTHY, Deployment
from tests.receiver import DRIP, HANG, PATH, Answer, Behaviour, StartReceiver
from tests.waiting import until

SECRET_KEY = b"a secret key for tests only"
QUICK = DeliverySettings(retry=Backoff(0.02, 0.05, 0.5), rest=Backoff(0.02, 0.05, 0.5))
PATIENCE_SECONDS = 60.0


class Post:
    """A project with webhooks, and a sender for it."""

    def __init__(self, deployment: Deployment, settings: DeliverySettings = QUICK) -> None:
        self.store = deployment.store
        self.deployment = deployment
        self.sender = WebhookSender(self.store, SECRET_KEY, settings)

    def webhook(self, key: str, url: str, **changes: object) -> Webhook:
        """Create or change a webhook."""
        webhook = replace(Webhook(key, url, f"secret of {key}"), **changes)  # type: ignore[arg-type]
        contents = self.deployment.contents()
        self.store.commit(webhook_edits.put_webhook(contents, webhook, actor="dana"))
        return webhook

    def queue(self, *webhooks: str, reason: str = "try") -> None:
        """Queue a message for each."""
        notice = ReleaseEvent(TEST, self.store.now_ms(), "dana", reason)
        outgoing = tuple(WebhookMessage(each, notice) for each in webhooks)
        self.store.commit(Change("shop", (), outgoing=outgoing))

    def messages(self, webhook: str) -> list[Delivery]:
        """The webhook's messages, the latest first."""
        return self.store.outbox().page("shop", webhook, None, 100)[0]

    def until(self, condition: Callable[[], bool], leads: tuple[str, ...] = ("shop",)) -> None:
        """Look again and again, as the policy job's loop does."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, "waited too long"
            self.sender.deliver_due(leads)
            time.sleep(0.01)

    def until_settled(self, webhook: str) -> Delivery:
        """Deliver until the webhook's latest message is settled, and return it."""
        waiting = DeliveryState.WAITING
        self.until(lambda: self.messages(webhook)[0].record.state is not waiting)
        return self.messages(webhook)[0]


@pytest.fixture
def mail(deployment: Deployment) -> Post:
    return Post(deployment)


def test_a_message_arrives_signed_and_named(mail: Post, start_receiver: StartReceiver) -> None:
    told = start_receiver()
    mail.webhook("ops", told.url)
    mail.queue("ops")
    settled = mail.until_settled("ops")

    (received,) = told.received
    assert settled.record.state is DeliveryState.DELIVERED
    assert settled.record.attempts == 1
    assert received.is_signed_with(signing_secret(SECRET_KEY, "secret of ops"))
    assert not received.is_signed_with(signing_secret(SECRET_KEY, "another"))
    assert received.headers["Tidegate-Event"] == "test"
    assert received.headers["Tidegate-Delivery"] == received.json["id"] == settled.id
    assert received.headers["Content-Type"] == "application/json"


def test_slack_gets_a_text(mail: Post, start_receiver: StartReceiver) -> None:
    told = start_receiver(Answer(200, "ok"))
    mail.webhook("chat", told.url, format=Format.SLACK)
    mail.queue("chat")
    mail.until_settled("chat")
    assert told.received[0].json.keys() == {"text"}


def test_a_message_is_tried_until_it_is_taken_under_one_id(
    mail: Post, start_receiver: StartReceiver
) -> None:
    told = start_receiver(
        Answer(500), Answer(503, headers=(("Retry-After", "0"),)), HANG, Answer(204)
    )
    mail.webhook("ops", told.url, timeout_ms=500)
    mail.queue("ops")
    settled = mail.until_settled("ops")

    assert settled.record.state is DeliveryState.DELIVERED
    assert settled.record.attempts == 4
    assert len({each.headers["Tidegate-Delivery"] for each in told.received}) == 1
    assert settled.record.last is not None
    assert settled.record.last.problem == ""


def test_what_went_wrong_can_be_read_meanwhile(mail: Post, start_receiver: StartReceiver) -> None:
    told = start_receiver(Answer(500))
    mail.webhook("ops", told.url)
    mail.queue("ops")
    mail.until(lambda: mail.messages("ops")[0].record.attempts >= 2)
    waiting = mail.messages("ops")[0]
    assert waiting.record.state is DeliveryState.WAITING
    assert waiting.due_ms is not None
    assert waiting.record.last is not None
    assert (waiting.record.last.status, waiting.record.last.problem) == (500, "answered 500")


@pytest.mark.parametrize("behaviour", [HANG, DRIP, Answer(500), "nobody"])
def test_a_dead_webhook_delays_no_other(
    mail: Post, start_receiver: StartReceiver, behaviour: Behaviour
) -> None:
    alive, dead = start_receiver(), start_receiver(behaviour)
    url = "http://127.0.0.1:1/" if behaviour == "nobody" else dead.url
    mail.webhook("dead", url, timeout_ms=30_000)
    mail.webhook("alive", alive.url)
    for number in range(20):
        mail.queue("dead", "alive", reason=f"message {number}")
    mail.until(lambda: len(alive.received) == 20)

    assert [each.json["reason"] for each in alive.received] == [f"message {n}" for n in range(20)]
    assert len(mail.messages("dead")) == 20
    if behaviour in (HANG, DRIP):
        assert len(dead.received) == 1, "one thread at a time for a webhook"


def test_a_message_too_old_is_given_up_with_a_line_in_the_log(
    deployment: Deployment, start_receiver: StartReceiver
) -> None:
    mail = Post(deployment, replace(QUICK, max_age_ms=100))
    told = start_receiver(Answer(500))
    mail.webhook("ops", told.url)
    mail.queue("ops")
    with capture_logs() as logs:
        settled = mail.until_settled("ops")

    assert settled.record.state is DeliveryState.GIVEN_UP
    assert settled.due_ms is None
    (line,) = [each for each in logs if each["event"] == "webhook message given up"]
    assert (line["webhook"], line["message"]) == ("ops", settled.id)
    assert line["problem"] == "answered 500"
    assert line["attempts"] == settled.record.attempts >= 1


def test_the_oldest_are_given_up_when_too_many_wait(
    deployment: Deployment, start_receiver: StartReceiver
) -> None:
    mail = Post(deployment, replace(QUICK, max_waiting=3))
    told = start_receiver(Answer(500))
    mail.webhook("ops", told.url)
    for number in range(5):
        mail.queue("ops", reason=f"message {number}")
    mail.until(lambda: len(told.received) >= 4)

    waiting, given_up = DeliveryState.WAITING, DeliveryState.GIVEN_UP
    assert [(each.record.notice.reason, each.record.state) for each in mail.messages("ops")] == [
        ("message 4", waiting),
        ("message 3", waiting),
        ("message 2", waiting),
        ("message 1", given_up),
        ("message 0", given_up),
    ]


def test_an_outage_is_told_once_and_so_is_its_end(
    mail: Post, start_receiver: StartReceiver
) -> None:
    told = start_receiver(Answer(500), Answer(500), Answer(500), Answer(200))
    mail.webhook("ops", told.url)
    mail.queue("ops")
    with capture_logs() as logs:
        mail.until_settled("ops")
        mail.until(lambda: "webhook works again" in [each["event"] for each in logs])

    events = [each["event"] for each in logs]
    assert (events.count("webhook fails"), events.count("webhook works again")) == (1, 1)
    # The path of an address may be a credential, as Slack's is.
    assert PATH not in repr(logs)
    assert SECRET_KEY.decode() not in repr(logs)
    assert signing_secret(SECRET_KEY, "secret of ops") not in repr(logs)


def test_a_changed_address_gets_what_waited_for_the_old_one(
    mail: Post, start_receiver: StartReceiver
) -> None:
    wrong, right = start_receiver(Answer(404)), start_receiver()
    mail.webhook("ops", wrong.url)
    mail.queue("ops")
    mail.until(lambda: len(wrong.received) >= 1)
    mail.webhook("ops", right.url)
    assert mail.until_settled("ops").record.state is DeliveryState.DELIVERED
    assert len(right.received) == 1


def test_a_disabled_webhook_is_told_nothing(mail: Post, start_receiver: StartReceiver) -> None:
    told = start_receiver()
    mail.webhook("ops", told.url, enabled=False)
    mail.queue("ops")
    settled = mail.until_settled("ops")
    assert settled.record.state is DeliveryState.GIVEN_UP
    assert settled.record.last is not None
    assert settled.record.last.problem == "the webhook is disabled"
    assert told.received == []


def test_only_whoever_leads_a_project_delivers_its_messages(
    mail: Post, start_receiver: StartReceiver
) -> None:
    told = start_receiver()
    mail.webhook("ops", told.url)
    mail.queue("ops")
    for _ in range(3):
        mail.sender.deliver_due(())
        time.sleep(0.01)
    assert mail.messages("ops")[0].record.attempts == 0
    mail.until_settled("ops")


def test_a_deleted_webhook_is_told_nothing_more(mail: Post, start_receiver: StartReceiver) -> None:
    told = start_receiver(Answer(500))
    mail.webhook("ops", told.url)
    mail.queue("ops")
    mail.until(lambda: len(told.received) >= 1)
    contents = mail.deployment.contents()
    mail.store.commit(webhook_edits.delete_webhook(contents, "ops", actor="dana"))
    assert mail.messages("ops") == []
    assert mail.store.get("shop", webhook_address("ops")) is None
    mail.webhook("ops", told.url)
    mail.queue("ops", reason="after")
    told.behave(Answer(200))
    mail.until_settled("ops")
    assert told.received[-1].json["reason"] == "after"
    assert len(mail.messages("ops")) == 1


PROGRAM = """
import sys, threading
from tidegate.backoff import Backoff
from tidegate_server.policy_job import PolicyJob
from tidegate_server.webhooks.sender import DeliverySettings
from tidegate_server.store import Store
PolicyJob(
    Store.connect(sys.argv[1]), sys.argv[2], lease_ms=500,
    secret_key=b"a secret key for tests only",
    deliveries=DeliverySettings(Backoff(0.02, 0.05, 0.5), Backoff(0.02, 0.05, 0.5)),
).run(threading.Event())
"""


def run_job(valkey: EmbeddedValkey, holder: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", PROGRAM, valkey.url, holder])


def test_a_release_is_told_from_its_start_to_its_end(
    mail: Post, start_receiver: StartReceiver, valkey: EmbeddedValkey
) -> None:
    told, some = start_receiver(), start_receiver()
    mail.webhook("ops", told.url)
    mail.webhook("some", some.url)
    wanted = (Event.COMPLETED, Event.ROLLED_BACK)
    fast = policy(10, 50, 100, interval_ms=100, bake_ms=300, min_samples=10)
    notify = (Notification("ops"), Notification("some", wanted))
    deployment = mail.deployment
    deployment.start(replace(fast, notify=notify))
    deployment.pause()
    deployment.resume()
    process = run_job(valkey, "only")
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not some.received and time.monotonic() < deadline:
            release = deployment.release()
            if release.ended_ms is None:
                deployment.sdk.report(release, *HEALTHY[release.stage])
            time.sleep(0.02)
        arrived = told.wait_for(6)
    finally:
        process.kill()
        process.wait()

    assert [(each.json["event"], each.json["actor"]) for each in arrived] == [
        ("started", "dana"),
        ("paused", "dana"),
        ("resumed", "dana"),
        ("advanced", "policy"),
        ("advanced", "policy"),
        ("completed", "policy"),
    ]
    assert [each.json["release"]["percentage"] for each in arrived] == [10, 10, 10, 50, 100, 100]
    assert [each.json["event"] for each in some.received] == ["completed"]
    assert all(each.json["reason"] for each in arrived[3:])


def test_a_job_that_dies_between_commit_and_delivery_loses_no_message(
    mail: Post, start_receiver: StartReceiver, valkey: EmbeddedValkey
) -> None:
    told = start_receiver(HANG)
    mail.webhook("ops", told.url, timeout_ms=30_000)
    mail.deployment.start(replace(policy(10, 100), notify=(Notification("ops"),)))
    first = run_job(valkey, "first")
    try:
        told.wait_for(1)
    finally:
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
    assert mail.messages("ops")[0].record.state is DeliveryState.WAITING

    told.behave(Answer(200))
    second = run_job(valkey, "second")
    try:
        before, after = told.wait_for(2)
        waiting = DeliveryState.WAITING
        until(lambda: mail.messages("ops")[0].record.state is not waiting, "the delivery")
    finally:
        second.kill()
        second.wait()
    assert before.headers["Tidegate-Delivery"] == after.headers["Tidegate-Delivery"]
    assert before.body == after.body
    assert mail.messages("ops")[0].record.state is DeliveryState.DELIVERED
