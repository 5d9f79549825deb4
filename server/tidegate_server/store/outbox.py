"""Messages for webhooks: those that wait for delivery, and the results of the others.

A commit adds messages to the queue of their webhook. A message leaves the queue only when its
delivery is recorded, when it is given up, or when its webhook is deleted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec
import redis
from redis.commands.core import Script

from tidegate_server.domain.release_events import ReleaseEvent
from tidegate_server.store import connection, documents, keys

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
    """The messages of every project's webhooks.

    Args:
        client: the store's client.
        settle: the script that records the result of an attempt.
    """

    def __init__(self, client: redis.Redis, settle: Script) -> None:
        self._client = client
        self._settle = settle

    def due(self, project: str, webhooks: Iterable[str], now_ms: int) -> dict[str, Delivery]:
        """Return, for each webhook that has one, the message that has been due for longest."""
        wanted = list(webhooks)
        if not wanted:
            return {}

        def read_first() -> list[Any]:
            pipe = self._client.pipeline(transaction=False)
            for webhook in wanted:
                pipe.zrange(
                    keys.queue(project, webhook),
                    "-inf",
                    now_ms,
                    byscore=True,
                    offset=0,
                    num=1,
                    withscores=True,
                )
            return list(pipe.execute())

        members = zip(wanted, connection.read(read_first), strict=True)
        first = {webhook: found[0] for webhook, found in members if found}
        records = self._records([(project, webhook, id) for webhook, (id, _) in first.items()])
        return {
            webhook: Delivery(id.decode(), record, int(due_ms))
            for (webhook, (id, due_ms)), record in zip(first.items(), records, strict=True)
            if record is not None
        }

    def waiting(self, project: str, webhook: str) -> int:
        """Return how many messages wait for a webhook."""
        return int(connection.read(lambda: self._client.zcard(keys.queue(project, webhook))))

    def oldest(self, project: str, webhook: str, beyond: int) -> list[Delivery]:
        """Return the oldest waiting messages: those beyond the newest ``beyond``."""
        waiting = self.waiting(project, webhook)
        if waiting <= beyond:
            return []
        queue = keys.queue(project, webhook)
        queued: Any = connection.read(lambda: self._client.zrange(queue, 0, -1))
        # Ids begin with their time, so the smallest are the oldest.
        ids = sorted(queued)[: waiting - beyond]
        records = self._records([(project, webhook, id) for id in ids])
        return [
            Delivery(id.decode(), record, None)
            for id, record in zip(ids, records, strict=True)
            if record is not None
        ]

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
            connection.write(
                lambda: self._settle(
                    keys=list(keys.of_webhook(project, webhook)),
                    args=[id, documents.encode(record), retry, MAX_SETTLED],
                )
            )
        )

    def page(
        self, project: str, webhook: str, before: str | None, limit: int
    ) -> tuple[list[Delivery], str | None]:
        """Return messages of a webhook, the latest first, and the cursor of the next page."""
        deliveries_key = keys.deliveries(project, webhook)
        ids: Any = connection.read(lambda: self._client.hkeys(deliveries_key))
        older = sorted((id for id in ids if before is None or id.decode() < before), reverse=True)
        ids_on_page = older[:limit]
        deliveries = self._deliveries(project, webhook, ids_on_page)
        more = len(older) > limit
        return deliveries, ids_on_page[-1].decode() if more else None

    def _deliveries(self, project: str, webhook: str, ids: Sequence[bytes]) -> list[Delivery]:
        if not ids:
            return []

        def read_records_and_times() -> list[Any]:
            pipe = self._client.pipeline(transaction=True)
            pipe.hmget(keys.deliveries(project, webhook), ids)
            pipe.zmscore(keys.queue(project, webhook), [id.decode() for id in ids])
            return list(pipe.execute())

        values, due_times = connection.read(read_records_and_times)
        return [
            Delivery(id.decode(), _record(value), None if due_ms is None else int(due_ms))
            for id, value, due_ms in zip(ids, values, due_times, strict=True)
            if value is not None
        ]

    def _records(self, ids: Sequence[tuple[str, str, bytes]]) -> list[DeliveryRecord | None]:
        if not ids:
            return []

        def read_records() -> list[Any]:
            pipe = self._client.pipeline(transaction=False)
            for project, webhook, id in ids:
                pipe.hget(keys.deliveries(project, webhook), id.decode())
            return list(pipe.execute())

        return [
            None if value is None else _record(value) for value in connection.read(read_records)
        ]


def _record(value: bytes) -> DeliveryRecord:
    return _DECODER.decode(value)


_DECODER = msgspec.json.Decoder(DeliveryRecord)
