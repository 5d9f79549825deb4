"""The SDK instances of an environment, read at most once a second."""

from __future__ import annotations

import time
from dataclasses import dataclass

from tidegate_server.store import Store
from tidegate_server.store.instances import Instance

FRESH_MS = 1_000

SHARE = 20
"""Instances are fresh for at least this many times as long as it took to read them.

So very many instances of one environment take a twentieth of the policy job's time at most.
"""


class InstanceCache:
    """The SDK instances of every environment, a second old or a little more."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._read: dict[tuple[str, str], tuple[int, int, list[Instance]]] = {}

    def instances(self, project: str, environment: str, now_ms: int) -> list[Instance]:
        """Return the instances of the last day; raises ``StoreUnavailable``."""
        key = (project, environment)
        cached = self._read.get(key)
        if cached is not None:
            read_ms, fresh_ms, instances = cached
            if 0 <= now_ms - read_ms < fresh_ms:
                return instances
        began = time.monotonic()
        instances = self._store.instances.all(project, environment)
        took_ms = int((time.monotonic() - began) * 1_000)
        self._read[key] = (now_ms, max(FRESH_MS, SHARE * took_ms), instances)
        return instances


@dataclass(frozen=True, slots=True)
class Presence:
    """How many instances report, and how many stopped reporting without a last report."""

    live: int
    lost: int


def presence(instances: list[Instance], now_ms: int, lost_for_ms: int) -> Presence:
    """Count instances.

    Args:
        instances: those of an environment.
        now_ms: store clock.
        lost_for_ms: how long an instance that stopped without a last report counts as lost.
    """
    live = sum(instance.live for instance in instances)
    lost = sum(
        not instance.live and not instance.left and now_ms - instance.seen_ms <= lost_for_ms
        for instance in instances
    )
    return Presence(live, lost)
