"""What the targetings of an environment name, so that nobody has to look through all of them."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field

from tidegate.evaluation.conditions import segments_in

from tidegate_server.domain.change import Stored
from tidegate_server.domain.flags import Targeting
from tidegate_server.domain.layered_mapping import moved_keys, with_changes

NOTHING: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class TargetingIndex:
    """Which targetings of an environment name what.

    Attributes:
        requiring: by flag, the flags that have it as a prerequisite.
        naming: by segment, the flags with a rule that names it.
        released: the id of the active release of each flag that has one.
        killed: the flags that are killed.
    """

    requiring: Mapping[str, frozenset[str]] = field(default_factory=dict)
    naming: Mapping[str, frozenset[str]] = field(default_factory=dict)
    released: Mapping[str, str] = field(default_factory=dict)
    killed: frozenset[str] = NOTHING


def index_targetings(targetings: Mapping[str, Stored]) -> TargetingIndex:
    """Return the index of targetings by flag."""
    return updated_index(TargetingIndex(), {}, targetings, targetings.keys())


def updated_index(
    index: TargetingIndex,
    before: Mapping[str, Stored],
    after: Mapping[str, Stored],
    changed: Set[str],
) -> TargetingIndex:
    """Return the index of targetings after some of them have changed.

    Args:
        index: of the targetings before.
        before, after: the targetings by flag.
        changed: the flags of those that are not the same in both.
    """
    pairs = [(key, _document(before, key), _document(after, key)) for key in changed]
    released = {
        key: None if new is None else new.release
        for key, _, new in pairs
        if index.released.get(key) != (None if new is None else new.release)
    }
    required = ((key, _required(old), _required(new)) for key, old, new in pairs)
    named = ((key, _named(old), _named(new)) for key, old, new in pairs)
    return TargetingIndex(
        with_changes(index.requiring, moved_keys(index.requiring, required)),
        with_changes(index.naming, moved_keys(index.naming, named)),
        with_changes(index.released, released),
        (index.killed - changed) | {key for key, _, new in pairs if new and new.kill is not None},
    )


def segments_of_targeting(targeting: Targeting) -> set[str]:
    """Return the segments that a targeting's rules name."""
    return {key for rule in targeting.rules for key in segments_in(rule.when)}


def _document(targetings: Mapping[str, Stored], key: str) -> Targeting | None:
    stored = targetings.get(key)
    return None if stored is None else stored.document


def _required(targeting: Targeting | None) -> set[str]:
    return set() if targeting is None else {each.flag for each in targeting.prerequisites}


def _named(targeting: Targeting | None) -> set[str]:
    return set() if targeting is None else segments_of_targeting(targeting)
