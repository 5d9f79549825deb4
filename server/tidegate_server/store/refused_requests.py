"""Requests of applications that were refused, for whoever sets an application up.

Anybody can send such requests, so only the latest are kept, and each of them once.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from tidegate_server.store import keys
from tidegate_server.store.connection import Connection

MOST_KEPT = 100
KEPT_SECONDS = 24 * 60 * 60


@dataclass(frozen=True, slots=True)
class RefusedRequest:
    """Why an application's requests were refused, and from where they came.

    Attributes:
        address: the IP address.
        detail: the reason, as the application got it.
        token: the name of the token; empty: there was none, or no such token.
        project, environment: those of the token; empty: not known.
    """

    address: str
    detail: str
    token: str = ""
    project: str = ""
    environment: str = ""


class RefusedRequests:
    """The latest refused requests of the server. Use ``Store.refused_requests``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def note(self, refused: RefusedRequest, now_ms: int) -> None:
        """Note a refused request (store or wall clock, in ms)."""
        key = keys.refused_requests()
        self._connection.write_many(
            [
                ("ZADD", key, now_ms, msgspec.json.encode(refused)),
                ("ZREMRANGEBYRANK", key, 0, -MOST_KEPT - 1),
                ("EXPIRE", key, KEPT_SECONDS),
            ]
        )

    def latest(self) -> list[tuple[RefusedRequest, int]]:
        """Return what was refused and when last (ms), the latest first."""
        found = self._connection.read("ZREVRANGE", keys.refused_requests(), 0, -1, "WITHSCORES")
        pairs = zip(found[::2], found[1::2], strict=True)
        return [
            (msgspec.json.decode(member, type=RefusedRequest), int(float(at_ms)))
            for member, at_ms in pairs
        ]
