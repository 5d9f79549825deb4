"""Numbers as they are typed into forms and addresses."""

from __future__ import annotations

from typing import Final

MOST_DIGITS: Final = 18
"""Of a whole number; the API takes none that is longer."""


def whole_number(text: str) -> int | None:
    """Return a whole number from 0; None: the text is none, or is longer than any may be."""
    text = text.strip()
    return int(text) if text.isdecimal() and len(text) <= MOST_DIGITS else None
