"""Near misses: what someone may have meant who wrote a name that does not exist."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher

MAX_SUGGESTIONS = 3
MAX_COMPARED = 2_000
"""How many names are compared, those of the most similar length; more would take too long."""

MAX_WEIGHED = 50
"""How many of them are weighed exactly, those with the most characters in common: names of few
different characters take a hundred times as long as others."""

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
    likely: list[tuple[float, str, bool]] = []
    for candidate in candidates:
        other = _folded(candidate)
        matcher.set_seq1(other)
        # An abbreviation is a near miss too: checkout for new-checkout-page.
        contained = min(len(folded), len(other)) >= 4 and (folded in other or other in folded)
        if contained or matcher.real_quick_ratio() >= SIMILAR <= (most := matcher.quick_ratio()):
            likely.append((-1.0 if contained else -most, candidate, contained))
    found: list[tuple[float, str]] = []
    for _, candidate, contained in sorted(likely)[:MAX_WEIGHED]:
        matcher.set_seq1(_folded(candidate))
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
