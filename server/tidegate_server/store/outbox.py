"""Messages for webhooks: what waits to be delivered, and what became of the rest.

A commit puts messages into the queue of their webhook; nothing but a noted delivery, a given
up one or the end of the webhook takes them out.
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

SETTLED_KEPT = 200
"""How many settled messages of a webhook can be looked up afterwards."""


class DeliveryState(StrEnum):
    """Where a message stands."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    GIVEN_UP = "given_up"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request. ``status`` is None when there was no answer; ``problem`` is empty when it
    was delivered."""

    at_ms: int
    took_ms: int
    status: int | None
    problem: str


@dataclass(frozen=True, slots=True)
class Record:
    """A message and what became of it so far."""

    queued_ms: int
    notice: ReleaseEvent
    state: DeliveryState = DeliveryState.WAITING
    attempts: int = 0
    last: Attempt | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message under its id, which begins with its time. ``due_ms`` is None once settled."""

    id: str
    record: Record
    due_ms: int | None


class Outbox:
    """The messages of every project's webhooks.

    Args:
        client: of the store.
        settle: the script that notes how an attempt went.
    """

    def __init__(self, client: redis.Redis, settle: Script) -> None:
        self._client = client
        self._settle = settle

    def due(self, project: str, webhooks: Iterable[str], now_ms: int) -> dict[str, Delivery]:
        """The message that is due for longest, of each webhook that has one."""
        named = list(webhooks)
        if not named:
            return {}

        def ask() -> list[Any]:
            pipe = self._client.pipeline(transaction=False)
            for webhook in named:
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

        first = zip(named, connection.read(ask), strict=True)
        found = {webhook: members[0] for webhook, members in first if members}
        records = self._records([(project, webhook, id) for webhook, (id, _) in found.items()])
        return {
            webhook: Delivery(id.decode(), record, int(due_ms))
            for (webhook, (id, due_ms)), record in zip(found.items(), records, strict=True)
            if record is not None
        }

    def waiting(self, project: str, webhook: str) -> int:
        """How many messages wait for a webhook."""
        return int(connection.read(lambda: self._client.zcard(keys.queue(project, webhook))))

    def oldest(self, project: str, webhook: str, beyond: int) -> list[Delivery]:
        """Those that wait for longest, as far as there are more than ``beyond`` in all."""
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
        self, project: str, webhook: str, id: str, record: Record, again_in_ms: int | None = None
    ) -> bool:
        """Note how an attempt went.

        Args:
            project: the scope.
            webhook: whose message it is.
            id: the message's.
            record: it, with the attempt.
            again_in_ms: when it is tried again; None: it is settled.

        Returns:
            Whether it was still waiting; else nothing is written.
        """
        again = "" if again_in_ms is None else str(again_in_ms)
        return bool(
            connection.write(
                lambda: self._settle(
                    keys=list(keys.of_webhook(project, webhook)),
                    args=[id, documents.encode(record), again, SETTLED_KEPT],
                )
            )
        )

    def page(
        self, project: str, webhook: str, before: str | None, limit: int
    ) -> tuple[list[Delivery], str | None]:
        """Messages of a webhook, the latest first, and the next page's cursor."""
        known = keys.deliveries(project, webhook)
        ids: Any = connection.read(lambda: self._client.hkeys(known))
        older = sorted((id for id in ids if before is None or id.decode() < before), reverse=True)
        chosen = older[:limit]
        deliveries = self._with_dues(project, webhook, chosen)
        more = len(older) > limit
        return deliveries, chosen[-1].decode() if more else None

    def _with_dues(self, project: str, webhook: str, ids: Sequence[bytes]) -> list[Delivery]:
        if not ids:
            return []

        def ask() -> list[Any]:
            pipe = self._client.pipeline(transaction=True)
            pipe.hmget(keys.deliveries(project, webhook), ids)
            pipe.zmscore(keys.queue(project, webhook), [id.decode() for id in ids])
            return list(pipe.execute())

        values, dues = connection.read(ask)
        return [
            Delivery(id.decode(), _record(value), None if due is None else int(due))
            for id, value, due in zip(ids, values, dues, strict=True)
            if value is not None
        ]

    def _records(self, places: Sequence[tuple[str, str, bytes]]) -> list[Record | None]:
        if not places:
            return []

        def ask() -> list[Any]:
            pipe = self._client.pipeline(transaction=False)
            for project, webhook, id in places:
                pipe.hget(keys.deliveries(project, webhook), id.decode())
            return list(pipe.execute())

        return [None if value is None else _record(value) for value in connection.read(ask)]


def _record(value: bytes) -> Record:
    return _DECODER.decode(value)


_DECODER = msgspec.json.Decoder(Record)
