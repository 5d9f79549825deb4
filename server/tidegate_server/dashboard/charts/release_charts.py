"""The charts of a release, from the points of its series.

Sources: the ratio's bounds are those at which the evidence of harm would reach its limit
(``docs/statistics.md``), so that the band lies above what is tolerated when a check fails.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Any

from markupsafe import Markup

from tidegate_server.dashboard import words
from tidegate_server.dashboard.charts.plot import End, Mark, Plot
from tidegate_server.dashboard.charts.scales import Span, linear_ticks, log_ticks, means

SIDE_HEIGHT = 210
"""The height in pixels of charts that stand beside each other."""

WIDEST = 64.0
"""Ratios beyond this, or below its inverse, are drawn at the edge."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One point of a series, for one check.

    Attributes:
        control, treatment: failing users and operations since the point before.
        seen: the ratio, or the difference in points; None: not known yet.
        low, high: what the data allow; None: unlimited.
        tolerated: the limit.
        evidence, limit: of harm; None for a check without evidence.
    """

    at: datetime
    stage: int
    control: tuple[int, int]
    treatment: tuple[int, int]
    seen: float | None
    low: float | None
    high: float | None
    tolerated: float | None
    evidence: float | None
    limit: float | None


def readings(points: Sequence[dict[str, Any]], check: int) -> list[Reading]:
    """Return the readings of one check from the points of the API."""
    found = []
    for point in points:
        mine = next((each for each in point["checks"] if each["number"] == check), None)
        if mine is None:
            continue
        ratio = mine["ratio"] or {}
        control, treatment = point["control"], point["treatment"]
        found.append(
            Reading(
                words.parse_instant(point["at"]),
                point["stage"],
                (control["failing"], control["outcomes"]),
                (treatment["failing"], treatment["outcomes"]),
                ratio.get("seen"),
                ratio.get("low"),
                ratio.get("high"),
                ratio.get("tolerated"),
                mine["evidence"],
                mine["rollback_at"],
            )
        )
    return found


@dataclass(frozen=True, slots=True)
class View:
    """What the charts of one release share.

    Attributes:
        now: the end of what is known; later is the future.
        marks: what happened, and what is expected.
        treatment, control: the names of the variants.
    """

    span: Span
    now: datetime
    marks: tuple[Mark, ...]
    zone: tzinfo
    treatment: str
    control: str


def are_above(readings: Sequence[Reading]) -> bool:
    """Return whether all that the data allow now is more than what is tolerated."""
    last = next(reversed(_with_ratio(readings)), None)
    return (
        last is not None
        and last.low is not None
        and last.tolerated is not None
        and last.low > last.tolerated
    )


def _with_ratio(readings: Sequence[Reading]) -> list[Reading]:
    return [each for each in readings if each.seen or each.low or each.high]


def ratio_chart(view: View, readings: Sequence[Reading], says: str) -> Markup:
    """Return the chart of how much more often the treatment fails, on a logarithmic scale."""
    known = _with_ratio(readings)
    values = [
        value
        for each in known
        for value in (each.seen, each.low, each.high, each.tolerated)
        if value is not None and value > 0
    ]
    low = max(min([0.5, *values]) / 1.2, 1 / WIDEST)
    high = min(max([2.0, *values]) * 1.2, WIDEST)
    plot = Plot(says, 250, view.span, view.zone)
    axis = plot.axis(low, high, logarithmic=True)
    plot.grid(axis, ((tick, f"{tick:g}\u00d7") for tick in log_ticks(low, high)))
    plot.across("ln-ref", axis.y(1.0))
    plot.future(view.now)
    plot.marks(view.marks)
    plot.band(
        "band hot" if are_above(readings) else "band",
        [
            (
                each.at,
                axis.y(each.low or low / 2),
                axis.y(max(each.high or high * 2, each.low or 0.0)),
            )
            if each.low or each.high
            else None
            for each in readings
        ],
    )
    plot.line("ln-t", [(each.at, axis.y(each.seen)) if each.seen else None for each in readings])
    tolerated = next((each.tolerated for each in reversed(readings) if each.tolerated), None)
    if tolerated is not None:
        plot.across("ln-tol", axis.y(tolerated))
        plot.text(
            "wide tol-name",
            axis.y(tolerated) - 5,
            f"{words.number(tolerated)}\u00d7 tolerated",
            # Where the future is drawn, nothing else stands at the right.
            at_end=view.span.x(view.now) < 85,
        )
    last = next((each for each in reversed(readings) if each.seen), None)
    if last is not None and last.seen is not None:
        plot.dot(last.at, axis.y(last.seen), words.ratio(last.seen))
    return plot.markup()


def evidence_chart(
    view: View,
    readings: Sequence[Reading],
    says: str,
    *,
    not_opening: float | None,
    does: str = "rolls back",
) -> Markup:
    """Return the chart of the evidence of harm against its limit, on a logarithmic scale.

    Args:
        view, readings, says: as of the other charts.
        not_opening: the evidence from which on no stage opens; None: not shown.
        does: what the check does at its limit.
    """
    known = [each for each in readings if each.evidence is not None and each.limit]
    limit = known[-1].limit if known else None
    top = max([(limit or 100.0) * 3, *(each.evidence or 0.0 for each in known)])
    plot = Plot(says, SIDE_HEIGHT, view.span, view.zone)
    axis = plot.axis(0.1, min(top, 1e9), logarithmic=True)
    ticks = log_ticks(0.1, axis.high)
    plot.grid(axis, ((tick, words.power(tick)) for tick in ticks))
    if limit is not None:
        if not_opening is not None:
            plot.zone_between(axis.y(not_opening), axis.y(limit))
            plot.across("ln-now", axis.y(not_opening))
        plot.across("ln-tol", axis.y(limit))
    plot.future(view.now)
    plot.marks(view.marks)
    plot.line("ln-t", [(each.at, axis.y(max(each.evidence or 0.1, 0.1))) for each in known])
    if limit is not None:
        if not_opening is not None:
            says_no = f"from {words.number(not_opening)} on it does not open"
            # The last value stands at the right with its words, above its dot.
            crowded = (
                known
                and view.span.x(known[-1].at) > 60
                and (
                    abs(axis.y(max(known[-1].evidence or 0.1, 0.1)) - 25 - axis.y(not_opening)) < 18
                )
            )
            plot.text("w", axis.y(not_opening) + 15, says_no, at_end=not crowded)
        plot.text("b", axis.y(limit) - 5, f"at {words.number(limit)} it {does}", at_end=False)
    if known and known[-1].evidence is not None:
        last = known[-1]
        plot.dot(last.at, axis.y(max(last.evidence or 0.1, 0.1)), words.number(last.evidence or 0))
    return plot.markup()


def arms_chart(view: View, readings: Sequence[Reading], says: str) -> Markup:
    """Return the chart of failing users of 100 operations in both arms.

    Each value is the mean of ten minutes or of a sixtieth of the span, whichever is longer.
    """
    width = _width(readings, view.span)
    lines = []
    for arm in ("control", "treatment"):
        failing = [100.0 * getattr(each, arm)[0] for each in readings]
        outcomes = [float(getattr(each, arm)[1]) for each in readings]
        lines.append(means(failing, outcomes, width))
    highest = max([0.5, *(value for line in lines for value in line if value is not None)])
    ticks = linear_ticks(highest)
    plot = Plot(says, SIDE_HEIGHT, view.span, view.zone)
    axis = plot.axis(0.0, ticks[-1])
    plot.grid(axis, ((tick, words.percent(tick)) for tick in ticks))
    plot.future(view.now)
    plot.marks(view.marks)
    ends: list[End] = []
    for kind, name, line in (("c", view.control, lines[0]), ("t", view.treatment, lines[1])):
        plot.line(
            f"ln-{kind}",
            [
                None if value is None else (each.at, axis.y(value))
                for each, value in zip(readings, line, strict=True)
            ],
        )
        last = next(
            (
                (each, value)
                for each, value in zip(reversed(readings), reversed(line), strict=True)
                if value is not None
            ),
            None,
        )
        if last is not None and last[1] is not None:
            value = f"{last[1]:.1f}{words.TIE}%"
            ends.append(End(kind, last[0].at, axis.y(last[1]), name, value))
    plot.label_ends(ends)
    return plot.markup()


def _width(readings: Sequence[Reading], span: Span) -> int:
    """Return how many readings one mean covers."""
    if len(readings) < 2:
        return 1
    between = (readings[-1].at - readings[0].at) / (len(readings) - 1)
    over = max(
        min(timedelta(minutes=10), (span.end - span.start) / 12), (span.end - span.start) / 60
    )
    return max(1, round(over / between)) if between else 1
