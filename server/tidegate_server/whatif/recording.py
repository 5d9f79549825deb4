"""What a release's ledger recorded, arranged so that another policy can be tried on it.

A ledger counts by stratum, and strata belong to the policy that it was written under. Here
the same counts stand by *people*: those in some segments, or everyone else. Beside them
stand estimates, for every moment, of how much traffic each of these people make and how
often each arm fails, from the windows around it: what another policy needs to know of
people whom the recorded one had in the other arm, or had not opened yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from tidegate.counts import NOTHING, Counts

from tidegate_server.decisions.observations import Distribution, Measured
from tidegate_server.domain.evidence import Histogram, add_histograms, total
from tidegate_server.domain.policy import Policy
from tidegate_server.domain.release import Release, State
from tidegate_server.ledger.entry import Entry

People: TypeAlias = tuple[str, ...]
"""The segments that people are in, sorted; empty: everyone who is in none of those named."""

EVERYONE: People = ()

NEARNESS = 0.5 ** (1 / 10)
"""What a window's weight in an estimate becomes with each window between."""

FAR = 1e-9
"""The weight of the whole record in every estimate, for moments with nothing near."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What one window counted of some people; ``share`` is the treatment's, 0 to 1."""

    share: float
    control: Counts
    treatment: Counts
    distributions: tuple[Distribution, ...] = ()


@dataclass(frozen=True, slots=True)
class Slice:
    """One window of a record.

    Attributes:
        opened_ms, closed_ms: store clock.
        draft: whether the release only measured.
        people: what was counted, by people.
        measured, live, lost: as in ``Window``.
    """

    opened_ms: int
    closed_ms: int
    draft: bool
    people: Mapping[People, Seen]
    measured: tuple[Measured, ...] = ()
    live: int | None = None
    lost: int = 0


@dataclass(frozen=True, slots=True)
class Fitted:
    """Estimates of some people for every window of the record.

    Attributes:
        pace: operations a millisecond, both arms together.
        control, treatment: pairs of failed operations and operations near each window, from
            which a rate follows.
        first: per arm, how many of the failed operations were somebody's first.
        values: per arm, all values of each measure.
    """

    pace: tuple[float, ...]
    control: tuple[tuple[float, float], ...]
    treatment: tuple[tuple[float, float], ...]
    first: tuple[float, float]
    values: Mapping[str, tuple[Histogram, Histogram]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Recording:
    """A record.

    Attributes:
        release: as it stands, with the policy that the record was made under.
        slices: its windows, in order.
        reached: for each stage, when the release first was in it; None: never.
        moves: how often people moved it.
        fitted: estimates, by people.
        part: the part of everyone's operations that people make who are counted with
            everyone in some windows and apart in others.
        from_start: whether it goes back to the release's beginning.
    """

    release: Release
    slices: tuple[Slice, ...]
    reached: tuple[int | None, ...]
    moves: int
    fitted: Mapping[People, Fitted]
    part: Mapping[People, float]
    from_start: bool

    @property
    def begins_ms(self) -> int:
        """When the record begins; it must have a window."""
        return self.slices[0].opened_ms

    @property
    def ends_ms(self) -> int:
        """When its last window closed."""
        return self.slices[-1].closed_ms


def recording(release: Release, ledger: Iterable[Entry]) -> Recording:
    """The record in a ledger.

    Args:
        release: as it stands.
        ledger: its entries in their order; they may begin late.
    """
    slices: list[Slice] = []
    reached: list[int | None] = [None] * len(release.policy.stages)
    moves, from_start = 0, True
    last: Entry | None = None
    for entry in ledger:
        before = entry.before
        if last is None:
            from_start = entry.decision.window == 1
        else:
            moves += last.after != before
        if not before.closed and reached[before.stage - 1] is None:
            reached[before.stage - 1] = before.stage_entered_ms
        slices.append(_slice(release.policy, entry))
        last = entry
    if not release.closed and reached[release.stage - 1] is None:
        reached[release.stage - 1] = release.stage_entered_ms
    found = dict.fromkeys(people for each in slices for people in each.people)
    return Recording(
        release,
        tuple(slices),
        tuple(reached),
        moves,
        {people: _fitted(slices, people) for people in found},
        {people: _part(slices, people) for people in found if people != EVERYONE},
        from_start,
    )


def _slice(policy: Policy, entry: Entry) -> Slice:
    window = entry.window
    found: dict[People, Seen] = {}
    for each in window.strata:
        segments = policy.stages[each.stratum - 1].segments if each.stratum else ()
        people = tuple(sorted(segments))
        values = tuple(part for part in window.distributions if part.stratum == each.stratum)
        found[people] = Seen(each.share, each.control, each.treatment, values)
    return Slice(
        window.opened_ms,
        window.closed_ms,
        entry.before.state is State.DRAFT,
        found,
        window.measured,
        window.live_instances,
        window.lost_instances,
    )


def _fitted(slices: Sequence[Slice], people: People) -> Fitted:
    seen = [each.people.get(people) for each in slices]
    arms = [
        (each.control, each.treatment) if each is not None else (NOTHING, NOTHING) for each in seen
    ]
    spans = [
        max(1, each.closed_ms - each.opened_ms) if found is not None else 0
        for each, found in zip(slices, seen, strict=True)
    ]
    ended = _near([float(c.outcomes + t.outcomes) for c, t in arms])
    lasted = _near([float(span) for span in spans])
    control, treatment = (
        tuple(
            zip(
                _near([float(pair[arm].errors) for pair in arms]),
                _near([float(pair[arm].outcomes) for pair in arms]),
                strict=True,
            )
        )
        for arm in (0, 1)
    )
    return Fitted(
        tuple(done / time if time else 0.0 for done, time in zip(ended, lasted, strict=True)),
        control,
        treatment,
        (_first(pair[0] for pair in arms), _first(pair[1] for pair in arms)),
        _values([each for each in seen if each is not None]),
    )


def _first(counts: Iterable[Counts]) -> float:
    whole = total(counts)
    return min(1.0, whole.failing / whole.errors) if whole.errors else 1.0


def _values(seen: Sequence[Seen]) -> Mapping[str, tuple[Histogram, Histogram]]:
    parts = [part for each in seen for part in each.distributions]
    return {
        measure: (
            add_histograms(part.control for part in parts if part.measure == measure),
            add_histograms(part.treatment for part in parts if part.measure == measure),
        )
        for measure in dict.fromkeys(part.measure for part in parts)
    }


def _near(values: Sequence[float]) -> list[float]:
    """For each window the sum of a value over all of them, the near ones weighing most."""
    whole = FAR * sum(values)
    forward, backward = [0.0] * len(values), [0.0] * len(values)
    carried = 0.0
    for number, value in enumerate(values):
        carried = carried * NEARNESS + value
        forward[number] = carried
    carried = 0.0
    for number in reversed(range(len(values))):
        carried = carried * NEARNESS + values[number]
        backward[number] = carried
    return [
        whole + before + after - value
        for before, after, value in zip(forward, backward, values, strict=True)
    ]


def _part(slices: Sequence[Slice], people: People) -> float:
    """How much of everyone's traffic they make, where they are not counted apart."""
    apart = [each for each in slices if people in each.people]
    together = [each for each in slices if people not in each.people and EVERYONE in each.people]
    own, all_of_it = _pace(apart, people), _pace(together, EVERYONE)
    return min(0.9, own / all_of_it) if all_of_it else 0.0


def _pace(slices: Sequence[Slice], people: People) -> float:
    lasted = sum(each.closed_ms - each.opened_ms for each in slices)
    seen = [each.people[people] for each in slices]
    ended = sum(each.control.outcomes + each.treatment.outcomes for each in seen)
    return ended / lasted if lasted else 0.0
