"""Summarizes many simulated releases, with confidence intervals of 95 %."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tidegate_server.decisions.detectable_ratio import LARGEST_RATIO
from tidegate_server.domain.policy import Policy
from tidegate_server.domain.release import Basis, State
from tidegate_server.whatif import confidence_intervals
from tidegate_server.whatif.confidence_intervals import Estimate
from tidegate_server.whatif.simulation import SimulationRun, StageRun

MEDIAN, MOST = 0.5, 0.9
"""The quantiles of a summary: half of the runs and nine of ten stay below them."""


@dataclass(frozen=True, slots=True)
class Spread:
    """A quantity over many releases: its median, and what nine of ten stay below."""

    median: Estimate
    most: Estimate


@dataclass(frozen=True, slots=True)
class StageForecast:
    """What simulated releases do at one stage.

    Attributes:
        name, percentage: of the stage.
        reached: the probability that a release reaches it.
        left: the probability that a release leaves it for the next stage, or completes.
        on_evidence, on_time: the share of the releases that left it that did so on evidence, and
            on time; None: no release left it. Nobody leaves the last stage on evidence: a release
            completes after its bake.
        detectable_ratio: the smallest ratio of errors that would have been noticed when it left,
            at most ``LARGEST_RATIO``; None: no release left it with a check of errors.
        stopped: the probability that a release is first stopped there.
        undecided: the probability that a release is still there, undecided, in the end.
        cut_short: how many releases were there when the time ran out; they count nowhere else.
        time_ms: the time that a release spends there before it leaves.
        missing: what the stage lacked in the last decision, in words, of one release that did
            not leave it and was not stopped; None: there was no such release.
    """

    name: str
    percentage: float
    reached: Estimate | None
    left: Estimate | None
    on_evidence: Estimate | None
    on_time: Estimate | None
    detectable_ratio: Spread | None
    stopped: Estimate | None
    undecided: Estimate | None
    cut_short: int
    time_ms: Spread | None
    missing: str | None


@dataclass(frozen=True, slots=True)
class Forecast:
    """The summary of simulated releases of one kind.

    Attributes:
        runs: how many there were, without those that were cut short.
        cut_short: how many were ended before their horizon, because time ran out.
        completed: the probability that a release completes.
        stopped: the probability that the policy stops a release at least once.
        undecided: the probability that a release neither completes nor is stopped in time.
        full_ms: the time to the last stage, of releases that reached it.
        completed_ms: the time to completion, of releases that completed.
        stopped_ms: the time to the first stop, of releases that were stopped.
        hurt: users who failed with the treatment.
        extra: failures that the control would not have had.
        exposed: operations with the treatment.
        stages: how many releases were first stopped at each stage.
        by_stage: what they do at each stage.
    """

    runs: int
    cut_short: int
    completed: Estimate | None
    stopped: Estimate | None
    undecided: Estimate | None
    full_ms: Spread | None
    completed_ms: Spread | None
    stopped_ms: Spread | None
    hurt: Spread | None
    extra: Spread | None
    exposed: Spread | None
    stages: tuple[int, ...]
    by_stage: tuple[StageForecast, ...]


def forecast(simulated: Sequence[SimulationRun], policy: Policy) -> Forecast:
    """Summarize releases of one kind under a policy."""
    runs = [each for each in simulated if not each.cut_short]
    number = len(runs)
    completed = [each for each in runs if each.state is State.COMPLETED]
    stopped = [each for each in runs if each.stopped]
    by_stage = tuple(
        _stage_forecast(simulated, stage, policy) for stage in range(1, len(policy.stages) + 1)
    )
    return Forecast(
        runs=number,
        cut_short=len(simulated) - number,
        completed=confidence_intervals.share(len(completed), number),
        stopped=confidence_intervals.share(len(stopped), number),
        undecided=confidence_intervals.share(sum(map(_is_undecided, runs)), number),
        full_ms=_spread([each.full_ms for each in runs if each.full_ms is not None]),
        completed_ms=_spread([each.elapsed_ms for each in completed]),
        stopped_ms=_spread([each.stopped_ms for each in stopped if each.stopped_ms is not None]),
        hurt=_spread([each.hurt for each in runs]),
        extra=_spread([each.extra for each in runs]),
        exposed=_spread([each.exposed for each in runs]),
        stages=tuple(
            sum(each.stopped_stage == stage for each in stopped)
            for stage in range(1, len(policy.stages) + 1)
        ),
        by_stage=by_stage,
    )


def _stage_forecast(
    simulated: Sequence[SimulationRun], stage: int, policy: Policy
) -> StageForecast:
    runs = [each for each in simulated if not each.cut_short]
    number = len(runs)
    here = [each.stages[stage - 1] for each in runs]
    left = [each for each in here if each.left_ms is not None]
    stuck = [
        each
        for each in simulated
        if each.stage == stage and (each.cut_short or _is_undecided(each))
    ]
    last = next((each.stages[stage - 1].decision for each in stuck), None)
    return StageForecast(
        name=policy.stages[stage - 1].name,
        percentage=policy.opened(stage),
        reached=confidence_intervals.share(
            sum(each.entered_ms is not None for each in here), number
        ),
        left=confidence_intervals.share(len(left), number),
        on_evidence=None if stage == len(policy.stages) else _share_on(Basis.EVIDENCE, left),
        on_time=_share_on(Basis.TIME, left),
        detectable_ratio=(
            _spread([_detectable_ratio(each) for each in left]) if policy.compares_errors else None
        ),
        stopped=confidence_intervals.share(
            sum(each.stopped_stage == stage for each in runs), number
        ),
        undecided=confidence_intervals.share(sum(not each.cut_short for each in stuck), number),
        cut_short=sum(each.cut_short for each in stuck),
        time_ms=_spread([each.time_ms for each in left if each.time_ms is not None]),
        missing=last.reason if last else None,
    )


def _share_on(basis: Basis, left: Sequence[StageRun]) -> Estimate | None:
    decisions = [each.decision for each in left if each.decision is not None]
    return confidence_intervals.share(
        sum(each.basis is basis for each in decisions), len(decisions)
    )


def _detectable_ratio(left: StageRun) -> float:
    """Return the detectable ratio of a release when it left a stage; if none, the largest."""
    found = None if left.decision is None else left.decision.detectable_ratio
    return LARGEST_RATIO if found is None else found


def _is_undecided(run: SimulationRun) -> bool:
    return not run.stopped and run.state is not State.COMPLETED


def _spread(values: Sequence[float]) -> Spread | None:
    median = confidence_intervals.quantile(values, MEDIAN)
    most = confidence_intervals.quantile(values, MOST)
    return None if median is None or most is None else Spread(median, most)
