"""SDK instances, as their reports describe them, and how far kills have reached them."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
from msgspec import Struct

from tidegate_server.store import keys
from tidegate_server.store.connection import Connection
from tidegate_server.store.reports import Report

INSTANCE_SECONDS = 24 * 60 * 60
"""How long a silent instance is remembered."""

MISSED_REPORTS = 3
GRACE_MS = 2_000


@dataclass(frozen=True, slots=True)
class Instance:
    """An SDK instance, from its last report.

    ``live``: it still reports. ``left``: its last report said that it ends. ``has_samples``: it
    reports users of the sample, by which the split of the arms is checked. ``application`` is what
    it calls itself, ``token`` the name of the token that it used; empty: an earlier version of
    Tidegate received the report. ``started_ms``: None if it did not say for how long it has run.
    """

    id: str
    version: int
    seen_ms: int
    interval: float
    sdk: str
    host: str
    pid: int
    live: bool
    left: bool = False
    has_samples: bool = False
    application: str = ""
    token: str = ""
    started_ms: int | None = None


@dataclass(frozen=True, slots=True)
class KillReceipt:
    """How many live instances have applied a kill.

    Attributes:
        version: the version of the kill.
        at_ms: when it was committed (store clock).
        live: how many instances report at present.
        applied: how many of them serve ``version`` or a later one.
        waiting: the ids of those that do not yet.
        elapsed_ms: for each applied instance that was live before the kill, the time from the
            commit to the report that confirmed it (store clock).
    """

    version: int
    at_ms: int
    live: int
    applied: int
    waiting: tuple[str, ...]
    elapsed_ms: tuple[int, ...]


class Instances:
    """The SDK instances of every environment."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def all(self, project: str, environment: str) -> list[Instance]:
        """Return the instances that reported in the last day, the latest first."""
        (seconds, micros), described = self._connection.read_many(
            [("TIME",), ("HGETALL", keys.instance_descriptions(project, environment))]
        )
        now_ms = int(seconds) * 1000 + int(micros) // 1000
        instances = [decode_instance(id, kept, now_ms) for id, kept in described.items()]
        oldest_ms = now_ms - INSTANCE_SECONDS * 1_000
        lately = [each for each in instances if each.seen_ms >= oldest_ms]
        return sorted(lately, key=lambda each: each.seen_ms, reverse=True)

    def kill_receipt(self, project: str, environment: str, flag: str) -> KillReceipt | None:
        """Return how far the flag's kill has reached; None if the flag is not killed."""
        kill = self._connection.read("HGET", keys.kills(project, environment), flag)
        if kill is None:
            return None
        # In this order: an instance that is found to have applied the kill has its receipt.
        instances = self.all(project, environment)
        receipts = self._connection.read("HGETALL", keys.receipts(project, environment))
        return _kill_receipt(kill, flag, receipts, instances)


class _Description(Struct, array_like=True, gc=False):
    """What a report says of its instance, as it is kept."""

    interval: float
    sdk: str
    host: str
    pid: int
    left: bool
    has_samples: bool
    application: str
    token: str


_decoder = msgspec.msgpack.Decoder(_Description)


def describe_instance(report: Report) -> bytes:
    """Return what a report says of its instance, for ``reports.lua`` to keep.

    The script adds what it knows before it: the version, when it was seen, and when it started
    (``-``: not known), each with a space after it.
    """
    return msgspec.msgpack.encode(
        _Description(
            report.interval,
            report.sdk,
            report.host,
            report.pid,
            report.leaving,
            report.has_samples,
            report.application,
            report.token,
        )
    )


def decode_instance(id: bytes, kept: bytes, now_ms: int) -> Instance:
    """Return an instance as it was described."""
    version, seen, started, description = kept.split(b" ", 3)
    seen_ms, said = int(seen), _decoder.decode(description)
    recent = now_ms - seen_ms <= MISSED_REPORTS * said.interval * 1000 + GRACE_MS
    return Instance(
        id=id.decode(),
        version=int(version),
        seen_ms=seen_ms,
        interval=said.interval,
        sdk=said.sdk,
        host=said.host,
        pid=said.pid,
        live=recent and not said.left,
        left=said.left,
        has_samples=said.has_samples,
        application=said.application,
        token=said.token,
        started_ms=None if started == b"-" else int(started),
    )


def _kill_receipt(
    kill: bytes, flag: str, receipts: dict[bytes, bytes], instances: list[Instance]
) -> KillReceipt:
    version, at_ms = (int(part) for part in kill.split())
    elapsed = {
        field.decode().rpartition("|")[2]: int(value)
        for field, value in receipts.items()
        if field.decode().rpartition("|")[0] == flag
    }
    live = [instance for instance in instances if instance.live]
    applied = [instance for instance in live if instance.version >= version]
    return KillReceipt(
        version=version,
        at_ms=at_ms,
        live=len(live),
        applied=len(applied),
        waiting=tuple(instance.id for instance in live if instance.version < version),
        elapsed_ms=tuple(elapsed[each.id] for each in applied if each.id in elapsed),
    )
