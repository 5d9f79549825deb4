"""The keys that do something on pages: one table, for the list of keys, the palette and the pages.

``page.js`` acts on them. A sequence is pressed one key after the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

LEADER: Final = "g"
"""The first key of those that lead to a page of the navigation."""

GO: Final[Mapping[str, str]] = {
    "flags": "f",
    "releases": "r",
    "segments": "s",
    "policies": "p",
    "changes": "c",
    "instances": "i",
    "audit": "a",
    "settings": "t",
}
"""The key of each page of the navigation, after ``LEADER``."""


@dataclass(frozen=True, slots=True)
class Shortcut:
    """Sequences of keys, and what they do, in words."""

    sequences: tuple[str, ...]
    does: str


EDIT, KILL, PAUSE, ROLL_BACK, EARLIER, LATER = "e", "k", "p", "b", "[", "]"
"""What an element of a page has in ``data-key``."""

SHORTCUTS: Final[Sequence[Shortcut]] = (
    Shortcut(("/", "Ctrl+K"), "search, or do something"),
    *(Shortcut((f"{LEADER} {key}",), page) for page, key in GO.items()),
    Shortcut((EDIT,), "edit this flag, segment or policy"),
    Shortcut((KILL,), "the kill page of this flag (never kills)"),
    Shortcut((PAUSE,), "pause this release: opens its page"),
    Shortcut((ROLL_BACK,), "roll this release back: opens its page"),
    Shortcut(("j", "↓", "↑"), "rows of a list; Enter opens one"),
    Shortcut((EARLIER, LATER), "the page before and after this one of a list or a tour"),
    Shortcut(("Alt+↑", "Alt+↓"), "move a rule that is edited"),
    Shortcut(("Esc",), "leave"),
    Shortcut(("Ctrl+Enter",), "save"),
    Shortcut(("?",), "this list"),
)
