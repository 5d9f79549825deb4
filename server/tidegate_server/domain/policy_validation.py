"""Validates policies: stages that never shrink, and times that can be kept."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

from tidegate_server.domain.check_validation import check_problems
from tidegate_server.domain.error_rate import error_rate_problems
from tidegate_server.domain.field_problems import (
    duplicate_problems,
    duration_problems,
    key_problems,
    missing_problems,
    name_problems,
    percentage_problems,
    raise_problems,
)
from tidegate_server.domain.gate_validation import gate_problems
from tidegate_server.domain.last_stage import unwatched_problems
from tidegate_server.domain.policy import HOUR, Policy, Stage, Undecided
from tidegate_server.errors import FieldProblem

MIN_INTERVAL_MS = 500
MAX_INTERVAL_MS = HOUR
MAX_STAGES = 50
MAX_SAMPLES = 1_000_000_000
MAX_HOLDBACK = 50.0

MIN_HARM_BUDGET = 0.00001
"""With less, a stage would need hundreds of thousands of operations for its evidence of safety."""

MAX_HARM_BUDGET = 0.1
"""No advance risks a larger excess than this, so a larger budget would change nothing."""

HARM_BUDGET_RANGE = (
    f"This must be between {MIN_HARM_BUDGET:.5f} and {MAX_HARM_BUDGET:g}: 0.002 risks two more "
    "failing operations in a thousand of all traffic."
)


def with_stage_names(policy: Policy) -> Policy:
    """Return the policy with the name ``stage-N`` in each stage that has no name."""
    stages = tuple(
        replace(stage, name=stage.name or f"stage-{number}")
        for number, stage in enumerate(policy.stages, start=1)
    )
    return replace(policy, stages=stages)


def check_policy(
    policy: Policy,
    segments: Collection[str],
    webhooks: Collection[str] = (),
    cannot_confirm: Collection[str] = (),
) -> None:
    """Raise ``Invalid`` with every problem of a policy, each with a pointer into the document.

    Args:
        policy: what a client wrote, with stage names.
        segments: the keys of the project's segments.
        webhooks: the keys of the project's webhooks.
        cannot_confirm: those of them that cannot answer.
    """
    raise_problems(
        f"policy {policy.key}", policy_problems(policy, segments, webhooks, cannot_confirm)
    )


def policy_problems(
    policy: Policy,
    segments: Collection[str],
    webhooks: Collection[str] = (),
    cannot_confirm: Collection[str] = (),
) -> Iterator[FieldProblem]:
    """Yield what is wrong with a policy; arguments as for ``check_policy``."""
    yield from key_problems(policy.key)
    stage_problems = tuple(_stages_problems(policy, segments))
    yield from stage_problems
    yield from check_problems(policy)
    yield from error_rate_problems(policy)
    if not stage_problems:
        yield from unwatched_problems(policy)
    yield from _time_problems(policy)
    yield from gate_problems(policy, webhooks, cannot_confirm)


def _stages_problems(policy: Policy, segments: Collection[str]) -> Iterator[FieldProblem]:
    stages = policy.stages
    if not 1 <= len(stages) <= MAX_STAGES:
        yield FieldProblem(
            "/stages", f"A policy has 1 to {MAX_STAGES} stages; this one has {len(stages)}."
        )
        return
    yield from duplicate_problems([stage.name for stage in stages], "/stages/{}/name", "stages")
    valid_percentages = True
    for index, stage in enumerate(stages):
        pointer = f"/stages/{index}"
        yield from name_problems(stage.name, f"{pointer}/name")
        for problem in percentage_problems(stage.percentage, f"{pointer}/percentage"):
            valid_percentages = False
            yield problem
        at_segments = pointer + "/segments/{}"
        yield from duplicate_problems(stage.segments, at_segments, "entries for")
        yield from missing_problems(stage.segments, segments, at_segments, "segment")
        yield from _stage_requirement_problems(stage, pointer, policy)
    if valid_percentages:
        yield from _stage_order_problems(policy)


def _stage_requirement_problems(
    stage: Stage, pointer: str, policy: Policy
) -> Iterator[FieldProblem]:
    yield from duration_problems(stage.min_duration_ms, f"{pointer}/min_duration")
    if 0 < stage.min_duration_ms < policy.interval_ms:
        yield FieldProblem(
            f"{pointer}/min_duration",
            "This is shorter than the interval between evaluations. Shorten the interval, or "
            "write 0s.",
        )
    if stage.max_duration_ms is not None:
        yield from duration_problems(stage.max_duration_ms, f"{pointer}/max_duration")
        if stage.max_duration_ms <= stage.min_duration_ms:
            yield FieldProblem(
                f"{pointer}/max_duration", "This must be longer than the stage's min_duration."
            )
        elif stage is policy.stages[-1] and stage.max_duration_ms <= policy.bake_ms:
            yield FieldProblem(
                f"{pointer}/max_duration",
                "This must be longer than the bake, which the last stage needs to complete.",
            )
    elif stage.undecided is not Undecided.HOLD:
        yield FieldProblem(
            f"{pointer}/undecided",
            f"{stage.undecided} applies when max_duration is over, and this stage has none. Give "
            "a max_duration (for example 4h), or leave undecided out.",
        )
    if not 0 <= stage.min_samples <= MAX_SAMPLES:
        yield FieldProblem(f"{pointer}/min_samples", f"This must be between 0 and {MAX_SAMPLES}.")


def _stage_order_problems(policy: Policy) -> Iterator[FieldProblem]:
    stages = policy.stages
    if policy.opened(1) == 100 and not any(check.rate_limit for check in policy.checks):
        yield FieldProblem(
            "/stages/0/percentage",
            "A first stage of 100 % has no control group, so checks against control cannot "
            "work. Open less than 100 % first (for example 50), or add an error_rate check "
            "with compare: absolute and a threshold.",
        )
    for index, stage in enumerate(stages):
        yield from _shrinking_problems(stages[:index], stage, f"/stages/{index}")
    last = stages[-1]
    pointer = f"/stages/{len(stages) - 1}"
    if last.segments:
        yield FieldProblem(
            f"{pointer}/segments",
            "The last stage must open to everyone; add a stage without segments at 100 %.",
        )
    elif last.percentage != 100:
        yield FieldProblem(
            f"{pointer}/percentage",
            f"The last stage must open 100 %, not {last.percentage:g} %; add a stage at 100 %.",
        )
    else:
        yield from _holdback_problems(policy)


def _shrinking_problems(
    earlier: tuple[Stage, ...], stage: Stage, pointer: str
) -> Iterator[FieldProblem]:
    """Yield a problem if an earlier stage opened as much to all users of this stage."""
    wider = [each for each in earlier if _includes(each, stage)]
    if not wider:
        return
    widest = max(wider, key=lambda each: each.percentage)
    same_segments = set(widest.segments) == set(stage.segments)
    if stage.percentage < widest.percentage and same_segments:
        yield FieldProblem(
            f"{pointer}/percentage",
            f"{stage.percentage:g} % is less than the {widest.percentage:g} % that stage "
            f"{widest.name} opened to the same users; stages cannot shrink.",
        )
    elif stage.percentage <= widest.percentage and not same_segments:
        yield FieldProblem(
            f"{pointer}/percentage",
            f"This stage opens to no new users: stage {widest.name} opened "
            f"{widest.percentage:g} % of them already. Raise the percentage, or remove this "
            "stage.",
        )


def _includes(earlier: Stage, stage: Stage) -> bool:
    if not earlier.segments:
        return True
    return bool(stage.segments) and set(stage.segments) <= set(earlier.segments)


def _holdback_problems(policy: Policy) -> Iterator[FieldProblem]:
    """Yield a problem unless the last stage, less the holdback, opens more than any before."""
    if not policy.holdback:
        return
    yield from percentage_problems(policy.holdback, "/holdback")
    if policy.holdback > MAX_HOLDBACK:
        yield FieldProblem(
            "/holdback",
            f"A holdback is at most {MAX_HOLDBACK:g} %: it opens at once when the release "
            "completes, so most users must have had the treatment before. Add a stage instead.",
        )
    earlier = [stage.percentage for stage in policy.stages[:-1] if not stage.segments]
    widest = max(earlier, default=0.0)
    if policy.opened(len(policy.stages)) <= widest:
        yield FieldProblem(
            "/holdback",
            f"With a holdback of {policy.holdback:g} % the last stage opens no more than the "
            f"{widest:g} % before it; choose a smaller holdback.",
        )


def _time_problems(policy: Policy) -> Iterator[FieldProblem]:
    if policy.local_breaker and policy.breaker_tolerance is None:
        yield FieldProblem(
            "/local_breaker",
            "A local breaker needs an error_rate check against control. Add one, or leave "
            "local_breaker out.",
        )
    if not MIN_INTERVAL_MS <= policy.interval_ms <= MAX_INTERVAL_MS:
        yield FieldProblem("/interval", "The interval must be between 500ms and 1h.")
    if not MIN_HARM_BUDGET <= policy.harm_budget <= MAX_HARM_BUDGET:
        yield FieldProblem("/harm_budget", HARM_BUDGET_RANGE)
    yield from duration_problems(policy.bake_ms, "/bake")
    yield from duration_problems(policy.no_data.after_ms, "/no_data/after")
    if 0 <= policy.no_data.after_ms < policy.interval_ms:
        yield FieldProblem(
            "/no_data/after",
            "This must be at least the interval; otherwise the release would be without data at "
            "every evaluation.",
        )
