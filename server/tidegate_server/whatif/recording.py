"""A release's ledger, arranged so that another policy can be tried on it.

A ledger counts by stratum, and strata belong to the policy that it was written under. A
recording has the same counts by segments: those of users in some segments, and those of
everyone else. It also estimates, for every window, how much traffic each of these groups
makes and how often each arm fails, from the windows nearby. Another policy needs that for
users who were in the other arm under the recorded policy, or to whom it had not opened yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from tidegate.counts import NOTHING, Counts

from tidegate_server.decisions.client_reports import add_deciding_clients, opening_of
from tidegate_server.decisions.observations import Distribution, Measured
from tidegate_server.domain.evidence import Histogram, add_histograms, total
from tidegate_server.domain.policy import Policy
from tidegate_server.domain.release import Release, State
from tidegate_server.ledger.entry import Entry

SegmentKeys: TypeAlias = tuple[str, ...]
"""The segments of a group of users, sorted; empty: users in none of the policy's segments."""

EVERYONE: SegmentKeys = ()

DECAY = 0.5 ** (1 / 10)
"""The factor that a window's weight in an estimate loses with each window of distance."""

FAR_WEIGHT = 1e-9
"""The weight of the whole record in every estimate, for windows with no data nearby."""


@dataclass(frozen=True, slots=True)
class SegmentCounts:
    """What one window counted of a group; ``share`` is the treatment's share, 0 to 1."""

    share: float
    control: Counts
    treatment: Counts
    distributions: tuple[Distribution, ...] = ()

    @property
    def operations(self) -> int:
        """The operations of both arms that ended."""
        return self.control.outcomes + self.treatment.outcomes


@dataclass(frozen=True, slots=True)
class RecordedWindow:
    """One window of a record.

    Attributes:
        opened_ms, closed_ms: store clock.
        draft: whether the release was a draft.
        counts: what was counted, by group.
        measured, live, lost: as in ``Window``.
    """

    opened_ms: int
    closed_ms: int
    draft: bool
    counts: Mapping[SegmentKeys, SegmentCounts]
    measured: tuple[Measured, ...] = ()
    live: int | None = None
    lost: int = 0

    @property
    def span_ms(self) -> int:
        """How long the window was."""
        return self.closed_ms - self.opened_ms


@dataclass(frozen=True, slots=True)
class TrafficEstimate:
    """Estimates of one group's traffic for every window of the record.

    Attributes:
        pace: operations a millisecond, in both arms together.
        control, treatment: failed operations and operations near each window, which give the
            rate.
        first_failures: for each arm, the share of the failures that were their user's first.
        values: for each measure, all values of each arm.
    """

    pace: tuple[float, ...]
    control: tuple[tuple[float, float], ...]
    treatment: tuple[tuple[float, float], ...]
    first_failures: tuple[float, float]
    values: Mapping[str, tuple[Histogram, Histogram]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Recording:
    """A record of a release.

    Attributes:
        release: its current state, with the policy that the record was made under.
        windows: its windows, in order.
        reached_ms: for each stage, when the release first entered it; None: never.
        moves: how often people moved the release.
        estimates: the traffic of each group.
        shares: the share of everyone's operations that a group makes, for groups that some
            windows count with everyone and others apart.
        from_start: whether the record goes back to the start of the release.
        left_out: operations that clients reported and that decide nothing.
    """

    release: Release
    windows: tuple[RecordedWindow, ...]
    reached_ms: tuple[int | None, ...]
    moves: int
    estimates: Mapping[SegmentKeys, TrafficEstimate]
    shares: Mapping[SegmentKeys, float]
    from_start: bool
    left_out: int = 0

    @property
    def begins_ms(self) -> int:
        """When the record begins; it must have a window."""
        return self.windows[0].opened_ms

    @property
    def ends_ms(self) -> int:
        """When its last window closed."""
        return self.windows[-1].closed_ms


def read_recording(
    release: Release, ledger: Iterable[Entry], policy: Policy | None = None
) -> Recording:
    """Return the record in a ledger.

    Args:
        release: its current state.
        ledger: its entries in order. They may begin after the start of the release.
        policy: the policy to try; by default the recorded one. It says whether the reports of
            clients count.
    """
    policy = policy or release.policy
    windows: list[RecordedWindow] = []
    reached_ms: list[int | None] = [None] * len(release.policy.stages)
    moves, from_start, left_out = 0, True, 0
    last: Entry | None = None
    for entry in ledger:
        before = entry.before
        if last is None:
            from_start = entry.decision.window == 1
        else:
            moves += last.after != before
        if not before.closed and reached_ms[before.stage - 1] is None:
            reached_ms[before.stage - 1] = before.stage_entered_ms
        windows.append(_read_window(release.policy, entry, policy))
        clients = entry.window.client
        if clients is not None and not policy.clients_decide:
            left_out += clients.control.outcomes + clients.treatment.outcomes
        last = entry
    if not release.closed and reached_ms[release.stage - 1] is None:
        reached_ms[release.stage - 1] = release.stage_entered_ms
    groups = dict.fromkeys(segments for each in windows for segments in each.counts)
    return Recording(
        release,
        tuple(windows),
        tuple(reached_ms),
        moves,
        {segments: _estimate(windows, segments) for segments in groups},
        {segments: _share(windows, segments) for segments in groups if segments != EVERYONE},
        from_start,
        left_out,
    )


def _read_window(recorded: Policy, entry: Entry, policy: Policy) -> RecordedWindow:
    """Return a window; ``recorded`` is the policy of the record, ``policy`` the one to try."""
    window = add_deciding_clients(policy, entry.window)
    counts: dict[SegmentKeys, SegmentCounts] = {}
    for each in window.strata:
        stage = opening_of(each.stratum)
        segments = tuple(sorted(recorded.stages[stage - 1].segments)) if stage else ()
        before = counts.get(segments, SegmentCounts(each.share, NOTHING, NOTHING))
        counts[segments] = SegmentCounts(
            each.share,
            before.control + each.control,
            before.treatment + each.treatment,
            (
                *before.distributions,
                *(
                    replace(part, stratum=stage)
                    for part in window.distributions
                    if part.stratum == each.stratum
                ),
            ),
        )
    return RecordedWindow(
        window.opened_ms,
        window.closed_ms,
        entry.before.state is State.DRAFT,
        counts,
        window.measured,
        window.live_instances,
        window.lost_instances,
    )


def _estimate(windows: Sequence[RecordedWindow], segments: SegmentKeys) -> TrafficEstimate:
    nothing = SegmentCounts(0.0, NOTHING, NOTHING)
    counts = [each.counts.get(segments, nothing) for each in windows]
    spans = [float(max(1, each.span_ms)) * (segments in each.counts) for each in windows]
    operations = _smooth([float(each.operations) for each in counts])
    durations = _smooth(spans)
    control = [each.control for each in counts]
    treatment = [each.treatment for each in counts]
    return TrafficEstimate(
        tuple(
            count / duration if duration else 0.0
            for count, duration in zip(operations, durations, strict=True)
        ),
        _failures_nearby(control),
        _failures_nearby(treatment),
        (_first_failure_share(control), _first_failure_share(treatment)),
        _pooled_values(counts),
    )


def _failures_nearby(counts: Sequence[Counts]) -> tuple[tuple[float, float], ...]:
    errors = _smooth([float(each.errors) for each in counts])
    operations = _smooth([float(each.outcomes) for each in counts])
    return tuple(zip(errors, operations, strict=True))


def _first_failure_share(counts: Iterable[Counts]) -> float:
    sum_ = total(counts)
    return min(1.0, sum_.failing / sum_.errors) if sum_.errors else 1.0


def _pooled_values(
    counts: Sequence[SegmentCounts],
) -> Mapping[str, tuple[Histogram, Histogram]]:
    parts = [part for each in counts for part in each.distributions]
    return {
        measure: (
            add_histograms(part.control for part in parts if part.measure == measure),
            add_histograms(part.treatment for part in parts if part.measure == measure),
        )
        for measure in dict.fromkeys(part.measure for part in parts)
    }


def _smooth(values: Sequence[float]) -> list[float]:
    """Return for each window the sum of all values, with weights that fall with distance."""
    everywhere = FAR_WEIGHT * sum(values)
    until = _decaying_sums(values)
    after = reversed(_decaying_sums(values[::-1]))
    return [
        everywhere + before + later - value
        for before, later, value in zip(until, after, values, strict=True)
    ]


def _decaying_sums(values: Sequence[float]) -> list[float]:
    sums = []
    carried = 0.0
    for value in values:
        carried = carried * DECAY + value
        sums.append(carried)
    return sums


def _share(windows: Sequence[RecordedWindow], segments: SegmentKeys) -> float:
    """Return the group's share of everyone's traffic in windows that do not count it apart."""
    apart = [each for each in windows if segments in each.counts]
    together = [each for each in windows if segments not in each.counts and EVERYONE in each.counts]
    own_pace, pace = _pace(apart, segments), _pace(together, EVERYONE)
    return min(0.9, own_pace / pace) if pace else 0.0


def _pace(windows: Sequence[RecordedWindow], segments: SegmentKeys) -> float:
    span_ms = sum(each.span_ms for each in windows)
    operations = sum(each.counts[segments].operations for each in windows)
    return operations / span_ms if span_ms else 0.0
