"""What the workers of the application note, as lines of JSON in a file for each worker.

A worker writes a line every tenth of a second, and at once when a value changes. Times are of the
monotonic clock, which all processes of a machine share.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

EVERY_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Line:
    """What one worker has seen up to a time.

    Attributes:
        at: the time, in seconds.
        answered: evaluations that returned a value of the server's, so far.
        errors: evaluations that raised or returned the application's default, so far.
        slowest: the longest evaluation since the line before, in seconds.
        number: the latest number that arrived.
        killed: whether the flag of the kill switch is off.
        operations: operations with the release that have ended, so far.
        quiet: whether there will be no more of them.
    """

    at: float
    answered: int
    errors: int
    slowest: float
    number: int
    killed: bool
    operations: int
    quiet: bool = False

    def as_json(self) -> str:
        """Return it as one line of a file."""
        return json.dumps(asdict(self)) + "\n"


@dataclass(frozen=True, slots=True)
class Seen:
    """What all workers saw from one time to another.

    Attributes:
        answered, errors: evaluations with a value of the server's, and without.
        slowest: the longest evaluation, in seconds.
        without_changes: the longest time in which a worker got no change, in seconds.
    """

    answered: int
    errors: int
    slowest: float
    without_changes: float


def quiet_path(folder: Path) -> Path:
    """Return the file that tells the workers to do no more operations."""
    return folder / "quiet"


def path_of(folder: Path, worker: int) -> Path:
    """Return where a worker writes its lines."""
    return folder / f"worker-{worker}.jsonl"


class Journals:
    """The journals of all workers, read as far as they are written.

    Args:
        folder: where they are.
        workers: how many there are.
    """

    def __init__(self, folder: Path, workers: int) -> None:
        self._paths = [path_of(folder, worker) for worker in range(workers)]
        self._lines: list[list[Line]] = [[] for _ in self._paths]
        self._read = [0 for _ in self._paths]

    def latest(self) -> list[Line]:
        """Return the last line of each worker that has written one."""
        return [lines[-1] for lines in self._all() if lines]

    def operations(self) -> int:
        """Return how many operations with the release have ended in all workers."""
        return sum(line.operations for line in self.latest())

    def all_quiet(self) -> bool:
        """Return whether no worker will do another operation."""
        return all(line.quiet for line in self.latest())

    def all_reach(self, number: int) -> bool:
        """Return whether every worker has got a number, or a later one."""
        lines = self.latest()
        return len(lines) == len(self._paths) and all(line.number >= number for line in lines)

    def all_killed(self, killed: bool) -> bool:
        """Return whether the flag of the kill switch is off, or on, in every worker."""
        return all(line.killed == killed for line in self.latest())

    def killed_since(self, start: float) -> float:
        """Return when the last worker got a kill that was asked for at ``start``."""
        return max(
            next(line.at for line in lines if line.at >= start and line.killed)
            for lines in self._all()
        )

    def seen(self, start: float, end: float) -> Seen:
        """Return what the workers saw between two times."""
        parts = [_seen_by(lines, start, end) for lines in self._all()]
        return Seen(
            sum(part.answered for part in parts),
            sum(part.errors for part in parts),
            max((part.slowest for part in parts), default=0.0),
            max((part.without_changes for part in parts), default=0.0),
        )

    def _all(self) -> Sequence[Sequence[Line]]:
        for worker, path in enumerate(self._paths):
            if path.exists():
                with path.open("rb") as file:
                    file.seek(self._read[worker])
                    text = file.read()
                whole = text[: text.rfind(b"\n") + 1]
                self._read[worker] += len(whole)
                self._lines[worker] += [Line(**json.loads(line)) for line in whole.splitlines()]
        return self._lines


def _seen_by(lines: Iterable[Line], start: float, end: float) -> Seen:
    """Return what one worker saw between two times."""
    before = first = last = None
    slowest = longest = 0.0
    changed = start
    for line in lines:
        if line.at > end:
            break
        if line.at < start:
            before = line
            continue
        first, last = first or before or line, line
        slowest = max(slowest, line.slowest)
        if before is not None and line.number != before.number:
            longest, changed = max(longest, line.at - changed), line.at
        before = line
    if first is None or last is None:
        return Seen(0, 0, 0.0, end - start)
    return Seen(
        last.answered - first.answered,
        last.errors - first.errors,
        slowest,
        max(longest, end - changed),
    )
