"""A release's ledger decided again, and every difference from what it says.

A replay begins at the first checkpoint that the ledger still has. It takes from an entry
only what the decision was drawn from: the counts, the time, and where people had put the
release. Everything else is computed again and must agree to the last digit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from tidegate_server.decisions.apply_decision import applied
from tidegate_server.decisions.decide import decide
from tidegate_server.errors import NotPossible
from tidegate_server.ledger.entry import Checkpoint, Entry, Standing, at, standing

NOT_RECOMPUTED = frozenset({"readings", "distribution_readings"})
"""Fields of a progress that are the store's totals, of which a window is the difference."""


@dataclass(frozen=True, slots=True)
class RecordedEntry:
    """An entry of a ledger.

    Attributes:
        id: its place in the ledger.
        entry: what it says.
        said: the same as it was written, field by field. What a field that is not there
            would have said, nobody knew when the entry was written: it is not compared.
    """

    id: str
    entry: Entry
    said: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Difference:
    """A value that the ledger has, and another that was computed in its place.

    ``field`` is a dotted path in the entry, ``decision.log_evidence`` for example.
    """

    id: str
    at_ms: int
    window: int
    field: str
    recorded: Any
    recomputed: Any


class Replay:
    """A ledger being decided again, entry by entry, the oldest first.

    Attributes:
        decisions: how many were recomputed.
        skipped: entries that could not be: before the first checkpoint, or after a gap.
        moves: how often people, or an alert, moved the release between two decisions.
        differing: how many entries differ from what was computed.
    """

    def __init__(self) -> None:
        self.decisions = 0
        self.skipped = 0
        self.moves = 0
        self.differing = 0
        self._point: Checkpoint | None = None
        self._left: Standing | None = None

    def add(self, recorded: RecordedEntry) -> list[Difference]:
        """Decide an entry again; returns where it differs from what was computed."""
        found = [*self._follows(recorded), *self.arrive(recorded)]
        if self._point is None:
            self.skipped += 1
        else:
            found += self._decide(recorded, self._point)
        entry = recorded.entry
        self.moves += self._left not in (None, entry.before)
        self._left = entry.after
        self.differing += bool(found)
        return found

    def arrive(self, recorded: RecordedEntry) -> list[Difference]:
        """Take up an entry's checkpoint, if it has one.

        Returns:
            Where it differs from what the entries before it lead to.
        """
        checkpoint, known = recorded.entry.checkpoint, self._point
        if checkpoint is None:
            return []
        self._point = checkpoint
        if known is None:
            return []
        return [
            each
            for each in _differences(recorded, "checkpoint.progress", known.progress)
            if each.field.split(".")[2] not in NOT_RECOMPUTED
        ]

    def _follows(self, recorded: RecordedEntry) -> list[Difference]:
        """Whether an entry is the next one; after a gap only a checkpoint helps."""
        if self._point is None:
            return []
        expected = self._point.progress.windows + 1
        window = recorded.entry.decision.window
        if window == expected:
            return []
        self._point = None
        return [_difference(recorded, "decision.window", window, expected)]

    def _decide(self, recorded: RecordedEntry, point: Checkpoint) -> list[Difference]:
        entry = recorded.entry
        before = at(point.release, entry.before)
        progress, decision = decide(before, point.progress, entry.window, entry.at_ms)
        found = _differences(recorded, "decision", decision)
        if entry.window.opened_ms != point.progress.evaluated_ms:
            opened, evaluated = entry.window.opened_ms, point.progress.evaluated_ms
            found.append(_difference(recorded, "window.opened_ms", opened, evaluated))
        try:
            after = applied(before, decision)
        except NotPossible as refused:
            after = before
            action = str(entry.decision.action)
            found.append(_difference(recorded, "decision.action", action, refused.message))
        found += _differences(recorded, "after", standing(after))
        self._point = Checkpoint(after, progress)
        self.decisions += 1
        return found


def _differences(recorded: RecordedEntry, part: str, computed: Any) -> list[Difference]:
    said: Any = recorded.said
    for step in part.split("."):
        said = said[step]
    return [
        _difference(recorded, path, had, has) for path, had, has in _unlike(said, computed, part)
    ]


def _unlike(said: Any, computed: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    """Every value of ``computed`` that what was said does not equal, with its path."""
    if is_dataclass(computed) and isinstance(said, Mapping):
        for field in fields(computed):
            if field.name in said:
                value = getattr(computed, field.name)
                yield from _unlike(said[field.name], value, f"{path}.{field.name}")
    elif isinstance(computed, tuple) and isinstance(said, Sequence) and not isinstance(said, str):
        if len(said) != len(computed):
            yield f"{path}.length", len(said), len(computed)
        for number, (had, has) in enumerate(zip(said, computed, strict=False)):
            yield from _unlike(had, has, f"{path}.{number}")
    elif said != computed or isinstance(said, bool) is not isinstance(computed, bool):
        yield path, said, None if is_dataclass(computed) else computed


def _difference(recorded: RecordedEntry, field: str, had: Any, has: Any) -> Difference:
    entry = recorded.entry
    return Difference(recorded.id, entry.at_ms, entry.decision.window, field, had, has)
