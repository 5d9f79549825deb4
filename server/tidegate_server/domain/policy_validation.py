"""What a policy may say: ladders that can be climbed, times that can be kept."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

from tidegate_server.domain import field_problems
from tidegate_server.domain.check_validation import of_checks
from tidegate_server.domain.gate_validation import LONGEST_MS, of_gates
from tidegate_server.domain.policy import HOUR, Policy, Stage
from tidegate_server.errors import FieldProblem

SHORTEST_INTERVAL_MS = 500
LONGEST_INTERVAL_MS = HOUR
MOST_STAGES = 50
MOST_SAMPLES = 1_000_000_000


def with_stage_names(policy: Policy) -> Policy:
    """The policy, with a stage that has no name called ``stage-N``."""
    stages = tuple(
        replace(stage, name=stage.name or f"stage-{number}")
        for number, stage in enumerate(policy.stages, start=1)
    )
    return replace(policy, stages=stages)


def check_policy(
    policy: Policy,
    segments: Collection[str],
    webhooks: Collection[str] = (),
    mute: Collection[str] = (),
) -> None:
    """Refuse a policy that could not be carried out.

    Args:
        policy: what a client wrote, its stages named.
        segments: the keys of the project's segments.
        webhooks: the keys of the project's webhooks.
        mute: those of them that are told and cannot answer.

    Raises:
        Invalid: every problem, by a pointer into the client's document.
    """
    field_problems.refuse(
        f"policy {policy.key}",
        [
            *field_problems.of_key(policy.key),
            *_of_stages(policy, segments),
            *of_checks(policy),
            *_of_times(policy),
            *of_gates(policy, webhooks, mute),
        ],
    )


def _of_stages(policy: Policy, segments: Collection[str]) -> Iterator[FieldProblem]:
    stages = policy.stages
    if not 1 <= len(stages) <= MOST_STAGES:
        yield FieldProblem(
            "/stages", f"A policy has 1 to {MOST_STAGES} stages; this one has {len(stages)}."
        )
        return
    yield from field_problems.of_twice(
        [stage.name for stage in stages], "/stages/{}/name", "stages"
    )
    sound = True
    for index, stage in enumerate(stages):
        at = f"/stages/{index}"
        yield from field_problems.of_name(stage.name, f"{at}/name")
        for problem in field_problems.of_percentage(stage.percentage, f"{at}/percentage"):
            sound = False
            yield problem
        yield from _of_stage_segments(stage, at, segments)
        yield from _of_stage_needs(stage, at, policy)
    if sound:
        yield from _of_ladder(policy)


def _of_ladder(policy: Policy) -> Iterator[FieldProblem]:
    stages = policy.stages
    if policy.opened(1) == 100 and not _has_error_limit(policy):
        yield FieldProblem(
            "/stages/0/percentage",
            "The first stage leaves no control group and there is none before it, so no check "
            "against control could be answered. Open less than 100 % first (50, for example), or "
            "give an error_rate check with compare: absolute and a threshold.",
        )
    for index, stage in enumerate(stages):
        yield from _of_step(stages[:index], stage, f"/stages/{index}")
    last = stages[-1]
    at = f"/stages/{len(stages) - 1}"
    if last.segments:
        yield FieldProblem(
            f"{at}/segments",
            "The last stage opens everyone; add a stage without segments at 100 %.",
        )
    elif last.percentage != 100:
        yield FieldProblem(
            f"{at}/percentage",
            f"The last stage opens 100 %, not {last.percentage:g} %; add a stage at 100 %.",
        )
    else:
        yield from _of_holdback(policy)


def _of_holdback(policy: Policy) -> Iterator[FieldProblem]:
    """The holdback must leave the last stage more than any earlier one opened to everyone."""
    if not policy.holdback:
        return
    yield from field_problems.of_percentage(policy.holdback, "/holdback")
    wide = [stage.percentage for stage in policy.stages[:-1] if not stage.segments]
    most = max(wide, default=0.0)
    if policy.opened(len(policy.stages)) <= most:
        yield FieldProblem(
            "/holdback",
            f"{policy.holdback:g} % kept back leaves the last stage no more than the {most:g} % "
            "that were open before it; hold back less.",
        )


def _has_error_limit(policy: Policy) -> bool:
    return any(check.rate_limit for check in policy.checks)


def _of_step(earlier: tuple[Stage, ...], stage: Stage, pointer: str) -> Iterator[FieldProblem]:
    """A stage must not open less than an earlier one that reaches all its people did."""
    wider = [each for each in earlier if _reaches(each, stage)]
    if not wider:
        return
    most = max(wider, key=lambda each: each.percentage)
    same = set(most.segments) == set(stage.segments)
    if stage.percentage < most.percentage and same:
        yield FieldProblem(
            f"{pointer}/percentage",
            f"{stage.percentage:g} % is less than the {most.percentage:g} % that stage "
            f"{most.name} opened to the same people; stages never shrink.",
        )
    elif stage.percentage <= most.percentage and not same:
        yield FieldProblem(
            f"{pointer}/percentage",
            f"This opens nobody new: stage {most.name} opened {most.percentage:g} % of them "
            "already. Open more than that, or leave this stage out.",
        )


def _reaches(earlier: Stage, stage: Stage) -> bool:
    if not earlier.segments:
        return True
    return bool(stage.segments) and set(stage.segments) <= set(earlier.segments)


def _of_stage_segments(
    stage: Stage, pointer: str, segments: Collection[str]
) -> Iterator[FieldProblem]:
    yield from field_problems.of_twice(stage.segments, pointer + "/segments/{}", "entries for")
    for index, key in enumerate(stage.segments):
        if key not in segments:
            yield FieldProblem(
                f"{pointer}/segments/{index}", f"There is no segment {key!r}; create it first."
            )


def _of_stage_needs(stage: Stage, pointer: str, policy: Policy) -> Iterator[FieldProblem]:
    yield from _of_duration(stage.min_duration_ms, f"{pointer}/min_duration")
    if 0 < stage.min_duration_ms < policy.interval_ms:
        yield FieldProblem(
            f"{pointer}/min_duration",
            "This is shorter than the interval between evaluations, so it could not be kept. "
            "Make the interval shorter, or write 0s.",
        )
    if stage.max_duration_ms is not None:
        yield from _of_duration(stage.max_duration_ms, f"{pointer}/max_duration")
        if stage.max_duration_ms <= stage.min_duration_ms:
            yield FieldProblem(
                f"{pointer}/max_duration", "This must be longer than the stage's min_duration."
            )
    if not 0 <= stage.min_samples <= MOST_SAMPLES:
        yield FieldProblem(f"{pointer}/min_samples", f"This must be between 0 and {MOST_SAMPLES}.")


def _of_times(policy: Policy) -> Iterator[FieldProblem]:
    if policy.local_breaker and policy.breaker_tolerance is None:
        yield FieldProblem(
            "/local_breaker",
            "A local breaker goes by the error rate against the control group, and no check "
            "does. Add one, or leave local_breaker out.",
        )
    if not SHORTEST_INTERVAL_MS <= policy.interval_ms <= LONGEST_INTERVAL_MS:
        yield FieldProblem("/interval", "The interval must be between 500ms and 1h.")
    yield from _of_duration(policy.bake_ms, "/bake")
    yield from _of_duration(policy.no_data.after_ms, "/no_data/after")
    if 0 <= policy.no_data.after_ms < policy.interval_ms:
        yield FieldProblem(
            "/no_data/after",
            "This is shorter than the interval, so every evaluation would find no data. "
            "Make it at least as long.",
        )


def _of_duration(milliseconds: int, pointer: str) -> Iterator[FieldProblem]:
    if not 0 <= milliseconds <= LONGEST_MS:
        yield FieldProblem(pointer, "A duration must be between 0s and 365d.")
