"""The steps of one evaluation in words: what each part of a flag said, until one decided.

The order is that of ``tidegate.evaluation.flag_compiler``. The SDK's own code evaluates every step,
so an explanation never differs from an evaluation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from tidegate.bucketing import bucket, buckets_below
from tidegate.context import Context
from tidegate.evaluation.compiled_snapshot import CompiledSnapshot, compile_snapshot
from tidegate.evaluation.conditions import NO_KEY_SETS, KeySets
from tidegate.evaluation.results import Evaluation
from tidegate.model import ActiveRelease, Flag, Serve, Snapshot

from tidegate_server.domain.condition_explanation import ConditionExplainer


class Part(StrEnum):
    """What a step looks at, in the order of evaluation."""

    KILL = "kill"
    ENABLED = "enabled"
    PREREQUISITE = "prerequisite"
    RULE = "rule"
    DEFAULT = "default"
    RELEASE = "release"


@dataclass(frozen=True, slots=True)
class Step:
    """One step of an evaluation.

    Attributes:
        part: what it looked at.
        name: the rule's id, the prerequisite's flag or the release's id; else empty.
        text: what it found, as a sentence.
        decides: whether it decided which variant is served. The step of a release follows the
            one that it replaces.
        matched: of a rule or a prerequisite, whether the context meets it; None: of another step.
        why: of a rule, why the context meets it or not; else empty.
        bucket: of a split or a percentage, the bucket of the targeting key, 0 to 99,999; None: none
            was needed, or there is no targeting key.
        opened_below: of a split, the first bucket after those of the variant that is served; of a
            release, after those that its percentage opens; None: there is no bucket.
    """

    part: Part
    name: str
    text: str
    decides: bool
    matched: bool | None = None
    why: str = ""
    bucket: int | None = None
    opened_below: int | None = None


@dataclass(frozen=True, slots=True)
class ExplainedEvaluation:
    """An evaluation and its steps."""

    evaluation: Evaluation
    steps: tuple[Step, ...]


def explain_evaluation(
    snapshot: Snapshot, key: str, context: Context, key_sets: KeySets = NO_KEY_SETS
) -> ExplainedEvaluation:
    """Evaluate a flag of a snapshot for a context, step by step.

    A flag that the snapshot does not have has no steps.

    Args:
        snapshot: the snapshot.
        key: the flag.
        context: whom to evaluate it for.
        key_sets: the key sets that the snapshot's segments name.
    """
    compiled = compile_snapshot(snapshot, key_sets=key_sets)
    evaluation = compiled.evaluate(key, context)
    flag = snapshot.flags.get(key)
    if flag is None:
        return ExplainedEvaluation(evaluation, ())
    return ExplainedEvaluation(evaluation, tuple(_steps(compiled, flag, context, evaluation)))


def _steps(
    compiled: CompiledSnapshot, flag: Flag, context: Context, evaluation: Evaluation
) -> Iterator[Step]:
    if flag.killed is not None:
        yield Step(Part.KILL, "", f"The flag is killed; everyone gets {flag.killed}.", True)
        return
    yield Step(Part.KILL, "", "The flag is not killed.", False)
    if not flag.enabled:
        text = f"The flag is disabled; everyone gets {flag.off_variant}."
        yield Step(Part.ENABLED, "", text, True)
        return
    yield Step(Part.ENABLED, "", "The flag is enabled.", False)
    for required in flag.prerequisites:
        served = compiled.evaluate(required.flag, context)
        wanted = " or ".join(required.variants)
        found = served.variant or f"nothing ({served.error_code})"
        if served.variant not in required.variants:
            text = f"Flag {required.flag} serves {found}, not {wanted}; so {flag.off_variant}."
            yield Step(Part.PREREQUISITE, required.flag, text, True, matched=False)
            return
        text = f"Flag {required.flag} serves {found}."
        yield Step(Part.PREREQUISITE, required.flag, text, False, matched=True)
    explainer = ConditionExplainer(compiled.snapshot.segments, compiled.key_sets)
    for rule in flag.rules:
        explained = explainer.explain(rule.when, context)
        if explained.holds:
            beginning = f"The context meets rule {rule.id}"
            step = _serving(Part.RULE, rule.id, beginning, rule.serve, flag, context)
            yield replace(step, matched=True, why=explained.why)
            yield from _release_step(flag.release, rule.id, evaluation, context)
            return
        text = f"The context does not meet rule {rule.id}."
        yield Step(Part.RULE, rule.id, text, False, matched=False, why=explained.why)
    yield _serving(Part.DEFAULT, "", "The default rule applies", flag.default, flag, context)
    yield from _release_step(flag.release, None, evaluation, context)


def _serving(
    part: Part, name: str, beginning: str, serve: Serve, flag: Flag, context: Context
) -> Step:
    if serve.variant is not None:
        return Step(part, name, f"{beginning}: it serves {serve.variant}.", True)
    shares = ", ".join(f"{each.variant} {each.weight:g} %" for each in serve.split)
    text = f"{beginning}: it splits users into {shares}."
    number = _bucket(flag.salt, context)
    if number is None:
        return Step(part, name, text, True)
    end = 0
    for each in serve.split:
        end += buckets_below(each.weight)
        if number < end:
            break
    return Step(part, name, text, True, bucket=number, opened_below=end)


def _release_step(
    release: ActiveRelease | None, rule: str | None, evaluation: Evaluation, context: Context
) -> Iterator[Step]:
    if release is None or release.rule != rule or evaluation.error_code is not None:
        return
    number = limit = None
    own = [each for each in evaluation.exposures if each.release == release.id]
    if own:
        stage = own[0].stratum
        opened = "its draft measures" if stage == 0 else f"stage {stage} opened"
        text = f"Release {release.id} gives {evaluation.variant}: {own[0].arm} of what {opened}."
        percentage = next(each.percentage for each in release.openings if each.stage == stage)
        number, limit = _bucket(release.salt, context), buckets_below(percentage)
    else:
        text = f"Release {release.id} has not opened to this context; it gets {release.control}."
    yield Step(
        *(Part.RELEASE, release.id, text, True),
        bucket=number,
        opened_below=None if number is None else limit,
    )


def _bucket(salt: str, context: Context) -> int | None:
    key = context.targeting_key
    return None if key is None else bucket(salt, key)
