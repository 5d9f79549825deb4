"""Finds the scheduled changes that are due, and lets them be made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from tidegate_server.domain.change import Fence, Kind
from tidegate_server.store import Store


class ScheduledRuns(Protocol):
    """Makes runs of scheduled changes."""

    def run(self, project: str, id: str, now_ms: int, fence: Fence) -> None:
        """Make the run that is due, or note why it is not made.

        Raises:
            LeaseLost: this process no longer leads; nothing was written.
            StoreUnavailable: the run may or may not have been made; try again.
        """

    def close(self) -> None:
        """End what it needed."""


@dataclass(frozen=True, slots=True)
class _Known:
    """When each scheduled change is due, at a position of the project's audit log."""

    position: str
    due_ms: dict[str, int]


class DueChanges:
    """The scheduled changes of the projects that this process leads.

    ``make_runs`` is called for the first run: it needs what most jobs never do. Every change of a
    schedule has an audit entry, so they are read again only when the log grew.
    """

    def __init__(self, store: Store, make_runs: Callable[[], ScheduledRuns]) -> None:
        self._store = store
        self._make_runs = make_runs
        self._runs: ScheduledRuns | None = None
        self._known: dict[str, _Known] = {}

    def run_due(self, project: str, now_ms: int, fence: Fence) -> None:
        """Make every run that is due in a project, the earliest first.

        Raises:
            LeaseLost, StoreUnavailable: as ``ScheduledRuns.run`` raises them.
        """
        for id in self._due(project, now_ms):
            if self._runs is None:
                self._runs = self._make_runs()
            self._runs.run(project, id, now_ms, fence)

    def _due(self, project: str, now_ms: int) -> list[str]:
        position = self._store.logs.audit_position(project)
        known = self._known.get(project)
        if known is None or known.position != position:
            stored = self._store.all(project, Kind.SCHEDULED_CHANGE)
            known = _Known(
                position,
                {
                    id: each.document.due_ms
                    for id, each in stored.items()
                    if each.document.due_ms is not None
                },
            )
            self._known[project] = known
        return sorted(
            (id for id, due_ms in known.due_ms.items() if due_ms <= now_ms),
            key=lambda id: (known.due_ms[id], id),
        )

    def forget(self, project: str) -> None:
        """Drop what is known of a project that another process leads now."""
        self._known.pop(project, None)

    def close(self) -> None:
        """End what the runs needed."""
        if self._runs is not None:
            self._runs.close()
