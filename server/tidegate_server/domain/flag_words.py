"""The words that people write about flags, so that a search does not look at every flag."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field

from tidegate_server.domain.change import Stored
from tidegate_server.domain.flags import FlagDefinition
from tidegate_server.domain.layered_mapping import moved_keys, with_changes


@dataclass(frozen=True, slots=True)
class FlagWords:
    """Which flags have a word in their key, name, description, owner or tags.

    Attributes:
        flags: the keys of the flags by word, in lower case.
        words: all words, each in a line.
    """

    flags: Mapping[str, frozenset[str]] = field(default_factory=dict)
    words: str = "\n"

    def containing(self, part: str) -> Set[str]:
        """Return the flags with a word that contains a text without white space."""
        found: Set[str] = frozenset()
        at = self.words.find(part)
        while at >= 0:
            start, end = self.words.rfind("\n", 0, at) + 1, self.words.find("\n", at)
            more = self.flags[self.words[start:end]]
            found = found | more if found else more
            at = self.words.find(part, end)
        return found

    def containing_all(self, parts: Iterable[str]) -> Set[str] | None:
        """Return the flags with words that contain each of these texts; None: every flag."""
        found: Set[str] | None = None
        for part in parts:
            more = self.containing(part)
            found = more if found is None else found & more
        return found


def flag_text(flag: FlagDefinition) -> str:
    """Return what a search looks in, in lower case."""
    return "\n".join((flag.key, flag.name, flag.description, flag.owner, *flag.tags)).casefold()


def words_of_flags(flags: Mapping[str, Stored]) -> FlagWords:
    """Return the words of flags by key."""
    return updated_words(FlagWords(), {}, flags, flags.keys())


def updated_words(
    known: FlagWords,
    before: Mapping[str, Stored],
    after: Mapping[str, Stored],
    changed: Set[str],
) -> FlagWords:
    """Return the words of flags after some of them have changed.

    Args:
        known: the words before.
        before, after: the flags by key.
        changed: the keys of those that are not the same in both.
    """
    moves = ((key, _words(before.get(key)), _words(after.get(key))) for key in changed)
    moved = moved_keys(known.flags, moves)
    if not moved:
        return known
    words = known.words
    for word, keys in moved.items():
        if not keys:
            words = words.replace(f"\n{word}\n", "\n", 1)
    added = [word for word, keys in moved.items() if keys and word not in known.flags]
    return FlagWords(with_changes(known.flags, moved), "\n".join((words[:-1], *added, "")))


def _words(stored: Stored | None) -> set[str]:
    return set() if stored is None else set(flag_text(stored.document).split())
