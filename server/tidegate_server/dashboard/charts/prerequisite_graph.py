"""What a flag needs and what needs it, as a drawing with three columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

ROW, BOX = 40, 28
MOST = 6
"""How many flags a column draws; the list beside the drawing has all."""

LONGEST = 22
"""How many characters of a key are drawn."""


@dataclass(frozen=True, slots=True)
class Node:
    """A flag beside the one of the page; ``holds``: it serves what is needed, as far as known."""

    key: str
    holds: bool


def prerequisite_graph(flag: str, needs: Sequence[Node], needed_by: Sequence[Node]) -> Markup:
    """Return the drawing. It says nothing that the list beside it does not say.

    Args:
        flag: the flag of the page, in the middle.
        needs: the flags at its left.
        needed_by: the flags at its right.
    """
    rows = max(1, min(len(needs), MOST), min(len(needed_by), MOST))
    height = rows * ROW
    middle = height / 2
    parts: list[Markup] = []
    for side, nodes, x, near, far in (
        ("needs", needs[:MOST], 0, 30, 36),
        ("needed-by", needed_by[:MOST], 70, 64, 70),
    ):
        for number, node in enumerate(nodes):
            y = height * (number + 0.5) / len(nodes[:MOST])
            start, end = (y, middle) if side == "needs" else (middle, y)
            parts.append(
                Markup('<line class="axis" x1="{}%" x2="{}%" y1="{:.1f}" y2="{:.1f}"/>').format(
                    near, far, start, end
                )
            )
            parts.append(_box(node.key, x, y, 30, "band" if node.holds else "band hot"))
    parts.append(_box(flag, 36, middle, 28, "fill-bg own"))
    return Markup('<svg class="chart" height="{}" aria-hidden="true">{}</svg>').format(
        height, Markup("").join(parts)
    )


def _box(key: str, x: float, y: float, width: float, kind: str) -> Markup:
    text = key if len(key) <= LONGEST else f"{key[: LONGEST - 1]}\u2026"
    return Markup(
        '<rect class="{0}" x="{1}%" y="{2:.1f}" width="{3}%" height="{4}" rx="7"/>'
        '<text x="{5}%" y="{6:.1f}" text-anchor="middle">{7}</text>'
    ).format(kind, x, y - BOX / 2, width, BOX, x + width / 2, y + 4, text)
