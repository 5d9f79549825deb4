"""Who changes sides: how many recently seen users a change would give another variant."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from tidegate.evaluation.compiled_snapshot import CompiledSnapshot, compile_snapshot
from tidegate.evaluation.conditions import segments_in
from tidegate.model import Condition, Flag, Segment, Snapshot

from tidegate_server.domain.change import Refresh
from tidegate_server.domain.seen_users import (
    SeenUserSample,
    flag_for_seen_users,
    segment_for_seen_users,
    unknown_to_names,
    unreported_attributes,
)
from tidegate_server.whatif import confidence_intervals
from tidegate_server.whatif.confidence_intervals import Estimate, share_texts

MOST_FLAGS = 200
"""How many flags one preview compares at most."""

FEW = 30
"""With fewer seen users, a preview says that it knows little."""


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Move:
    """So many users move from one variant of a flag to another; None: no variant, an error."""

    flag: str
    was: str | None
    becomes: str | None
    count: int


@dataclass(frozen=True, slots=True)
class VariantUsers:
    """How many seen users get a variant of a flag, before and after a change; None: an error."""

    flag: str
    variant: str | None
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class Preview:
    """Who would change sides.

    Attributes:
        seen: how many recently seen users were evaluated.
        population: about how many users there were in the last hour.
        changed: how many of ``seen`` would get another variant of any flag.
        share: of all users; None: nobody was seen.
        moves: by flag and variant, the largest first.
        variants: by flag and variant, those that most users get first.
        flags: the flags that were compared.
        caveats: what the sample cannot tell, in words.
    """

    seen: int
    population: int
    changed: int
    share: Estimate | None
    moves: tuple[Move, ...]
    variants: tuple[VariantUsers, ...]
    flags: tuple[str, ...]
    caveats: tuple[str, ...]

    @property
    def text(self) -> str:
        """The result in words, with how sure it is."""
        if self.share is None:
            return "No user was seen in the last hour, so nobody knows who would change sides."
        users = seen_users_text(self.seen)
        value, bounds = share_texts(self.share)
        return (
            f"{self.changed:,} of {users} ({value}) would get another variant; {bounds}."
            f"{few_users(self.seen)}"
        )


def seen_users_text(count: int) -> str:
    """Return a number of seen users in words."""
    return "1 recently seen user" if count == 1 else f"{count:,} recently seen users"


def few_users(seen: int) -> str:
    """Return a warning, after a space, if so few users say little."""
    return f" Fewer than {FEW} users were seen: this says little." if seen < FEW else ""


def who_changes_sides(
    before: Snapshot,
    refresh: Refresh | None,
    sample: SeenUserSample,
    name: Callable[[str], str],
) -> Preview:
    """Evaluate every flag that a change can touch, before and after it, for each seen user.

    Args:
        before: the environment's snapshot.
        refresh: what the change does to it; None: nothing.
        sample: the recently seen users.
        name: returns the name of the user with a targeting key.
    """
    if refresh is None:
        return _preview(sample, (), Counter(), 0, ())
    flags_before, segments_before = dict(before.flags), dict(before.segments)
    flags_after = _replaced(flags_before, refresh.flags)
    segments_after = _replaced(segments_before, refresh.segments)
    touched = _touched((flags_before, flags_after), (segments_before, segments_after), refresh)
    flags = touched[:MOST_FLAGS]
    old = _compiled(flags_before, segments_before, before, flags, name)
    new = _compiled(flags_after, segments_after, before, flags, name)
    sides_of_users: Counter[tuple[str, str | None, str | None]] = Counter()
    changed = 0
    for user in sample.users:
        context = user.context
        sides = [
            (key, old.evaluate(key, context).variant, new.evaluate(key, context).variant)
            for key in flags
        ]
        sides_of_users.update(sides)
        changed += any(was != becomes for _, was, becomes in sides)
    caveats = _caveats(
        flags, (flags_before, flags_after), (segments_before, segments_after), sample
    )
    if len(touched) > len(flags):
        left_out = f"Only {MOST_FLAGS} of {len(touched):,} flags that use it are compared."
        caveats = (left_out, *caveats)
    return _preview(sample, flags, sides_of_users, changed, caveats)


def _preview(
    sample: SeenUserSample,
    flags: tuple[str, ...],
    sides: Counter[tuple[str, str | None, str | None]],
    changed: int,
    caveats: tuple[str, ...],
) -> Preview:
    seen = len(sample.users)
    share = confidence_intervals.share(changed, seen)
    moves = [
        Move(flag, was, becomes, count)
        for (flag, was, becomes), count in sides.items()
        if was != becomes
    ]
    moves.sort(key=lambda each: (-each.count, each.flag, each.was or "", each.becomes or ""))
    return Preview(
        seen, sample.population, changed, share, tuple(moves), _by_variant(sides), flags, caveats
    )


def _by_variant(
    sides: Counter[tuple[str, str | None, str | None]],
) -> tuple[VariantUsers, ...]:
    before: Counter[tuple[str, str | None]] = Counter()
    after: Counter[tuple[str, str | None]] = Counter()
    for (flag, was, becomes), count in sides.items():
        before[flag, was] += count
        after[flag, becomes] += count
    found = [VariantUsers(*place, before[place], after[place]) for place in before | after]
    found.sort(key=lambda each: (each.flag, -each.before, each.variant or ""))
    return tuple(found)


def _replaced(before: Mapping[str, T], changes: Mapping[str, T | None]) -> dict[str, T]:
    after = {key: part for key, part in before.items() if key not in changes}
    return after | {key: part for key, part in changes.items() if part is not None}


def _touched(
    flags: tuple[Mapping[str, Flag], Mapping[str, Flag]],
    segments: tuple[Mapping[str, Segment], Mapping[str, Segment]],
    refresh: Refresh,
) -> tuple[str, ...]:
    """Return the flags that a change can give another result: those that use what it changes."""
    changed_segments = set(refresh.segments)
    for known in segments:
        _add_users(changed_segments, {key: segments_in(each.when) for key, each in known.items()})
    found = set(refresh.flags)
    for known_flags in flags:
        found |= {key for key, flag in known_flags.items() if changed_segments & _segments_of(flag)}
        prerequisites = {
            key: [each.flag for each in flag.prerequisites]
            for key, flag in known_flags.items()
            if flag.prerequisites
        }
        _add_users(found, prerequisites)
    return tuple(sorted(found & (flags[0].keys() | flags[1].keys())))


def _add_users(found: set[str], uses: Mapping[str, Iterable[str]]) -> None:
    """Add the keys that use a found one, directly or not."""
    named = {key: frozenset(used) for key, used in uses.items()}
    size = -1
    while size != len(found):
        size = len(found)
        found |= {key for key, used in named.items() if used & found}


def _segments_of(flag: Flag) -> set[str]:
    named = {key for rule in flag.rules for key in segments_in(rule.when)}
    if flag.release is not None:
        named |= {key for opening in flag.release.openings for key in opening.segments}
    return named


def _compiled(
    flags: Mapping[str, Flag],
    segments: Mapping[str, Segment],
    snapshot: Snapshot,
    wanted: Iterable[str],
    name: Callable[[str], str],
) -> CompiledSnapshot:
    """Return the wanted flags and all that they use, compiled for the names of seen users."""
    needed: dict[str, Flag] = {}
    waiting = list(wanted)
    while waiting:
        key = waiting.pop()
        if key in flags and key not in needed:
            needed[key] = flags[key]
            waiting += [each.flag for each in needed[key].prerequisites]
    used: dict[str, Segment] = {}
    names = [key for flag in needed.values() for key in _segments_of(flag)]
    while names:
        key = names.pop()
        if key in segments and key not in used:
            used[key] = segments[key]
            names += segments_in(used[key].when)
    return compile_snapshot(
        Snapshot(
            snapshot.project,
            snapshot.environment,
            snapshot.version,
            {key: flag_for_seen_users(flag, name) for key, flag in needed.items()},
            {key: segment_for_seen_users(each, name) for key, each in used.items()},
        )
    )


def _caveats(
    wanted: Iterable[str],
    flags: Iterable[Mapping[str, Flag]],
    segments: Iterable[Mapping[str, Segment]],
    sample: SeenUserSample,
) -> tuple[str, ...]:
    conditions: list[Condition | None] = []
    used: set[str] = set()
    for known in flags:
        for key in wanted:
            if key in known:
                used |= _segments_of(known[key])
                conditions += (rule.when for rule in known[key].rules)
    for known_segments in segments:
        conditions += (known_segments[key].when for key in used & known_segments.keys())
    return caveats_of(conditions, sample)


def caveats_of(conditions: Iterable[Condition | None], sample: SeenUserSample) -> tuple[str, ...]:
    """Return in sentences what of conditions the sample does not tell."""
    compared = list(conditions)
    unknown = sorted(set(unknown_to_names(compared, sample)))
    return (
        *(
            f"A condition {what}. The keys of some seen users are not known, so it holds for none "
            "of these here."
            for what in unknown
        ),
        *(
            f"No seen user has the attribute {name}, so its condition holds for nobody here: "
            "applications report an attribute only once a saved rule or segment compares it."
            for name in unreported_attributes(compared, sample)
        ),
    )
