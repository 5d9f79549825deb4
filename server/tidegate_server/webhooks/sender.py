"""Delivers messages to webhooks: at least once, and no webhook delays another.

The process that leads a project delivers its messages. A message leaves its queue only after
its delivery is recorded, so a process that dies in between delivers it again, under the same
id. One thread at a time sends to a webhook. After a failure the webhook is left alone for a
while, so that one that is down costs little.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial

import structlog
from tidegate.backoff import Backoff

from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.network_addresses import PUBLIC_ONLY, AllowedNetworks
from tidegate_server.domain.policy import HOUR
from tidegate_server.domain.project_documents import webhook_address
from tidegate_server.domain.webhooks import Format, Webhook
from tidegate_server.errors import StoreUnavailable
from tidegate_server.outbound.bounded_threads import BoundedThreads
from tidegate_server.outbound.http_client import HttpClient, HttpResult
from tidegate_server.outbound.mail_server import MailServer
from tidegate_server.store import Store
from tidegate_server.store.outbox import Attempt, Delivery, DeliveryState
from tidegate_server.webhooks.mail import mail_message
from tidegate_server.webhooks.messages import event_body, request_headers
from tidegate_server.webhooks.notices import event_notice

log = structlog.get_logger("tidegate.policy_job")

MAX_THREADS = 64
"""How many webhooks, of all projects, are sent to at the same time."""


@dataclass(frozen=True, slots=True)
class DeliverySettings:
    """How long the sender keeps trying.

    Attributes:
        retry: the waits between two attempts of one message.
        rest: the waits before a failing webhook is sent anything again.
        max_age_ms: how old a message may become before the sender gives it up.
        max_waiting: how many messages may wait for one webhook. The sender gives up the
            oldest ones beyond that.
    """

    retry: Backoff = Backoff(2.0, 15 * 60.0, jitter=0.5)
    rest: Backoff = Backoff(2.0, 60.0, jitter=0.5)
    max_age_ms: int = 24 * HOUR
    max_waiting: int = 10_000


@dataclass(frozen=True, slots=True)
class MessageSettings:
    """What messages need besides their webhook.

    Attributes:
        public_url: where people open the dashboard; empty: messages have no links to it.
        mail_server: sends mail; None: no mail is sent.
    """

    public_url: str = ""
    mail_server: MailServer | None = None


@dataclass(slots=True)
class _Outage:
    """The failures in a row of one webhook.

    Attributes:
        failures: how many.
        problem: the last one, as the log has it.
        rests_until: when it may be sent to again (monotonic).
    """

    failures: int = 0
    problem: str = ""
    rests_until: float = 0.0


class WebhookSender:
    """Delivers the messages of the projects that this process leads.

    Args:
        store: holds the messages.
        secret_key: the server's secret key; signing secrets are derived from it.
        settings: how long to keep trying.
        networks: where requests may go.
        messages: the public address and the mail server.
    """

    def __init__(
        self,
        store: Store,
        secret_key: bytes,
        settings: DeliverySettings | None = None,
        networks: AllowedNetworks = PUBLIC_ONLY,
        messages: MessageSettings | None = None,
    ) -> None:
        self._store = store
        self._outbox = store.outbox
        self._secret_key = secret_key
        self._settings = settings or DeliverySettings()
        self._http = HttpClient(networks)
        self._messages = messages or MessageSettings()
        self._threads = BoundedThreads("tidegate-webhooks", max_per_key=1, max_total=MAX_THREADS)
        self._projects: frozenset[str] = frozenset()
        self._outages: dict[tuple[str, str], _Outage] = {}
        self._lock = threading.Lock()

    def deliver_due(self, projects: Iterable[str], only: Iterable[str] | None = None) -> None:
        """Start to deliver the messages that are due, and return at once.

        Args:
            projects: those that this process leads. Deliveries for others end.
            only: those of them to look at; None: all.

        Raises:
            StoreUnavailable: the store cannot be reached.
        """
        self._projects = frozenset(projects)
        looked_at = self._projects if only is None else self._projects.intersection(only)
        now_ms = self._store.now_ms() if looked_at else 0
        for project in looked_at:
            ready = [
                key
                for key in self._store.all(project, Kind.WEBHOOK)
                if not self._is_resting(project, key)
            ]
            for key in self._outbox.due(project, ready, now_ms):
                self._threads.start((project, key), partial(self._deliver_all, project, key))

    def _is_resting(self, project: str, key: str) -> bool:
        with self._lock:
            outage = self._outages.get((project, key))
            return outage is not None and time.monotonic() < outage.rests_until

    def _deliver_all(self, project: str, key: str) -> None:
        """Deliver what is due to one webhook until nothing is left or an attempt fails."""
        try:
            for each in self._outbox.oldest(project, key, self._settings.max_waiting):
                self._give_up(project, key, each, "too many messages were waiting")
            while project in self._projects:
                stored = self._store.get(project, webhook_address(key))
                due = self._outbox.due(project, [key], self._store.now_ms())
                if stored is None or key not in due:
                    return
                if not self._deliver(project, stored.document, due[key]):
                    return
        except StoreUnavailable:
            return  # the policy job's loop logs it; the message stays in its queue

    def _deliver(self, project: str, webhook: Webhook, delivery: Delivery) -> bool:
        """Send one message; return False if the attempt failed."""
        record, now_ms = delivery.record, self._store.now_ms()
        if not webhook.enabled:
            self._give_up(project, webhook.key, delivery, "the webhook is disabled")
            return True
        send = self._mail if webhook.format is Format.EMAIL else self._post
        result = send(project, webhook, delivery, now_ms)
        problem = "" if result.succeeded else result.problem or f"answered {result.status}"
        after = replace(
            record,
            attempts=record.attempts + 1,
            last=Attempt(now_ms, _visible_ms(webhook, result), result.status, problem),
        )
        if result.succeeded:
            delivered = replace(after, state=DeliveryState.DELIVERED)
            self._outbox.record_outcome(project, webhook.key, delivery.id, delivered)
            self._end_outage(project, webhook)
            return True
        if now_ms - record.queued_ms >= self._settings.max_age_ms:
            self._give_up(project, webhook.key, replace(delivery, record=after), problem)
        else:
            wait_ms = round(self._retry_wait_s(after.attempts, result) * 1_000)
            self._outbox.record_outcome(project, webhook.key, delivery.id, after, wait_ms)
        self._note_failure(project, webhook, result.detail or problem)
        return False

    def _post(self, project: str, webhook: Webhook, delivery: Delivery, now_ms: int) -> HttpResult:
        event = delivery.record.notice
        body = event_body(webhook.format, project, delivery.id, event, self._messages.public_url)
        result = self._http.request(
            "POST",
            webhook.url,
            timeout_s=webhook.timeout_ms / 1_000,
            body=body,
            headers=request_headers(
                self._secret_key, webhook, event.event, delivery.id, body, now_ms
            ),
        )
        time.sleep(max(0, _visible_ms(webhook, result) - result.took_ms) / 1_000)
        return result

    def _mail(self, project: str, webhook: Webhook, delivery: Delivery, now_ms: int) -> HttpResult:
        server, event = self._messages.mail_server, delivery.record.notice
        if server is None:
            return HttpResult(0, problem="no mail server is configured", refused=True)
        notice = event_notice(project, event, self._messages.public_url)
        message = mail_message(notice, delivery.id, server.sender, webhook.recipients, event.at_ms)
        return server.send(message, webhook.recipients, webhook.timeout_ms / 1_000)

    def _retry_wait_s(self, attempts: int, result: HttpResult) -> float:
        retry = self._settings.retry
        return max(retry.wait_s(attempts), min(result.retry_after_s or 0.0, retry.longest_s))

    def _give_up(self, project: str, key: str, delivery: Delivery, problem: str) -> None:
        record = delivery.record
        last = record.last
        if last is None or last.problem != problem:
            last = Attempt(self._store.now_ms(), 0, None, problem)
        given_up = replace(record, state=DeliveryState.GIVEN_UP, last=last)
        if self._outbox.record_outcome(project, key, delivery.id, given_up):
            release = record.notice.release
            log.warning(
                "webhook_message_dropped",
                scope=project,
                webhook=key,
                message=delivery.id,
                about=record.notice.event,
                release=release.id if release is not None else None,
                attempts=record.attempts,
                problem=problem,
            )

    def _note_failure(self, project: str, webhook: Webhook, problem: str) -> None:
        with self._lock:
            outage = self._outages.setdefault((project, webhook.key), _Outage())
            outage.failures += 1
            is_news, outage.problem = outage.problem != problem, problem
            rest_s = self._settings.rest.wait_s(outage.failures)
            outage.rests_until = time.monotonic() + rest_s
        if is_news:
            log.warning(
                "webhook_failed",
                scope=project,
                webhook=webhook.key,
                origin=webhook.origin,
                problem=problem,
            )

    def _end_outage(self, project: str, webhook: Webhook) -> None:
        with self._lock:
            outage = self._outages.pop((project, webhook.key), None)
        if outage is not None:
            log.info(
                "webhook_recovered",
                scope=project,
                webhook=webhook.key,
                failures=outage.failures,
            )


def _visible_ms(webhook: Webhook, result: HttpResult) -> int:
    """Return how long an attempt takes for those who read the delivery.

    Without an answer that is always the whole time limit. Otherwise the time would tell a port
    that is closed, which shows at once, from one that is silent.
    """
    if result.refused:
        return 0
    return result.took_ms if result.status is not None else webhook.timeout_ms
