"""What a policy opens over time at the earliest, as steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from tidegate_server.dashboard import words

HEIGHT, TOP, BOTTOM = 190, 30, 166
APART = 220
"""How far apart the times of two stages are on a phone at least, of a width of 1000."""


@dataclass(frozen=True, slots=True)
class Step:
    """One stage.

    Attributes:
        who: whom it opens to, in words.
        by_segment: whether it opens to segments, not to everyone.
        percentage: how much of them, 0 to 100.
        milliseconds: its least time.
    """

    who: str
    by_segment: bool
    percentage: float
    milliseconds: float


def policy_steps(steps: Sequence[Step], bake_ms: float, says: str) -> Markup:
    """Return the chart.

    Args:
        steps: the stages in their order.
        bake_ms: how long everyone has it before the release completes.
        says: the sentence that stands for the chart.
    """
    whole = sum(step.milliseconds for step in steps) + bake_ms
    # A stage without a least time still needs room for its words.
    least = (whole or 1.0) / 12
    widths = [max(step.milliseconds, least) for step in steps]
    widths[-1] = max(widths[-1] + bake_ms, least)
    total = sum(widths)
    parts: list[Markup] = []
    over: list[Markup] = []
    left = elapsed = named = 0.0
    for number, (step, width) in enumerate(zip(steps, widths, strict=True), 1):
        x, wide = 1000 * left / total, 1000 * width / total - 3
        height = (BOTTOM - TOP) * step.percentage / 100
        y = BOTTOM - TOP - height
        # On a phone a time is left out that would touch the one before it.
        apart = number == 1 or x - named >= APART
        named = x if apart else named
        parts.append(
            Markup(
                '<rect class="step-area" x="{0:.1f}" y="{1:.1f}" width="{2:.1f}" height="{3:.1f}"/>'
                '<path class="step-top" d="M{0:.1f} {1:.1f}h{2:.1f}"/>'
            ).format(x, y, wide, height)
        )
        over.append(
            Markup(
                '<line class="grid" x1="{0:.2f}%" x2="{0:.2f}%" y1="18" y2="{1}"/>'
                '<g class="marker tide"><svg x="{0:.2f}%" y="0" overflow="visible">'
                '<circle cx="0" cy="9" r="8.5"/><text x="0" y="13">{2}</text></svg></g>'
                '<svg x="{0:.2f}%" y="0" overflow="visible"><text class="halo {3}" x="4" '
                'y="{4:.1f}">{5}</text></svg><text x="{0:.2f}%" y="185" text-anchor="{6}" '
                'class="{7}">{8}</text>'
            ).format(
                x / 10,
                BOTTOM,
                number,
                "wide" if step.by_segment else "strong",
                TOP + y - 6 if y > 12 else TOP + y + 16,
                step.who if step.by_segment else step.who.removesuffix(" of everyone"),
                "start" if number == 1 else "middle",
                "" if apart else "wide",
                "start" if number == 1 else words.duration(elapsed) if elapsed else "",
            )
        )
        left += width
        elapsed += step.milliseconds
    grid = Markup("").join(
        Markup('<line class="grid" x1="0" x2="100%" y1="{0:.1f}" y2="{0:.1f}"/>').format(
            BOTTOM - (BOTTOM - TOP) * share / 100
        )
        for share in (25, 50, 100)
    )
    labels = Markup("").join(
        Markup('<text x="37" y="{:.1f}">{}\u00a0%</text>').format(
            BOTTOM - (BOTTOM - TOP) * share / 100 + 4, share
        )
        for share in (25, 50, 100)
    )
    return Markup(
        '<div class="plot-grid"><svg class="chart ys" height="{0}" aria-hidden="true">{1}</svg>'
        '<svg class="chart" height="{0}" role="img" aria-label="{2}">{3}<svg x="0" y="{4}" '
        'width="100%" height="{5}" viewBox="0 0 1000 {5}" preserveAspectRatio="none">{6}</svg>{7}'
        "</svg></div>"
    ).format(
        HEIGHT, labels, says, grid, TOP, BOTTOM - TOP, Markup("").join(parts), Markup("").join(over)
    )
