"""A mapping of which another one with a few changes is made without a copy of everything."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Final, Generic, TypeVar

Value = TypeVar("Value")

MOST_CHANGES = 100
"""With more changes than this, everything is copied once."""


class _Gone:
    """Marks a key that was removed."""


_GONE: Final = _Gone()


class LayeredMapping(Mapping[str, Value], Generic[Value]):
    """A mapping that never changes. Use ``with_changes``."""

    __slots__ = ("_base", "_changes", "_length")

    def __init__(self, base: Mapping[str, Value], changes: Mapping[str, Value | _Gone]) -> None:
        self._base = base
        self._changes = changes
        self._length = len(base)
        for key, value in changes.items():
            self._length += (value is not _GONE) - (key in base)

    def __getitem__(self, key: str) -> Value:
        found = self._changes.get(key)
        if found is None:
            return self._base[key]
        if isinstance(found, _Gone):
            raise KeyError(key)
        return found

    def __iter__(self) -> Iterator[str]:
        changes = self._changes
        yield from (key for key in self._base if key not in changes)
        yield from (key for key, value in changes.items() if value is not _GONE)

    def __len__(self) -> int:
        return self._length

    def changed(self, changes: Mapping[str, Value | None]) -> Mapping[str, Value]:
        """Return the mapping with changes, as ``with_changes`` does."""
        marked = {key: _GONE if value is None else value for key, value in changes.items()}
        together = {**self._changes, **marked}
        if len(together) <= MOST_CHANGES:
            return LayeredMapping(self._base, together)
        copied = {**self._base, **together}
        return {key: value for key, value in copied.items() if not isinstance(value, _Gone)}


def with_changes(
    mapping: Mapping[str, Value], changes: Mapping[str, Value | None]
) -> Mapping[str, Value]:
    """Return a mapping with changes.

    Args:
        mapping: nobody may change it any more.
        changes: the new values, none of which is None; None: the key is removed.
    """
    if not changes:
        return mapping
    if isinstance(mapping, LayeredMapping):
        return mapping.changed(changes)
    return LayeredMapping(mapping, {}).changed(changes)


def moved_keys(
    table: Mapping[str, frozenset[str]], moves: Iterable[tuple[str, Set[str], Set[str]]]
) -> dict[str, frozenset[str] | None]:
    """Return how a table from names to the keys that have them changes.

    Args:
        table: the keys that have each name.
        moves: the keys that have other names now: each with the names before and after.

    Returns:
        The keys of each name that changes, as ``with_changes`` takes them; None: no key has it.
    """
    changed: dict[str, set[str]] = {}
    for key, before, after in moves:
        for name in before - after:
            changed.setdefault(name, set(table.get(name, ()))).discard(key)
        for name in after - before:
            changed.setdefault(name, set(table.get(name, ()))).add(key)
    return {name: frozenset(keys) or None for name, keys in changed.items()}
