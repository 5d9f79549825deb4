"""Summarizes many simulated releases, with confidence intervals of 95 %."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tidegate_server.domain.release import State
from tidegate_server.whatif import confidence_intervals
from tidegate_server.whatif.confidence_intervals import Estimate
from tidegate_server.whatif.simulation import SimulationRun

MEDIAN, MOST = 0.5, 0.9
"""The quantiles of a summary: half of the runs and nine of ten stay below them."""


@dataclass(frozen=True, slots=True)
class Spread:
    """A quantity over many releases: its median, and what nine of ten stay below."""

    median: Estimate
    most: Estimate


@dataclass(frozen=True, slots=True)
class Forecast:
    """The summary of simulated releases of one kind.

    Attributes:
        runs: how many there were.
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
    """

    runs: int
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


def forecast(runs: Sequence[SimulationRun], stages: int) -> Forecast:
    """Summarize releases under a policy that has this many stages."""
    number = len(runs)
    completed = [each for each in runs if each.state is State.COMPLETED]
    stopped = [each for each in runs if each.stopped]
    undecided = [each for each in runs if not each.stopped and each.state is not State.COMPLETED]
    return Forecast(
        runs=number,
        completed=confidence_intervals.share(len(completed), number),
        stopped=confidence_intervals.share(len(stopped), number),
        undecided=confidence_intervals.share(len(undecided), number),
        full_ms=_spread([each.full_ms for each in runs if each.full_ms is not None]),
        completed_ms=_spread([each.elapsed_ms for each in completed]),
        stopped_ms=_spread([each.stopped_ms for each in stopped if each.stopped_ms is not None]),
        hurt=_spread([each.hurt for each in runs]),
        extra=_spread([each.extra for each in runs]),
        exposed=_spread([each.exposed for each in runs]),
        stages=tuple(
            sum(each.stopped_stage == stage for each in stopped) for stage in range(1, stages + 1)
        ),
    )


def _spread(values: Sequence[float]) -> Spread | None:
    median = confidence_intervals.quantile(values, MEDIAN)
    most = confidence_intervals.quantile(values, MOST)
    return None if median is None or most is None else Spread(median, most)
