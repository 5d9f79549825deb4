"""A snapshot compiled for evaluation.

A flag is compiled when it is first used and then kept. An update compiles again only what
it touches. Compiled functions refer only downwards (a flag to its prerequisites and
segments), so a replaced snapshot is freed at once, without the garbage collector.

A flag that cannot be read, or whose prerequisites form a cycle, gives ``PARSE_ERROR``;
the other flags still work.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import suppress
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from tidegate.context import Context
from tidegate.errors import InvalidCondition, InvalidFlag, WireError
from tidegate.evaluation.code_generation import always
from tidegate.evaluation.conditions import ConditionCompiler, reachable, segments_in
from tidegate.evaluation.flag_compiler import (
    CompiledFlag,
    Shortcut,
    ValueType,
    compile_flag,
    value_types,
)
from tidegate.evaluation.results import Evaluate, Evaluation, failed_evaluation
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

NOTHING_BROKEN: Final[Broken] = MappingProxyType({})


def compile_snapshot(snapshot: Snapshot, broken: Broken = NOTHING_BROKEN) -> CompiledSnapshot:
    """Return the snapshot, ready for evaluation.

    Args:
        snapshot: what to compile.
        broken: its parts that cannot be read: such a flag gives ``PARSE_ERROR``, such a
            segment contains nobody.
    """
    releases, killed = _active_releases(snapshot.flags), _killed(snapshot.flags)
    flags = CompiledFlags(snapshot, broken, ConditionCompiler(snapshot.segments))
    return CompiledSnapshot(snapshot, broken, releases, killed, flags)


@dataclass(frozen=True, slots=True, eq=False)
class CompiledSnapshot:
    """A snapshot ready for evaluation; immutable.

    Attributes:
        snapshot: what was compiled.
        broken: the parts of it that cannot be read.
        releases: the active releases by flag.
        killed: the keys of killed flags.
        flags: all flags by key.
        ready: the flags used so far, by type.
    """

    snapshot: Snapshot
    broken: Broken
    releases: Mapping[str, ActiveRelease]
    killed: frozenset[str]
    flags: CompiledFlags
    ready: ReadyFlags = field(default_factory=lambda: ReadyFlags({}, {}, {}, {}, {}))

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

    def apply(self, update: Update, broken: Broken = NOTHING_BROKEN) -> CompiledSnapshot:
        """Return the compiled snapshot after an update; what it does not touch is kept.

        Args:
            update: what changed.
            broken: the parts of the update that cannot be read.
        """
        flags: dict[str, Flag | None] = {**update.flags, **dict.fromkeys(_keys("flags", broken))}
        segments = {**update.segments, **dict.fromkeys(_keys("segments", broken))}
        changed = {*_parts("flags", flags), *_parts("segments", segments)}
        snapshot = replace(
            self.snapshot,
            version=update.version,
            flags=_changed_mapping(self.snapshot.flags, flags),
            segments=_changed_mapping(self.snapshot.segments, segments),
        )
        all_broken = {
            **{part: error for part, error in self.broken.items() if part not in changed},
            **broken,
        }
        present = {key: flag for key, flag in flags.items() if flag is not None}
        # Copied before the flags: another thread adds to those first.
        ready = ReadyFlags(*(table.copy() for table in self.ready))
        compiled, dropped = self.flags.updated(snapshot, all_broken, changed)
        for key in dropped:
            for table in ready:
                table.pop(key, None)
        after = CompiledSnapshot(
            snapshot,
            all_broken,
            _changed_mapping(self.releases, {**dict.fromkeys(flags), **_active_releases(present)}),
            self.killed.difference(flags) | _killed(present),
            compiled,
            ready,
        )
        # A flag used before will be used again: compile it here, not in the application's way.
        for key in dropped:
            if key in update.flags:
                with suppress(Exception):
                    after.flag(key)
        return after

    def changed_flags(self, before: CompiledSnapshot) -> frozenset[str]:
        """Return the keys of flags that may evaluate differently than before."""
        flags = {
            *_changed_keys(before.snapshot.flags, self.snapshot.flags),
            *_keys("flags", _changed_keys(before.broken, self.broken)),
        }
        segments = _changed_keys(before.snapshot.segments, self.snapshot.segments)
        changed = {*_parts("flags", flags), *_parts("segments", segments)}
        return frozenset(flags).union(
            key
            for key in self.snapshot.flags
            if not before.flags.dependencies(key).isdisjoint(changed)
            or not self.flags.dependencies(key).isdisjoint(changed)
        )


class CompiledFlags(Mapping[str, CompiledFlag]):
    """A snapshot's flags by key, those that cannot be read included.

    Threads may compile at the same time: they compile the same, and one result is kept.
    """

    def __init__(self, snapshot: Snapshot, broken: Broken, conditions: ConditionCompiler) -> None:
        self._flags = snapshot.flags
        self._broken = broken
        self._conditions = conditions
        self._compiled: dict[str, CompiledFlag] = {}

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
        return self._flags.keys() | _keys("flags", self._broken)

    def find(self, key: str) -> CompiledFlag | None:
        """Return a flag, compiled on its first use; None if there is none."""
        compiled = self._compiled.get(key)
        if compiled is None:
            compiled = self._compile(key)
            if compiled is not None:
                compiled = self._compiled.setdefault(key, compiled)
        return compiled

    def dependencies(self, key: str) -> frozenset[str]:
        """Return the flags and segments that a flag uses (``flags/KEY``, ``segments/KEY``)."""
        compiled = self._compiled.get(key)
        if compiled is not None:
            return compiled.dependencies
        keys = (key, *reachable(key, self._prerequisites))
        segments = {
            nested
            for other in keys
            for segment in self._segments(other)
            for nested in self._conditions.nested_segments(segment)
        }
        return frozenset((*_parts("flags", keys), *_parts("segments", segments)))

    def updated(
        self, snapshot: Snapshot, broken: Broken, changed: Set[str]
    ) -> tuple[CompiledFlags, list[str]]:
        """Return the flags of another snapshot, which keep what did not change.

        Returns:
            The flags, and the keys of those that were compiled and have to be again.
        """
        segments = frozenset(_keys("segments", changed))
        conditions = self._conditions.updated(snapshot.segments, segments)
        other = CompiledFlags(snapshot, broken, conditions)
        other._compiled = self._compiled.copy()
        dropped = [
            key
            for key, flag in other._compiled.items()
            if not changed.isdisjoint(flag.dependencies)
        ]
        for key in dropped:
            del other._compiled[key]
        return other, dropped

    def _compile(self, key: str) -> CompiledFlag | None:
        unreadable = self._broken.get(f"flags/{key}")
        if unreadable is not None:
            result = failed_evaluation("PARSE_ERROR", str(unreadable))
            return CompiledFlag(key, "boolean", always(result), frozenset({f"flags/{key}"}))
        flag = self._flags.get(key)
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
        return CompiledFlag(key, flag.type, evaluate, self.dependencies(key), shortcut, types)

    def _compiled_prerequisites(self, key: str) -> dict[str, CompiledFlag]:
        others = reachable(key, self._prerequisites)
        if key in others:
            raise InvalidFlag("its prerequisites form a cycle")
        # The farthest first: a long chain is no deep recursion.
        found = {other: self.find(other) for other in reversed(others)}
        return {other: flag for other, flag in found.items() if flag is not None}

    def _used(self, key: str) -> Flag | None:
        """Return a flag whose rules are in use: one that is neither killed nor disabled."""
        flag = self._flags.get(key)
        return None if flag is None or flag.killed is not None or not flag.enabled else flag

    def _prerequisites(self, key: str) -> Iterable[str]:
        flag = self._used(key)
        return () if flag is None else [each.flag for each in flag.prerequisites]

    def _segments(self, key: str) -> Iterator[str]:
        """Yield the segments that a flag's rules and its release name."""
        flag = self._used(key)
        if flag is None:
            return
        for rule in flag.rules:
            yield from segments_in(rule.when)
        if flag.release is not None:
            for opening in flag.release.openings:
                yield from opening.segments


def _parts(kind: str, keys: Iterable[str]) -> list[str]:
    return [f"{kind}/{key}" for key in keys]


def _keys(kind: str, parts: Iterable[str]) -> list[str]:
    prefix = f"{kind}/"
    return [part.removeprefix(prefix) for part in parts if part.startswith(prefix)]


def _active_releases(flags: Mapping[str, Flag]) -> dict[str, ActiveRelease]:
    return {key: flag.release for key, flag in flags.items() if flag.release is not None}


def _killed(flags: Mapping[str, Flag]) -> frozenset[str]:
    return frozenset(key for key, flag in flags.items() if flag.killed is not None)


def _changed_mapping(before: Mapping[str, T], changes: Mapping[str, T | None]) -> dict[str, T]:
    """Return a mapping with changes; None removes a key."""
    after = dict(before)
    for key, value in changes.items():
        if value is None:
            after.pop(key, None)
        else:
            after[key] = value
    return after


def _changed_keys(before: Mapping[str, Any], after: Mapping[str, Any]) -> set[str]:
    return {key for key in before.keys() | after.keys() if before.get(key) is not after.get(key)}
