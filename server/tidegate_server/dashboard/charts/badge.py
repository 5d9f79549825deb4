"""A badge: what a flag or a release is in, as a small drawing for a README or a wall."""

from __future__ import annotations

from markupsafe import Markup

CHARACTER = 6.6
PADDING = 8
COLOURS = {
    "run": "#0b7593",
    "good": "#14703f",
    "warn": "#8a5200",
    "bad": "#b3261e",
    "kill": "#b3261e",
    "": "#46515b",
    "draft": "#46515b",
}
"""By the kind of a state; white on each of them has a contrast of more than 5."""


def badge(name: str, state: str, kind: str) -> Markup:
    """Return the drawing, a whole SVG document.

    Args:
        name: what it is about.
        state: its state, in words.
        kind: the kind of the state, as chips have it.
    """
    left, right = (round(len(text) * CHARACTER + 2 * PADDING) for text in (name, state))
    return Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" width="{whole}" height="20" role="img" '
        'aria-label="{name}: {state}"><title>{name}: {state}</title>'
        '<rect width="{whole}" height="20" rx="4" fill="#2b333a"/>'
        '<path d="M{left} 0h{flat}a4 4 0 0 1 4 4v12a4 4 0 0 1-4 4H{left}z" fill="{colour}"/>'
        '<g fill="#fff" font-family="system-ui,sans-serif" font-size="11" text-anchor="middle">'
        '<text x="{middle_left}" y="14" textLength="{long_left}">{name}</text>'
        '<text x="{middle_right}" y="14" textLength="{long_right}">{state}</text></g></svg>'
    ).format(
        whole=left + right,
        left=left,
        flat=right - 4,
        colour=COLOURS.get(kind, COLOURS[""]),
        middle_left=left / 2,
        middle_right=left + right / 2,
        long_left=left - 2 * PADDING,
        long_right=right - 2 * PADDING,
        name=name,
        state=state,
    )
