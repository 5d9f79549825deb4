"""Replay: compute a ledger's decisions again and compare them with the ledger.

A replay starts at the first checkpoint that the ledger still has. From an entry it takes
only the input of the decision: the counts, the time, and the status of the release.
Everything else is computed again and must be equal to the last digit, except wording.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from tidegate_server.decisions.apply_decision import apply_decision
from tidegate_server.decisions.decide import decide
from tidegate_server.decisions.decision import Decision
from tidegate_server.errors import NotPossible
from tidegate_server.ledger.entry import (
    Checkpoint,
    Entry,
    ReleaseStatus,
    release_status,
    with_status,
)

NOT_RECOMPUTED = frozenset({"readings", "distribution_readings"})
"""Fields of a progress that hold the store's totals; a window is a difference of these."""

WORDING = frozenset({"reason", "label", "problem"})
"""Fields with text for people, which another version may word differently.

The values in such a text follow from fields that are compared.
"""


@dataclass(frozen=True, slots=True)
class RecordedEntry:
    """An entry of a stored ledger.

    Attributes:
        id: its place in the ledger.
        entry: the entry.
        written: the entry as it was written, field by field. A field that is missing here
            did not exist when the entry was written, and is not compared.
    """

    id: str
    entry: Entry
    written: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Difference:
    """A value in the ledger that differs from the one computed again.

    ``field`` is a dotted path in the entry, ``decision.log_evidence`` for example.
    """

    id: str
    at_ms: int
    window: int
    field: str
    recorded: Any
    recomputed: Any


class Replay:
    """The replay of a ledger, entry by entry, the oldest first.

    Attributes:
        decisions: how many were computed again.
        skipped: entries before the first checkpoint or after a gap, which cannot be computed.
        moves: how often a person or an alert changed the release between two decisions.
        differing: how many entries differ from what was computed.
    """

    def __init__(self) -> None:
        self.decisions = 0
        self.skipped = 0
        self.moves = 0
        self.differing = 0
        self._point: Checkpoint | None = None
        self._status_after: ReleaseStatus | None = None

    def add(self, recorded: RecordedEntry) -> list[Difference]:
        """Compute a decision again and return where the entry differs from it."""
        differences = [*self._check_order(recorded), *self.start_at_checkpoint(recorded)]
        if self._point is None:
            self.skipped += 1
        else:
            differences += self._decide(recorded, self._point)
        entry = recorded.entry
        self.moves += self._status_after not in (None, entry.before)
        self._status_after = entry.after
        self.differing += bool(differences)
        return differences

    def start_at_checkpoint(self, recorded: RecordedEntry) -> list[Difference]:
        """Continue from an entry's checkpoint, if it has one.

        Returns:
            Where the checkpoint differs from what was computed up to it.
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

    def _check_order(self, recorded: RecordedEntry) -> list[Difference]:
        """Return a difference if entries are missing; the replay then needs a checkpoint."""
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
        before = with_status(point.release, entry.before)
        progress, decision = decide(before, point.progress, entry.window, entry.at_ms)
        differences = _differences(recorded, "decision", decision)
        if entry.window.opened_ms != point.progress.evaluated_ms:
            opened, evaluated = entry.window.opened_ms, point.progress.evaluated_ms
            differences.append(_difference(recorded, "window.opened_ms", opened, evaluated))
        try:
            after = apply_decision(before, _in_recorded_words(decision, entry.decision))
        except NotPossible as refused:
            after = before
            action = str(entry.decision.action)
            differences.append(_difference(recorded, "decision.action", action, refused.message))
        differences += _differences(recorded, "after", release_status(after))
        self._point = Checkpoint(after, progress)
        self.decisions += 1
        return differences


def _in_recorded_words(computed: Decision, recorded: Decision) -> Decision:
    """Return a decision that agrees with the recorded one, with its reason.

    A release notes when its reason changed, and another version words reasons differently.
    """
    if (computed.action, computed.state) != (recorded.action, recorded.state):
        return computed
    return replace(computed, reason=recorded.reason)


def _differences(recorded: RecordedEntry, part: str, computed: Any) -> list[Difference]:
    written: Any = recorded.written
    for step in part.split("."):
        written = written[step]
    return [
        _difference(recorded, path, had, has)
        for path, had, has in _compare(written, computed, part)
    ]


def _compare(written: Any, computed: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield every written value that differs from the computed one, with its path."""
    if is_dataclass(computed) and isinstance(written, Mapping):
        for field in fields(computed):
            if field.name in written and field.name not in WORDING:
                value = getattr(computed, field.name)
                yield from _compare(written[field.name], value, f"{path}.{field.name}")
    elif (
        isinstance(computed, tuple)
        and isinstance(written, Sequence)
        and not isinstance(written, str)
    ):
        if len(written) != len(computed):
            yield f"{path}.length", len(written), len(computed)
        for number, (had, has) in enumerate(zip(written, computed, strict=False)):
            yield from _compare(had, has, f"{path}.{number}")
    elif written != computed or isinstance(written, bool) is not isinstance(computed, bool):
        yield path, written, None if is_dataclass(computed) else computed


def _difference(recorded: RecordedEntry, field: str, had: Any, has: Any) -> Difference:
    entry = recorded.entry
    return Difference(recorded.id, entry.at_ms, entry.decision.window, field, had, has)
