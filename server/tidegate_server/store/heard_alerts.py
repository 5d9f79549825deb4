"""What hooks have heard: how often they are called, and which alerts they acted on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import redis

from tidegate_server.store import connection, keys

REMEMBERED = 2_000
"""How many alerts of a hook are remembered."""

REMEMBERED_SECONDS = 30 * 24 * 60 * 60


class HeardAlerts:
    """The alerts of every project's hooks."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def count_call(self, project: str, hook: str, seconds: int) -> int:
        """Count a call, and return how many there were in its span of so many seconds."""
        name = keys.hook_calls(project, hook)

        def do() -> list[Any]:
            pipe = self._client.pipeline(transaction=True)
            pipe.set(name, 0, ex=seconds, nx=True)
            pipe.incr(name)
            return list(pipe.execute())

        return int(connection.write(do)[1])

    def heard(self, project: str, hook: str, alerts: Iterable[str]) -> bool:
        """Whether a hook has acted on all of these; of none it has not."""
        named = [_short(each) for each in alerts]
        if not named:
            return False
        found = connection.read(
            lambda: self._client.zmscore(keys.heard_alerts(project, hook), named)
        )
        return all(score is not None for score in found)

    def note(self, project: str, hook: str, alerts: Iterable[str], now_ms: int) -> None:
        """Remember that a hook has acted on these."""
        named = {_short(each): now_ms for each in alerts}
        if not named:
            return
        name = keys.heard_alerts(project, hook)

        def do() -> None:
            pipe = self._client.pipeline(transaction=True)
            pipe.zadd(name, named)
            pipe.zremrangebyrank(name, 0, -REMEMBERED - 1)
            pipe.expire(name, REMEMBERED_SECONDS)
            pipe.execute()

        connection.write(do)


def _short(alert: str) -> str:
    return hashlib.sha256(alert.encode()).hexdigest()[:32]
