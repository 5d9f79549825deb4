"""Delivering messages to webhooks: at least once, and none of them in another's way.

Whoever leads a project delivers its messages. A message leaves its queue only when its
delivery was noted, so one whose process died in between is delivered again, under the same
id. Each webhook is spoken to by one thread at a time; after a failure it rests, so that a
dead one costs little.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial

import structlog

from tidegate_server.domain.change import Kind
from tidegate_server.domain.policy import HOUR
from tidegate_server.domain.project_documents import webhook_address
from tidegate_server.domain.webhooks import Webhook
from tidegate_server.errors import StoreUnavailable
from tidegate_server.outbound.bounded_threads import Lanes
from tidegate_server.outbound.http_post import Answered, post
from tidegate_server.store import Store
from tidegate_server.store.outbox import Attempt, Delivery, DeliveryState
from tidegate_server.webhooks.messages import body_of, headers_of

log = structlog.get_logger("tidegate.policy_job")

MOST_AT_A_TIME = 64
"""Webhooks that are spoken to at the same time, of all projects together."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How patient a courier is.

    Attributes:
        first_s: the wait after the first failure; it doubles with each further one.
        longest_s: the longest wait between two attempts of one message.
        rest_s: the longest rest of a webhook that fails.
        oldest_ms: how old a message may become before it is given up.
        most_waiting: how many may wait for one webhook; the oldest beyond are given up.
    """

    first_s: float = 2.0
    longest_s: float = 15 * 60.0
    rest_s: float = 60.0
    oldest_ms: int = 24 * HOUR
    most_waiting: int = 10_000

    def wait_s(self, failures: int, longest_s: float) -> float:
        """The wait after so many failures in a row: doubled each time, then spread."""
        doubled = self.first_s * 2.0 ** min(failures - 1, 30)
        return min(doubled, longest_s) * random.uniform(0.5, 1.0)  # noqa: S311 - only spreads


PATIENT = Pace()


@dataclass(slots=True)
class _Health:
    """Failures in a row of one webhook, and when it may be spoken to again (monotonic)."""

    failures: int = 0
    rests_until: float = 0.0


class Courier:
    """Delivers the messages of the projects that this process leads.

    Args:
        store: where the messages are.
        secret_key: the server's, which signatures are derived from.
        pace: how patient to be.
    """

    def __init__(self, store: Store, secret_key: bytes, pace: Pace = PATIENT) -> None:
        self._store = store
        self._outbox = store.outbox()
        self._secret_key = secret_key
        self._pace = pace
        self._lanes = Lanes("tidegate-courier", each=1, most=MOST_AT_A_TIME)
        self._leads: frozenset[str] = frozenset()
        self._health: dict[tuple[str, str], _Health] = {}
        self._lock = threading.Lock()

    def look(self, leads: Iterable[str]) -> None:
        """Start delivering what is due in the projects that are led; does not wait for it.

        Raises:
            StoreUnavailable: the store cannot be reached.
        """
        self._leads = frozenset(leads)
        now_ms = self._store.now_ms() if self._leads else 0
        for project in self._leads:
            awake = [
                key
                for key in self._store.all(project, Kind.WEBHOOK)
                if not self._rests(project, key)
            ]
            for key in self._outbox.due(project, awake, now_ms):
                self._lanes.start((project, key), partial(self._serve, project, key))

    def _rests(self, project: str, key: str) -> bool:
        with self._lock:
            health = self._health.get((project, key))
            return health is not None and time.monotonic() < health.rests_until

    def _serve(self, project: str, key: str) -> None:
        """Deliver what is due to one webhook until nothing is, or until it fails."""
        try:
            self._make_room(project, key)
            while project in self._leads:
                stored = self._store.get(project, webhook_address(key))
                due = self._outbox.due(project, [key], self._store.now_ms())
                if stored is None or key not in due:
                    return
                if not self._deliver(project, stored.document, due[key]):
                    return
        except StoreUnavailable:
            return  # the policy job's loop says so; the message waits in its queue

    def _make_room(self, project: str, key: str) -> None:
        for each in self._outbox.oldest(project, key, self._pace.most_waiting):
            self._give_up(project, key, each, "too many messages were waiting")

    def _deliver(self, project: str, webhook: Webhook, delivery: Delivery) -> bool:
        """Try one message; False: the webhook rests now."""
        record, now_ms = delivery.record, self._store.now_ms()
        if not webhook.enabled:
            self._give_up(project, webhook.key, delivery, "the webhook is disabled")
            return True
        body = body_of(webhook.format, project, delivery.id, record.notice)
        headers = headers_of(
            self._secret_key, webhook, record.notice.event, delivery.id, body, now_ms
        )
        answered = post(webhook.url, body, headers, webhook.timeout_ms / 1_000)
        problem = "" if answered.succeeded else answered.problem or f"answered {answered.status}"
        after = replace(
            record,
            attempts=record.attempts + 1,
            last=Attempt(now_ms, answered.took_ms, answered.status, problem),
        )
        if answered.succeeded:
            delivered = replace(after, state=DeliveryState.DELIVERED)
            self._outbox.record_outcome(project, webhook.key, delivery.id, delivered)
            self._recovered(project, webhook)
            return True
        failed = replace(delivery, record=after)
        if now_ms - record.queued_ms >= self._pace.oldest_ms:
            self._give_up(project, webhook.key, failed, problem)
        else:
            again_in_ms = round(self._wait_s(after.attempts, answered) * 1_000)
            self._outbox.record_outcome(project, webhook.key, delivery.id, after, again_in_ms)
        self._failed(project, webhook, problem)
        return False

    def _wait_s(self, attempts: int, answered: Answered) -> float:
        wait_s = self._pace.wait_s(attempts, self._pace.longest_s)
        return max(wait_s, min(answered.retry_after_s or 0.0, self._pace.longest_s))

    def _give_up(self, project: str, key: str, delivery: Delivery, problem: str) -> None:
        record = delivery.record
        last = record.last
        if last is None or last.problem != problem:
            last = Attempt(self._store.now_ms(), 0, None, problem)
        given_up = replace(record, state=DeliveryState.GIVEN_UP, last=last)
        if self._outbox.record_outcome(project, key, delivery.id, given_up):
            release = record.notice.release
            log.warning(
                "webhook message given up",
                scope=project,
                webhook=key,
                message=delivery.id,
                told=record.notice.event,
                release=release.id if release is not None else None,
                attempts=record.attempts,
                problem=problem,
            )

    def _failed(self, project: str, webhook: Webhook, problem: str) -> None:
        with self._lock:
            health = self._health.setdefault((project, webhook.key), _Health())
            health.failures += 1
            rest_s = self._pace.wait_s(health.failures, self._pace.rest_s)
            health.rests_until = time.monotonic() + rest_s
            first = health.failures == 1
        if first:
            log.warning(
                "webhook fails",
                scope=project,
                webhook=webhook.key,
                origin=webhook.origin,
                problem=problem,
            )

    def _recovered(self, project: str, webhook: Webhook) -> None:
        with self._lock:
            health = self._health.pop((project, webhook.key), None)
        if health is not None:
            log.info(
                "webhook works again",
                scope=project,
                webhook=webhook.key,
                failures=health.failures,
            )
