"""Which version an environment has, told from an earlier one with the same number.

A failover may lose the last commits, and the next ones get their numbers again. So the time of its
commit belongs to a version, too; its receipt has it (``commit.RECEIPT_SECONDS``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tidegate_server.store import keys
from tidegate_server.store.connection import Command, Connection
from tidegate_server.store.feed import Place


@dataclass(frozen=True, slots=True)
class EnvironmentVersion:
    """A version of an environment.

    Attributes:
        number: 0 before the first change.
        incarnation: tells versions of a restored store from those before; empty: there is none.
        committed: when it was committed, in ms since 1970; empty: that is not known any more.
    """

    number: int = 0
    incarnation: str = ""
    committed: str = ""

    @property
    def is_exact(self) -> bool:
        """Whether no other version equals this one."""
        return bool(self.incarnation and self.committed)


def commands(place: Place, number: int) -> list[Command]:
    """Return what reads the version of an environment that should have this one."""
    project, environment = place
    return [
        ("GET", keys.version(project, environment)),
        ("GET", keys.incarnation(project)),
        ("HGET", keys.version_receipt(project, environment, number), "at"),
    ]


def parse(replies: Sequence[Any]) -> EnvironmentVersion:
    """Return what the replies to ``commands`` say; ``committed`` is that of ``number``."""
    number, incarnation, committed = replies
    return EnvironmentVersion(
        int(number or 0), (incarnation or b"").decode(), (committed or b"").decode()
    )


def present_version(connection: Connection, place: Place, number: int = 0) -> EnvironmentVersion:
    """Return the version of an environment.

    Args:
        connection: the store.
        place: the environment.
        number: which version it probably has: then the store is asked once.
    """
    while True:
        found = parse(connection.read_many(commands(place, number), atomic=True))
        if found.number == number:
            return found
        number = found.number
