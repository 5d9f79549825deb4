"""Receipts: how fast a version reached the instances of an environment.

The commit script begins the receipt of each version. The script of reports adds the instances that
have applied the version since their last report. Times are counted in buckets, each of which begins
at ``RATIO`` times the beginning of the one before, so that a receipt stays small however many
instances there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tidegate_server.store import keys
from tidegate_server.store.connection import Connection

RATIO = 1.05


@dataclass(frozen=True, slots=True)
class Receipt:
    """How fast a version reached the instances that ran when it was committed.

    Attributes:
        version: the version of the environment.
        at_ms: when it was committed (the store's time).
        actor, action: who committed it and how, as in the audit log; empty: the policy job did
            without a person, or it is not known.
        confirmed: how many instances have applied it.
        slowest_ms: how long the slowest of them took; None: none has.
    """

    version: int
    at_ms: int
    actor: str
    action: str
    confirmed: int
    slowest_ms: int | None
    _buckets: tuple[tuple[int, int], ...]

    def quantile_ms(self, share: float) -> float | None:
        """Return within how many milliseconds this share of them applied it; None: none has."""
        wanted = share * self.confirmed
        seen = 0
        for number, count in self._buckets:
            seen += count
            if seen >= wanted:
                middle: float = RATIO ** (number + 0.5)
                return min(middle, float(self.slowest_ms or 0))
        return None


class Receipts:
    """The receipts of every environment. Use ``Store.receipts``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def of_version(self, project: str, environment: str, version: int) -> Receipt | None:
        """Return the receipt of a version; None if it is not kept."""
        key = keys.version_receipt(project, environment, version)
        fields = self._connection.read("HGETALL", key)
        return _decoded(version, fields) if b"at" in fields else None

    def committed_ms(
        self, project: str, environment: str, versions: Iterable[int]
    ) -> dict[int, int]:
        """Return when versions were committed, by version, without those that are not kept."""
        wanted = list(dict.fromkeys(versions))
        found = self._connection.read_many(
            ("HGET", keys.version_receipt(project, environment, version), "at")
            for version in wanted
        )
        return {
            version: int(at) for version, at in zip(wanted, found, strict=True) if at is not None
        }


def _decoded(version: int, fields: Mapping[bytes, bytes]) -> Receipt:
    slowest = fields.get(b"slowest")
    buckets = {
        int(name[1:]): int(count)
        for name, count in fields.items()
        if name[:1] == b"b" and name[1:].isdigit()
    }
    return Receipt(
        version=version,
        at_ms=int(fields[b"at"]),
        actor=fields.get(b"actor", b"").decode(),
        action=fields.get(b"action", b"").decode(),
        confirmed=int(fields.get(b"confirmed", b"0")),
        slowest_ms=None if slowest is None else int(slowest),
        _buckets=tuple(sorted(buckets.items())),
    )
