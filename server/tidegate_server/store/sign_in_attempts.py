"""How often somebody tried to sign in, so that guessing is slow.

An attempt is counted before it is checked, so many at once are no way around the limit. Each count
ends with its period, however many attempts were refused meanwhile: nobody is locked out for good.
"""

from __future__ import annotations

from dataclasses import dataclass

from tidegate_server.store import keys
from tidegate_server.store.connection import Connection

KNOWN_SECONDS = 90 * 24 * 60 * 60
MOST_KNOWN = 20


@dataclass(frozen=True, slots=True)
class Limit:
    """At most ``most`` attempts in ``seconds``; ``kind`` names what is counted."""

    kind: str
    most: int
    seconds: int


@dataclass(frozen=True, slots=True)
class Attempts:
    """How many attempts were made in the present period, and when it ends."""

    count: int
    seconds_left: int


class SignInAttempts:
    """Attempts to sign in, by account and by address. Use ``Store.sign_in_attempts``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def count(self, limit: Limit, name: str) -> Attempts:
        """Count an attempt, and return how many there are with it."""
        key = keys.attempts(limit.kind, name)
        count, _, left = self._connection.write_many(
            [("INCR", key), ("EXPIRE", key, limit.seconds, "NX"), ("TTL", key)]
        )
        return Attempts(int(count), max(1, int(left)))

    def forget(self, limit: Limit, name: str) -> None:
        """Forget the attempts: the last one was right."""
        self._connection.write("DEL", keys.attempts(limit.kind, name))

    def knows(self, person: str, address: str, now_ms: int) -> bool:
        """Return whether a person has signed in from an address lately."""
        at_ms = self._connection.read("ZSCORE", keys.known_addresses(person), address)
        return at_ms is not None and now_ms - float(at_ms) < KNOWN_SECONDS * 1000

    def remember(self, person: str, address: str, now_ms: int) -> None:
        """Note that a person has signed in from an address."""
        key = keys.known_addresses(person)
        self._connection.write_many(
            [
                ("ZADD", key, now_ms, address),
                ("ZREMRANGEBYRANK", key, 0, -MOST_KNOWN - 1),
                ("EXPIRE", key, KNOWN_SECONDS),
            ]
        )
