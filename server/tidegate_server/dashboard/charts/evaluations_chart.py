"""How often a flag is evaluated, in steps of time: the treatment below, the others above it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo

from markupsafe import Markup

from tidegate_server.dashboard import words
from tidegate_server.dashboard.charts.plot import Mark, Plot
from tidegate_server.dashboard.charts.scales import Span, linear_ticks

HEIGHT = 140


@dataclass(frozen=True, slots=True)
class Evaluations:
    """The evaluations in one step: of the variant that the chart is about, and of all others."""

    at: datetime
    shown: int
    others: int


def evaluations_chart(
    points: Sequence[Evaluations], span: Span, marks: Sequence[Mark], zone: tzinfo, says: str
) -> Markup:
    """Return the chart.

    Args:
        points: one for each step, in their order, without gaps.
        span: from the first step to the end of the last one.
        marks: changes of the flag.
        zone: the reader's.
        says: the sentence that stands for the chart.
    """
    plot = Plot(says, HEIGHT, span, zone)
    highest = max([1, *(each.shown + each.others for each in points)])
    ticks = linear_ticks(float(highest), most=3)
    axis = plot.axis(0.0, ticks[-1])
    plot.grid(axis, ((tick, words.number(tick)) for tick in ticks if tick == int(tick)))
    plot.marks(marks)
    width = 1000 / max(len(points), 1)
    for each in points:
        x = 10 * span.x(each.at)
        plot.block("fill-t", x, width * 0.8, axis.y(each.shown), axis.y(0))
        plot.block("fill-c", x, width * 0.8, axis.y(each.shown + each.others), axis.y(each.shown))
    return plot.markup()
