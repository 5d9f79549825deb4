"""How things are measured: in turns, against a floor, by medians.

A machine's speed drifts while a benchmark runs. So what is measured and its floor run one
after the other, again and again, and what counts is the median of the ratios of the pairs.

A benchmark is a function with ``@benchmark`` in a module of this folder; the module's name is
its group. It yields what it found: ``Ratio`` against a floor, perhaps with a limit, or
``Quantiles`` of times.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeAlias

SHARES = (50, 90, 95, 99, 100)
"""The quantiles that are shown, in percent."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """A time beside its floor's; both in seconds. ``limit`` None: shown, not judged.

    With a ``unit``, an amount beside what it may be.
    """

    name: str
    floor: str
    seconds: float
    floor_seconds: float
    ratio: float
    limit: float | None = None
    unit: str = ""

    def shown(self, value: float) -> str:
        """A value of this ratio as people read it."""
        return f"{value:,.6g} {self.unit}" if self.unit else shown(value)

    @property
    def kept(self) -> bool:
        """Whether the limit holds."""
        return self.limit is None or self.ratio <= self.limit


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Times in seconds, of which the quantiles are of interest."""

    name: str
    seconds: tuple[float, ...]

    def at(self, share: int) -> float:
        """The time within which ``share`` percent were done (nearest rank)."""
        ordered = sorted(self.seconds)
        rank = -(-share * len(ordered) // 100)
        return ordered[max(0, rank - 1)]


Found: TypeAlias = Ratio | Quantiles
Benchmark: TypeAlias = Callable[[], Iterator[Found]]
Batch: TypeAlias = Callable[[], float]
"""Runs a number of times and returns the seconds that one time took."""

BENCHMARKS: dict[str, list[Benchmark]] = {}


def benchmark(function: Benchmark) -> Benchmark:
    """Let ``scripts/bench`` run a function, in the group of its module."""
    group = function.__module__.rpartition(".")[2]
    BENCHMARKS.setdefault(group, []).append(function)
    return function


def each(times: int, once: Callable[[], object]) -> Batch:
    """Return a batch that calls ``once`` a number of times: for what takes long enough."""

    def batch() -> float:
        began = time.perf_counter()
        for _ in range(times):
            once()
        return (time.perf_counter() - began) / times

    return batch


def compare(
    name: str,
    batch: Batch,
    floor_name: str,
    floor: Batch,
    *,
    rounds: int,
    limit: float | None = None,
) -> Ratio:
    """Run a batch and its floor in turns, after one round that does not count."""
    batch()
    floor()
    pairs = []
    for number in range(rounds):
        # Neither is always the first of its pair.
        if number % 2:
            under, taken = floor(), batch()
        else:
            taken, under = batch(), floor()
        pairs.append((taken, under))
    return Ratio(
        name,
        floor_name,
        median(taken for taken, _ in pairs),
        median(under for _, under in pairs),
        median(taken / under for taken, under in pairs),
        limit,
    )


def shown(seconds: float) -> str:
    """A time as people read it."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as columns, the first row for a heading."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])
