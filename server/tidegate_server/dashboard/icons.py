"""The icons: 16 by 16 pixels, drawn with strokes, each a symbol that a page refers to by name."""

from __future__ import annotations

from types import MappingProxyType

from markupsafe import Markup

PATHS = MappingProxyType(
    {
        "advance": "M8 13.5V5M4.5 8.5 8 5l3.5 3.5M3.5 2.25h9",
        "ask": (
            "M6 7a2.25 2.25 0 1 0 0-4.5A2.25 2.25 0 0 0 6 7ZM1.8 13c.3-2.3 1.9-3.7 4.2-3.7.8 "
            "0 1.5.15 2.1.45M9 12l1.7 1.7L14.2 10"
        ),
        "back": "M6 3.5 2.5 7 6 10.5M2.5 7h7a4 4 0 0 1 0 8H8",
        "check": "M3 8.5 6.3 12 13 4.5",
        "clock": "M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12ZM8 4.75V8l2.2 1.5",
        "copy": "M5.5 5.5h8v8h-8zM10.5 5.5v-3h-8v8h3",
        "dots": "M3.5 8h.01M8 8h.01M12.5 8h.01",
        "down": "M4 6.25 8 10l4-3.75",
        "down-file": "M8 2.5v7.5M4.5 7 8 10.5 11.5 7M3 13.5h10",
        "draft": (
            "M8 2a6 6 0 0 1 2.3.45M12.7 4.3A6 6 0 0 1 13.9 7M13.4 10.6a6 6 0 0 1-2 2.4M8.6 14"
            "a6 6 0 0 1-2.7-.4M3.5 12a6 6 0 0 1-1.4-2.5M2.2 6.5A6 6 0 0 1 4.6 3"
        ),
        "edit": "M10.5 3l2.5 2.5L5.5 13H3v-2.5Z",
        "flag": "M3.5 14V2.5M3.5 3h8l-1.6 2.75L11.5 8.5h-8",
        "gear": "M2.5 4.5h6M11.5 4.5h2M2.5 11.5h2M7.5 11.5h6M10 3v3M6 10v3",
        "hand": (
            "M4 2.5h8M4 13.5h8M5 2.5c0 3 3 3.7 3 5.5s-3 2.5-3 5.5M11 2.5c0 3-3 3.7-3 5.5s3 2."
            "5 3 5.5"
        ),
        "info": "M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12ZM8 7.5V11M8 5.1h.01",
        "key": "M10 9a3.25 3.25 0 1 0-3-2L2.5 11.5v2h2.25v-1.75H6.5V10L7.8 8.7",
        "kill": "M5.3 1.75h5.4l3.55 3.55v5.4l-3.55 3.55H5.3L1.75 10.7V5.3ZM5 8h6",
        "link": (
            "M6.75 9.25a2.5 2.5 0 0 0 3.7.2l2-2a2.56 2.56 0 0 0-3.6-3.6l-.8.8M9.25 6.75a2.5 2"
            ".5 0 0 0-3.7-.2l-2 2a2.56 2.56 0 0 0 3.6 3.6l.8-.8"
        ),
        "log": "M2.5 3.5h.01M2.5 8h.01M2.5 12.5h.01M5.5 3.5h8M5.5 8h8M5.5 12.5h5",
        "menu": "M2.5 4.5h11M2.5 8h11M2.5 11.5h11",
        "pause": "M5.5 3.5v9M10.5 3.5v9",
        "people": (
            "M6 7.5a2.25 2.25 0 1 0 0-4.5 2.25 2.25 0 0 0 0 4.5ZM2 13c.3-2.2 1.8-3.5 4-3.5s3."
            "7 1.3 4 3.5M10.5 3.2a2.2 2.2 0 0 1 0 4.1M11.8 9.8c1.3.5 2 1.6 2.2 3.2"
        ),
        "person": (
            "M8 7.25a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5ZM3 14c.4-3 2.3-4.5 5-4.5s4.6 1.5 5 4.5"
        ),
        "plus": "M8 3v10M3 8h10",
        "policy": "M3 13.5h10M3 13.5v-3h3.3v-3.5h3.4V3.5H13",
        "print": "M4.5 6V2.5h7V6M4.5 11.5h-2V6h11v5.5h-2M4.5 9.5h7v4h-7z",
        "release": "M2.5 12.5h3M2.5 8h6.5M2.5 3.5h11M13.5 8v4.5",
        "replay": "M13 3v3.5H9.5M12.7 6.4A5.25 5.25 0 1 0 13.2 9",
        "restore": "M3 3v3.5h3.5M3.3 6.4A5.25 5.25 0 1 1 2.8 9",
        "right": "M6.25 4 10 8l-3.75 4",
        "search": "M7 11.5a4.5 4.5 0 1 0 0-9 4.5 4.5 0 0 0 0 9ZM10.3 10.3l3.2 3.2",
        "server": "M2.5 3h11v4h-11zM2.5 9h11v4h-11zM5 5h.01M5 11h.01",
        "silent": "M2.5 8h2l1.5-3 2 6 1.5-3h.5M12 8h.01M14 8h.01",
        "stop": "M3.5 3.5h9v9h-9z",
        "timer": "M8 14a5.25 5.25 0 1 0 0-10.5A5.25 5.25 0 0 0 8 14ZM8 6v3M6.25 1.5h3.5",
        "warn": "M8 2.25 14.5 13.5h-13ZM8 6.5v3.25M8 11.6h.01",
        "x": "M4 4l8 8M12 4l-8 8",
    }
)
"""The path of each icon, by its name."""


def icon(name: str) -> Markup:
    """Return an icon. A word stands beside it, or its parent has an ``aria-label``.

    Raises:
        KeyError: there is no icon of this name.
    """
    PATHS[name]
    return Markup(  # noqa: S704 - the name is one of ours
        f'<svg class="icon" viewBox="0 0 16 16" aria-hidden="true"><use href="#i-{name}"/></svg>'
    )


def symbols() -> Markup:
    """Return the hidden drawing that every page carries, to which its icons refer."""
    drawn = "".join(
        f'<symbol id="i-{name}" viewBox="0 0 16 16"><path d="{path}"/></symbol>'
        for name, path in PATHS.items()
    )
    return Markup(drawn)  # noqa: S704 - all of it is ours
