"""Measure alternately with a baseline, and compare medians.

A machine's speed drifts while a benchmark runs. So the measured code and its baseline run
alternately, many times, and the result is the median of the ratios of these pairs.

A benchmark is a function with ``@benchmark`` in a module of this folder; the name of the module
is its group. It yields results: a ``Ratio`` to a baseline, with or without a limit, or the
``Quantiles`` of times.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeAlias

SHARES = (50, 90, 95, 99, 100)
"""The quantiles in the printed table, in percent."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """A measured value, a baseline and their ratio.

    Args:
        value: seconds, or an amount of ``unit``.
        limit: the highest ratio that passes; None for a ratio that cannot fail.
    """

    name: str
    baseline: str
    value: float
    baseline_value: float
    ratio: float
    limit: float | None = None
    unit: str = ""

    def format(self, value: float) -> str:
        """Return a value with its unit."""
        return f"{value:,.6g} {self.unit}" if self.unit else format_time(value)

    @property
    def within_limit(self) -> bool:
        """Whether the ratio is at most the limit."""
        return self.limit is None or self.ratio <= self.limit


@dataclass(frozen=True, slots=True)
class Quantiles:
    """A sample of times in seconds, reported by its quantiles."""

    name: str
    seconds: tuple[float, ...]

    def at(self, share: int) -> float:
        """Return the quantile at ``share`` percent (nearest rank)."""
        ordered = sorted(self.seconds)
        rank = -(-share * len(ordered) // 100)
        return ordered[max(0, rank - 1)]


Result: TypeAlias = Ratio | Quantiles
Benchmark: TypeAlias = Callable[[], Iterator[Result]]
Batch: TypeAlias = Callable[[], float]
"""Repeats an operation and returns the seconds per repetition."""

BENCHMARKS: dict[str, list[Benchmark]] = {}


def benchmark(function: Benchmark) -> Benchmark:
    """Register a benchmark in the group of its module."""
    group = function.__module__.rpartition(".")[2]
    BENCHMARKS.setdefault(group, []).append(function)
    return function


def repeat(times: int, call: Callable[[], object]) -> Batch:
    """Return a batch that repeats a call, for calls much slower than a call of a function."""

    def batch() -> float:
        began = time.perf_counter()
        for _ in range(times):
            call()
        return (time.perf_counter() - began) / times

    return batch


def compare(
    name: str,
    batch: Batch,
    baseline_name: str,
    baseline: Batch,
    *,
    rounds: int,
    limit: float | None = None,
) -> Ratio:
    """Run a batch and its baseline alternately, after a warm-up round that does not count."""
    batch()
    baseline()
    pairs = []
    for number in range(rounds):
        # The order within a pair alternates, so that it favours neither.
        if number % 2:
            baseline_seconds, seconds = baseline(), batch()
        else:
            seconds, baseline_seconds = batch(), baseline()
        pairs.append((seconds, baseline_seconds))
    return Ratio(
        name,
        baseline_name,
        median(seconds for seconds, _ in pairs),
        median(baseline_seconds for _, baseline_seconds in pairs),
        median(seconds / baseline_seconds for seconds, baseline_seconds in pairs),
        limit,
    )


def compare_values(
    name: str,
    value: float,
    baseline: str,
    baseline_value: float,
    limit: float | None = 1.0,
    unit: str = "",
) -> Ratio:
    """Return the ratio of a single value to a baseline or a budget."""
    return Ratio(name, baseline, value, baseline_value, value / baseline_value, limit, unit)


def beyond_idle(spent: float, idles: Sequence[float], resolution: float) -> tuple[float, bool]:
    """Return what was spent in a period beyond what is spent in it anyway.

    Args:
        spent: the CPU time of the period, in seconds.
        idles: that of periods as long in which nothing else happened: how far they differ is noise.
        resolution: what readings may be wrong by, in seconds.

    Returns:
        The difference, and True; or, within the noise, the most that it can be, and False.
    """
    noise = max(idles) - min(idles) + resolution
    difference = spent - sum(idles) / len(idles)
    return (difference, True) if difference > noise else (max(difference, 0.0) + noise, False)


def format_time(seconds: float) -> str:
    """Return a time in the unit that suits its size: ``3.4 µs``."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def format_table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as aligned columns; the first row is the heading."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])
