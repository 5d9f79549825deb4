"""What many simulated releases did: how long they took, how each ended, and at which stage."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from markupsafe import Markup

from tidegate_server.dashboard import words
from tidegate_server.dashboard.charts.scales import duration_ticks

COLUMNS, STEP = 25, 12


def time_bar(median: float, most: float, whole: float, *, bad: bool, says: str) -> Markup:
    """Return a bar from the start to the median, and on to what nine of ten stay below.

    Args:
        median, most: in milliseconds.
        whole: the length of the whole bar, in milliseconds.
        bad: red instead of blue.
        says: the sentence that stands for the bar where it is not seen.
    """
    until, ninth = (100 * min(each, whole) / whole for each in (median, most))
    ticks = Markup("").join(
        Markup('<text x="{:.1f}%" y="50" text-anchor="{}">{}</text>').format(
            100 * at / whole,
            "start" if at == 0 else "end" if at > 0.94 * whole else "middle",
            text,
        )
        for at, text in ((0, "start"), *duration_ticks(whole))
        if at == 0 or at > 0.1 * whole  # not on the word "start"
    )
    return Markup(
        '<svg class="chart" height="56" role="img" aria-label="{0}">'
        '<rect class="fill-bg" y="18" width="100%" height="14" rx="4"/>'
        '<rect class="{1}" y="18" width="{2:.1f}%" height="14" rx="4"/>'
        '<rect class="band{3}" x="{2:.1f}%" y="18" width="{4:.1f}%" height="14"/>'
        '<text class="strong" x="{2:.1f}%" y="12" text-anchor="{5}">{6}</text>{7}</svg>'
    ).format(
        says,
        "fill-k" if bad else "fill-t",
        until,
        " hot" if bad else "",
        max(ninth - until, 0),
        "start" if until < 15 else "end",
        words.duration(median),
        ticks,
    )


def dots(good: int, whole: int, says: str) -> Markup:
    """Return a dot for each release: full for those that completed, hollow for the others."""
    rows = ceil(whole / COLUMNS) or 1
    drawn = Markup("").join(
        Markup('<circle class="{}" cx="{}" cy="{}" r="4"/>').format(
            "dot-ok" if number < good else "dot-bad",
            number % COLUMNS * STEP + STEP // 2,
            number // COLUMNS * STEP + STEP // 2,
        )
        for number in range(whole)
    )
    return Markup(
        '<div class="dots"><svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg></div>'
    ).format(COLUMNS * STEP, rows * STEP, says, drawn)


def stage_bars(stages: Sequence[tuple[str, int]], whole: int, says: str) -> Markup:
    """Return a bar for each stage: how many releases were first stopped there."""
    room = 100 / max(len(stages), 1)
    parts = []
    for number, (name, count) in enumerate(stages):
        x, height = number * room, 76 * count / max(whole, 1)
        parts.append(
            Markup(
                '<rect class="fill-bg" x="{0:.2f}%" y="4" width="{1:.2f}%" height="76" rx="4"/>'
                '<rect class="band hot" x="{0:.2f}%" y="{2:.1f}" width="{1:.2f}%" height="{3:.1f}" '
                'rx="4"/><text class="strong" x="{4:.2f}%" y="{5:.1f}" text-anchor="middle">{6}'
                '</text><text class="{7}" x="{4:.2f}%" y="98" text-anchor="middle">{8}</text>'
            ).format(
                x,
                room * 0.9,
                80 - height,
                height,
                x + room * 0.45,
                max(80 - height - 6, 16),
                count,
                "" if len(stages) <= 4 else "wide",
                name if len(name) <= 14 else f"{name[:13]}\u2026",
            )
        )
    return Markup('<svg class="chart" height="104" role="img" aria-label="{}">{}</svg>').format(
        says, Markup("").join(parts)
    )
