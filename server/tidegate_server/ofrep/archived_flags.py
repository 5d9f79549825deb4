"""Which archived flags clients may still ask for, so that somebody learns that they do.

An archived flag is in no snapshot, and of the keys that clients ask for only those of flags count,
since anyone can make up others.

Threads: what is kept is replaced as a whole. Two threads that read the same at once do it twice.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from tidegate_server.domain.change import Stored
from tidegate_server.domain.kinds import Kind
from tidegate_server.errors import StoreUnavailable
from tidegate_server.store import Store


@dataclass(frozen=True, slots=True)
class _Kept:
    until: float
    keys: frozenset[str]


class ArchivedFlags:
    """The archived flags that were available to clients, by project.

    Args:
        store: where the flags are.
        seconds: how long what was read is used, whoever asks for whatever keys meanwhile.
    """

    def __init__(self, store: Store, seconds: float) -> None:
        self._store = store
        self._seconds = seconds
        self._kept: dict[str, _Kept] = {}

    def has(self, project: str, key: str) -> bool:
        """Return whether a flag is archived and was available to clients."""
        kept = self._kept.get(project)
        if kept is None or kept.until < time.monotonic():
            until = time.monotonic() + self._seconds
            try:
                keys = self._store.cached(project, Kind.FLAG).derive(_archived)
            except StoreUnavailable:
                keys = frozenset() if kept is None else kept.keys
            kept = self._kept[project] = _Kept(until, keys)
        return key in kept.keys


def _archived(flags: Mapping[str, Stored]) -> frozenset[str]:
    return frozenset(
        key
        for key, stored in flags.items()
        if stored.document.archived is not None and stored.document.client_side
    )
