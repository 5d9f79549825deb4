"""What another policy would have done with a release, beside what really happened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo

from markupsafe import Markup

from tidegate_server.dashboard import words
from tidegate_server.dashboard.charts.plot import Plot
from tidegate_server.dashboard.charts.scales import Span

TICKS = (0.0, 25.0, 50.0, 100.0)
ROW = 40
"""The height of a bar with its words, in pixels."""


@dataclass(frozen=True, slots=True)
class Opened:
    """How far a policy opened a release: from each time on, in percent of its users."""

    steps: Sequence[tuple[datetime, float]]


def opened_chart(was: Opened, would: Opened, span: Span, zone: tzinfo, says: str) -> Markup:
    """Return the chart of who had the treatment when, under both policies.

    Args:
        was: what really happened.
        would: what the other policy would have done.
        span: the record.
        zone: the reader's.
        says: the sentence that stands for the chart where it is not seen.
    """
    plot = Plot(says, 200, span, zone)
    axis = plot.axis(TICKS[0], TICKS[-1])
    plot.grid(axis, ((tick, words.percent(tick)) for tick in TICKS))
    for kind, opened in (("ln-c", was), ("ln-t", would)):
        points: list[tuple[datetime, float]] = []
        for at, percentage in opened.steps:
            if points:
                points.append((at, points[-1][1]))
            points.append((at, axis.y(percentage)))
        if points:
            points.append((span.end, points[-1][1]))
        plot.line(kind, points)
    return plot.markup()


@dataclass(frozen=True, slots=True)
class Count:
    """A number of people; ``low`` and ``high`` are what nine of ten runs lie between."""

    name: str
    people: float
    low: float
    high: float
    kind: str


def count_bars(counts: Sequence[Count], says: str) -> Markup:
    """Return a bar for each number, on one scale from 0.

    Args:
        counts: from top to bottom; ``kind`` is the class of the bar.
        says: the sentence that stands for the bars where they are not seen.
    """
    most = max([1.0, *(each.high for each in counts)])
    parts = []
    for number, each in enumerate(counts):
        low, people, high = (
            100 * value / most for value in (each.low, each.people, max(each.high, each.people))
        )
        parts.append(
            Markup(
                '<svg y="{0}" width="100%" height="{1}"><text y="12">{2}</text>'
                '<text class="strong" x="100%" y="12" text-anchor="end">{3}</text>'
                '<rect class="fill-bg" y="18" width="100%" height="10" rx="5"/>'
                '<rect class="{4}" y="18" width="{5:.2f}%" height="10" rx="5"/>{6}</svg>'
            ).format(
                ROW * number,
                ROW,
                each.name,
                words.count(each.people),
                each.kind,
                people,
                Markup('<line class="reach" x1="{:.2f}%" x2="{:.2f}%" y1="23" y2="23"/>').format(
                    low, high
                )
                if high > low
                else "",
            )
        )
    return Markup('<svg class="chart" height="{}" role="img" aria-label="{}">{}</svg>').format(
        ROW * len(counts), says, Markup("").join(parts)
    )
