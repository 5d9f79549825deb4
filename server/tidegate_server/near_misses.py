"""Near misses: what someone may have meant who wrote a name that does not exist."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher

MAX_SUGGESTIONS = 3
MAX_COMPARED = 2_000
"""How many names are compared, those of the most similar length; more would take too long."""

SIMILAR = 0.7
"""The least ratio of matching characters."""


def similar(name: str, known: Iterable[str]) -> tuple[str, ...]:
    """Return the known names that are most like a name, the likeliest first.

    Capitals, and which of ``-``, ``_`` and ``.`` separates words, make no difference.
    """
    folded = _folded(name[:200])
    candidates = sorted(known, key=lambda each: (abs(len(each) - len(name)), each))[:MAX_COMPARED]
    matcher = SequenceMatcher(autojunk=False)
    matcher.set_seq2(folded)
    found: list[tuple[float, str]] = []
    for candidate in candidates:
        other = _folded(candidate)
        matcher.set_seq1(other)
        # An abbreviation is a near miss too: checkout for new-checkout-page.
        contained = min(len(folded), len(other)) >= 4 and (folded in other or other in folded)
        if contained or matcher.real_quick_ratio() >= SIMILAR <= matcher.quick_ratio():
            ratio = matcher.ratio()
            if contained or ratio >= SIMILAR:
                found.append((-ratio, candidate))
    return tuple(candidate for _, candidate in sorted(found)[:MAX_SUGGESTIONS])


def question(suggestions: Iterable[str]) -> str:
    """Return `` Did you mean 'a' or 'b'?``, to be added to a message; empty without suggestions."""
    names = [repr(each) for each in suggestions]
    if not names:
        return ""
    *others, last = names
    return f" Did you mean {', '.join(others)}{' or ' if others else ''}{last}?"


def _folded(name: str) -> str:
    return name.casefold().replace("_", "-").replace(".", "-").strip()
