"""Charts of a check's own values over time: a quantile in both arms, or a value and its limit."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from markupsafe import Markup

from tidegate_server.dashboard import words
from tidegate_server.dashboard.charts.plot import End, Plot
from tidegate_server.dashboard.charts.release_charts import SIDE_HEIGHT, View
from tidegate_server.dashboard.charts.scales import linear_ticks

Points = list[tuple[datetime, float] | None]


def quantile_chart(
    view: View, points: Sequence[dict[str, Any]], check: int, says: str
) -> Markup | None:
    """Return the chart of a quantile in both arms; None: no point has one."""
    lines = {"c": (view.control, "control"), "t": (view.treatment, "treatment")}
    found = {
        kind: [_of(point, check, "quantiles", arm) for point in points]
        for kind, (_, arm) in lines.items()
    }
    return _chart(view, points, found, {kind: name for kind, (name, _) in lines.items()}, says)


def threshold_chart(
    view: View, points: Sequence[dict[str, Any]], check: int, says: str
) -> Markup | None:
    """Return the chart of a measured value and its limit; None: no point has a value."""
    values = [_of(point, check, "value") for point in points]
    limits = [_of(point, check, "limit") for point in points]
    limit = next((each for each in reversed(limits) if each is not None), None)
    return _chart(view, points, {"t": values}, {"t": "now"}, says, limit)


def _of(point: dict[str, Any], check: int, *path: str) -> float | None:
    value: Any = next((each for each in point["checks"] if each["number"] == check), None)
    for name in path:
        value = value and value[name]
    return None if value is None else float(value)


def _chart(
    view: View,
    points: Sequence[dict[str, Any]],
    found: dict[str, list[float | None]],
    names: dict[str, str],
    says: str,
    limit: float | None = None,
) -> Markup | None:
    values = [value for line in found.values() for value in line if value is not None]
    if not values:
        return None
    ticks = linear_ticks(max([*values, limit or 0.0, 1e-9]) * 1.1)
    plot = Plot(says, SIDE_HEIGHT, view.span, view.zone)
    axis = plot.axis(0.0, ticks[-1])
    plot.grid(axis, ((tick, words.number(tick)) for tick in ticks))
    plot.future(view.now)
    plot.marks(view.marks)
    ends: list[End] = []
    for kind, line in found.items():
        path: Points = [
            None if value is None else (words.parse_instant(point["at"]), axis.y(value))
            for point, value in zip(points, line, strict=True)
        ]
        plot.line(f"ln-{kind}", path)
        last = next((each for each in reversed(path) if each is not None), None)
        value = next((each for each in reversed(line) if each is not None), None)
        if last is not None and value is not None:
            ends.append(End(kind, *last, names[kind], words.number(value)))
    plot.label_ends(ends)
    if limit is not None:
        plot.across("ln-tol", axis.y(limit))
        plot.text("b", axis.y(limit) - 5, f"limit {words.number(limit)}", at_end=False)
    return plot.markup()
