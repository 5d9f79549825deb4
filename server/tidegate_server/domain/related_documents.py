"""Which documents of a project have to do with each other, found in one pass over all of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from tidegate.evaluation.conditions import segments_in

from tidegate_server.domain import references
from tidegate_server.domain.change import Stored
from tidegate_server.domain.flags import Targeting
from tidegate_server.domain.targeting_index import segments_of_targeting


@dataclass(frozen=True, slots=True)
class SegmentUsers:
    """What names a segment: the keys of flags, segments and policies."""

    flags: set[str] = field(default_factory=set)
    segments: set[str] = field(default_factory=set)
    policies: set[str] = field(default_factory=set)


def users_of_segments(
    targetings: Mapping[str, Mapping[str, Stored]],
    segments: Mapping[str, Stored],
    policies: Mapping[str, Stored],
) -> Mapping[str, SegmentUsers]:
    """Return what names each segment that something names."""
    users: dict[str, SegmentUsers] = defaultdict(SegmentUsers)
    for by_flag in targetings.values():
        for key, stored in by_flag.items():
            for segment in segments_of_targeting(stored.document):
                users[segment].flags.add(key)
    for key, stored in segments.items():
        for segment in segments_in(stored.document.when):
            users[segment].segments.add(key)
    for key, stored in policies.items():
        for stage in stored.document.stages:
            for segment in stage.segments:
                users[segment].policies.add(key)
    return users


class RelatedFlags:
    """Which flags have to do with each other, found once for all edits.

    Args:
        targetings: the targetings as they will be, by environment and flag.
    """

    def __init__(self, targetings: Mapping[str, Mapping[str, Stored]]) -> None:
        self._required: dict[str, set[str]] = defaultdict(set)
        self._requiring: dict[str, set[str]] = defaultdict(set)
        self._released: set[str] = set()
        for by_flag in targetings.values():
            for key, stored in by_flag.items():
                targeting: Targeting = stored.document
                for each in targeting.prerequisites:
                    self._required[key].add(each.flag)
                    self._requiring[each.flag].add(key)
                if targeting.release is not None:
                    self._released.add(key)

    def to(self, key: str) -> set[str]:
        """Return a flag, all that it requires directly or indirectly, and those that require it."""
        required = references.reachable([key], lambda each: self._required.get(each, ()))
        return required | self._requiring.get(key, set())

    def released(self) -> set[str]:
        """Return the flags with an active release in some environment."""
        return self._released
