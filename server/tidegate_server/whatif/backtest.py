"""Runs another policy over what a release's ledger recorded.

The decisions are the policy job's. Where the other policy has a user in the same arm, the
counts are the recorded ones; where it has not, they are drawn (``counterfactual``), so several
runs are needed. What would have happened after the end of the record is unknown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from tidegate.counts import NOTHING, StratumCounts
from tidegate.model import Opening

from tidegate_server.decisions.apply_decision import apply_decision
from tidegate_server.decisions.decide import decide
from tidegate_server.decisions.decision import Action
from tidegate_server.decisions.observations import Answer, Distribution, Window
from tidegate_server.decisions.progress import initial_progress
from tidegate_server.domain import release_state_machine
from tidegate_server.domain.evidence import add_histograms
from tidegate_server.domain.policy import Policy
from tidegate_server.domain.release import LIVE_STATES, Release, State
from tidegate_server.domain.snapshot import present_openings
from tidegate_server.whatif.counterfactual import Counterfactual, DrawnCounts
from tidegate_server.whatif.recording import (
    EVERYONE,
    RecordedWindow,
    Recording,
    SegmentCounts,
    SegmentKeys,
)
from tidegate_server.whatif.sampling import RandomGenerator
from tidegate_server.whatif.simulation import STOPPING, approve_fully
from tidegate_server.whatif.traffic_model import DEFAULT_SEGMENT_SHARE

DUE_AFTER_SHARE_OF_INTERVAL = 0.95
"""The part of the policy's interval after which it is evaluated: windows vary in length."""


@dataclass(frozen=True, slots=True)
class Move:
    """A decision that moved the release."""

    at_ms: int
    action: Action
    stage: int
    reason: str


@dataclass(frozen=True, slots=True)
class Cost:
    """What a release cost over a span of time.

    Attributes:
        exposed: operations with the treatment.
        errors: how many of them failed.
        hurt: users whose first failure was with the treatment.
        added: failures more than really happened, on average: the additional operations with
            the treatment, times how much more often those fail.
    """

    exposed: int = 0
    errors: int = 0
    hurt: int = 0
    added: float = 0.0

    def plus(self, counts: SegmentCounts, added: float = 0.0) -> Cost:
        """Return the cost with a window added."""
        treated = counts.treatment
        return Cost(
            self.exposed + treated.outcomes,
            self.errors + treated.errors,
            self.hurt + treated.failing,
            self.added + added,
        )


@dataclass(frozen=True, slots=True)
class BacktestRun:
    """What the other policy would have done, in one run.

    Attributes:
        state: the release's state at the end of the record.
        ended_ms: when it ended; None: it would still be live.
        stopped_ms: when the policy first stopped it.
        reached_ms: for each stage, when it was first opened; None: never.
        cost: what it cost until the end of the record, its time after the end included.
        moves: every decision that moved it.
        drawn: how many of the counts are recorded, and how many drawn.
    """

    state: State
    ended_ms: int | None
    stopped_ms: int | None
    reached_ms: tuple[int | None, ...]
    cost: Cost
    moves: tuple[Move, ...]
    drawn: DrawnCounts


@dataclass(frozen=True, slots=True)
class PolicyFit:
    """A policy as far as it can be run over a record.

    Attributes:
        policy: the policy with only those checks that the record has data for.
        sources: for each of its checks that asks an outside source, the same check's place in
            the recorded policy.
        assumed_shares: the groups that the policy opens and the record never counted apart,
            with their assumed share of everyone.
    """

    policy: Policy
    sources: tuple[int | None, ...]
    assumed_shares: Mapping[SegmentKeys, float]


def recorded_cost(recording: Recording) -> Cost:
    """Return what the release really cost."""
    cost = Cost()
    for window in recording.windows:
        for counts in window.counts.values():
            cost = cost.plus(counts)
    return cost


class Backtest:
    """One run of another policy over a record.

    Args:
        fit: the policy, as far as it can be run over the record.
        recording: the record; it has at least one window.
        rng: the random generator; the same one gives the same run.
        statistics: the version of the statistics that decides; None: the recorded one.
    """

    def __init__(
        self,
        fit: PolicyFit,
        recording: Recording,
        rng: RandomGenerator,
        statistics: int | None = None,
    ) -> None:
        first = recording.windows[0]
        self._fit = fit
        self._recording = recording
        self._groups = {
            segments: Counterfactual(estimate, rng)
            for segments, estimate in recording.estimates.items()
        }
        if everyone := recording.estimates.get(EVERYONE):
            self._groups |= {
                segments: Counterfactual(everyone, rng) for segments in fit.assumed_shares
            }
        release = recording.release
        release = replace(release, statistics=statistics or release.statistics)
        self._release = _restarted(release, fit.policy, first)
        self._progress = initial_progress(self._release)
        self._strata: dict[int, StratumCounts] = {}
        self._values: list[Distribution] = []
        self._reached_ms: list[int | None] = [None] * len(fit.policy.stages)
        if not first.draft:
            self._reached_ms[0] = first.opened_ms
        self._stopped_ms: int | None = None
        self._cost = Cost()
        self._moves: list[Move] = []

    def windows(self) -> Iterator[None]:
        """Go through the record; yields after each of its windows."""
        for number, window in enumerate(self._recording.windows):
            if self._release.state is State.DRAFT and not window.draft:
                self._release = release_state_machine.begin(
                    self._release, window.opened_ms, "Begun."
                )
                self._reached_ms[0] = window.opened_ms
                self._strata, self._values = {}, []
            self._count(number, window)
            if self._release.state in LIVE_STATES and self._is_due(window):
                self._decide(window)
            yield

    def result(self) -> BacktestRun:
        """Return how the release has gone."""
        drawn = [each.drawn for each in self._groups.values()]
        return BacktestRun(
            self._release.state,
            self._release.ended_ms,
            self._stopped_ms,
            tuple(self._reached_ms),
            self._cost,
            tuple(self._moves),
            DrawnCounts(
                sum(each.recorded for each in drawn),
                sum(each.drawn for each in drawn),
                any(each.random for each in drawn),
            ),
        )

    def _is_due(self, window: RecordedWindow) -> bool:
        """Whether the policy is evaluated now; no more often than the recorded one was."""
        interval_ms = self._fit.policy.interval_ms
        if interval_ms <= self._recording.release.policy.interval_ms:
            return True
        return (
            window.closed_ms - self._progress.evaluated_ms
            >= DUE_AFTER_SHARE_OF_INTERVAL * interval_ms
        )

    def _count(self, number: int, window: RecordedWindow) -> None:
        """Add a window's counts as they would have been under the current openings."""
        live = self._release.state in LIVE_STATES
        openings = present_openings(self._release) if live else ()
        final_share = 1.0 if self._release.state is State.COMPLETED else 0.0
        for segments, recorded in self._group_counts(window, openings if live else None):
            opening = _widest_opening(openings, segments)
            if opening is None and recorded is None:
                continue
            share = final_share if opening is None else opening.percentage / 100.0
            group = self._groups[segments]
            counts = group.window(number, recorded, window.span_ms, share)
            before = 0 if recorded is None else recorded.treatment.outcomes
            more = counts.treatment.outcomes - before
            added = more * group.excess_rate(number) if more else 0.0
            self._cost = self._cost.plus(counts, added)
            if opening is not None:
                self._add_to_stratum(opening, counts)

    def _group_counts(
        self, window: RecordedWindow, openings: tuple[Opening, ...] | None
    ) -> Iterator[tuple[SegmentKeys, SegmentCounts | None]]:
        """Yield the counts of each group.

        A group that was counted with everyone is split off where its opening differs.
        """
        everyone = window.counts.get(EVERYONE)
        for segments, part in {**self._recording.shares, **self._fit.assumed_shares}.items():
            counts = window.counts.get(segments)
            together = counts is None and everyone is not None
            if together and openings is not None and part and _differs(openings, segments):
                assert everyone is not None
                counts, everyone = self._groups[EVERYONE].split(everyone, part)
                together = False
            if not together and segments in self._groups:
                yield segments, counts
        if EVERYONE in self._groups:
            yield EVERYONE, everyone

    def _add_to_stratum(self, opening: Opening, counts: SegmentCounts) -> None:
        nothing = StratumCounts(opening.stage, counts.share, NOTHING, NOTHING)
        stratum = self._strata.get(opening.stage, nothing)
        self._strata[opening.stage] = replace(
            stratum,
            control=stratum.control + counts.control,
            treatment=stratum.treatment + counts.treatment,
        )
        self._values += [replace(part, stratum=opening.stage) for part in counts.distributions]

    def _decide(self, window: RecordedWindow) -> None:
        before, policy = self._release, self._fit.policy
        nothing = (
            StratumCounts(opening.stage, opening.percentage / 100.0, NOTHING, NOTHING)
            for opening in present_openings(before)
        )
        strata = {each.stratum: each for each in nothing} | self._strata
        evidence = Window(
            opened_ms=self._progress.evaluated_ms,
            closed_ms=window.closed_ms,
            step=before.step,
            strata=tuple(strata[stratum] for stratum in sorted(strata)),
            generation=self._progress.generation,
            live_instances=window.live,
            lost_instances=window.lost,
            distributions=self._distributions(),
            measured=tuple(
                replace(each, check=number)
                for number, source in enumerate(self._fit.sources)
                for each in window.measured
                if each.check == source
            ),
            answers=tuple(Answer(each.webhook, True) for each in policy.confirm),
        )
        self._strata, self._values = {}, []
        self._progress, decision = decide(before, self._progress, evidence, window.closed_ms)
        after = approve_fully(apply_decision(before, decision), window.closed_ms)
        if decision.action is not Action.HOLD:
            move = Move(window.closed_ms, decision.action, after.stage, decision.reason)
            self._moves.append(move)
        if decision.action in STOPPING and self._stopped_ms is None:
            self._stopped_ms = window.closed_ms
        if not after.closed and self._reached_ms[after.stage - 1] is None:
            self._reached_ms[after.stage - 1] = window.closed_ms
        self._release = after

    def _distributions(self) -> tuple[Distribution, ...]:
        parts: dict[tuple[int, str], list[Distribution]] = {}
        for part in self._values:
            if part.measure in self._fit.policy.distributions:
                parts.setdefault((part.stratum, part.measure), []).append(part)
        return tuple(
            Distribution(
                stratum,
                measure,
                add_histograms(part.control for part in each),
                add_histograms(part.treatment for part in each),
            )
            for (stratum, measure), each in parts.items()
        )


def _restarted(release: Release, policy: Policy, first: RecordedWindow) -> Release:
    """Return a release as it was before its first window, under another policy."""
    state = State.BAKING if len(policy.stages) == 1 else State.RUNNING
    return replace(
        release,
        policy=policy,
        state=State.DRAFT if first.draft else state,
        closed=first.draft,
        stage=1,
        step=1,
        attempt=1,
        retries=0,
        stopped=False,
        resumes_to=None,
        cooldown_until_ms=None,
        asked_ms=None,
        approvals=(),
        ended_ms=None,
        started_ms=first.opened_ms,
        stage_entered_ms=first.opened_ms,
        updated_ms=first.opened_ms,
    )


def assumed_share(segments: SegmentKeys) -> float:
    """Return the share of everyone that is assumed to be in some segments."""
    return min(0.9, DEFAULT_SEGMENT_SHARE * len(segments))


def _widest_opening(openings: tuple[Opening, ...], segments: SegmentKeys) -> Opening | None:
    """Return the opening with the highest percentage of those that reach a group."""
    reaching = [
        each
        for each in openings
        if not each.segments or (segments and set(segments) <= set(each.segments))
    ]
    return max(reaching, key=lambda each: each.percentage, default=None)


def _differs(openings: tuple[Opening, ...], segments: SegmentKeys) -> bool:
    """Whether a group has another opening than everyone."""
    return _widest_opening(openings, segments) != _widest_opening(openings, EVERYONE)
