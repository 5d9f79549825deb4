"""What many runs of a backtest come to, beside what happened, and what cannot be known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from tidegate_server.decisions.reasons import duration
from tidegate_server.domain.checks import Check, Compare, Metric
from tidegate_server.domain.policy import Policy
from tidegate_server.domain.release import LIVE_STATES, State
from tidegate_server.errors import FieldProblem, Invalid
from tidegate_server.ledger.narrative import instant
from tidegate_server.whatif import confidence_intervals
from tidegate_server.whatif.backtest import Fit, Step, Tally, Trial, assumed_part, happened
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
class Reached:
    """A stage of the other policy.

    Attributes:
        name: the stage's name.
        percentage: what it opens.
        runs: the share of the runs that got there.
        after_ms: when, after the record's beginning, in those runs.
    """

    name: str
    percentage: float
    runs: float
    after_ms: Range | None


@dataclass(frozen=True, slots=True)
class End:
    """Where the release is when the record ends, in a share of the runs."""

    state: State
    runs: float


@dataclass(frozen=True, slots=True)
class Hindsight:
    """What another policy would have done with a release, beside what happened.

    Attributes:
        policy: its key.
        begins_ms, ends_ms: the record's span.
        windows: how many it has.
        runs: how many there were; one when nothing had to be drawn.
        known: the share of the counts, over all runs, that are recorded and not drawn.
        was: what the release cost as it was; ``was_state``, ``was_reached``: how it went.
        ends: where the release would be when the record ends, with the share of the runs.
        stopped_ms: when, after the beginning, the policy would have stopped it, in the runs
            in which it does; ``stopped`` is their share.
        stages: how far it would have come.
        exposed, errors, hurt: what it would have cost (as in ``Tally``).
        saved: failures fewer than happened; negative: so many more.
        example: every move of one run, that which ends as most do.
        limits: what was assumed, and what cannot be known.
    """

    policy: str
    begins_ms: int
    ends_ms: int
    windows: int
    runs: int
    known: float
    was: Tally
    was_state: State
    was_stages: tuple[Reached, ...]
    ends: tuple[End, ...]
    stopped: float
    stopped_ms: Range | None
    stages: tuple[Reached, ...]
    exposed: Range
    errors: Range
    hurt: Range
    saved: Range
    example: tuple[Step, ...]
    limits: tuple[str, ...]


def fit(policy: Policy, recording: Recording) -> Fit:
    """How a policy fits a record.

    Raises:
        Invalid: the record has nothing, or nothing that any check of the policy asks for.
    """
    if not recording.slices:
        raise Invalid(
            "Nothing was recorded of this release yet.",
            FieldProblem("/release", "The policy job has decided nothing of this release yet."),
        )
    recorded = recording.release.policy
    kept = [each for each in policy.checks if _is_answered(each, recording)]
    if not kept:
        raise Invalid(
            "The record answers none of the policy's checks.",
            FieldProblem(
                "/policy/checks", "The record has no counts or values that any check asks for."
            ),
        )
    sources = tuple(
        recorded.checks.index(check) if check.metric is Metric.PROMETHEUS else None
        for check in kept
    )
    asked = {tuple(sorted(stage.segments)) for stage in policy.stages if stage.segments}
    assumed = {
        people: assumed_part(people)
        for people in sorted(asked)
        if not any(known and set(known) <= set(people) for known in recording.fitted)
    }
    return Fit(replace(policy, checks=tuple(kept)), sources, assumed)


def _is_answered(check: Check, recording: Recording) -> bool:
    recorded = recording.release.policy
    if check.metric is Metric.PROMETHEUS:
        return check in recorded.checks
    if check.compare is Compare.BEFORE and not recording.slices[0].draft:
        return False
    return check.distribution is None or check.distribution in recorded.distributions


def hindsight(
    policy: Policy, fitted: Fit, recording: Recording, trials: Sequence[Trial]
) -> Hindsight:
    """Sum up runs; there is at least one."""
    was = happened(recording)
    begins_ms = recording.begins_ms
    number = len(trials)
    ends = Counter(each.state for each in trials)
    usual = ends.most_common(1)[0][0]
    counted = sum(each.drawn.recorded + each.drawn.drawn for each in trials)
    stopped = [each.stopped_ms for each in trials if each.stopped_ms is not None]
    return Hindsight(
        policy=policy.key,
        begins_ms=begins_ms,
        ends_ms=recording.ends_ms,
        windows=len(recording.slices),
        runs=number,
        known=sum(each.drawn.recorded for each in trials) / counted if counted else 1.0,
        was=was,
        was_state=recording.release.state,
        was_stages=_stages(recording.release.policy, [recording.reached], begins_ms),
        ends=tuple(End(state, times / number) for state, times in ends.most_common()),
        stopped=len(stopped) / number,
        stopped_ms=_range([at_ms - begins_ms for at_ms in stopped]),
        stages=_stages(policy, [each.reached for each in trials], begins_ms),
        exposed=_over(trials, lambda tally: tally.exposed),
        errors=_over(trials, lambda tally: tally.errors),
        hurt=_over(trials, lambda tally: tally.hurt),
        saved=_over(trials, lambda tally: 0.0 - tally.added),
        example=next(each.steps for each in trials if each.state is usual),
        limits=tuple(_limits(policy, fitted, recording, trials)),
    )


def _stages(
    policy: Policy, reached: Sequence[Sequence[int | None]], begins_ms: int
) -> tuple[Reached, ...]:
    found = []
    for number, stage in enumerate(policy.stages, start=1):
        times = [each[number - 1] for each in reached]
        after = [max(0, at_ms - begins_ms) for at_ms in times if at_ms is not None]
        opened = policy.opened(number)
        found.append(Reached(stage.name, opened, len(after) / len(times), _range(after)))
    return tuple(found)


def _range(values: Sequence[float]) -> Range | None:
    if not values:
        return None
    found = [confidence_intervals.quantile(values, at) for at in (0.5, LOW, HIGH)]
    median, low, high = (each.value for each in found if each is not None)
    return Range(median, low, high)


def _over(trials: Sequence[Trial], of: Callable[[Tally], float]) -> Range:
    found = _range([of(each.tally) for each in trials])
    assert found is not None
    return found


def _limits(
    policy: Policy, fitted: Fit, recording: Recording, trials: Sequence[Trial]
) -> Iterator[str]:
    yield from _of_record(recording, trials)
    yield from _of_policy(policy, fitted, recording)
    if any(each.drawn.thinned for each in trials):
        yield (
            "Whoever would have been in the other arm, or was not counted, has outcomes drawn from "
            "the rates of that arm nearby, which are known only so well: hence several runs."
        )
        alone = _alone_from(recording)
        if alone is not None:
            yield (
                f"From {instant(alone)} on the record has no control group; its rate is taken from "
                "the time before."
            )


def _of_record(recording: Recording, trials: Sequence[Trial]) -> Iterator[str]:
    if not recording.from_start:
        yield (
            f"The ledger begins {instant(recording.begins_ms)} only; the policy is taken to start "
            "there."
        )
    if any(each.state in LIVE_STATES for each in trials):
        ends = instant(recording.ends_ms)
        yield f"The record ends {ends}; what would have come later nobody knows."
    if recording.moves:
        yield f"What people did to the release ({recording.moves} times) is not repeated."


def _of_policy(policy: Policy, fitted: Fit, recording: Recording) -> Iterator[str]:
    recorded = recording.release.policy
    for number, check in enumerate(policy.checks, start=1):
        if check not in fitted.policy.checks:
            yield f"Check {number}, {check.label}, is left out: the record does not answer it."
    if policy.interval_ms < recorded.interval_ms:
        yield (
            f"The release was evaluated every {duration(recorded.interval_ms)}; the policy cannot "
            f"be, every {duration(policy.interval_ms)}, as it asks."
        )
    for people, part in fitted.assumed.items():
        named = ", ".join(people)
        taken = f"{100 * part:.3g} % of everyone are taken to be in it"
        yield f"Nobody counted {named} apart: {taken}."
    opens_everyone = any(not stage.segments for stage in policy.stages)
    if opens_everyone and EVERYONE not in recording.fitted:
        yield "The release never opened everyone: nothing is known of those outside its segments."
    if policy.confirm or any(stage.approval for stage in policy.stages):
        yield "Approvals and confirmations are taken to be given at once."


def _alone_from(recording: Recording) -> int | None:
    """Since when nobody was on control; None: somebody was to the end."""
    found = None
    for each in reversed(recording.slices):
        if any(seen.share < 1.0 for seen in each.people.values()):
            break
        found = each.opened_ms
    return found
