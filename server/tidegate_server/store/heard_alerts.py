"""Calls of hooks: how often each hook is called, and which alerts it has acted on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from tidegate_server.store import keys
from tidegate_server.store.connection import Connection

MAX_REMEMBERED = 2_000
"""How many alerts of a hook are remembered."""

REMEMBERED_SECONDS = 30 * 24 * 60 * 60


MAX_SHOWN = 50
"""How many alerts of a hook are kept for people."""


@dataclass(frozen=True, slots=True)
class FlagOutcome:
    """What an alert did to one flag; ``done``: it changed something."""

    flag: str
    done: bool
    outcome: str
    release: str | None = None


@dataclass(frozen=True, slots=True)
class ReceivedAlert:
    """An alert that a hook received: how it was understood, and what it did to each flag."""

    at_ms: int
    status: str
    summary: str
    outcomes: tuple[FlagOutcome, ...]


_DECODER = msgspec.json.Decoder(ReceivedAlert)


class HeardAlerts:
    """The alerts of every project's hooks."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def count_call(self, project: str, hook: str, seconds: int) -> int:
        """Count a call, and return how many there were in this period of ``seconds``."""
        name = keys.hook_calls(project, hook)
        _, calls = self._connection.write_many(
            [("SET", name, 0, "EX", seconds, "NX"), ("INCR", name)]
        )
        return int(calls)

    def heard(self, project: str, hook: str, alerts: Iterable[str]) -> bool:
        """Return whether a hook has acted on all of these alerts; False if there are none."""
        names = [_digest(alert) for alert in alerts]
        if not names:
            return False
        scores = self._connection.read("ZMSCORE", keys.heard_alerts(project, hook), *names)
        return all(score is not None for score in scores)

    def remember(self, project: str, hook: str, alerts: Iterable[str], now_ms: int) -> None:
        """Remember that a hook has acted on these alerts."""
        members = [part for alert in alerts for part in (now_ms, _digest(alert))]
        if not members:
            return
        name = keys.heard_alerts(project, hook)
        self._connection.write_many(
            [
                ("ZADD", name, *members),
                ("ZREMRANGEBYRANK", name, 0, -MAX_REMEMBERED - 1),
                ("EXPIRE", name, REMEMBERED_SECONDS),
            ]
        )

    def note(self, project: str, hook: str, alert: ReceivedAlert) -> None:
        """Keep an alert that a hook received, for people; an older one is forgotten."""
        name = keys.hook_alerts(project, hook)
        self._connection.write_many(
            [
                ("LPUSH", name, msgspec.json.encode(alert)),
                ("LTRIM", name, 0, MAX_SHOWN - 1),
                ("EXPIRE", name, REMEMBERED_SECONDS),
            ]
        )

    def latest(self, project: str, hook: str) -> list[ReceivedAlert]:
        """Return the last alerts that a hook received, the latest first."""
        values = self._connection.read("LRANGE", keys.hook_alerts(project, hook), 0, -1)
        return [_DECODER.decode(value) for value in values]


def _digest(alert: str) -> str:
    return hashlib.sha256(alert.encode()).hexdigest()[:32]
