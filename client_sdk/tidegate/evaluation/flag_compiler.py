"""One flag compiled to a function from a context to an evaluation.

Order of evaluation:

1. a killed flag serves its kill variant;
2. a disabled flag serves its off variant;
3. if a prerequisite is not met, the flag serves its off variant;
4. the first rule whose condition holds serves its variant or its split;
5. else the default rule serves its variant or its split.

A release replaces what its rule, or the default rule, serves.

All evaluations are created when the flag is compiled, so that evaluating allocates nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, TypeAlias

import msgspec

from tidegate.bucketing import BUCKETS, buckets_below, hash_limit
from tidegate.context import Context, is_text
from tidegate.errors import InvalidFlag
from tidegate.evaluation.code_generation import (
    Computed,
    Fixed,
    Served,
    Split,
    always,
    generate_function,
)
from tidegate.evaluation.conditions import ConditionCompiler, Test
from tidegate.evaluation.results import (
    NO_METADATA,
    Arm,
    Evaluate,
    Evaluation,
    Exposure,
    Metadata,
    with_exposures,
)
from tidegate.model import ActiveRelease, Flag, FlagType, Opening, Serve, WeightedVariant

Shortcut: TypeAlias = tuple[str, int, Any, Exposure, Any, Exposure]
"""A flag that only has a release for everyone: the prefix of the key, the hash limit, the value
and the exposure of keys whose hash is below it, and those of the others."""


LARGEST_FLOAT: Final = sys.float_info.max

ValueType: TypeAlias = Literal["booleans", "strings", "integers", "floats", "objects"]
"""The types that an application can ask for."""


class CompiledFlag(msgspec.Struct, frozen=True, eq=False):
    """A flag ready for evaluation.

    Attributes:
        key: the flag's key.
        type: the type of its values.
        evaluate: returns its evaluation for a context.
        others: the parts of the snapshot that it uses beside itself: ``flags/KEY`` and
            ``segments/KEY``.
        shortcut: set if the flag only has a release for everyone.
        value_types: the types that all its values have.
    """

    key: str
    type: FlagType
    evaluate: Evaluate
    others: frozenset[str] = frozenset()
    shortcut: Shortcut | None = None
    value_types: tuple[ValueType, ...] = ()


def compile_flag(
    flag: Flag, prerequisites: Mapping[str, CompiledFlag], conditions: ConditionCompiler
) -> tuple[Evaluate, Shortcut | None]:
    """Return a flag's evaluation and its shortcut.

    Args:
        flag: the flag.
        prerequisites: those flags it names that exist, by key.
        conditions: compiles the snapshot's conditions.

    Raises:
        InvalidCondition: a condition cannot be compiled.
        InvalidFlag: it names a variant that it does not have, a variant's value is not of
            its type, or a salt is not text.
    """
    return _FlagCompiler(flag, conditions).compile(prerequisites)


def has_type(value: object, type_: FlagType) -> bool:
    """Return whether a variant's value is of a flag type; None is of every type."""
    if value is None:
        return True
    if type_ == "boolean":
        return isinstance(value, bool)
    if type_ == "string":
        return isinstance(value, str)
    if type_ == "number":
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, dict | list)


def value_types(flag: Flag) -> tuple[ValueType, ...]:
    """Return the types that all values of a flag have, if each is of the flag's type."""
    if flag.type != "number":
        return _OF_FLAG_TYPE[flag.type]
    values = [variant.value for variant in flag.variants if variant.value is not None]
    if not all(isinstance(value, int) for value in values):
        return ("floats",)
    fits = all(abs(value) < LARGEST_FLOAT for value in values)
    return ("integers", "floats") if fits else ("integers",)


_OF_FLAG_TYPE: Final[Mapping[FlagType, tuple[ValueType, ...]]] = {
    "boolean": ("booleans",),
    "string": ("strings",),
    "object": ("objects",),
}


class _FlagCompiler:
    """Compiles one flag."""

    def __init__(self, flag: Flag, conditions: ConditionCompiler) -> None:
        self._flag = flag
        self._conditions = conditions
        self._values = {variant.key: variant.value for variant in flag.variants}
        for key, value in self._values.items():
            if not has_type(value, flag.type):
                raise InvalidFlag(f"the value of {key!r} is not a {flag.type}")

    def compile(
        self, prerequisites: Mapping[str, CompiledFlag]
    ) -> tuple[Evaluate, Shortcut | None]:
        flag = self._flag
        if flag.killed is not None:
            variant = flag.killed if flag.killed in self._values else flag.off_variant
            return always(self._evaluation(variant, "DISABLED", killed=True)), None
        self._check_variant(flag.off_variant)
        if not flag.enabled:
            return always(self._evaluation(flag.off_variant, "DISABLED")), None
        rules = [
            (rule.when, self._serve(rule.serve, "TARGETING_MATCH", rule.id)) for rule in flag.rules
        ]
        static = not (flag.rules or flag.prerequisites or flag.release)
        default = self._serve(flag.default, "STATIC" if static else "DEFAULT", None)
        evaluate = generate_function(rules, default, self._conditions)
        if flag.prerequisites:
            off = self._evaluation(flag.off_variant, "DISABLED")
            return self._with_prerequisites(prerequisites, evaluate, off), None
        return evaluate, None if rules else _shortcut(default)

    def _with_prerequisites(
        self, compiled: Mapping[str, CompiledFlag], evaluate_rules: Evaluate, off: Evaluation
    ) -> Evaluate:
        prerequisites = [
            (
                compiled[prerequisite.flag].evaluate if prerequisite.flag in compiled else None,
                frozenset(prerequisite.variants),
            )
            for prerequisite in self._flag.prerequisites
        ]

        def evaluate(context: Context) -> Evaluation:
            exposures: tuple[Exposure, ...] = ()
            for evaluate_other, variants in prerequisites:
                if evaluate_other is None:
                    result = off
                    break
                other = evaluate_other(context)
                exposures += other.exposures
                if other.variant not in variants:
                    result = off
                    break
            else:
                result = evaluate_rules(context)
            if not exposures:
                return result
            return with_exposures(result, exposures + result.exposures)

        return evaluate

    def _serve(self, serve: Serve, reason: str, rule: str | None) -> Served:
        """Return what a rule serves; ``rule`` is None for the default rule."""
        release = self._flag.release
        if release is not None and release.rule == rule:
            return self._release(release, reason, rule)
        if serve.variant is not None:
            return Fixed(self._evaluation(serve.variant, reason, rule))
        return self._split(serve.split, rule)

    def _split(self, split: Iterable[WeightedVariant], rule: str | None) -> Served:
        buckets = 0
        limits = []
        results = []
        for part in split:
            buckets += buckets_below(part.weight)
            limits.append(hash_limit(buckets))
            results.append(self._evaluation(part.variant, "SPLIT", rule))
        return Split(_hash_prefix(self._flag.salt), tuple(limits[:-1]), tuple(results))

    def _release(self, release: ActiveRelease, reason: str, rule: str | None) -> Served:
        unopened = self._evaluation(release.control, reason, rule, release)
        openings = [
            (opening.segments, self._opening(release, opening, reason, rule))
            for opening in _reachable_openings(release.openings)
        ]
        if openings and not openings[0][0]:
            return openings[0][1]
        compiled = [
            (
                [self._conditions.segment_test(key) for key in segments],
                generate_function((), served, self._conditions),
            )
            for segments, served in openings
        ]
        return Computed(_release_function(compiled, unopened))

    def _opening(
        self, release: ActiveRelease, opening: Opening, reason: str, rule: str | None
    ) -> Served:
        """Return what the contexts of one opening get."""
        prefix = _hash_prefix(release.salt)
        buckets = buckets_below(opening.percentage)
        is_split = 0 < buckets < BUCKETS
        if is_split:
            reason = "SPLIT"
        elif opening.segments:
            reason = "TARGETING_MATCH"

        def evaluation(variant: str, arm: Arm) -> Evaluation:
            exposure = Exposure(
                *(release.id, release.step, opening.stage, arm, release.measures),
                hash_prefix=prefix if is_split else None,
            )
            return self._evaluation(variant, reason, rule, release, exposures=(exposure,))

        treatment = evaluation(release.treatment, "treatment")
        control = evaluation(release.control, "control")
        if buckets >= BUCKETS:
            return Fixed(treatment)
        if buckets <= 0:
            return Fixed(control)
        return Split(prefix, (hash_limit(buckets),), (treatment, control))

    def _evaluation(
        self,
        variant: str,
        reason: str,
        rule: str | None = None,
        release: ActiveRelease | None = None,
        *,
        killed: bool = False,
        exposures: tuple[Exposure, ...] = (),
    ) -> Evaluation:
        self._check_variant(variant)
        running = None if release is None else (release.id, release.stage)
        written = self._flag.metadata or NO_METADATA
        metadata = Metadata(written, self._flag.version, rule, running, killed=killed)
        return Evaluation(
            self._values[variant],
            sys.intern(variant),  # many flags have variants of the same names
            reason,
            metadata=metadata,
            exposures=exposures,
        )

    def _check_variant(self, variant: str) -> None:
        if variant not in self._values:
            raise InvalidFlag(f"there is no variant {variant!r}")


def _hash_prefix(salt: str) -> str:
    if not is_text(salt):
        raise InvalidFlag(
            "its salt contains an unpaired surrogate (U+D800 to U+DFFF), which is not valid Unicode"
        )
    return f"{salt}:"


def _reachable_openings(openings: Iterable[Opening]) -> list[Opening]:
    """Return the openings in the order in which they claim contexts.

    The highest percentage comes first (the first listed of equals); one for everyone comes
    last, since no context goes past it.
    """
    reachable = []
    for opening in sorted(openings, key=lambda opening: -opening.percentage):
        reachable.append(opening)
        if not opening.segments:
            break
    return reachable


def _release_function(
    openings: list[tuple[list[Test], Evaluate]], unopened: Evaluation
) -> Evaluate:
    def evaluate(context: Context) -> Evaluation:
        for segment_tests, evaluate_opening in openings:
            if not segment_tests:
                return evaluate_opening(context)
            for test in segment_tests:
                if test(context):
                    return evaluate_opening(context)
        return unopened

    return evaluate


def _shortcut(served: Served) -> Shortcut | None:
    if not isinstance(served, Split) or len(served.results) != 2:
        return None
    below, above = served.results
    if below.exposure is None or above.exposure is None:
        return None
    if below.value is None or above.value is None:
        return None
    return (
        *(served.prefix, served.limits[0]),
        *(below.value, below.exposure, above.value, above.exposure),
    )
