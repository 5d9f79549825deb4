"""Messages for webhooks: those that wait for delivery, and the results of the others.

A commit adds messages to the queue of their webhook. A message leaves the queue only when its
delivery is recorded, when it is given up, or when its webhook is deleted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from tidegate_server.domain.release_events import ReleaseEvent
from tidegate_server.store import documents, keys
from tidegate_server.store.connection import Connection

MAX_SETTLED = 200
"""How many delivered and given up messages are kept for each webhook."""


class DeliveryState(StrEnum):
    """The state of a message."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    GIVEN_UP = "given_up"


@dataclass(frozen=True, slots=True)
class Attempt:
    """A request with a message.

    ``status`` is None if there was no response; ``problem`` is empty if it was delivered.
    """

    at_ms: int
    took_ms: int
    status: int | None
    problem: str


@dataclass(frozen=True, slots=True)
class DeliveryRecord:
    """A message and the result of its delivery so far."""

    queued_ms: int
    notice: ReleaseEvent
    state: DeliveryState = DeliveryState.WAITING
    attempts: int = 0
    last: Attempt | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message with its id, which begins with its time.

    ``due_ms`` is the time of the next attempt; None if there is none.
    """

    id: str
    record: DeliveryRecord
    due_ms: int | None


class Outbox:
    """The messages of every project's webhooks."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def due(self, project: str, webhooks: Iterable[str], now_ms: int) -> dict[str, Delivery]:
        """Return, for each webhook that has one, the message that has been due for longest."""
        names = list(webhooks)
        options = ("-inf", now_ms, "BYSCORE", "LIMIT", 0, 1, "WITHSCORES")
        members = self._connection.read_many(
            ("ZRANGE", keys.queue(project, webhook), *options) for webhook in names
        )
        first = {name: found for name, found in zip(names, members, strict=True) if found}
        values = self._connection.read_many(
            ("HGET", keys.deliveries(project, webhook), id) for webhook, (id, _) in first.items()
        )
        return {
            webhook: Delivery(id.decode(), _record(value), int(due_ms))
            for (webhook, (id, due_ms)), value in zip(first.items(), values, strict=True)
            if value is not None
        }

    def waiting(self, project: str, webhook: str) -> int:
        """Return how many messages wait for a webhook."""
        return int(self._connection.read("ZCARD", keys.queue(project, webhook)))

    def oldest(self, project: str, webhook: str, beyond: int) -> list[Delivery]:
        """Return the oldest waiting messages: those beyond the newest ``beyond``."""
        waiting = self.waiting(project, webhook)
        if waiting <= beyond:
            return []
        queued = self._connection.read("ZRANGE", keys.queue(project, webhook), 0, -1)
        # Ids begin with their time, so the smallest are the oldest.
        return self._deliveries(project, webhook, sorted(queued)[: waiting - beyond])

    def record_outcome(
        self,
        project: str,
        webhook: str,
        id: str,
        record: DeliveryRecord,
        retry_in_ms: int | None = None,
    ) -> bool:
        """Record the result of an attempt.

        Args:
            project: the project.
            webhook: the webhook's key.
            id: the message's id.
            record: the message with the attempt.
            retry_in_ms: when it is tried again; None: never.

        Returns:
            Whether the message was still waiting. If not, nothing is written.
        """
        retry = "" if retry_in_ms is None else str(retry_in_ms)
        return bool(
            self._connection.run_script(
                "record_delivery",
                keys.webhook_keys(project, webhook),
                [id, documents.encode(record), retry, MAX_SETTLED],
            )
        )

    def page(
        self, project: str, webhook: str, before: str | None, limit: int
    ) -> tuple[list[Delivery], str | None]:
        """Return messages of a webhook, the latest first, and the cursor of the next page."""
        ids: list[bytes] = self._connection.read("HKEYS", keys.deliveries(project, webhook))
        older = sorted((id for id in ids if before is None or id.decode() < before), reverse=True)
        ids_on_page = older[:limit]
        deliveries = self._deliveries(project, webhook, ids_on_page)
        more = len(older) > limit
        return deliveries, ids_on_page[-1].decode() if more else None

    def delivery(self, project: str, webhook: str, id: str) -> Delivery | None:
        """Return a message by its id; None: there is none, or it is no longer kept."""
        found = self._deliveries(project, webhook, [id.encode()])
        return found[0] if found else None

    def _deliveries(self, project: str, webhook: str, ids: Sequence[bytes]) -> list[Delivery]:
        if not ids:
            return []
        values, due_times = self._connection.read_many(
            [
                ("HMGET", keys.deliveries(project, webhook), *ids),
                ("ZMSCORE", keys.queue(project, webhook), *ids),
            ],
            atomic=True,
        )
        return [
            Delivery(id.decode(), _record(value), None if due_ms is None else int(due_ms))
            for id, value, due_ms in zip(ids, values, due_times, strict=True)
            if value is not None
        ]


def _record(value: bytes) -> DeliveryRecord:
    return _DECODER.decode(value)


_DECODER = msgspec.json.Decoder(DeliveryRecord)
