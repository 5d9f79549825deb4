"""The flags of a snapshot as JSON, with an index of what is asked of all of them.

A large environment has many flags, and a process uses few of them. As JSON they take less than
half the memory. After a fork, the flags that a child does not use stay in the memory that it
shares with its parent, because nothing refers to their parts one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeAlias

import msgspec

from tidegate.evaluation.conditions import segments_in
from tidegate.model import ActiveRelease, Comparison, Flag, Rule

Decode: TypeAlias = Callable[[bytes], Flag]


class Uses(msgspec.Struct, frozen=True):
    """The flags and segments that a flag's rules and its release name."""

    prerequisites: tuple[str, ...] = ()
    segments: tuple[str, ...] = ()


NOTHING_USED = Uses()


class FlagDocuments(Mapping[str, Flag]):
    """Flags by key, kept as JSON; each access decodes a flag. Complete ones are never changed.

    Args:
        decode: returns a flag from its JSON.

    Attributes:
        releases: the active releases by flag.
        killed: the keys of killed flags.
        client_side: the keys of flags that clients may evaluate.
    """

    __slots__ = ("_decode", "_texts", "_uses", "client_side", "killed", "releases")

    def __init__(self, decode: Decode) -> None:
        self._decode = decode
        self._texts: dict[str, bytes] = {}
        self._uses: dict[str, Uses] = {}
        self.releases: dict[str, ActiveRelease] = {}
        self.killed: set[str] = set()
        self.client_side: set[str] = set()

    def __getitem__(self, key: str) -> Flag:
        return self._decode(self._texts[key])

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)

    def __contains__(self, key: object) -> bool:
        return key in self._texts

    @property
    def texts(self) -> Mapping[str, bytes]:
        """The flags as JSON."""
        return self._texts

    def uses(self, key: str) -> Uses:
        """Return what a flag uses; nothing if it is killed or disabled, or if there is none."""
        return self._uses.get(key, NOTHING_USED)

    def put(self, key: str, text: bytes, flag: Flag, *, compares_only: bool = False) -> None:
        """Add a flag to documents that are not complete yet.

        Args:
            key: the flag's key.
            text: its JSON.
            flag: the same, decoded.
            compares_only: whether it is known that its rules only compare attributes.
        """
        self._texts[key] = text
        if flag.killed is not None:
            self.killed.add(key)
        elif flag.enabled:
            uses = _uses(flag, () if compares_only else flag.rules)
            if uses is not NOTHING_USED:
                self._uses[key] = uses
        if flag.release is not None:
            self.releases[key] = flag.release
        if flag.client_side:
            self.client_side.add(key)

    def changed(self, changes: Mapping[str, Flag | None]) -> FlagDocuments:
        """Return the documents with changes; None removes a flag."""
        after = FlagDocuments(self._decode)
        after._texts = self._texts.copy()
        after._uses = self._uses.copy()
        after.releases = self.releases.copy()
        after.killed = self.killed.difference(changes)
        after.client_side = self.client_side.difference(changes)
        for key, flag in changes.items():
            for table in (after._texts, after._uses, after.releases):
                table.pop(key, None)
            if flag is not None:
                after.put(key, msgspec.json.encode(flag), flag)
        return after

    def changed_keys(self, before: FlagDocuments) -> set[str]:
        """Return the keys of flags that are new, gone or different."""
        texts, other = self._texts, before._texts
        return {key for key in texts.keys() | other.keys() if texts.get(key) != other.get(key)}


def _uses(flag: Flag, rules: Iterable[Rule]) -> Uses:
    segments: list[str] = []
    for rule in rules:
        if not isinstance(rule.when, Comparison):
            segments += segments_in(rule.when)
    if flag.release is not None:
        segments += [segment for each in flag.release.openings for segment in each.segments]
    if not segments and not flag.prerequisites:
        return NOTHING_USED
    return Uses(tuple(each.flag for each in flag.prerequisites), tuple(segments))
