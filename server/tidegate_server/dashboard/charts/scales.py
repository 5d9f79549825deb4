"""Scales: where on a chart a value or a time stands."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

LABELS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200)
"""Steps between two labels of a time axis, in seconds; beyond them, whole days."""

DAY = 86_400

UNITS = (
    (1_000, "s", (1, 2, 5, 10, 15, 30)),
    (60_000, "min", (1, 2, 5, 10, 15, 30)),
    (3_600_000, "h", (1, 2, 3, 6, 12)),
    (86_400_000, "d", (1, 2, 5, 7, 10, 14, 20, 30, 60, 90)),
)
"""The units of a scale of durations, in milliseconds, and round steps in each."""


@dataclass(frozen=True, slots=True)
class Axis:
    """A vertical scale between two values, drawn between two heights.

    Attributes:
        low, high: the values at the bottom and at the top; positive if ``logarithmic``.
        bottom, top: their heights in pixels, counted downwards.
    """

    low: float
    high: float
    bottom: float
    top: float
    logarithmic: bool = False

    def y(self, value: float) -> float:
        """Return the height of a value; what lies outside stands a little beyond the edge."""
        if self.logarithmic:
            value = min(max(value, self.low / 1.2), self.high * 1.2)
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.bottom - min(max(share, -0.03), 1.03) * (self.bottom - self.top)


def log_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Return round values between two, each a power of two (or of ten, over a wide range)."""
    base = 10.0 if high / low > 300 else 2.0
    first, last = math.ceil(math.log(low, base) - 1e-9), math.floor(math.log(high, base) + 1e-9)
    step = max(1, math.ceil((last - first + 1) / most))
    start = first + (-first) % step
    return [base**exponent for exponent in range(start, last + 1, step)]


def linear_ticks(high: float, most: int = 4) -> list[float]:
    """Return round values from 0 to the first that is at least ``high``.

    Args:
        high: above 0.
        most: how many intervals at most.
    """
    raw = high / most
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(each * magnitude for each in (1, 2, 2.5, 5, 10) if each * magnitude >= raw * 0.999)
    return [step * index for index in range(math.ceil(high / step - 1e-9) + 1)]


@dataclass(frozen=True, slots=True)
class Span:
    """A horizontal scale between two times."""

    start: datetime
    end: datetime

    def x(self, at: datetime) -> float:
        """Return where a time stands, in percent of the width; outside, at the edge."""
        whole = (self.end - self.start).total_seconds() or 1.0
        return 100 * min(max((at - self.start).total_seconds() / whole, 0.0), 1.0)


def time_ticks(span: Span, zone: tzinfo, most: int = 5) -> list[tuple[datetime, str]]:
    """Return times to label within a span, and their words in a reader's zone."""
    seconds = (span.end - span.start).total_seconds()
    step = next((each for each in LABELS if seconds / each <= most), None)
    if step is None:
        step = DAY * max(1, math.ceil(seconds / DAY / most))
    local = span.start.astimezone(zone)
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
    elapsed = (local - midnight).total_seconds()
    at = midnight + timedelta(seconds=math.ceil(elapsed / step) * step)
    found = []
    while at <= span.end:
        if step >= DAY:
            text = f"{at.day} {at:%b}"
        else:
            text = f"{at:%H:%M}" if step >= 60 else f"{at:%H:%M:%S}"
        found.append((at, text))
        at += timedelta(seconds=step)
    return found


def duration_ticks(whole: float, most: int = 4) -> list[tuple[float, str]]:
    """Return round durations to label from after 0 to at most ``whole``, and their words.

    All are in one unit.

    Args:
        whole: in milliseconds, above 0.
        most: how many at most.
    """
    steps = ((step * size, size, unit) for size, unit, steps in UNITS for step in steps)
    size, unit = UNITS[-1][:2]
    width = size * math.ceil(whole / size / most)
    width, size, unit = next(
        (each for each in steps if whole / each[0] < most + 1), (width, size, unit)
    )
    return [
        (width * number, f"{width * number // size:,}\u00a0{unit}")
        for number in range(1, int(whole // width) + 1)
    ]


def means(values: Sequence[float], weights: Sequence[float], width: int) -> list[float | None]:
    """Return the weighted mean of each value and those before it, ``width`` in all.

    None where the weights are 0.
    """
    found: list[float | None] = []
    total = weight = 0.0
    for index, (value, each) in enumerate(zip(values, weights, strict=True)):
        total += value
        weight += each
        if index >= width:
            total -= values[index - width]
            weight -= weights[index - width]
        found.append(total / weight if weight > 0 else None)
    return found
