"""Summarizes the runs of a backtest, next to what really happened, with its limits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from tidegate_server.decisions.evidence_words import duration
from tidegate_server.domain.checks import Check, Compare, Metric
from tidegate_server.domain.policy import Policy
from tidegate_server.domain.release import LIVE_STATES, State
from tidegate_server.errors import FieldProblem, Invalid
from tidegate_server.ledger.narrative import instant
from tidegate_server.whatif import confidence_intervals
from tidegate_server.whatif.backtest import (
    BacktestRun,
    Cost,
    Move,
    PolicyFit,
    assumed_share,
    recorded_cost,
)
from tidegate_server.whatif.recording import EVERYONE, Recording

LOW, HIGH = 0.05, 0.95
"""Nine of ten runs lie between these quantiles."""


@dataclass(frozen=True, slots=True)
class Range:
    """A number over many runs: its median, and the bounds of nine runs in ten."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class StageReached:
    """How many runs reached a stage of the other policy, and when.

    Attributes:
        name: the stage's name.
        percentage: what it opens.
        runs: the share of the runs that reached it.
        after_ms: when these runs reached it, since the beginning of the record.
    """

    name: str
    percentage: float
    runs: float
    after_ms: Range | None


@dataclass(frozen=True, slots=True)
class FinalState:
    """The release's state at the end of the record, in a share of the runs."""

    state: State
    runs: float


@dataclass(frozen=True, slots=True)
class BacktestReport:
    """What another policy would have done with a release, next to what really happened.

    Attributes:
        policy: its key.
        statistics: the version of the statistics that decides.
        begins_ms, ends_ms: the span of the record.
        windows: how many windows the record has.
        runs: how many runs there were; one if nothing had to be drawn.
        known: the share of the counts, over all runs, that are recorded and not drawn.
        was, was_state, was_stages: what the release really cost, and how it really went.
        ends: the release's state at the end of the record.
        stopped: the share of the runs in which the policy would have stopped the release.
        stopped_ms: when these runs stopped it, since the beginning of the record.
        stages: how far the release would have come.
        exposed, errors, hurt: what it would have cost, as in ``Cost``.
        saved: failures fewer than really happened; negative: more.
        example: every move of one run that ends as most do.
        limits: what was assumed, and what is unknown.
    """

    policy: str
    statistics: int
    begins_ms: int
    ends_ms: int
    windows: int
    runs: int
    known: float
    was: Cost
    was_state: State
    was_stages: tuple[StageReached, ...]
    ends: tuple[FinalState, ...]
    stopped: float
    stopped_ms: Range | None
    stages: tuple[StageReached, ...]
    exposed: Range
    errors: Range
    hurt: Range
    saved: Range
    example: tuple[Move, ...]
    limits: tuple[str, ...]


def fit_policy(policy: Policy, recording: Recording) -> PolicyFit:
    """Return a policy as far as it can be run over a record.

    Raises:
        Invalid: the record is empty, or has no data for any check of the policy.
    """
    if not recording.windows:
        raise Invalid(
            "Nothing was recorded of this release yet.",
            FieldProblem("/release", "The policy job has not evaluated this release yet."),
        )
    recorded = recording.release.policy
    checks = tuple(each for each in policy.checks if _has_data(each, recording))
    if not checks:
        raise Invalid(
            "The record has no data for any of the policy's checks.",
            FieldProblem("/policy/checks", "The ledger has no data for any check of this policy."),
        )
    sources = tuple(
        recorded.checks.index(check) if check.metric is Metric.PROMETHEUS else None
        for check in checks
    )
    opened = {tuple(sorted(stage.segments)) for stage in policy.stages if stage.segments}
    assumed_shares = {
        segments: assumed_share(segments)
        for segments in sorted(opened)
        if not any(known and set(known) <= set(segments) for known in recording.estimates)
    }
    return PolicyFit(replace(policy, checks=checks), sources, assumed_shares)


def _has_data(check: Check, recording: Recording) -> bool:
    recorded = recording.release.policy
    if check.metric is Metric.PROMETHEUS:
        return check in recorded.checks
    if check.compare is Compare.BEFORE and not recording.windows[0].draft:
        return False
    return check.distribution is None or check.distribution in recorded.distributions


def summarize_runs(
    policy: Policy,
    fit: PolicyFit,
    recording: Recording,
    runs: Sequence[BacktestRun],
    statistics: int | None = None,
) -> BacktestReport:
    """Return the report of a backtest with at least one run; ``statistics`` as in ``Backtest``."""
    statistics = statistics or recording.release.statistics
    begins_ms = recording.begins_ms
    number = len(runs)
    states = Counter(each.state for each in runs)
    usual_state = states.most_common(1)[0][0]
    recorded = sum(each.drawn.recorded for each in runs)
    counted = recorded + sum(each.drawn.drawn for each in runs)
    stopped_ms = [each.stopped_ms for each in runs if each.stopped_ms is not None]
    return BacktestReport(
        policy=policy.key,
        statistics=statistics,
        begins_ms=begins_ms,
        ends_ms=recording.ends_ms,
        windows=len(recording.windows),
        runs=number,
        known=recorded / counted if counted else 1.0,
        was=recorded_cost(recording),
        was_state=recording.release.state,
        was_stages=_stages(recording.release.policy, [recording.reached_ms], begins_ms),
        ends=tuple(FinalState(state, count / number) for state, count in states.most_common()),
        stopped=len(stopped_ms) / number,
        stopped_ms=_range([at_ms - begins_ms for at_ms in stopped_ms]),
        stages=_stages(policy, [each.reached_ms for each in runs], begins_ms),
        exposed=_cost_range(runs, lambda cost: cost.exposed),
        errors=_cost_range(runs, lambda cost: cost.errors),
        hurt=_cost_range(runs, lambda cost: cost.hurt),
        saved=_cost_range(runs, lambda cost: 0.0 - cost.added),
        example=next(each.moves for each in runs if each.state is usual_state),
        limits=(
            *_statistics_limits(recording.release.statistics, statistics),
            *_limits(policy, fit, recording, runs),
        ),
    )


def _stages(
    policy: Policy, reached_ms: Sequence[Sequence[int | None]], begins_ms: int
) -> tuple[StageReached, ...]:
    stages = []
    for number, stage in enumerate(policy.stages, start=1):
        times = [each[number - 1] for each in reached_ms]
        after_ms = [max(0, at_ms - begins_ms) for at_ms in times if at_ms is not None]
        share = len(after_ms) / len(times)
        stages.append(StageReached(stage.name, policy.opened(number), share, _range(after_ms)))
    return tuple(stages)


def _range(values: Sequence[float]) -> Range | None:
    quantiles = [confidence_intervals.quantile(values, at) for at in (0.5, LOW, HIGH)]
    estimates = [each.value for each in quantiles if each is not None]
    return Range(*estimates) if estimates else None


def _cost_range(runs: Sequence[BacktestRun], quantity: Callable[[Cost], float]) -> Range:
    values = _range([quantity(each.cost) for each in runs])
    assert values is not None
    return values


def _limits(
    policy: Policy, fit: PolicyFit, recording: Recording, runs: Sequence[BacktestRun]
) -> Iterator[str]:
    yield from _record_limits(recording, runs)
    yield from _policy_limits(policy, fit, recording)
    if any(each.drawn.random for each in runs):
        yield (
            "Users who would have been in the other arm, or were not counted, have outcomes drawn "
            "from that arm's error rate at the time. The rate is an estimate, so there are "
            "several runs."
        )
        no_control_ms = _control_ends_ms(recording)
        if no_control_ms is not None:
            yield (
                f"From {instant(no_control_ms)} on the record has no control group; its error rate "
                "is taken from the time before."
            )


def _statistics_limits(recorded: int, used: int) -> Iterator[str]:
    if recorded != used:
        yield (
            f"The release ran under version {recorded} of the statistics, the backtest decides by "
            f"version {used}. The record counts failing users once in each epoch of version "
            f"{recorded}; epochs of version {used} may begin at other times."
        )


def _record_limits(recording: Recording, runs: Sequence[BacktestRun]) -> Iterator[str]:
    if not recording.from_start:
        yield (
            f"The ledger begins only at {instant(recording.begins_ms)}; the policy is assumed to "
            "start there."
        )
    if any(each.state in LIVE_STATES for each in runs):
        yield f"The record ends at {instant(recording.ends_ms)}; what comes later is unknown."
    if recording.moves:
        yield f"People moved the release {recording.moves} times; the backtest ignores that."


def _policy_limits(policy: Policy, fit: PolicyFit, recording: Recording) -> Iterator[str]:
    recorded = recording.release.policy
    for number, check in enumerate(policy.checks, start=1):
        if check not in fit.policy.checks:
            yield f"Check {number}, {check.label}, is left out: the record has no data for it."
    if policy.interval_ms < recorded.interval_ms:
        yield (
            f"The policy asks for an evaluation every {duration(policy.interval_ms)}; the record "
            f"allows one every {duration(recorded.interval_ms)}."
        )
    if recording.left_out:
        yield (
            f"Clients reported {recording.left_out} operations, which decide nothing under this "
            "policy and are left out."
        )
    for segments, share in fit.assumed_shares.items():
        yield (
            f"The record did not count {', '.join(segments)} separately; {100 * share:.3g} % of "
            "everyone are assumed to be in it."
        )
    opens_everyone = any(not stage.segments for stage in policy.stages)
    if opens_everyone and EVERYONE not in recording.estimates:
        yield "The release never opened everyone; users outside its segments are unknown."
    if policy.confirm or any(stage.approval for stage in policy.stages):
        yield "Approvals and confirmations are assumed to be given at once."


def _control_ends_ms(recording: Recording) -> int | None:
    """Return the time after which no user was on control; None: some were until the end."""
    since_ms = None
    for window in reversed(recording.windows):
        if any(counts.share < 1.0 for counts in window.counts.values()):
            break
        since_ms = window.opened_ms
    return since_ms
