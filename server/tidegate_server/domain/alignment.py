"""Which items of two lists belong together, however many of them are equal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Literal, TypeAlias

Opcode: TypeAlias = tuple[Literal["replace", "delete", "insert", "equal"], int, int, int, int]


def opcodes(before: Sequence[str], after: Sequence[str], most_pairs: int) -> list[Opcode]:
    """Return how to make one list from another, as ``SequenceMatcher.get_opcodes`` does.

    What is equal at both ends is not compared with all the rest. What lies between is replaced as a
    whole if it has more pairs of equal items than ``most_pairs``: a few thousand equal lines would
    take minutes.
    """
    shorter = min(len(before), len(after))
    start = next((at for at in range(shorter) if before[at] != after[at]), shorter)
    end = next(
        (at for at in range(shorter - start) if before[-1 - at] != after[-1 - at]), shorter - start
    )
    old, new = before[start : len(before) - end], after[start : len(after) - end]
    times = Counter(old)
    between: list[Opcode]
    if sum(times[each] for each in new) > most_pairs:
        between = [("replace", 0, len(old), 0, len(new))]
    else:
        between = SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    found: list[Opcode] = [("equal", 0, start, 0, start)] if start else []
    found += [(tag, a + start, b + start, c + start, d + start) for tag, a, b, c, d in between]
    if end:
        found.append(("equal", len(before) - end, len(before), len(after) - end, len(after)))
    return found
