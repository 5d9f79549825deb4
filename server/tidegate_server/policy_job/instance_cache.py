"""The SDK instances of an environment, read at most once a second."""

from __future__ import annotations

from dataclasses import dataclass

from tidegate_server.store import Store
from tidegate_server.store.instances import Instance

FRESH_MS = 1_000


class InstanceCache:
    """The SDK instances of every environment, at most a second old."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._read: dict[tuple[str, str], tuple[int, list[Instance]]] = {}

    def instances(self, project: str, environment: str, now_ms: int) -> list[Instance]:
        """Return the instances of the last day; raises ``StoreUnavailable``."""
        key = (project, environment)
        cached = self._read.get(key)
        if cached is not None and 0 <= now_ms - cached[0] < FRESH_MS:
            return cached[1]
        instances = self._store.instances.all(project, environment)
        self._read[key] = (now_ms, instances)
        return instances


@dataclass(frozen=True, slots=True)
class Presence:
    """How many instances report, and how many stopped without saying goodbye."""

    live: int
    lost: int


def presence(instances: list[Instance], now_ms: int, lost_for_ms: int) -> Presence:
    """Count instances.

    Args:
        instances: those of an environment.
        now_ms: store clock.
        lost_for_ms: how long an instance that stopped without a goodbye counts as lost.
    """
    live = sum(instance.live for instance in instances)
    lost = sum(
        not instance.live and not instance.left and now_ms - instance.seen_ms <= lost_for_ms
        for instance in instances
    )
    return Presence(live, lost)
