"""The series of releases: readings of their numbers over time.

The commit script writes them; ``ledger.series`` says which are kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import msgspec

from tidegate_server.ledger.series import Reading
from tidegate_server.store import keys
from tidegate_server.store.connection import Connection


class SeriesStore:
    """The series of every release."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def readings(self, project: str, environment: str, release: str) -> list[Reading]:
        """Return the readings of a release that are kept, in no particular order.

        Those that a later version of Tidegate wrote, and that this one cannot read, are missing.
        """
        values = self._connection.read("HVALS", keys.series(project, environment, release))
        return list(_decode(values))


def _decode(values: list[bytes]) -> Iterator[Reading]:
    for value in values:
        try:
            yield _decoder().decode(value)
        except msgspec.ValidationError:
            continue


@cache
def _decoder() -> msgspec.json.Decoder[Reading]:
    return msgspec.json.Decoder(Reading)
