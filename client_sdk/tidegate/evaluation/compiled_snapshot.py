"""A snapshot compiled for evaluation.

A flag is compiled when it is first used and then kept. An update compiles again only what
it touches. Compiled functions refer only downwards (a flag to its prerequisites and
segments), so a replaced snapshot is freed at once, without the garbage collector.

A flag that cannot be read, or whose prerequisites form a cycle, gives ``PARSE_ERROR``;
the other flags still work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from contextlib import suppress
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

import msgspec

from tidegate import wire
from tidegate.context import Context
from tidegate.errors import InvalidCondition, InvalidFlag, WireError
from tidegate.evaluation.code_generation import always
from tidegate.evaluation.conditions import (
    NO_KEY_SETS,
    ConditionCompiler,
    KeySets,
    key_sets_in,
    reachable,
)
from tidegate.evaluation.flag_compiler import (
    CompiledFlag,
    Shortcut,
    ValueType,
    compile_flag,
    value_types,
)
from tidegate.evaluation.results import Evaluate, Evaluation, failed_evaluation
from tidegate.flag_documents import NOTHING_USED, FlagDocuments
from tidegate.model import ActiveRelease, Flag, Snapshot, Update

T = TypeVar("T")

ReadyFlag: TypeAlias = tuple[Evaluate, Shortcut | None]
"""What a client needs of a flag."""


class ReadyFlags(NamedTuple):
    """The flags used so far, for the client: one look-up finds all that an evaluation needs.

    A flag is in the table of a type only if each of its values is of that type, or None. So a
    number flag may be in two tables.
    """

    booleans: dict[str, ReadyFlag]
    strings: dict[str, ReadyFlag]
    integers: dict[str, ReadyFlag]
    floats: dict[str, ReadyFlag]
    objects: dict[str, ReadyFlag]


Broken: TypeAlias = Mapping[str, WireError]
"""Parts that cannot be read: ``flags/KEY`` or ``segments/KEY``, and why."""

COMPILED_AT_ONCE = 4
"""How many flags an update compiles without a pause: a quarter of a millisecond's work."""

NOTHING_ELSE: Final = frozenset[str]()

NOTHING_BROKEN: Final[Broken] = MappingProxyType({})


def compile_snapshot(
    snapshot: Snapshot,
    broken: Broken = NOTHING_BROKEN,
    before: CompiledSnapshot | None = None,
    key_sets: KeySets = NO_KEY_SETS,
) -> CompiledSnapshot:
    """Return the snapshot, ready for evaluation.

    Args:
        snapshot: what to compile.
        broken: its parts that cannot be read: such a flag gives ``PARSE_ERROR``, such a
            segment contains nobody.
        before: the snapshot that it replaces: what did not change since is kept.
        key_sets: the key sets that its segments name. A flag that uses another one gives
            ``PARSE_ERROR``.
    """
    if not isinstance(snapshot.flags, FlagDocuments):
        snapshot = msgspec.structs.replace(snapshot, flags=wire.flag_documents(snapshot.flags))
    if before is None:
        conditions = ConditionCompiler(snapshot.segments, key_sets)
        flags = CompiledFlags(_documents(snapshot), broken, conditions)
        return CompiledSnapshot(snapshot, broken, flags)
    changed = _changed_parts(before.snapshot, snapshot)
    changed |= _changed_keys(before.broken, broken)
    arrived = key_sets.keys() - before.key_sets.keys()
    if arrived:
        changed.update(
            _parts(
                "segments",
                (
                    key
                    for key, segment in snapshot.segments.items()
                    if not arrived.isdisjoint(key_sets_in([segment]))
                ),
            )
        )
    after, _ = before.changed(snapshot, broken, changed, key_sets)
    return after


def _documents(snapshot: Snapshot) -> FlagDocuments:
    assert isinstance(snapshot.flags, FlagDocuments)
    return snapshot.flags


class CompiledSnapshot(msgspec.Struct, frozen=True, eq=False):
    """A snapshot ready for evaluation; immutable.

    Attributes:
        snapshot: what was compiled.
        broken: the parts of it that cannot be read.
        flags: all flags by key.
        ready: the flags used so far, by type.
    """

    snapshot: Snapshot
    broken: Broken
    flags: CompiledFlags
    ready: ReadyFlags = msgspec.field(default_factory=lambda: ReadyFlags({}, {}, {}, {}, {}))

    @property
    def releases(self) -> Mapping[str, ActiveRelease]:
        """The active releases by flag."""
        return self.flags.documents.releases

    @property
    def key_sets(self) -> KeySets:
        """The key sets that the flags are compiled with, by digest."""
        return self.flags.key_sets

    @property
    def killed(self) -> Set[str]:
        """The keys of killed flags."""
        return self.flags.documents.killed

    @property
    def version(self) -> int:
        """The version of the snapshot."""
        return self.snapshot.version

    def evaluate(self, key: str, context: Context) -> Evaluation:
        """Return a flag's evaluation for a context; an unknown flag gives an error code."""
        flag = self.flag(key)
        if flag is None:
            return failed_evaluation("FLAG_NOT_FOUND", f"flag {key} not found")
        return flag.evaluate(context)

    def flag(self, key: str) -> CompiledFlag | None:
        """Return a flag; None if there is none."""
        flag = self.flags.find(key)
        if flag is not None:
            for type_ in flag.value_types:
                table = getattr(self.ready, type_)
                if key not in table:
                    table[key] = flag.evaluate, flag.shortcut
        return flag

    def apply(
        self,
        update: Update,
        broken: Broken = NOTHING_BROKEN,
        pause: Callable[[], None] = lambda: None,
    ) -> CompiledSnapshot:
        """Return the compiled snapshot after an update; what it does not touch is kept.

        Args:
            update: what changed.
            broken: the parts of the update that cannot be read.
            pause: called after each part of the work, to let others work.
        """
        snapshot, all_broken, changed = updated(self.snapshot, self.broken, update, broken)
        after, dropped = self.changed(snapshot, all_broken, changed, self.key_sets)
        # A flag used before will be used again: compile it here, not in the application's way.
        used_before = [key for key in dropped if key in update.flags]
        for number, key in enumerate(used_before):
            if number % COMPILED_AT_ONCE == 0:
                pause()
            with suppress(Exception):
                after.flag(key)
        if used_before:
            pause()
        return after

    def changed(
        self, snapshot: Snapshot, broken: Broken, changed: Set[str], key_sets: KeySets
    ) -> tuple[CompiledSnapshot, list[str]]:
        """Return another snapshot, which keeps what did not change.

        Args:
            snapshot: the other snapshot.
            broken: its parts that cannot be read.
            changed: its parts that are new, gone or different.
            key_sets: its key sets.

        Returns:
            The compiled snapshot, and the keys of flags that were compiled and have to be again.
        """
        # Copied before the flags: another thread adds to those first.
        ready = ReadyFlags(*(table.copy() for table in self.ready))
        flags, dropped = self.flags.updated(snapshot, broken, changed, key_sets)
        for key in dropped:
            for table in ready:
                table.pop(key, None)
        return CompiledSnapshot(snapshot, broken, flags, ready), dropped

    def changed_flags(self, before: CompiledSnapshot) -> frozenset[str]:
        """Return the keys of flags that may evaluate differently than before."""
        changed = _changed_parts(before.snapshot, self.snapshot)
        changed |= _changed_keys(before.broken, self.broken)
        return frozenset(_keys("flags", changed)).union(
            key
            for key in self.snapshot.flags
            if not before.flags.dependencies(key).isdisjoint(changed)
            or not self.flags.dependencies(key).isdisjoint(changed)
        )


class CompiledFlags(Mapping[str, CompiledFlag]):
    """A snapshot's flags by key, those that cannot be read included.

    Threads may compile at the same time: they compile the same, and one result is kept.
    """

    def __init__(
        self, documents: FlagDocuments, broken: Broken, conditions: ConditionCompiler
    ) -> None:
        self.documents: FlagDocuments = documents
        self._broken = broken
        self._conditions = conditions
        self._compiled: dict[str, CompiledFlag] = {}
        # Those of them that use other flags or segments: few, and an update asks all of them.
        self._dependent: dict[str, frozenset[str]] = {}

    @property
    def key_sets(self) -> KeySets:
        """The key sets that the flags are compiled with."""
        return self._conditions.key_sets

    def __getitem__(self, key: str) -> CompiledFlag:
        flag = self.find(key)
        if flag is None:
            raise KeyError(key)
        return flag

    def __iter__(self) -> Iterator[str]:
        return iter(self._all_keys())

    def __len__(self) -> int:
        return len(self._all_keys())

    def _all_keys(self) -> Set[str]:
        return self.documents.keys() | _keys("flags", self._broken)

    def find(self, key: str) -> CompiledFlag | None:
        """Return a flag, compiled on its first use; None if there is none."""
        compiled = self._compiled.get(key)
        if compiled is None:
            compiled = self._compile(key)
            if compiled is not None:
                if compiled.others:
                    self._dependent[key] = compiled.others
                compiled = self._compiled.setdefault(key, compiled)
        return compiled

    def dependencies(self, key: str) -> frozenset[str]:
        """Return the flags and segments that a flag uses (``flags/KEY``, ``segments/KEY``)."""
        return frozenset((f"flags/{key}", *self._others(key)))

    def _others(self, key: str) -> frozenset[str]:
        """Return the parts that a flag uses beside itself."""
        uses = self.documents.uses
        if uses(key) is NOTHING_USED:
            return NOTHING_ELSE
        flags = reachable(key, lambda each: uses(each).prerequisites)
        segments = {
            nested
            for other in (key, *flags)
            for segment in uses(other).segments
            for nested in self._conditions.nested_segments(segment)
        }
        return frozenset((*_parts("flags", flags), *_parts("segments", segments)))

    def updated(
        self, snapshot: Snapshot, broken: Broken, changed: Set[str], key_sets: KeySets
    ) -> tuple[CompiledFlags, list[str]]:
        """Return the flags of another snapshot, which keep what did not change.

        Returns:
            The flags, and the keys of those that were compiled and have to be again.
        """
        segments = frozenset(_keys("segments", changed))
        conditions = self._conditions.updated(snapshot.segments, segments, key_sets)
        other = CompiledFlags(_documents(snapshot), broken, conditions)
        # In this order: another thread adds to the dependent ones first.
        other._compiled = self._compiled.copy()
        other._dependent = self._dependent.copy()
        touched = dict.fromkeys(_keys("flags", changed))
        for key, others in other._dependent.items():
            if not changed.isdisjoint(others):
                touched[key] = None
        for key in touched:
            other._dependent.pop(key, None)
        dropped = [key for key in touched if other._compiled.pop(key, None) is not None]
        return other, dropped

    def _compile(self, key: str) -> CompiledFlag | None:
        unreadable = self._broken.get(f"flags/{key}")
        if unreadable is not None:
            result = failed_evaluation("PARSE_ERROR", str(unreadable))
            return CompiledFlag(key, "boolean", always(result))
        flag = self.documents.get(key)
        if flag is None:
            return None
        shortcut = None
        types: tuple[ValueType, ...] = ()
        try:
            evaluate, shortcut = compile_flag(
                flag, self._compiled_prerequisites(key), self._conditions
            )
            types = value_types(flag)
        except (InvalidCondition, InvalidFlag) as error:
            evaluate = always(
                failed_evaluation("PARSE_ERROR", f"the flag {key!r} cannot be read: {error}")
            )
        return CompiledFlag(key, flag.type, evaluate, self._others(key), shortcut, types)

    def _compiled_prerequisites(self, key: str) -> dict[str, CompiledFlag]:
        others = reachable(key, lambda each: self.documents.uses(each).prerequisites)
        if key in others:
            raise InvalidFlag("its prerequisites form a cycle")
        # The farthest first: a long chain is no deep recursion.
        found = {other: self.find(other) for other in reversed(others)}
        return {other: flag for other, flag in found.items() if flag is not None}


def updated(
    snapshot: Snapshot, broken: Broken, update: Update, update_broken: Broken
) -> tuple[Snapshot, Broken, Set[str]]:
    """Return a snapshot after an update, its parts that cannot be read, and what changed.

    Args:
        snapshot: the snapshot before.
        broken: its parts that cannot be read.
        update: what changed.
        update_broken: the parts of the update that cannot be read.
    """
    flags: dict[str, Flag | None] = {**update.flags, **dict.fromkeys(_keys("flags", update_broken))}
    segments = {**update.segments, **dict.fromkeys(_keys("segments", update_broken))}
    changed = {*_parts("flags", flags), *_parts("segments", segments)}
    after = msgspec.structs.replace(
        snapshot,
        version=update.version,
        flags=_documents(snapshot).changed(flags),
        segments=_changed_mapping(snapshot.segments, segments),
    )
    kept = {part: error for part, error in broken.items() if part not in changed}
    return after, {**kept, **update_broken}, changed


def _parts(kind: str, keys: Iterable[str]) -> list[str]:
    return [f"{kind}/{key}" for key in keys]


def _keys(kind: str, parts: Iterable[str]) -> list[str]:
    prefix = f"{kind}/"
    return [part.removeprefix(prefix) for part in parts if part.startswith(prefix)]


def _changed_mapping(before: Mapping[str, T], changes: Mapping[str, T | None]) -> dict[str, T]:
    """Return a mapping with changes; None removes a key."""
    after = dict(before)
    for key, value in changes.items():
        if value is None:
            after.pop(key, None)
        else:
            after[key] = value
    return after


def _changed_parts(before: Snapshot, after: Snapshot) -> set[str]:
    """Return the parts that are new, gone or different (``flags/KEY``, ``segments/KEY``)."""
    flags = _documents(after).changed_keys(_documents(before))
    segments = _changed_keys(before.segments, after.segments)
    return {*_parts("flags", flags), *_parts("segments", segments)}


def _changed_keys(before: Mapping[str, Any], after: Mapping[str, Any]) -> set[str]:
    return {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
