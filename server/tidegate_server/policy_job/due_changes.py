"""Finds the scheduled changes that are due, and lets them be made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from tidegate_server.domain.change import Fence
from tidegate_server.domain.kinds import Kind
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
    """When each scheduled change is due, at a position of the project's audit log.

    Those that a freeze holds are looked at once for each position: the freeze may have been lifted.
    After that they are due when it ends, as ``held_until_ms`` has it.
    """

    position: str
    due_ms: dict[str, int]
    held_until_ms: dict[str, int]

    def note_look(self, id: str) -> None:
        """Note that a scheduled change was looked at."""
        self.due_ms[id] = max(self.due_ms[id], self.held_until_ms.get(id, 0))


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
            self._known[project].note_look(id)

    def _due(self, project: str, now_ms: int) -> list[str]:
        position = self._store.logs.audit_position(project)
        known = self._known.get(project)
        if known is None or known.position != position:
            stored = self._store.all(project, Kind.SCHEDULED_CHANGE)
            schedules = {id: each.document for id, each in stored.items()}
            known = _Known(
                position,
                _known_times({id: each.next_run_ms for id, each in schedules.items()}),
                _known_times({id: each.held_until_ms for id, each in schedules.items()}),
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


def _known_times(times: Mapping[str, int | None]) -> dict[str, int]:
    return {id: at_ms for id, at_ms in times.items() if at_ms is not None}
