"""Exposures outside of operations, counted without a lock.

A cell counts the exposures of one group and arm. It is an ``itertools.count``: one step of it is
one call of C, which no thread, signal handler or greenlet can interrupt. Its number can only be
read by a step, too, so the reader subtracts its own steps.

Threads: any thread may step a cell and ask for a new one. ``added`` and ``forget`` are called by
one thread at a time.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count
from typing import TYPE_CHECKING

import msgspec

from tidegate.evaluation.results import ARMS, cell_name

if TYPE_CHECKING:
    from tidegate.evaluation.results import Exposure
    from tidegate.reporting import Group


MAX_CELLS = 2_000
"""How many cells there are; exposures that need another one are dropped."""


class _Place(msgspec.Struct, eq=False):
    """A cell with the exposure that it counts; ``reads`` are the reader's own steps."""

    exposure: Exposure
    steps: count[int] = msgspec.field(default_factory=count)
    reads: int = 0
    seen: int = 0

    def added(self) -> int:
        """Return how many exposures were counted since the last call."""
        total = next(self.steps) - self.reads
        self.reads += 1
        added, self.seen = total - self.seen, total
        return added


class ExposureCells:
    """The cells of one instance.

    Attributes:
        steps: the cells by ``Exposure.cell``, to be stepped by ``next``. One that is missing is
            made by ``step``.
    """

    def __init__(self) -> None:
        self.steps: dict[str, count[int]] = {}
        self._places: dict[str, _Place] = {}
        self._idle: dict[str, None] = {}
        self._removed: list[_Place] = []

    def step(self, exposure: Exposure) -> bool:
        """Count an exposure; return False if there are too many cells."""
        name = exposure.cell
        steps = self.steps.get(name)
        while steps is None:
            if len(self._places) >= MAX_CELLS and name not in self._places:
                return False
            # Each of these is atomic. Another thread may have made the cell, or removed it.
            place = self._places.setdefault(name, _Place(exposure))
            steps = self.steps.setdefault(name, place.steps)
            if self._places.get(name) is not place:
                self.steps.pop(name, None)
                steps = None
        next(steps)
        return True

    def added(self) -> Iterable[tuple[Exposure, int]]:
        """Return what was counted since the last call, by exposure."""
        removed, self._removed = self._removed, []
        places = [*removed, *list(self._places.values())]
        return [(place.exposure, more) for place in places if (more := place.added())]

    def forget(self, group: Group) -> None:
        """Note that a group's cells are not needed any more.

        They stay while there is much room: a thread may hold one at this moment.
        """
        names = [name for arm in ARMS if (name := cell_name(group, arm)) in self._places]
        self._idle.update(dict.fromkeys(names))
        while self._idle and len(self._places) > MAX_CELLS // 2:
            name = next(iter(self._idle))
            del self._idle[name]
            self.steps.pop(name, None)
            place = self._places.pop(name, None)
            if place is not None:
                self._removed.append(place)
