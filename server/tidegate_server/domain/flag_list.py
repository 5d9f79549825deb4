"""Lists of flags: what a list shows of each flag, which flags it shows, and in which order."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from tidegate_server.domain.change import Stored
from tidegate_server.domain.flag_words import flag_text
from tidegate_server.domain.flags import FlagDefinition, Targeting
from tidegate_server.domain.layered_mapping import with_changes
from tidegate_server.domain.release import LIVE_STATES, State


class FlagState(StrEnum):
    """What decides first what a flag serves in an environment."""

    KILLED = "killed"
    DISABLED = "disabled"
    RELEASING = "releasing"
    ENABLED = "enabled"


class SortBy(StrEnum):
    """By what a list of flags is sorted; flags of equal values are sorted by key."""

    KEY = "key"
    NAME = "name"
    OWNER = "owner"
    UPDATED = "updated"
    EXPECTED_END = "expected_end"


@dataclass(frozen=True, slots=True)
class Order:
    """The order of a list of flags."""

    by: SortBy = SortBy.KEY
    descending: bool = False


@dataclass(frozen=True, slots=True)
class FlagRow:
    """What a list knows of a flag.

    Attributes:
        definition: the flag in its project.
        updated_ms: when the flag or its targeting in the environment last changed.
        text: what a search looks in, in lower case.
        state: in the environment; None in a list of a project.
        release_state: of the active release in the environment; None: there is none.
    """

    definition: FlagDefinition
    updated_ms: int
    text: str
    state: FlagState | None = None
    release_state: State | None = None

    @property
    def key(self) -> str:
        """The flag's key."""
        return self.definition.key


NO_ROWS: Mapping[str, FlagRow] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class FlagFilter:
    """Which flags a list shows: those that meet every condition; None: any.

    Attributes:
        archived: only the archived flags; False: only the others.
        words: each of them is in the key, the name, the description, the owner or a tag.
        owner, tag: as a flag has it.
        state: in the environment.
        releasing: whether there is an active release.
        release_state: the state of the active release.
    """

    archived: bool = False
    words: tuple[str, ...] = ()
    owner: str | None = None
    tag: str | None = None
    state: FlagState | None = None
    releasing: bool | None = None
    release_state: State | None = None

    def matching(self, rows: Iterable[FlagRow]) -> list[FlagRow]:
        """Return the flags that meet every condition but the one of their state."""
        # One condition after the other: most lists have one or two, and 10,000 flags.
        found = [row for row in rows if (row.definition.archived is not None) == self.archived]
        if self.owner is not None:
            found = [row for row in found if row.definition.owner == self.owner]
        if self.tag is not None:
            found = [row for row in found if self.tag in row.definition.tags]
        if self.releasing is not None:
            found = [row for row in found if (row.release_state is not None) == self.releasing]
        if self.release_state is not None:
            found = [row for row in found if row.release_state is self.release_state]
        for word in self.words:
            found = [row for row in found if word in row.text]
        return found


@dataclass(frozen=True, slots=True)
class FlagList:
    """The flags that a list shows, in its order.

    Attributes:
        keys: of the flags; nobody may change this.
        by_state: how many flags there are in each state, whatever state the filter asks for.
        positions: of the flags in the order, lowest first; nobody may change this.
        descending: whether pages begin at the highest position.
    """

    keys: Sequence[str]
    by_state: Mapping[FlagState, int]
    positions: Sequence[str]
    descending: bool

    @property
    def all(self) -> int:
        """How many flags there are, whatever state the filter asks for."""
        return sum(self.by_state.values())

    def only(self, keys: Set[str]) -> FlagList:
        """Return the same list with some of its flags; the counts by state stay."""
        places = [place for place, key in enumerate(self.keys) if key in keys]
        return self.at(places, self.by_state)

    def at(self, places: Sequence[int], by_state: Mapping[FlagState, int]) -> FlagList:
        """Return the list of the flags at these places, with other counts by state."""
        return FlagList(
            [self.keys[place] for place in places],
            by_state,
            [self.positions[place] for place in places],
            self.descending,
        )

    def page(self, after: str, limit: int) -> tuple[Sequence[str], str | None]:
        """Return a page of keys, and the position after which the next page begins.

        Args:
            after: the position that ended the page before; empty: from the start.
            limit: the most keys.

        Returns:
            The position is None if there is no next page.
        """
        positions = self.positions
        if self.descending:
            end = bisect_left(positions, after) if after else len(positions)
            start = max(0, end - limit)
            keys, more, last = self.keys[start:end][::-1], start > 0, start
        else:
            start = bisect_right(positions, after) if after else 0
            end = min(start + limit, len(positions))
            keys, more, last = self.keys[start:end], end < len(positions), end - 1
        return keys, positions[last] if more and keys else None


def flag_rows(
    flags: Mapping[str, Stored],
    targetings: Mapping[str, Stored] | None = None,
    releases: Mapping[str, Stored] | None = None,
) -> Mapping[str, FlagRow]:
    """Return what a list knows of the flags of a project, by key.

    Args:
        flags: their definitions.
        targetings: in the environment; None: the list is of no environment.
        releases: of the environment, by id.
    """
    return updated_rows(NO_ROWS, flags, targetings, releases, flags.keys())


def updated_rows(
    rows: Mapping[str, FlagRow],
    flags: Mapping[str, Stored],
    targetings: Mapping[str, Stored] | None,
    releases: Mapping[str, Stored] | None,
    changed: Iterable[str],
) -> Mapping[str, FlagRow]:
    """Return what a list knows of flags after some of them have changed.

    Arguments as for ``flag_rows``; ``rows`` are those of before, ``changed`` the keys of the flags
    that are not the same any more.
    """
    active = releases or {}
    updates: dict[str, FlagRow | None] = {}
    for key in changed:
        flag = flags.get(key)
        targeting = None if targetings is None else targetings.get(key)
        if flag is None or (targetings is not None and targeting is None):
            updates[key] = None  # deleted, or the two were read one after the other
            continue
        id = None if targeting is None else targeting.document.release
        updates[key] = _row(flag, targeting, None if id is None else active.get(id))
    return with_changes(rows, updates)


def list_flags(rows: Iterable[FlagRow], chosen: FlagFilter, order: Order) -> FlagList:
    """Return the flags that a list shows."""
    found = chosen.matching(rows)
    counts = Counter([row.state for row in found])
    if chosen.state is not None:
        found = [row for row in found if row.state is chosen.state]
    keys = [row.definition.key for row in found]
    if order.by is SortBy.KEY:
        keys.sort()
        positions = keys
    else:
        pairs = sorted(zip([_position(row, order.by) for row in found], keys, strict=True))
        positions = [position for position, _ in pairs]
        keys = [key for _, key in pairs]
    return FlagList(keys, _by_state(counts), positions, order.descending)


def searched_list(
    found: FlagList, rows: Mapping[str, FlagRow], chosen: FlagFilter, candidates: Set[str]
) -> FlagList:
    """Return the flags of a list that a search finds, in the order of the list.

    Args:
        found: what ``list_flags`` returns for the same filter without its words and its state.
        rows: what the list knows of its flags.
        chosen: the filter.
        candidates: the flags with these words.
    """
    places = [place for place, key in enumerate(found.keys) if key in candidates]
    states = [rows[found.keys[place]].state for place in places]
    if chosen.state is not None:
        pairs = zip(places, states, strict=True)
        places = [place for place, state in pairs if state is chosen.state]
    return found.at(places, _by_state(Counter(states)))


def updated_list(
    found: FlagList,
    before: Mapping[str, FlagRow],
    after: Mapping[str, FlagRow],
    changed: Iterable[str],
    query: tuple[FlagFilter, Order],
) -> FlagList:
    """Return the flags that a list shows after some of them have changed.

    Args:
        found: what ``list_flags`` returned before.
        before, after: what a list knows of the flags.
        changed: the keys of those that are not the same any more.
        query: what the list was asked for.
    """
    chosen, order = query
    keys, positions, counts = [*found.keys], [*found.positions], Counter(found.by_state)
    for key in changed:
        for row, is_new in ((before.get(key), False), (after.get(key), True)):
            if row is None or not chosen.matching([row]):
                continue
            if row.state is not None:
                counts[row.state] += 1 if is_new else -1
            if chosen.state is not None and row.state is not chosen.state:
                continue
            position = _position(row, order.by)
            place = bisect_left(positions, position)
            if is_new:
                keys.insert(place, key)
                positions.insert(place, position)
            else:
                del keys[place], positions[place]
    return FlagList(keys, _by_state(counts), positions, order.descending)


def _by_state(counts: Mapping[Any, int]) -> dict[FlagState, int]:
    return {state: counts.get(state, 0) for state in FlagState}


def search_words(text: str) -> tuple[str, ...]:
    """Return the words of a search, as ``FlagFilter`` compares them."""
    return tuple(text.casefold().split())


def _row(flag: Stored, stored: Stored | None, release: Stored | None) -> FlagRow:
    text = flag_text(flag.document)
    if stored is None:
        return FlagRow(flag.document, flag.updated_ms, text)
    targeting: Targeting = stored.document
    release_state = None
    if release is not None and release.document.state in LIVE_STATES:
        release_state = release.document.state
    if targeting.kill is not None:
        state = FlagState.KILLED
    elif not targeting.enabled:
        state = FlagState.DISABLED
    elif release_state is not None:
        state = FlagState.RELEASING
    else:
        state = FlagState.ENABLED
    updated_ms = max(flag.updated_ms, stored.updated_ms)
    return FlagRow(flag.document, updated_ms, text, state, release_state)


def _position(row: FlagRow, by: SortBy) -> str:
    flag = row.definition
    if by is SortBy.KEY:
        return flag.key
    if by is SortBy.UPDATED:
        value = f"{row.updated_ms:015d}"
    elif by is SortBy.EXPECTED_END:
        # Flags without one come last.
        value = "9999-99-99" if flag.expected_end is None else flag.expected_end.isoformat()
    else:
        value = (flag.owner if by is SortBy.OWNER else flag.name or flag.key).casefold()
    # The separator is lower than every character of a value.
    return f"{value}\x00{row.key}"
