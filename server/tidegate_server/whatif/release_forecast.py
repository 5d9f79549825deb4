"""Forecasts when a release opens its next stages, from many rehearsals of its rest.

The rehearsals go on side by side, so that at any time all of them have looked equally far ahead.
Whoever has to stop early thus loses the far future, not the slow rehearsals.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tidegate_server.decisions.check_status import check_statuses
from tidegate_server.decisions.progress import Progress
from tidegate_server.decisions.stage_gates import Gate, GateKind, stage_gates
from tidegate_server.domain.policy import DAY
from tidegate_server.domain.release import LIVE_STATES, Release, State
from tidegate_server.whatif.rehearsal import PresentTraffic, Rehearsal, present_traffic
from tidegate_server.whatif.sampling import RandomGenerator

REHEARSALS = 60
"""How many times the rest of a release is rehearsed."""

HORIZON_MS = 30 * DAY
"""How far a forecast looks ahead."""

FIRST_LOOK_MS = 60_000.0
"""How far the rehearsals go before they wait for each other the first time."""

LOOK_GROWTH = 1.25
"""How many times as far they go each time after that."""

MIN_WINDOWS = 2
"""Windows with data that a stage must have before its rates are known well enough."""

NO_PERSON = frozenset({GateKind.APPROVALS, GateKind.CONFIRMATION})


@dataclass(frozen=True, slots=True)
class ForecastTime:
    """When something comes, over the rehearsals.

    Attributes:
        reached: the share of the rehearsals in which it came within the time looked ahead.
        early_ms, median_ms, late_ms: when it came in a tenth, in half and in nine tenths of the
            rehearsals; None: in fewer, so that this lies beyond, or never comes.
    """

    reached: float
    early_ms: int | None
    median_ms: int | None
    late_ms: int | None


@dataclass(frozen=True, slots=True)
class Obstacle:
    """What the rehearsals lacked that did not reach the next stage, and the share that lacked it.

    ``check`` and ``arm`` as in ``Gate``.
    """

    kind: GateKind
    check: int | None
    arm: str | None
    share: float


@dataclass(frozen=True, slots=True)
class ReleaseForecast:
    """The forecast of a release.

    Attributes:
        made_ms: the time of the evaluation that it starts from.
        until_ms: how far the rehearsals looked ahead.
        rehearsals: how many there were; 0: there is no forecast.
        reason: why there is none; empty otherwise.
        next_stage: when the next stage opens; None: this is the last one.
        full: when the last stage opens.
        completed: when the release completes.
        stopped: the share of the rehearsals in which the policy stopped the release.
        obstacles: what was in the way of the next stage, or of completion, the most frequent
            first.
        operations_per_minute: the traffic that it expects.
        assumptions: what it takes for granted, in words.
    """

    made_ms: int
    until_ms: int
    rehearsals: int = 0
    reason: str = ""
    next_stage: ForecastTime | None = None
    full: ForecastTime | None = None
    completed: ForecastTime | None = None
    stopped: float = 0.0
    obstacles: tuple[Obstacle, ...] = ()
    operations_per_minute: float = 0.0
    assumptions: tuple[str, ...] = ()


def forecast_release(
    release: Release,
    progress: Progress,
    random_generator: Callable[[int], RandomGenerator],
    *,
    is_over: Callable[[], bool] = lambda: False,
    rehearsals: int = REHEARSALS,
    horizon_ms: int = HORIZON_MS,
) -> ReleaseForecast:
    """Return the forecast of a release.

    Args:
        release: as it is now.
        progress: its progress, which follows the release.
        random_generator: returns the generator of a rehearsal, from 0.
        is_over: whether the time for the forecast is over; asked before each step. The first look
            is taken whatever it says.
        rehearsals: how many there are.
        horizon_ms: how far to look ahead.
    """
    made_ms = progress.evaluated_ms
    reason = _no_forecast(release, progress)
    traffic = None if reason else present_traffic(release, progress)
    if reason or traffic is None:
        return ReleaseForecast(
            made_ms, made_ms, reason=reason or "no operation has ended in this stage"
        )
    runs = [
        Rehearsal(release, progress, traffic, random_generator(number))
        for number in range(rehearsals)
    ]
    until_ms = _run(runs, made_ms, horizon_ms, is_over)
    last = release.is_in_last_stage
    return ReleaseForecast(
        made_ms=made_ms,
        until_ms=until_ms,
        rehearsals=rehearsals,
        next_stage=None if last else _time([each.next_stage_ms for each in runs], until_ms),
        full=_time([each.full_ms for each in runs], until_ms),
        completed=_time([each.completed_ms for each in runs], until_ms),
        stopped=sum(each.stopped_ms is not None and each.stopped_ms <= until_ms for each in runs)
        / rehearsals,
        obstacles=_obstacles(runs, last=last),
        operations_per_minute=traffic.operations_per_minute,
        assumptions=tuple(_assumptions(release, traffic)),
    )


def _no_forecast(release: Release, progress: Progress) -> str:
    """Return why there is no forecast of a release; empty if there is one."""
    if release.state not in LIVE_STATES:
        return "the release has ended"
    if release.state is State.DRAFT:
        return "the release is a draft; a person begins it"
    if release.closed:
        return "the release is in a cooldown, in which nothing is open"
    if release.state is State.PAUSED:
        return "the release is paused; a person resumes it"
    if release.state is State.KILLED:
        return "the flag is killed; a person restores it"
    if progress.stage_data_windows < MIN_WINDOWS:
        return "the stage has too little data to know its traffic"
    silent_ms = progress.evaluated_ms - max(progress.control_ms, progress.treatment_ms)
    if silent_ms >= release.policy.no_data.after_ms:
        return "no operations end at present"
    return ""


def _run(
    runs: Sequence[Rehearsal], made_ms: int, horizon_ms: int, is_over: Callable[[], bool]
) -> int:
    """Run all rehearsals side by side; return the time up to which all of them have come."""
    ahead_ms = FIRST_LOOK_MS
    done_ms, end_ms = made_ms, made_ms + horizon_ms
    while done_ms < end_ms and any(each.is_running for each in runs):
        until_ms = min(end_ms, made_ms + round(ahead_ms))
        for each in runs:
            if done_ms > made_ms and is_over():
                return done_ms
            each.run_until(until_ms)
        done_ms, ahead_ms = until_ms, ahead_ms * LOOK_GROWTH
    return done_ms if any(each.is_running for each in runs) else end_ms


def _time(times_ms: Sequence[int | None], until_ms: int) -> ForecastTime:
    known = sorted(each for each in times_ms if each is not None and each <= until_ms)

    def quantile(part: float) -> int | None:
        place = math.ceil(part * len(times_ms)) - 1
        return known[place] if place < len(known) else None

    return ForecastTime(len(known) / len(times_ms), quantile(0.1), quantile(0.5), quantile(0.9))


def _obstacles(runs: Sequence[Rehearsal], *, last: bool) -> tuple[Obstacle, ...]:
    """Return what is missing in the rehearsals that neither got on nor were stopped."""
    missing: Counter[tuple[GateKind, int | None, str | None]] = Counter()
    for each in runs:
        got_on = each.completed_ms if last else each.next_stage_ms
        if got_on is None and each.stopped_ms is None:
            missing.update(
                {(gate.kind, gate.check, gate.arm) for gate in _gates(each) if gate.missing}
            )
    return tuple(
        Obstacle(kind, check, arm, number / len(runs))
        for (kind, check, arm), number in missing.most_common()
    )


def _gates(run: Rehearsal) -> Sequence[Gate]:
    results = [status.result() for status in check_statuses(run.release, run.progress)]
    gates = stage_gates(run.release, run.progress, results, (), run.progress.evaluated_ms)
    return [each for each in gates if each.kind not in NO_PERSON]


def _assumptions(release: Release, traffic: PresentTraffic) -> Sequence[str]:
    policy = release.policy
    assumptions = ["traffic and failures stay as they are in this stage"]
    if any(stage.approval is not None for stage in policy.stages[release.stage - 1 :]):
        assumptions.append("people approve at once")
    if policy.confirm:
        assumptions.append("webhooks confirm")
    if traffic.guessed:
        assumptions.append(
            "the open segments are 5 % of the users, since nobody else has been counted"
        )
    return assumptions
