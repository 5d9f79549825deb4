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
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias

import mmh3

from tidegate import operators
from tidegate.bucketing import BUCKETS, buckets_below, hash_limit
from tidegate.context import Context
from tidegate.errors import InvalidCondition, WireError
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
Test: TypeAlias = Callable[[Context], bool]

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
    the releases that this answer took part in; ``exposure`` is the one of them where there
    is exactly one.
    """

    value: Any
    variant: str | None
    reason: str
    error_code: str | None = None
    error_message: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=lambda: NO_METADATA)
    exposures: tuple[Exposure, ...] = ()
    exposure: Exposure | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        only = self.exposures[0] if len(self.exposures) == 1 else None
        object.__setattr__(self, "exposure", only)


Evaluate: TypeAlias = Callable[[Context], Evaluation]

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


@dataclass(frozen=True, slots=True)
class CompiledFlag:
    """A flag ready to be asked. ``needs`` are the flags and segments it rests on."""

    key: str
    type: FlagType
    evaluate: Evaluate
    needs: frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Compiled:
    """A snapshot ready to be asked; never changed, only replaced.

    ``by_type`` holds the same evaluators as ``flags``, one mapping for each flag type, so
    that a typed question needs one look-up and no check.
    """

    snapshot: Snapshot
    flags: Mapping[str, CompiledFlag]
    by_type: Mapping[FlagType, dict[str, Evaluate]]
    broken: Mapping[str, WireError]

    @property
    def version(self) -> int:
        """The version of the snapshot."""
        return self.snapshot.version

    def evaluate(self, key: str, context: Context) -> Evaluation:
        """Return what the flag gives the context; an unknown flag is an error inside."""
        flag = self.flags.get(key)
        if flag is None:
            return failure("FLAG_NOT_FOUND", f"there is no flag {key!r}")
        return flag.evaluate(context)

    def apply(
        self, update: Update, broken: Mapping[str, WireError] = MappingProxyType({})
    ) -> Compiled:
        """Return the compiled snapshot after an update; only what it touches is compiled."""
        flags = dict(self.snapshot.flags)
        segments = dict(self.snapshot.segments)
        touched: set[tuple[str, str]] = set()
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
        kept = {
            key: compiled
            for key, compiled in self.flags.items()
            if compiled.needs.isdisjoint(touched)
        }
        return _compile(snapshot, kept, {**still_broken, **broken})


def compile_snapshot(
    snapshot: Snapshot, broken: Mapping[str, WireError] = MappingProxyType({})
) -> Compiled:
    """Return the snapshot, ready to be asked.

    Args:
        snapshot: what to compile.
        broken: parts that could not be read (``flags/KEY``): asking for such a flag gives
            ``PARSE_ERROR``, such a segment holds nobody.
    """
    return _compile(snapshot, {}, broken)


def _set(mapping: dict[str, Any], key: str, value: object) -> None:
    if value is None:
        mapping.pop(key, None)
    else:
        mapping[key] = value


def _part(place: str) -> tuple[str, str]:
    kind, _, key = place.partition("/")
    return kind.removesuffix("s"), key


def _compile(
    snapshot: Snapshot, kept: Mapping[str, CompiledFlag], broken: Mapping[str, WireError]
) -> Compiled:
    compiler = _Compiler(snapshot, dict(kept))
    for place, error in broken.items():
        kind, key = _part(place)
        if kind == "flag":
            compiler.put_broken(key, str(error))
    for key in snapshot.flags:
        compiler.flag(key)
    by_type: dict[FlagType, dict[str, Evaluate]] = {
        "boolean": {}, "string": {}, "number": {}, "object": {}
    }  # fmt: skip
    for key, flag in compiler.flags.items():
        by_type[flag.type][key] = flag.evaluate
    return Compiled(snapshot, compiler.flags, by_type, broken)


class _Compiler:
    """One pass over a snapshot: remembers what is compiled."""

    def __init__(self, snapshot: Snapshot, flags: dict[str, CompiledFlag]) -> None:
        self.snapshot = snapshot
        self.flags = flags
        self._segments: dict[str, Test] = {}
        self._needs: dict[str, frozenset[tuple[str, str]]] = {}

    def put_broken(self, key: str, message: str) -> None:
        """Let a flag that could not be read answer with an error."""
        answer = failure("PARSE_ERROR", message)
        self.flags[key] = CompiledFlag(key, "boolean", lambda _: answer, frozenset({("flag", key)}))

    def flag(self, key: str) -> CompiledFlag | None:
        """Return the compiled flag; None where there is none."""
        if key in self.flags:
            return self.flags[key]
        flag = self.snapshot.flags.get(key)
        if flag is None:
            return None
        behind = _behind(key, self._prerequisites)
        needs = {("flag", key), *(("flag", other) for other in behind)}
        if key in behind:
            evaluate = _unreadable(key, "its prerequisites lead back to it")
        else:
            for other in reversed(behind):
                self.flag(other)  # the farthest first: a long chain is no deep recursion
            try:
                evaluate = self._flag(flag, needs)
            except KeyError as error:
                evaluate = _unreadable(key, f"there is no variant {error}")
            except InvalidCondition as error:
                evaluate = _unreadable(key, str(error))
        self.flags[key] = CompiledFlag(key, flag.type, evaluate, frozenset(needs))
        return self.flags[key]

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

    def _flag(self, flag: Flag, needs: set[tuple[str, str]]) -> Evaluate:
        answers = _Answers(flag)
        if flag.killed is not None:
            variant = flag.killed if flag.killed in answers.values else flag.off_variant
            return _always(answers.give(variant, "DISABLED", killed=True))
        off = answers.give(flag.off_variant, "DISABLED")
        if not flag.enabled:
            return _always(off)
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
            rules.append((self._condition(rule.when, needs), serve))
        plain = not rules and release is None and not prerequisites
        own = release if release is not None and release.rule is None else None
        default = self._serve(
            flag, answers, flag.default, own, "STATIC" if plain else "DEFAULT", None, needs
        )
        evaluate = _first_match(rules, default)
        return _with_prerequisites(prerequisites, evaluate, off) if prerequisites else evaluate

    def _serve(
        self,
        flag: Flag,
        answers: _Answers,
        serve: Serve,
        release: ActiveRelease | None,
        reason: str,
        rule: str | None,
        needs: set[tuple[str, str]],
    ) -> Evaluate:
        if release is not None:
            return self._release(answers, release, reason, rule, needs)
        if serve.variant is not None:
            return _always(answers.give(serve.variant, reason, rule))
        limit = 0
        ranges = []
        for part in serve.split:
            limit += buckets_below(part.weight)
            ranges.append((hash_limit(limit), answers.give(part.variant, "SPLIT", rule)))
        return _split(f"{flag.salt}:", ranges)

    def _release(
        self,
        answers: _Answers,
        release: ActiveRelease,
        reason: str,
        rule: str | None,
        needs: set[tuple[str, str]],
    ) -> Evaluate:
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
            openings.append((tests, _arm(f"{release.salt}:", limit, give[0], give[1])))
        if openings and not openings[0][0]:
            return openings[0][1]
        return _strata(openings, outside)

    def _condition(self, condition: Condition, needs: set[tuple[str, str]]) -> Test:
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

    def _segment(self, key: str, needs: set[tuple[str, str]]) -> Test:
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

    def _members(self, segment: Segment) -> Test:
        try:
            when = None if segment.when is None else self._condition(segment.when, set())
        except InvalidCondition:
            return _nobody
        included, excluded = frozenset(segment.included), frozenset(segment.excluded)
        if when is not None and not included and not excluded:
            return when

        def member(context: Context) -> bool:
            key = context.targeting_key
            if key in excluded:
                return False
            return key in included or (when is not None and when(context))

        return member


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


def _first_match(rules: list[tuple[Test, Evaluate]], default: Evaluate) -> Evaluate:
    if not rules:
        return default
    if len(rules) == 1:
        test, serve = rules[0]
        return lambda context: serve(context) if test(context) else default(context)

    def evaluate(context: Context) -> Evaluation:
        for test, serve in rules:
            if test(context):
                return serve(context)
        return default(context)

    return evaluate


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


def _arm(prefix: str, buckets: int, treatment: Evaluation, control: Evaluation) -> Evaluate:
    if buckets >= BUCKETS:
        return _always(treatment)
    if buckets <= 0:
        return _always(control)
    hash_ = mmh3.hash
    limit = hash_limit(buckets)

    def serve(context: Context) -> Evaluation:
        try:
            key: Any = context.targeting_key
            return treatment if hash_(prefix + key, 0, False) < limit else control
        except TypeError:
            return NO_KEY

    return serve


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
