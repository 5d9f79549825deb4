"""Flags that were deleted, or only asked for, before a flag with their key was created."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tidegate_server.domain.change import Change, Put
from tidegate_server.domain.kinds import Kind
from tidegate_server.store import Store
from tidegate_server.store.evaluations import AskedFlag


def last_asked(
    store: Store, project: str, environments: Sequence[str], flags: Sequence[str]
) -> Iterator[tuple[str, int]]:
    """Yield flags with when they were last asked for by their keys (ms), in some environment."""
    asked = [AskedFlag(key, (), client_side=False) for key in flags]
    found = store.evaluations.asked(project, environments, asked) if flags else {}
    for each in found.values():
        yield from each.alone_ms.items()


def forget_earlier_flags(store: Store, change: Change) -> None:
    """Forget how flags were evaluated that had the keys of those that a change creates."""
    created = [
        write.address.key
        for write in change.writes
        if isinstance(write, Put) and write.address.kind is Kind.FLAG and write.before is None
    ]
    if not created:
        return
    environments = store.keys(change.scope, Kind.ENVIRONMENT)
    for key in {key for key, _ in last_asked(store, change.scope, environments, created)}:
        store.evaluations.forget(change.scope, environments, key)
