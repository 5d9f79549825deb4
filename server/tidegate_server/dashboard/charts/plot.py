"""The frame of a chart over time: grid, stage marks, time axis, and lines drawn in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Literal, TypeVar

from markupsafe import Markup

from tidegate_server.dashboard.charts.scales import Axis, Span, time_ticks

TOP = 26
"""Where the values begin, below the markers, in pixels."""

FOOT = 22
"""The height of the labels of the time axis, in pixels."""

LONGEST_NAME = 6
"""How long a name may be that stands beside the end of a line."""

Each = TypeVar("Each")
Colour = Literal["tide", "bad", ""]


@dataclass(frozen=True, slots=True)
class Mark:
    """An event on the chart: a circle on top with a sign, and a line down.

    ``expected`` marks what has not happened yet.
    """

    at: datetime
    sign: str
    colour: Colour = ""
    says: str = ""
    expected: bool = False


@dataclass(frozen=True, slots=True)
class End:
    """The end of the line of an arm.

    Attributes:
        kind: ``t`` or ``c``.
        at, y: where it is.
        name: of the variant.
        value: the last one, in words.
    """

    kind: str
    at: datetime
    y: float
    name: str
    value: str


class Plot:
    """A chart being drawn.

    Args:
        says: the sentence that stands for the chart where it is not seen.
        height: in pixels, with markers and labels.
        span: the times from left to right.
        zone: the reader's.
    """

    def __init__(self, says: str, height: int, span: Span, zone: tzinfo) -> None:
        self.span = span
        self.bottom = height - FOOT
        self.top = TOP
        self._says, self._height, self._zone = says, height, zone
        self._under: list[Markup] = []
        self._lines: list[Markup] = []
        self._over: list[Markup] = []
        self._labels: list[Markup] = []

    def axis(self, low: float, high: float, *, logarithmic: bool = False) -> Axis:
        """Return a vertical scale that fills the chart."""
        return Axis(low, high, self.bottom, self.top, logarithmic)

    def grid(self, axis: Axis, ticks: Iterable[tuple[float, str]]) -> None:
        """Draw a line for each tick, with its words at the left."""
        for value, text in ticks:
            y = axis.y(value)
            self._under.append(_across("grid", y))
            self._labels.append(Markup('<text x="37" y="{:.1f}">{}</text>').format(y + 4, text))

    def across(self, kind: str, y: float) -> None:
        """Draw a line from left to right above everything, such as what is tolerated."""
        self._over.append(_across(kind, y))

    def future(self, at: datetime) -> None:
        """Grey what lies after a time."""
        x = self.span.x(at)
        if x < 99.5:
            self._under.insert(
                0,
                Markup(
                    '<rect class="ahead" x="{:.2f}%" y="{}" width="{:.2f}%" height="{}"/>'
                ).format(x, self.top, 100 - x, self.bottom - self.top),
            )

    def zone_between(self, low: float, high: float) -> None:
        """Hatch the heights between two, as a warning."""
        self._under.append(
            Markup(
                '<rect x="0" y="{:.1f}" width="100%" height="{:.1f}" fill="url(#hatch-w)" '
                'opacity=".45"/>'
            ).format(high, max(low - high, 0))
        )

    def line(self, kind: str, points: Sequence[tuple[datetime, float] | None]) -> None:
        """Draw a line through times and heights; None interrupts it."""
        for part in _parts(points):
            self._lines.append(self._path(kind, part))

    def band(self, kind: str, points: Sequence[tuple[datetime, float, float] | None]) -> None:
        """Fill the area between two heights at each time; None interrupts it."""
        for part in _parts(points):
            upper = [(at, high) for at, _, high in part]
            lower = [(at, low) for at, low, _ in reversed(part)]
            self._lines.append(self._path(kind, [*upper, *lower], close=True))

    def block(self, kind: str, x: float, width: float, top: float, bottom: float) -> None:
        """Fill a rectangle; ``x`` and ``width`` are in thousandths of the width."""
        if bottom - top < 0.05:
            return
        self._lines.append(
            Markup(
                '<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>'
            ).format(kind, x, top - self.top, width, bottom - top)
        )

    def dot(self, at: datetime, y: float, text: str) -> None:
        """Mark the last value of a line, with its words."""
        x = self.span.x(at)
        anchor, shift = ("end", -8) if x > 12 else ("start", 8)
        self._over.append(
            Markup(
                '<circle class="fill-t" cx="{0:.2f}%" cy="{1:.1f}" r="4"/>'
                '<svg x="{0:.2f}%" y="0" overflow="visible"><text class="halo strong" x="{3}" '
                'y="{2:.1f}" text-anchor="{4}">{5}</text></svg>'
            ).format(x, y, max(y - 10, self.top + 4), shift, anchor, text)
        )

    def text(self, kind: str, y: float, text: str, *, at_end: bool = True) -> None:
        """Write words at the right or left edge, at a height."""
        self._over.append(
            Markup('<text class="halo {}" x="{}" y="{:.1f}" text-anchor="{}">{}</text>').format(
                kind, "100%" if at_end else "0", y, "end" if at_end else "start", text
            )
        )

    def label_ends(self, ends: Iterable[End]) -> None:
        """Write the last values of at most two lines beside their ends; at the edge, before them.

        They stand above the lines, or around them where the lines lie on each other. A name is left
        out on a phone, and if it is long: the line has the colour of the legend.
        """
        ends = sorted(ends, key=lambda end: end.y)
        heights = [end.y - 7 for end in ends]
        if len(ends) == 2 and heights[1] - heights[0] < 22:
            under = ends[1].y + 15
            fits = under < self.bottom - 2
            heights = [heights[0], under] if fits else [heights[1] - 14, heights[1]]
        # Not on the markers, and then not on each other.
        lowest = self.top + 10.0
        for end, height in zip(ends, heights, strict=True):
            y = max(height, lowest)
            lowest = y + 14
            x = self.span.x(end.at)
            anchor, shift = ("start", 8) if x < 88 else ("end", -8)
            name = f"{end.name} " if len(end.name) <= LONGEST_NAME else ""
            self._over.append(
                Markup(
                    '<svg x="{:.2f}%" y="0" overflow="visible"><text class="halo {}" x="{}" '
                    'y="{:.1f}" text-anchor="{}"><tspan class="wide">{}</tspan>{}</text></svg>'
                ).format(x, "t" if end.kind == "t" else "", shift, y, anchor, name, end.value)
            )

    def marks(self, marks: Sequence[Mark]) -> None:
        """Draw events: those that lie too close to the one before keep only their line."""
        last = -100.0
        for mark in marks:
            x = self.span.x(mark.at)
            kind = "ln-bad" if mark.colour == "bad" else "ln-stage"
            self._under.append(
                Markup('<line class="{0}" x1="{1:.2f}%" x2="{1:.2f}%" y1="18" y2="{2}"/>').format(
                    kind, x, self.bottom
                )
            )
            if x - last < 2.2 and mark.colour != "bad":
                continue
            last = x
            self._over.append(
                Markup(
                    '<g class="marker {}">{}<svg x="{:.2f}%" y="0" overflow="visible">'
                    '<circle cx="0" cy="9" r="8.5"/><text x="0" y="13">{}</text></svg></g>'
                ).format(
                    mark.colour,
                    Markup("<title>{}</title>").format(mark.says) if mark.says else "",
                    x,
                    mark.sign,
                )
            )

    def markup(self) -> Markup:
        """Return the labels of the vertical axis and the chart beside them."""
        ends = self._time_axis()
        inner = Markup(
            '<svg x="0" y="{0}" width="100%" height="{1}" viewBox="0 0 1000 {1}" '
            'preserveAspectRatio="none">{2}</svg>'
        ).format(self.top, self.bottom - self.top, Markup("").join(self._lines))
        return Markup(
            '<div class="plot-grid"><svg class="chart ys" height="{0}" aria-hidden="true">{1}</svg>'
            '<svg class="chart" height="{0}" role="img" aria-label="{2}">{3}{4}{5}{6}</svg></div>'
        ).format(
            self._height,
            Markup("").join(self._labels),
            self._says,
            Markup("").join(self._under),
            inner,
            Markup("").join(self._over),
            ends,
        )

    def _time_axis(self) -> Markup:
        parts = []
        for index, (at, text) in enumerate(time_ticks(self.span, self._zone)):
            x = self.span.x(at)
            anchor = "start" if x < 4 else "end" if x > 96 else "middle"
            parts.append(
                Markup('<text class="{}" x="{:.2f}%" y="{}" text-anchor="{}">{}</text>').format(
                    "wide" if index % 2 else "", x, self._height - 5, anchor, text
                )
            )
        return Markup("").join(parts)

    def _path(
        self, kind: str, points: Sequence[tuple[datetime, float]], *, close: bool = False
    ) -> Markup:
        steps = " L".join(f"{10 * self.span.x(at):.1f} {y - self.top:.1f}" for at, y in points)
        return Markup('<path class="{}" d="M{}{}"/>').format(kind, steps, "Z" if close else "")


def _across(kind: str, y: float) -> Markup:
    return Markup('<line class="{0}" x1="0" x2="100%" y1="{1:.1f}" y2="{1:.1f}"/>').format(kind, y)


def _parts(points: Iterable[Each | None]) -> list[list[Each]]:
    """Return the runs of points between interruptions."""
    runs: list[list[Each]] = [[]]
    for point in points:
        if point is None:
            if runs[-1]:
                runs.append([])
        else:
            runs[-1].append(point)
    return [run for run in runs if run]
