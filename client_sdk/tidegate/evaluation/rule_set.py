"""A snapshot, compiled once; a flag and a context, evaluated often.

Order: unknown flag, killed, disabled, prerequisites, rules in order, default rule. A
release replaces what its rule (or the default rule) serves.

Every flag becomes one closure ``Context -> Evaluation`` whose answers are made ahead:
an evaluation allocates nothing. Closures refer to each other only downwards (a flag to
its prerequisites and segments), so that a replaced snapshot is freed at once, without the
garbage collector. A flag whose prerequisites lead back to it gives ``PARSE_ERROR``, and a
segment that leads back to itself holds nobody, whatever was compiled first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias

import mmh3

from tidegate.bucketing import BUCKETS, buckets_below, hash_limit
from tidegate.context import Context, is_text
from tidegate.errors import InvalidCondition, WireError
from tidegate.evaluation import operators
from tidegate.evaluation.code_generation import Always, Arms, Asked, Given, Test, function_of
from tidegate.model import (
    ActiveRelease,
    All,
    AnyOf,
    Comparison,
    Condition,
    Flag,
    FlagType,
    InSegment,
    NoneOf,
    Opening,
    Segment,
    Serve,
    Snapshot,
    Update,
)

Arm: TypeAlias = Literal["control", "treatment"]

NO_METADATA: Final[Mapping[str, Any]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Exposure:
    """Which arm of which release an evaluation gave, as reports name it.

    ``measures`` are the values whose distribution the release asks for.
    """

    release: str
    step: int
    stratum: int
    arm: Arm
    measures: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The answer to a question, in OpenFeature's words.

    ``value`` and ``variant`` are None where ``error_code`` is set: the caller's default
    takes their place, as it does where a variant has no value of its own. ``exposures`` are
    the releases that this answer took part in; ``release`` is the id of the one where there
    is exactly one. ``retold`` is kept for an integration: the same in another library's words.
    """

    value: Any
    variant: str | None
    reason: str
    error_code: str | None = None
    error_message: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=lambda: NO_METADATA)
    exposures: tuple[Exposure, ...] = ()
    release: str | None = field(init=False, repr=False, compare=False)
    retold: Any = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        only = self.exposures[0].release if len(self.exposures) == 1 else None
        object.__setattr__(self, "release", only)


Evaluate: TypeAlias = Callable[[Context], Evaluation]
Part: TypeAlias = tuple[str, str]
"""``("flag", key)`` or ``("segment", key)``."""

NO_KEY: Final = Evaluation(
    None,
    None,
    "ERROR",
    "TARGETING_KEY_MISSING",
    "a percentage needs a targeting key, as a string; give the context one",
)


def failure(code: str, message: str) -> Evaluation:
    """Return the evaluation that stands for an error."""
    return Evaluation(None, None, "ERROR", code, message)


Shortcut: TypeAlias = tuple[str, str, int, Any, Any]
"""A flag that is nothing but a release for everyone: the release's id, what stands before
the key, and the hash below which keys get the one value, else the other."""

Question: TypeAlias = tuple[Evaluate, Shortcut | None]
"""All that a client needs for a question: a flag's evaluation, and its shortcut."""


@dataclass(frozen=True, slots=True)
class CompiledFlag:
    """A flag ready to be asked. ``needs`` are the flags and segments it rests on."""

    key: str
    type: FlagType
    evaluate: Evaluate
    needs: frozenset[Part]
    shortcut: Shortcut | None = None


class CompiledFlags(Mapping[str, CompiledFlag]):
    """All flags by key; each is compiled when it is asked for the first time."""

    def __init__(self, compiler: _Compiler) -> None:
        self._compiler = compiler

    def __getitem__(self, key: str) -> CompiledFlag:
        flag = self._compiler.flag(key)
        if flag is None:
            raise KeyError(key)
        return flag

    def __iter__(self) -> Iterator[str]:
        return iter(self._compiler.keys())

    def __len__(self) -> int:
        return len(self._compiler.keys())


@dataclass(frozen=True, slots=True, eq=False)
class Compiled:
    """A snapshot ready to be asked; never changed, only replaced.

    A flag is compiled when it is asked for the first time, and then kept; one that an update
    changes is compiled again with it. ``booleans`` are the boolean flags that have been asked:
    what a client needs for the next question, found with one look-up and no check.
    """

    snapshot: Snapshot
    broken: Mapping[str, WireError]
    releases: Mapping[str, ActiveRelease]
    killed: frozenset[str]
    flags: CompiledFlags
    booleans: dict[str, Question] = field(default_factory=dict)

    @property
    def version(self) -> int:
        """The version of the snapshot."""
        return self.snapshot.version

    def evaluate(self, key: str, context: Context) -> Evaluation:
        """Return what the flag gives the context; an unknown flag is an error inside."""
        flag = self.flag(key)
        if flag is None:
            return failure("FLAG_NOT_FOUND", f"flag {key} not found")
        return flag.evaluate(context)

    def flag(self, key: str) -> CompiledFlag | None:
        """Return a flag, compiled the first time that it is asked for."""
        compiler = self.flags._compiler
        flag = compiler.flags.get(key) or compiler.flag(key)
        if flag is not None and flag.type == "boolean" and key not in self.booleans:
            self.booleans[key] = flag.evaluate, flag.shortcut
        return flag

    def apply(
        self, update: Update, broken: Mapping[str, WireError] = MappingProxyType({})
    ) -> Compiled:
        """Return the compiled snapshot after an update; what it does not touch is kept."""
        flags = dict(self.snapshot.flags)
        segments = dict(self.snapshot.segments)
        touched: set[Part] = set()
        for key, flag in update.flags.items():
            touched.add(("flag", key))
            _set(flags, key, flag)
        for key, segment in update.segments.items():
            touched.add(("segment", key))
            _set(segments, key, segment)
        still_broken = {
            place: error for place, error in self.broken.items() if _part(place) not in touched
        }
        for place in broken:
            kind, key = _part(place)
            touched.add((kind, key))
            (flags if kind == "flag" else segments).pop(key, None)
        snapshot = replace(self.snapshot, version=update.version, flags=flags, segments=segments)
        releases, killed = dict(self.releases), set(self.killed)
        for kind, key in touched:
            if kind == "flag":
                releases.pop(key, None)
                killed.discard(key)
                _look(key, flags.get(key), releases, killed)
        everything_broken = {**still_broken, **broken}
        booleans = self.booleans.copy()  # before the flags, of which each of them is one
        compiler, dropped = self.flags._compiler.without(touched, snapshot, everything_broken)
        for key in dropped:
            booleans.pop(key, None)
        after = Compiled(
            snapshot,
            everything_broken,
            releases,
            frozenset(killed),
            CompiledFlags(compiler),
            booleans,
        )
        # What has been asked will be asked again: it is compiled here, and not by who asks.
        for key in dropped:
            if key in update.flags:
                with suppress(Exception):  # the question is answered with what is wrong
                    after.flag(key)
        return after

    def differs(self, before: Compiled) -> frozenset[str]:
        """Return the keys of flags that may answer otherwise than they did before."""
        parts = {
            *(("flag", key) for key in _changed(before.snapshot.flags, self.snapshot.flags)),
            *(("flag", key) for key in _changed(before._unreadable(), self._unreadable())),
            *(
                ("segment", key)
                for key in _changed(before.snapshot.segments, self.snapshot.segments)
            ),
        }
        found = {key for kind, key in parts if kind == "flag"}
        compilers = before.flags._compiler, self.flags._compiler
        found.update(
            key
            for key in self.snapshot.flags
            if key not in found
            and any(not compiler.needs(key).isdisjoint(parts) for compiler in compilers)
        )
        return frozenset(found)

    def _unreadable(self) -> dict[str, WireError]:
        return {
            _part(place)[1]: error
            for place, error in self.broken.items()
            if _part(place)[0] == "flag"
        }


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    for key, value in after.items():
        if before.get(key) is not value:
            yield key
    for key in before:
        if key not in after:
            yield key


def _look(
    key: str, flag: Flag | None, releases: dict[str, ActiveRelease], killed: set[str]
) -> None:
    """Note what a flag means for reports."""
    if flag is None:
        return
    if flag.release is not None:
        releases[key] = flag.release
    if flag.killed is not None:
        killed.add(key)


def compile_snapshot(
    snapshot: Snapshot, broken: Mapping[str, WireError] = MappingProxyType({})
) -> Compiled:
    """Return the snapshot, ready to be asked.

    Args:
        snapshot: what to compile.
        broken: parts that could not be read (``flags/KEY``): asking for such a flag gives
            ``PARSE_ERROR``, such a segment holds nobody.
    """
    releases: dict[str, ActiveRelease] = {}
    killed: set[str] = set()
    for key, flag in snapshot.flags.items():
        _look(key, flag, releases, killed)
    flags = CompiledFlags(_Compiler(snapshot, broken))
    return Compiled(snapshot, broken, releases, frozenset(killed), flags)


def _set(mapping: dict[str, Any], key: str, value: object) -> None:
    if value is None:
        mapping.pop(key, None)
    else:
        mapping[key] = value


def _part(place: str) -> tuple[str, str]:
    kind, _, key = place.partition("/")
    return kind.removesuffix("s"), key


class _Compiler:
    """Compiles what is asked for, and remembers it.

    Threads may ask at the same time: what both compile is the same, and one of it is kept.
    """

    def __init__(self, snapshot: Snapshot, broken: Mapping[str, WireError]) -> None:
        self.snapshot = snapshot
        self.broken = broken
        self.flags: dict[str, CompiledFlag] = {}
        self._segments: dict[str, Test] = {}
        self._needs: dict[str, frozenset[Part]] = {}
        self._lists: dict[str, frozenset[str]] = {}

    def without(
        self, touched: set[Part], snapshot: Snapshot, broken: Mapping[str, WireError]
    ) -> tuple[_Compiler, list[str]]:
        """Return a compiler of another snapshot that knows what was not touched.

        With it the keys of the flags that it does not know any more.
        """
        other = _Compiler(snapshot, broken)
        other.flags = self.flags.copy()
        dropped = [key for key, flag in other.flags.items() if not touched.isdisjoint(flag.needs)]
        for key in dropped:
            del other.flags[key]
        for key, test in self._segments.copy().items():
            needs = self._needs[key]
            if needs.isdisjoint(touched):
                other._segments[key] = test
                other._needs[key] = needs
        other._lists = {
            key: keys for key, keys in self._lists.copy().items() if ("segment", key) not in touched
        }
        return other, dropped

    def keys(self) -> Collection[str]:
        """Return the keys of all flags, those that cannot be read included."""
        unreadable = [key for kind, key in map(_part, self.broken) if kind == "flag"]
        return self.snapshot.flags.keys() | unreadable if unreadable else self.snapshot.flags.keys()

    def needs(self, key: str) -> frozenset[Part]:
        """Return the flags and segments that a flag rests on."""
        flag = self.flags.get(key)
        if flag is not None:
            return flag.needs
        behind = [key, *_behind(key, self._prerequisites)]
        needs: set[Part] = {("flag", other) for other in behind}
        for other in behind:
            asked = self.snapshot.flags.get(other)
            if asked is not None:
                for segment in _segments_of(asked):
                    needs.add(("segment", segment))
                    needs.update(("segment", inner) for inner in _behind(segment, self._parts))
        return frozenset(needs)

    def flag(self, key: str) -> CompiledFlag | None:
        """Return the compiled flag; None where there is none."""
        known = self.flags.get(key)
        if known is not None:
            return known
        unreadable = self.broken.get(f"flags/{key}")
        if unreadable is not None:
            answer = failure("PARSE_ERROR", str(unreadable))
            needs = frozenset({("flag", key)})
            return self.flags.setdefault(key, CompiledFlag(key, "boolean", _always(answer), needs))
        flag = self.snapshot.flags.get(key)
        return None if flag is None else self.flags.setdefault(key, self._compiled(key, flag))

    def _compiled(self, key: str, flag: Flag) -> CompiledFlag:
        behind = _behind(key, self._prerequisites)
        needs: set[Part] = {("flag", key), *(("flag", other) for other in behind)}
        shortcut = None
        if key in behind:
            evaluate = _unreadable(key, "its prerequisites lead back to it")
        else:
            for other in reversed(behind):
                self.flag(other)  # the farthest first: a long chain is no deep recursion
            try:
                evaluate, shortcut = self._flag(flag, needs)
            except KeyError as error:
                evaluate = _unreadable(key, f"there is no variant {error}")
            except InvalidCondition as error:
                evaluate = _unreadable(key, str(error))
        return CompiledFlag(key, flag.type, evaluate, frozenset(needs), shortcut)

    def _prerequisites(self, key: str) -> Iterable[str]:
        """Return the flags that a flag asks: none while it is killed or disabled."""
        flag = self.snapshot.flags.get(key)
        if flag is None or flag.killed is not None or not flag.enabled:
            return ()
        return [prerequisite.flag for prerequisite in flag.prerequisites]

    def _parts(self, key: str) -> Iterable[str]:
        """Return the segments that a segment's condition names."""
        segment = self.snapshot.segments.get(key)
        return () if segment is None or segment.when is None else _named(segment.when)

    def _flag(self, flag: Flag, needs: set[Part]) -> tuple[Evaluate, Shortcut | None]:
        answers = _Answers(flag)
        if flag.killed is not None:
            variant = flag.killed if flag.killed in answers.values else flag.off_variant
            return _always(answers.give(variant, "DISABLED", killed=True)), None
        off = answers.give(flag.off_variant, "DISABLED")
        if not flag.enabled:
            return _always(off), None
        prerequisites = []
        for prerequisite in flag.prerequisites:
            other = self.flag(prerequisite.flag)
            if other is not None:
                needs |= other.needs
            prerequisites.append(
                (other.evaluate if other else None, frozenset(prerequisite.variants))
            )
        release = flag.release
        rules = []
        for rule in flag.rules:
            own = release if release is not None and release.rule == rule.id else None
            serve = self._serve(flag, answers, rule.serve, own, "TARGETING_MATCH", rule.id, needs)
            self._condition(rule.when, needs)  # what cannot be read is refused here
            rules.append((rule.when, serve))
        plain = not rules and release is None and not prerequisites
        own = release if release is not None and release.rule is None else None
        default = self._serve(
            flag, answers, flag.default, own, "STATIC" if plain else "DEFAULT", None, needs
        )
        evaluate = function_of(
            rules, default, lambda condition: self._condition(condition, needs), self._listed
        )
        if prerequisites:
            return _with_prerequisites(prerequisites, evaluate, off), None
        return evaluate, None if rules else _shortcut(default)

    def _serve(
        self,
        flag: Flag,
        answers: _Answers,
        serve: Serve,
        release: ActiveRelease | None,
        reason: str,
        rule: str | None,
        needs: set[Part],
    ) -> Given[Evaluation]:
        if release is not None:
            return self._release(answers, release, reason, rule, needs)
        if serve.variant is not None:
            return Always(answers.give(serve.variant, reason, rule))
        limit = 0
        ranges = []
        for part in serve.split:
            limit += buckets_below(part.weight)
            ranges.append((hash_limit(limit), answers.give(part.variant, "SPLIT", rule)))
        if len(ranges) == 2:
            return Arms(_prefix(flag.salt), ranges[0][0], ranges[0][1], ranges[1][1], NO_KEY)
        return Asked(_split(_prefix(flag.salt), ranges))

    def _release(
        self,
        answers: _Answers,
        release: ActiveRelease,
        reason: str,
        rule: str | None,
        needs: set[Part],
    ) -> Given[Evaluation]:
        outside = answers.give(release.control, reason, rule, release)
        openings = []
        for opening in _reachable(release.openings):
            limit = buckets_below(opening.percentage)
            decided = "SPLIT" if 0 < limit < BUCKETS else reason
            if opening.segments and decided != "SPLIT":
                decided = "TARGETING_MATCH"
            give = [
                answers.give(
                    variant, decided, rule, release,
                    exposures=(
                        Exposure(release.id, release.step, opening.stage, arm, release.measures),
                    ),
                )
                for variant, arm in _arms(release)
            ]  # fmt: skip
            tests = [self._segment(key, needs) for key in opening.segments]
            openings.append((tests, _arm(_prefix(release.salt), limit, give[0], give[1])))
        if openings and not openings[0][0]:
            return openings[0][1]
        return Asked(_strata([(tests, _alone(arm)) for tests, arm in openings], outside))

    def _condition(self, condition: Condition, needs: set[Part]) -> Test:
        if isinstance(condition, Comparison):
            return _comparison(condition)
        if isinstance(condition, InSegment):
            return self._segment(condition.segment, needs)
        if isinstance(condition, All):
            return _all([self._condition(part, needs) for part in condition.all])
        if isinstance(condition, AnyOf):
            return _any([self._condition(part, needs) for part in condition.any])
        if isinstance(condition, NoneOf):
            return _none([self._condition(part, needs) for part in condition.none])
        raise InvalidCondition(f"not a condition: {condition!r}")

    def _segment(self, key: str, needs: set[Part]) -> Test:
        self._compile_segment(key)
        needs |= self._needs[key]
        return self._segments[key]

    def _compile_segment(self, key: str) -> None:
        if key in self._segments:
            return
        behind = _behind(key, self._parts)
        self._needs[key] = frozenset(("segment", other) for other in (key, *behind))
        segment = self.snapshot.segments.get(key)
        if segment is None or key in behind:
            self._segments[key] = _nobody
            return
        for other in reversed(behind):
            self._compile_segment(other)  # as with flags, the farthest first
        self._segments[key] = self._members(segment)

    def _listed(self, key: str) -> frozenset[str] | None:
        """Return the keys of a segment that is nothing but a list of them."""
        segment = self.snapshot.segments.get(key)
        if segment is None or segment.when is not None or segment.excluded:
            return None
        return self._included(segment)

    def _included(self, segment: Segment) -> frozenset[str]:
        found = self._lists.get(segment.key)
        if found is None:
            found = self._lists[segment.key] = frozenset(segment.included)
        return found

    def _members(self, segment: Segment) -> Test:
        try:
            when = None if segment.when is None else self._condition(segment.when, set())
        except InvalidCondition:
            return _nobody
        included, excluded = self._included(segment), frozenset(segment.excluded)
        if when is not None and not included and not excluded:
            return when

        def member(context: Context) -> bool:
            key = context.targeting_key
            if key in excluded:
                return False
            return key in included or (when is not None and when(context))

        return member


def _shortcut(given: Given[Evaluation]) -> Shortcut | None:
    """Return the short form of an answer that is one release's arms, with values of their own."""
    if not isinstance(given, Arms):
        return None
    below, above = given.below, given.above
    if below.release is None or below.value is None or above.value is None:
        return None
    return below.release, given.prefix, given.limit, below.value, above.value


def _segments_of(flag: Flag) -> Iterable[str]:
    """Yield the segments that a flag's rules and its release name."""
    for rule in flag.rules:
        yield from _named(rule.when)
    if flag.release is not None:
        for opening in flag.release.openings:
            yield from opening.segments


def _behind(key: str, next_to: Callable[[str], Iterable[str]]) -> dict[str, None]:
    """Return what can be reached from ``key``, the nearest first."""
    found: dict[str, None] = {}
    waiting = deque([key])
    while waiting:
        for other in next_to(waiting.popleft()):
            if other not in found:
                found[other] = None
                waiting.append(other)
    return found


def _named(condition: Condition) -> Iterable[str]:
    """Yield the segments that a condition names, those in its groups included."""
    if isinstance(condition, InSegment):
        yield condition.segment
    elif isinstance(condition, All | AnyOf | NoneOf):
        for part in _parts_of(condition):
            yield from _named(part)


def _parts_of(condition: All | AnyOf | NoneOf) -> tuple[Condition, ...]:
    if isinstance(condition, All):
        return condition.all
    return condition.any if isinstance(condition, AnyOf) else condition.none


class _Answers:
    """A flag's variants, as evaluations made ahead.

    Raises:
        InvalidCondition: a variant's value is not of the flag's type.
    """

    def __init__(self, flag: Flag) -> None:
        self.values = {variant.key: variant.value for variant in flag.variants}
        self._version = flag.version
        for key, value in self.values.items():
            if not has_type(value, flag.type):
                raise InvalidCondition(f"the value of {key!r} is no {flag.type}")

    def give(
        self,
        variant: str,
        reason: str,
        rule: str | None = None,
        release: ActiveRelease | None = None,
        killed: bool = False,
        exposures: tuple[Exposure, ...] = (),
    ) -> Evaluation:
        """Return the evaluation that gives ``variant``; KeyError where there is none."""
        metadata: dict[str, Any] = {"flagVersion": self._version}
        if rule is not None:
            metadata["ruleId"] = rule
        if release is not None:
            metadata["releaseId"] = release.id
            metadata["stage"] = release.stage
        if killed:
            metadata["killed"] = True
        return Evaluation(
            self.values[variant], variant, reason,
            metadata=MappingProxyType(metadata), exposures=exposures,
        )  # fmt: skip


def has_type(value: object, type_: FlagType) -> bool:
    """Return whether a variant's value is of a flag type; None leaves it to who asks."""
    if value is None:
        return True
    if type_ == "boolean":
        return isinstance(value, bool)
    if type_ == "string":
        return isinstance(value, str)
    if type_ == "number":
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, dict | list)


def _arms(release: ActiveRelease) -> tuple[tuple[str, Arm], tuple[str, Arm]]:
    return (release.treatment, "treatment"), (release.control, "control")


def _reachable(openings: Iterable[Opening]) -> list[Opening]:
    """Return the openings in the order in which they claim contexts.

    The highest percentage comes first (the first listed of equals); behind one that is
    for everyone no other can be reached.
    """
    reachable = []
    for opening in sorted(openings, key=lambda opening: -opening.percentage):
        reachable.append(opening)
        if not opening.segments:
            break
    return reachable


def _unreadable(key: str, why: str) -> Evaluate:
    return _always(failure("PARSE_ERROR", f"the flag {key!r} cannot be read: {why}"))


def _always(answer: Evaluation) -> Evaluate:
    return lambda _: answer


def _nobody(_: Context) -> bool:
    return False


def _everybody(_: Context) -> bool:
    return True


def _alone(given: Given[Evaluation]) -> Evaluate:
    """Return what is given as a function of its own."""
    return function_of((), given, _no_test, _no_members)


def _no_test(condition: Condition) -> Test:
    raise InvalidCondition(f"not a condition: {condition!r}")


def _no_members(segment: str) -> None:
    return None


def _with_prerequisites(
    prerequisites: list[tuple[Evaluate | None, frozenset[str]]],
    inner: Evaluate,
    off: Evaluation,
) -> Evaluate:
    def evaluate(context: Context) -> Evaluation:
        exposures: tuple[Exposure, ...] = ()
        answer: Evaluation | None = None
        for other, variants in prerequisites:
            found = other(context) if other is not None else off
            exposures += found.exposures
            if other is None or found.variant not in variants:
                answer = off
                break
        if answer is None:
            answer = inner(context)
        if not exposures:
            return answer
        return replace(answer, exposures=exposures + answer.exposures)

    return evaluate


def _prefix(salt: str) -> str:
    if not is_text(salt):
        raise InvalidCondition("its salt has half of a surrogate pair, which is no text")
    return f"{salt}:"


def _split(prefix: str, ranges: list[tuple[int, Evaluation]]) -> Evaluate:
    hash_ = mmh3.hash
    last = ranges[-1][1]

    def serve(context: Context) -> Evaluation:
        key = context.targeting_key
        if not isinstance(key, str):
            return NO_KEY
        value = hash_(prefix + key, 0, False)
        for limit, answer in ranges:
            if value < limit:
                return answer
        return last

    return serve


def _arm(
    prefix: str, buckets: int, treatment: Evaluation, control: Evaluation
) -> Given[Evaluation]:
    if buckets >= BUCKETS:
        return Always(treatment)
    if buckets <= 0:
        return Always(control)
    return Arms(prefix, hash_limit(buckets), treatment, control, NO_KEY)


def _strata(openings: list[tuple[list[Test], Evaluate]], outside: Evaluation) -> Evaluate:
    def serve(context: Context) -> Evaluation:
        for tests, arm in openings:
            if not tests:
                return arm(context)
            for test in tests:
                if test(context):
                    return arm(context)
        return outside

    return serve


def _comparison(comparison: Comparison) -> Test:
    test = operators.compile(comparison.operator, comparison.value)
    name = comparison.attribute
    if name == "targetingKey":
        return lambda context: test(context.targeting_key)
    if "." not in name:
        return lambda context: test(context.attributes.get(name))
    path = tuple(name.split("."))
    return lambda context: test(_nested(context.attributes, name, path))


def _nested(attributes: Mapping[str, Any], name: str, path: tuple[str, ...]) -> Any:
    if name in attributes:
        return attributes[name]
    value: Any = attributes
    for part in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(part)
    return value


def _all(tests: list[Test]) -> Test:
    if not tests:
        return _everybody
    if len(tests) == 1:
        return tests[0]

    def test(context: Context) -> bool:
        for part in tests:
            if not part(context):
                return False
        return True

    return test


def _any(tests: list[Test]) -> Test:
    if len(tests) == 1:
        return tests[0]

    def test(context: Context) -> bool:
        for part in tests:
            if part(context):
                return True
        return False

    return test


def _none(tests: list[Test]) -> Test:
    def test(context: Context) -> bool:
        for part in tests:
            if part(context):
                return False
        return True

    return test
