"""What of a new snapshot waits for key sets that are not here yet.

A segment and its keys take effect at one moment. Until the keys are here, the segment stays as it
was, and so do the flags that changed and use it: they may rely on the new keys. All else takes
effect at once. A killed or disabled flag uses no segment, so nothing delays that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set

import msgspec

from tidegate.evaluation.conditions import key_sets_in, reachable, segments_in
from tidegate.flag_documents import FlagDocuments
from tidegate.model import Flag, Segment, Snapshot


def hold_back(newest: Snapshot, present: Snapshot, missing: Set[str]) -> Snapshot:
    """Return the newest snapshot, in which what waits is as it is at present.

    Args:
        newest: the snapshot to reach; its flags are ``FlagDocuments``.
        present: the snapshot in force; likewise.
        missing: the digests of the key sets that are not here.
    """
    flags, before = newest.flags, present.flags
    assert isinstance(flags, FlagDocuments)
    assert isinstance(before, FlagDocuments)
    segments = _waiting_segments(newest.segments, missing)
    held: dict[str, Flag | None] = {
        key: before.get(key)
        for key in flags.changed_keys(before)
        if not segments.isdisjoint(flags.uses(key).segments)
    }
    shown = {key: each for key, each in newest.segments.items() if key not in segments}
    for key in segments:
        if key in present.segments:
            shown[key] = present.segments[key]
    return msgspec.structs.replace(
        newest, flags=flags.changed(held) if held else flags, segments=shown
    )


def _waiting_segments(segments: Mapping[str, Segment], missing: Set[str]) -> Set[str]:
    """Return the segments that name a missing key set, and those that lead to one of these."""
    direct = {key for key, each in segments.items() if not missing.isdisjoint(key_sets_in([each]))}

    def named(key: str) -> Iterable[str]:
        segment = segments.get(key)
        return () if segment is None else segments_in(segment.when)

    return direct | {key for key in segments if not direct.isdisjoint(reachable(key, named))}
