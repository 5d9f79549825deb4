"""The steps of one evaluation in words: what each part of a flag said, until one decided.

The order is that of ``tidegate.evaluation.flag_compiler``, whose code evaluates every step: a rule
is tried as a flag that has no other one. So an explanation never differs from an evaluation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from tidegate.context import Context
from tidegate.evaluation.compiled_snapshot import CompiledSnapshot, compile_snapshot
from tidegate.evaluation.results import Evaluation
from tidegate.model import ActiveRelease, Flag, Serve, Snapshot, Variant

MET = "met"


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
    """

    part: Part
    name: str
    text: str
    decides: bool


@dataclass(frozen=True, slots=True)
class ExplainedEvaluation:
    """An evaluation and its steps."""

    evaluation: Evaluation
    steps: tuple[Step, ...]


def explain_evaluation(snapshot: Snapshot, key: str, context: Context) -> ExplainedEvaluation:
    """Evaluate a flag of a snapshot for a context, step by step.

    A flag that the snapshot does not have has no steps.
    """
    compiled = compile_snapshot(snapshot)
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
            yield Step(Part.PREREQUISITE, required.flag, text, True)
            return
        yield Step(Part.PREREQUISITE, required.flag, f"Flag {required.flag} serves {found}.", False)
    rules = _single_rules(compiled.snapshot, flag)
    for rule in flag.rules:
        if rules.evaluate(rule.id, context).variant == MET:
            yield _serving(Part.RULE, rule.id, f"The context meets rule {rule.id}", rule.serve)
            yield from _release_step(flag.release, rule.id, evaluation)
            return
        text = f"The context does not meet rule {rule.id}."
        yield Step(Part.RULE, rule.id, text, False)
    yield _serving(Part.DEFAULT, "", "The default rule applies", flag.default)
    yield from _release_step(flag.release, None, evaluation)


def _single_rules(snapshot: Snapshot, flag: Flag) -> CompiledSnapshot:
    """Return a flag for each rule, by the rule's id, that serves ``met`` to who meets it."""
    base = replace(
        flag,
        type="boolean",
        variants=(Variant(MET, True), Variant("not-met", False)),
        off_variant="not-met",
        default=Serve("not-met"),
        prerequisites=(),
        release=None,
    )
    flags = {
        rule.id: replace(base, key=rule.id, rules=(replace(rule, serve=Serve(MET)),))
        for rule in flag.rules
    }
    return compile_snapshot(replace(snapshot, flags=flags))


def _serving(part: Part, name: str, beginning: str, serve: Serve) -> Step:
    if serve.variant is not None:
        return Step(part, name, f"{beginning}: it serves {serve.variant}.", True)
    shares = ", ".join(f"{each.variant} {each.weight:g} %" for each in serve.split)
    return Step(part, name, f"{beginning}: it splits users into {shares}.", True)


def _release_step(
    release: ActiveRelease | None, rule: str | None, evaluation: Evaluation
) -> Iterator[Step]:
    if release is None or release.rule != rule or evaluation.error_code is not None:
        return
    own = [each for each in evaluation.exposures if each.release == release.id]
    if own:
        stage = own[0].stratum
        opened = "its draft measures" if stage == 0 else f"stage {stage} opened"
        text = f"Release {release.id} gives {evaluation.variant}: {own[0].arm} of what {opened}."
    else:
        text = f"Release {release.id} has not opened to this context; it gets {release.control}."
    yield Step(Part.RELEASE, release.id, text, True)
