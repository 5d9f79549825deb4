"""The recently seen users of every environment: a bounded, fair sample of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec
from tidegate.seen_users import ALL_NAMES, sample_number

from tidegate_server.domain.seen_users import SeenUser, SeenUserSample
from tidegate_server.store import keys
from tidegate_server.store.connection import Connection


@dataclass(frozen=True, slots=True)
class Limits:
    """How many users an environment keeps, and for how long.

    Attributes:
        most: how many users.
        kept_ms: for how long after they were last seen.
        slot_ms: for how long one limit of the sample is remembered at a time.
    """

    most: int = 1_000
    kept_ms: int = 60 * 60 * 1_000
    slot_ms: int = 5 * 60 * 1_000


LIMITS = Limits()


class SeenUsersStore:
    """The samples of recently seen users. Use ``Store.seen_users``."""

    def __init__(self, connection: Connection, limits: Limits = LIMITS) -> None:
        self._connection = connection
        self._limits = limits

    def add(self, project: str, environment: str, users: Iterable[SeenUser]) -> int:
        """Add users who were seen just now, and return the present limit of the sample."""
        plan = {
            "users": [(user.name, _document(user)) for user in users],
            "most": self._limits.most,
            "kept": self._limits.kept_ms,
            "slot": self._limits.slot_ms,
        }
        names = keys.seen_users(project, environment)
        return int(self._connection.run_script("seen_users", names, [msgspec.msgpack.encode(plan)]))

    def limit(self, project: str, environment: str) -> int:
        """Return the limit: only users whose number is lower belong to the sample."""
        limits = keys.seen_users(project, environment)[2]
        return int(self._connection.read("HGET", limits, "below") or ALL_NAMES)

    def sample(self, project: str, environment: str) -> SeenUserSample:
        """Return the sample: of the users of the last hour, those with the lowest numbers.

        While the limit was lower than now, users between the two were not taken. So only those
        below the lowest limit of the hour are returned: whether a user is among them depends on the
        name alone.
        """
        times, attributes, limits = keys.seen_users(project, environment)
        (seconds, micros), seen, documents, slots = self._connection.read_many(
            [
                ("TIME",),
                ("ZRANGE", times, 0, -1, "WITHSCORES"),
                ("HGETALL", attributes),
                ("HGETALL", limits),
            ],
            atomic=True,
        )
        now_ms = int(seconds) * 1000 + int(micros) // 1000
        since_ms = now_ms - self._limits.kept_ms
        lowest = min(
            (
                int(limit)
                for name, limit in slots.items()
                if name == b"below"
                or (name.isdigit() and (int(name) + 1) * self._limits.slot_ms >= since_ms)
            ),
            default=ALL_NAMES,
        )
        users = [
            _seen_user(name.decode(), documents[name], int(at))
            for name, at in _pairs(seen)
            if int(at) >= since_ms and name in documents and sample_number(name.decode()) < lowest
        ]
        users.sort(key=lambda each: each.name)
        return SeenUserSample(tuple(users), lowest / ALL_NAMES)

    def forget(self, project: str, environment: str) -> None:
        """Delete the sample of an environment."""
        self._connection.write("UNLINK", *keys.seen_users(project, environment))


def _document(user: SeenUser) -> str:
    return msgspec.json.encode((user.attributes, user.lists)).decode()


def _seen_user(name: str, document: bytes, seen_ms: int) -> SeenUser:
    attributes, lists = msgspec.json.decode(document)
    return SeenUser(name, attributes, lists, seen_ms)


def _pairs(flat: list[tuple[bytes, float]] | list[bytes]) -> list[tuple[bytes, float]]:
    """Return members with their scores, as the client library or the server pairs them."""
    if flat and isinstance(flat[0], bytes):
        return [(flat[at], float(flat[at + 1])) for at in range(0, len(flat), 2)]
    return [(name, float(score)) for name, score in flat]  # type: ignore[misc]
