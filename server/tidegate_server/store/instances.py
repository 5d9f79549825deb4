"""SDK instances, as their reports describe them, and how far kills have reached them."""

from __future__ import annotations

from dataclasses import dataclass

from tidegate_server.store import keys
from tidegate_server.store.connection import Connection

MISSED_REPORTS = 3
GRACE_MS = 2_000
_FIELDS = (
    *("version", "seen", "interval", "sdk", "host", "pid", "leaving", "samples"),
    *("application", "token", "started"),
)


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
        names = self._connection.read("ZREVRANGE", keys.instances(project, environment), 0, -1)
        ids = [name.decode() for name in names]
        (seconds, micros), *values = self._connection.read_many(
            [("TIME",)]
            + [("HMGET", keys.instance(project, environment, id), *_FIELDS) for id in ids]
        )
        now_ms = int(seconds) * 1000 + int(micros) // 1000
        instances = map(decode_instance, ids, values, [now_ms] * len(ids))
        return [instance for instance in instances if instance is not None]

    def kill_receipt(self, project: str, environment: str, flag: str) -> KillReceipt | None:
        """Return how far the flag's kill has reached; None if the flag is not killed."""
        kill = self._connection.read("HGET", keys.kills(project, environment), flag)
        if kill is None:
            return None
        # In this order: an instance that is found to have applied the kill has its receipt.
        instances = self.all(project, environment)
        receipts = self._connection.read("HGETALL", keys.receipts(project, environment))
        return _kill_receipt(kill, flag, receipts, instances)


def decode_instance(id: str, values: list[bytes | None], now_ms: int) -> Instance | None:
    """Return an instance from its hash's ``SHOWN_FIELDS``; None when it has expired."""
    if values[0] is None:
        return None
    *described, application, token, started = values
    version, seen, interval, sdk, host, pid, leaving, samples = (each or b"0" for each in described)
    seen_ms, seconds, left = int(seen), float(interval), leaving == b"1"
    recent = now_ms - seen_ms <= MISSED_REPORTS * seconds * 1000 + GRACE_MS
    return Instance(
        id=id,
        version=int(version),
        seen_ms=seen_ms,
        interval=seconds,
        sdk=sdk.decode(),
        host=host.decode(),
        pid=int(pid),
        live=recent and not left,
        left=left,
        has_samples=samples == b"1",
        application=(application or b"").decode(),
        token=(token or b"").decode(),
        started_ms=None if started is None else int(started),
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
