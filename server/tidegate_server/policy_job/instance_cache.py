"""Who reports in an environment, looked up at most once a second however many releases ask."""

from __future__ import annotations

from dataclasses import dataclass

from tidegate_server.store import Store
from tidegate_server.store.reports import Instance

FRESH_MS = 1_000


class Roster:
    """The SDK instances of every environment, as of a moment ago."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._seen: dict[tuple[str, str], tuple[int, list[Instance]]] = {}

    def of(self, project: str, environment: str, now_ms: int) -> list[Instance]:
        """Return the instances seen in the last day; raises ``StoreUnavailable``."""
        place = (project, environment)
        held = self._seen.get(place)
        if held is not None and 0 <= now_ms - held[0] < FRESH_MS:
            return held[1]
        found = self._store.instances(project, environment)
        self._seen[place] = (now_ms, found)
        return found


@dataclass(frozen=True, slots=True)
class Presence:
    """How many instances report, and how many should and do not."""

    live: int
    lost: int


def presence(instances: list[Instance], now_ms: int, missed_for_ms: int) -> Presence:
    """Count instances.

    Args:
        instances: those of an environment.
        now_ms: store clock.
        missed_for_ms: how long one that went silent without saying so is missed.
    """
    live = sum(instance.live for instance in instances)
    lost = sum(
        not instance.live and not instance.left and now_ms - instance.seen_ms <= missed_for_ms
        for instance in instances
    )
    return Presence(live, lost)
