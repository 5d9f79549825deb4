"""Messages reach webhooks that misbehave, and no webhook delays another."""

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

from tests.decisions.simulated_release import policy
from tests.policy_job.deployment import HEALTHY, Deployment
from tests.receiver import DRIP, HANG, LOOPBACK, PATH, Answer, Behaviour, StartReceiver
from tests.waiting import until

SECRET_KEY = b"a secret key for tests only"
QUICK = DeliverySettings(retry=Backoff(0.02, 0.05, 0.5), rest=Backoff(0.02, 0.05, 0.5))
PATIENCE_SECONDS = 60.0


class WebhookProject:
    """A project with webhooks, and a sender for it."""

    def __init__(self, deployment: Deployment, settings: DeliverySettings = QUICK) -> None:
        self.store = deployment.store
        self.deployment = deployment
        self.sender = WebhookSender(self.store, SECRET_KEY, settings, LOOPBACK)

    def webhook(self, key: str, url: str, **changes: object) -> Webhook:
        """Create or change a webhook."""
        webhook = replace(Webhook(key, url, f"secret of {key}"), **changes)  # type: ignore[arg-type]
        contents = self.deployment.contents()
        self.store.commit(
            webhook_edits.put_webhook(contents, webhook, actor="dana", networks=LOOPBACK)
        )
        return webhook

    def queue(self, *webhooks: str, reason: str = "try") -> None:
        """Queue a message for each webhook."""
        event = ReleaseEvent(TEST, self.store.now_ms(), "dana", reason)
        outgoing = tuple(WebhookMessage(each, event) for each in webhooks)
        self.store.commit(Change("shop", (), outgoing=outgoing))

    def messages(self, webhook: str) -> list[Delivery]:
        """Return the webhook's messages, the latest first."""
        return self.store.outbox.page("shop", webhook, None, 100)[0]

    def until(self, condition: Callable[[], bool], projects: tuple[str, ...] = ("shop",)) -> None:
        """Deliver again and again, as the policy job's loop does, until the condition holds."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, "waited too long"
            self.sender.deliver_due(projects)
            time.sleep(0.01)

    def until_done(self, webhook: str) -> Delivery:
        """Deliver until the webhook's latest message no longer waits, and return it."""
        waiting = DeliveryState.WAITING
        self.until(lambda: self.messages(webhook)[0].record.state is not waiting)
        return self.messages(webhook)[0]


@pytest.fixture
def shop(deployment: Deployment) -> WebhookProject:
    return WebhookProject(deployment)


def test_a_message_arrives_with_its_signature_and_id(
    shop: WebhookProject, start_receiver: StartReceiver
) -> None:
    ops = start_receiver()
    shop.webhook("ops", ops.url)
    shop.queue("ops")
    delivery = shop.until_done("ops")

    (received,) = ops.received
    assert delivery.record.state is DeliveryState.DELIVERED
    assert delivery.record.attempts == 1
    assert received.is_signed_with(signing_secret(SECRET_KEY, "secret of ops"))
    assert not received.is_signed_with(signing_secret(SECRET_KEY, "another"))
    assert received.headers["Tidegate-Event"] == "test"
    assert received.headers["Tidegate-Delivery"] == received.json["id"] == delivery.id
    assert received.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("format", "answer", "field"),
    [
        (Format.SLACK, Answer(200, "ok"), "blocks"),
        (Format.TEAMS, Answer(202, ""), "attachments"),
        (Format.DISCORD, Answer(204, ""), "embeds"),
    ],
)
def test_a_chat_receives_what_it_reads(
    shop: WebhookProject,
    start_receiver: StartReceiver,
    format: Format,
    answer: Answer,
    field: str,
) -> None:
    chat = start_receiver(Answer(429, "slowly", (("Retry-After", "0"),)), answer)
    shop.webhook("chat", chat.url, format=format)
    shop.queue("chat")
    assert shop.until_done("chat").record.attempts == 2
    assert field in chat.received[1].json
    assert "Tidegate can reach this channel" in chat.received[1].body.decode()


def test_a_message_is_retried_with_the_same_id_until_it_is_accepted(
    shop: WebhookProject, start_receiver: StartReceiver
) -> None:
    ops = start_receiver(
        Answer(500), Answer(503, headers=(("Retry-After", "0"),)), HANG, Answer(204)
    )
    shop.webhook("ops", ops.url, timeout_ms=500)
    shop.queue("ops")
    delivery = shop.until_done("ops")

    assert delivery.record.state is DeliveryState.DELIVERED
    assert delivery.record.attempts == 4
    assert len({each.headers["Tidegate-Delivery"] for each in ops.received}) == 1
    assert delivery.record.last is not None
    assert delivery.record.last.problem == ""


def test_the_problem_of_a_waiting_message_can_be_read(
    shop: WebhookProject, start_receiver: StartReceiver
) -> None:
    ops = start_receiver(Answer(500))
    shop.webhook("ops", ops.url)
    shop.queue("ops")
    shop.until(lambda: shop.messages("ops")[0].record.attempts >= 2)
    waiting = shop.messages("ops")[0]
    assert waiting.record.state is DeliveryState.WAITING
    assert waiting.due_ms is not None
    assert waiting.record.last is not None
    assert (waiting.record.last.status, waiting.record.last.problem) == (500, "answered 500")


@pytest.mark.parametrize("behaviour", [HANG, DRIP, Answer(500), "nobody"])
def test_a_webhook_that_is_down_delays_no_other(
    shop: WebhookProject, start_receiver: StartReceiver, behaviour: Behaviour
) -> None:
    working, down = start_receiver(), start_receiver(behaviour)
    url = "http://127.0.0.1:1/" if behaviour == "nobody" else down.url
    shop.webhook("down", url, timeout_ms=30_000)
    shop.webhook("working", working.url)
    for number in range(20):
        shop.queue("down", "working", reason=f"message {number}")
    shop.until(lambda: len(working.received) == 20)

    assert [each.json["reason"] for each in working.received] == [f"message {n}" for n in range(20)]
    assert len(shop.messages("down")) == 20
    if behaviour in (HANG, DRIP):
        assert len(down.received) == 1, "one thread at a time for a webhook"


def test_readers_learn_that_there_was_no_answer_and_the_log_says_why(
    shop: WebhookProject,
) -> None:
    shop.webhook("down", "http://127.0.0.1:1/", timeout_ms=500)
    shop.queue("down")
    with capture_logs() as logs:
        shop.until(lambda: shop.messages("down")[0].record.attempts == 1)
        seen_ms = shop.store.now_ms()
        until(lambda: "webhook_failed" in [each["event"] for each in logs], "a line in the log")

    last = shop.messages("down")[0].record.last
    assert last is not None
    assert (last.status, last.problem, last.took_ms) == (None, "no answer in 0.5 s", 500)
    # A closed port shows no sooner than a silent one.
    assert seen_ms - last.at_ms >= 500
    (line,) = [each for each in logs if each["event"] == "webhook_failed"]
    assert line["problem"] == "connection refused"


def test_an_address_that_is_not_allowed_is_never_connected_to(
    shop: WebhookProject, start_receiver: StartReceiver
) -> None:
    ops = start_receiver()
    shop.webhook("ops", ops.url)
    shop.sender = WebhookSender(shop.store, SECRET_KEY, QUICK)
    shop.queue("ops")
    with capture_logs() as logs:
        shop.until(lambda: shop.messages("ops")[0].record.attempts >= 1)
        until(lambda: "webhook_failed" in [each["event"] for each in logs], "a line in the log")

    last = shop.messages("ops")[0].record.last
    assert last is not None
    assert (last.status, last.problem) == (None, "refused: not a public address")
    assert ops.received == []
    assert "127.0.0.1 is neither public nor in an allowed network" in repr(logs)


def test_a_message_that_is_too_old_is_given_up_and_logged(
    deployment: Deployment, start_receiver: StartReceiver
) -> None:
    shop = WebhookProject(deployment, replace(QUICK, max_age_ms=100))
    ops = start_receiver(Answer(500))
    shop.webhook("ops", ops.url)
    shop.queue("ops")
    with capture_logs() as logs:
        delivery = shop.until_done("ops")

    assert delivery.record.state is DeliveryState.GIVEN_UP
    assert delivery.due_ms is None
    (line,) = [each for each in logs if each["event"] == "webhook_message_dropped"]
    assert (line["webhook"], line["message"]) == ("ops", delivery.id)
    assert line["problem"] == "answered 500"
    assert line["attempts"] == delivery.record.attempts >= 1


def test_the_oldest_messages_are_given_up_when_too_many_wait(
    deployment: Deployment, start_receiver: StartReceiver
) -> None:
    shop = WebhookProject(deployment, replace(QUICK, max_waiting=3))
    ops = start_receiver(Answer(500))
    shop.webhook("ops", ops.url)
    for number in range(5):
        shop.queue("ops", reason=f"message {number}")
    shop.until(lambda: len(ops.received) >= 4)

    waiting, given_up = DeliveryState.WAITING, DeliveryState.GIVEN_UP
    assert [(each.record.notice.reason, each.record.state) for each in shop.messages("ops")] == [
        ("message 4", waiting),
        ("message 3", waiting),
        ("message 2", waiting),
        ("message 1", given_up),
        ("message 0", given_up),
    ]


def test_an_outage_and_its_end_are_logged_once(
    shop: WebhookProject, start_receiver: StartReceiver
) -> None:
    ops = start_receiver(Answer(500), Answer(500), Answer(500), Answer(200))
    shop.webhook("ops", ops.url)
    shop.queue("ops")
    with capture_logs() as logs:
        shop.until_done("ops")
        shop.until(lambda: "webhook_recovered" in [each["event"] for each in logs])

    events = [each["event"] for each in logs]
    assert (events.count("webhook_failed"), events.count("webhook_recovered")) == (1, 1)
    # The path of an address can be a credential, as with Slack.
    assert PATH not in repr(logs)
    assert SECRET_KEY.decode() not in repr(logs)
    assert signing_secret(SECRET_KEY, "secret of ops") not in repr(logs)


def test_waiting_messages_go_to_a_changed_address(
    shop: WebhookProject, start_receiver: StartReceiver
) -> None:
    wrong, right = start_receiver(Answer(404)), start_receiver()
    shop.webhook("ops", wrong.url)
    shop.queue("ops")
    shop.until(lambda: len(wrong.received) >= 1)
    shop.webhook("ops", right.url)
    assert shop.until_done("ops").record.state is DeliveryState.DELIVERED
    assert len(right.received) == 1


def test_a_disabled_webhook_receives_nothing(
    shop: WebhookProject, start_receiver: StartReceiver
) -> None:
    ops = start_receiver()
    shop.webhook("ops", ops.url, enabled=False)
    shop.queue("ops")
    delivery = shop.until_done("ops")
    assert delivery.record.state is DeliveryState.GIVEN_UP
    assert delivery.record.last is not None
    assert delivery.record.last.problem == "the webhook is disabled"
    assert ops.received == []


def test_only_the_process_that_leads_a_project_delivers_its_messages(
    shop: WebhookProject, start_receiver: StartReceiver
) -> None:
    ops = start_receiver()
    shop.webhook("ops", ops.url)
    shop.queue("ops")
    for _ in range(3):
        shop.sender.deliver_due(())
        time.sleep(0.01)
    assert shop.messages("ops")[0].record.attempts == 0
    shop.until_done("ops")


def test_a_deleted_webhook_receives_nothing_more(
    shop: WebhookProject, start_receiver: StartReceiver
) -> None:
    ops = start_receiver(Answer(500))
    shop.webhook("ops", ops.url)
    shop.queue("ops")
    shop.until(lambda: len(ops.received) >= 1)
    contents = shop.deployment.contents()
    shop.store.commit(webhook_edits.delete_webhook(contents, "ops", actor="dana"))
    assert shop.messages("ops") == []
    assert shop.store.get("shop", webhook_address("ops")) is None
    shop.webhook("ops", ops.url)
    shop.queue("ops", reason="after")
    ops.behave(Answer(200))
    shop.until_done("ops")
    assert ops.received[-1].json["reason"] == "after"
    assert len(shop.messages("ops")) == 1


PROGRAM = """
import sys, threading
from tidegate.backoff import Backoff
from tests.receiver import LOOPBACK
from tidegate_server.policy_job import PolicyJob
from tidegate_server.webhooks.sender import DeliverySettings
from tidegate_server.store import Store
PolicyJob(
    Store.connect(sys.argv[1]), sys.argv[2], lease_ms=500,
    secret_key=b"a secret key for tests only",
    deliveries=DeliverySettings(Backoff(0.02, 0.05, 0.5), Backoff(0.02, 0.05, 0.5)),
    networks=LOOPBACK,
).run(threading.Event())
"""


def run_job(valkey: EmbeddedValkey, holder: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", PROGRAM, valkey.url, holder])


def test_a_webhook_receives_the_events_of_a_release_from_start_to_end(
    shop: WebhookProject, start_receiver: StartReceiver, valkey: EmbeddedValkey
) -> None:
    ops, some = start_receiver(), start_receiver()
    shop.webhook("ops", ops.url)
    shop.webhook("some", some.url)
    wanted = (Event.COMPLETED, Event.ROLLED_BACK)
    fast = policy(10, 50, 100, interval_ms=100, bake_ms=300, min_samples=10)
    notify = (Notification("ops"), Notification("some", wanted))
    deployment = shop.deployment
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
        arrived = ops.wait_for(6)
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


def test_no_message_is_lost_when_a_job_dies_between_commit_and_delivery(
    shop: WebhookProject, start_receiver: StartReceiver, valkey: EmbeddedValkey
) -> None:
    ops = start_receiver(HANG)
    shop.webhook("ops", ops.url, timeout_ms=30_000)
    shop.deployment.start(replace(policy(10, 100), notify=(Notification("ops"),)))
    first = run_job(valkey, "first")
    try:
        ops.wait_for(1)
    finally:
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
    assert shop.messages("ops")[0].record.state is DeliveryState.WAITING

    ops.behave(Answer(200))
    second = run_job(valkey, "second")
    try:
        before, after = ops.wait_for(2)
        waiting = DeliveryState.WAITING
        until(lambda: shop.messages("ops")[0].record.state is not waiting, "the delivery")
    finally:
        second.kill()
        second.wait()
    assert before.headers["Tidegate-Delivery"] == after.headers["Tidegate-Delivery"]
    assert before.body == after.body
    assert shop.messages("ops")[0].record.state is DeliveryState.DELIVERED
