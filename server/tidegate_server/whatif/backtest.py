"""Another policy, run over what a release's ledger recorded.

The decisions are the policy job's. The counts are the recorded ones wherever the other
policy has a person in the same arm, and drawn where it has not (``elsewise``), so there are
many runs unless nothing has to be drawn. What happened to the release after the record ended
nobody knows.
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
from tidegate_server.domain.release import LIVE_STATES, State
from tidegate_server.domain.snapshot import present_openings
from tidegate_server.whatif.counterfactual import Drawn, Elsewise
from tidegate_server.whatif.recording import EVERYONE, People, Recording, Seen, Slice
from tidegate_server.whatif.sampling import Chance
from tidegate_server.whatif.simulation import STOPPING, approved
from tidegate_server.whatif.traffic_model import DEFAULT_SEGMENT

ON_TIME = 0.95
"""A window that is nearly as long as the interval is a whole one."""


@dataclass(frozen=True, slots=True)
class Step:
    """A decision that moved the release."""

    at_ms: int
    action: Action
    stage: int
    reason: str


@dataclass(frozen=True, slots=True)
class Tally:
    """What a release cost over a span of time.

    Attributes:
        exposed: operations with the treatment.
        errors: how many of them failed.
        hurt: users whose first failure was with the treatment.
        added: failures more than happened, on average: the operations with the treatment
            that there were not, times how much more often those fail.
    """

    exposed: int = 0
    errors: int = 0
    hurt: int = 0
    added: float = 0.0

    def with_(self, seen: Seen, added: float = 0.0) -> Tally:
        """The same with a window added."""
        treated = seen.treatment
        return Tally(
            self.exposed + treated.outcomes,
            self.errors + treated.errors,
            self.hurt + treated.failing,
            self.added + added,
        )


@dataclass(frozen=True, slots=True)
class Trial:
    """What the other policy would have done in one run.

    Attributes:
        state: where the release is when the record ends.
        ended_ms: when it ended; None: it would be under way still.
        stopped_ms: when the policy stopped it for the first time.
        reached: for each stage, when it was first opened; None: never.
        tally: what it cost until the record's end, after its own end too.
        steps: every decision that moved it.
        drawn: how much of the counts is recorded.
    """

    state: State
    ended_ms: int | None
    stopped_ms: int | None
    reached: tuple[int | None, ...]
    tally: Tally
    steps: tuple[Step, ...]
    drawn: Drawn


@dataclass(frozen=True, slots=True)
class Fit:
    """How a policy and a record fit together.

    Attributes:
        policy: the policy with the checks that the record can answer.
        sources: for each check of it, its place in the recorded policy, for outside sources.
        assumed: people whom the policy opens and the record never counted apart, with the
            part of everyone that they are taken to be.
    """

    policy: Policy
    sources: tuple[int | None, ...]
    assumed: Mapping[People, float]


def happened(recording: Recording) -> Tally:
    """What the release cost as it was."""
    tally = Tally()
    for each in recording.slices:
        for seen in each.people.values():
            tally = tally.with_(seen)
    return tally


class Backtest:
    """One run of another policy over a record.

    Args:
        fit: the policy and how the record fits it.
        recording: what was recorded; it has a window.
        chance: the generator of randomness; the same one gives the same run.
    """

    def __init__(self, fit: Fit, recording: Recording, chance: Chance) -> None:
        policy = fit.policy
        first = recording.slices[0]
        self._fit = fit
        self._recording = recording
        self._elsewise = {
            people: Elsewise(fitted, chance) for people, fitted in recording.fitted.items()
        }
        if everyone := recording.fitted.get(EVERYONE):
            self._elsewise |= {people: Elsewise(everyone, chance) for people in fit.assumed}
        state = State.BAKING if len(policy.stages) == 1 else State.RUNNING
        self._release = replace(
            recording.release,
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
        self._progress = initial_progress(self._release)
        self._gathered: dict[int, StratumCounts] = {}
        self._values: list[Distribution] = []
        self._reached: list[int | None] = [None] * len(policy.stages)
        if not first.draft:
            self._reached[0] = first.opened_ms
        self._stopped_ms: int | None = None
        self._tally = Tally()
        self._steps: list[Step] = []

    def windows(self) -> Iterator[None]:
        """Go through the record, a step for each of its windows."""
        for number, each in enumerate(self._recording.slices):
            if self._release.state is State.DRAFT and not each.draft:
                self._release = release_state_machine.begin(self._release, each.opened_ms, "Begun.")
                self._reached[0] = each.opened_ms
                self._gathered, self._values = {}, []
            self._count(number, each)
            if self._release.state in LIVE_STATES and self._is_due(each):
                self._decide(each)
            yield

    def outcome(self) -> Trial:
        """What has become of the release."""
        parts = [each.drawn for each in self._elsewise.values()]
        return Trial(
            self._release.state,
            self._release.ended_ms,
            self._stopped_ms,
            tuple(self._reached),
            self._tally,
            tuple(self._steps),
            Drawn(
                sum(part.recorded for part in parts),
                sum(part.drawn for part in parts),
                any(part.thinned for part in parts),
            ),
        )

    def _is_due(self, each: Slice) -> bool:
        """Whether the policy is evaluated now: it can be no more often than the recorded one."""
        interval_ms = self._fit.policy.interval_ms
        if interval_ms <= self._recording.release.policy.interval_ms:
            return True
        return each.closed_ms - self._progress.evaluated_ms >= ON_TIME * interval_ms

    def _count(self, number: int, each: Slice) -> None:
        """Add a window's counts, as they would have been under the present openings."""
        live = self._release.state in LIVE_STATES
        openings = present_openings(self._release) if live else ()
        final = 1.0 if self._release.state is State.COMPLETED else 0.0
        span_ms = each.closed_ms - each.opened_ms
        for people, seen in self._divided(each, openings if live else None):
            opening = _matching(openings, people)
            if opening is None and seen is None:
                continue
            share = final if opening is None else opening.percentage / 100.0
            elsewise = self._elsewise[people]
            counted = elsewise.window(number, seen, span_ms, share)
            had = 0 if seen is None else seen.treatment.outcomes
            more = counted.treatment.outcomes - had
            added = more * elsewise.excess(number) if more else 0.0
            self._tally = self._tally.with_(counted, added)
            if opening is not None:
                self._gather(opening, counted)

    def _divided(
        self, each: Slice, openings: tuple[Opening, ...] | None
    ) -> Iterator[tuple[People, Seen | None]]:
        """The people of a window; those counted with everyone come apart where it matters."""
        everyone = each.people.get(EVERYONE)
        for people, part in {**self._recording.part, **self._fit.assumed}.items():
            seen = each.people.get(people)
            together = seen is None and everyone is not None
            if together and openings is not None and part and _matters(openings, people):
                assert everyone is not None
                seen, everyone = self._elsewise[EVERYONE].part(everyone, part)
                together = False
            if not together and people in self._elsewise:
                yield people, seen
        if EVERYONE in self._elsewise:
            yield EVERYONE, everyone

    def _gather(self, opening: Opening, seen: Seen) -> None:
        nothing = StratumCounts(opening.stage, seen.share, NOTHING, NOTHING)
        had = self._gathered.get(opening.stage, nothing)
        self._gathered[opening.stage] = replace(
            had, control=had.control + seen.control, treatment=had.treatment + seen.treatment
        )
        self._values += [replace(part, stratum=opening.stage) for part in seen.distributions]

    def _decide(self, each: Slice) -> None:
        before, policy = self._release, self._fit.policy
        nothing = (
            StratumCounts(opening.stage, opening.percentage / 100.0, NOTHING, NOTHING)
            for opening in present_openings(before)
        )
        strata = {stratum.stratum: stratum for stratum in nothing} | self._gathered
        window = Window(
            opened_ms=self._progress.evaluated_ms,
            closed_ms=each.closed_ms,
            step=before.step,
            strata=tuple(strata[stratum] for stratum in sorted(strata)),
            generation=self._progress.generation,
            live_instances=each.live,
            lost_instances=each.lost,
            distributions=self._distributions(),
            measured=tuple(
                replace(said, check=number)
                for number, source in enumerate(self._fit.sources)
                for said in each.measured
                if said.check == source
            ),
            answers=tuple(Answer(asked.webhook, True) for asked in policy.confirm),
        )
        self._gathered, self._values = {}, []
        self._progress, decision = decide(before, self._progress, window, each.closed_ms)
        after = approved(apply_decision(before, decision), each.closed_ms)
        if decision.action is not Action.HOLD:
            step = Step(each.closed_ms, decision.action, after.stage, decision.reason)
            self._steps.append(step)
        if decision.action in STOPPING and self._stopped_ms is None:
            self._stopped_ms = each.closed_ms
        if not after.closed and self._reached[after.stage - 1] is None:
            self._reached[after.stage - 1] = each.closed_ms
        self._release = after

    def _distributions(self) -> tuple[Distribution, ...]:
        wanted = self._fit.policy.distributions
        parts = [part for part in self._values if part.measure in wanted]
        places = dict.fromkeys((part.stratum, part.measure) for part in parts)
        return tuple(
            Distribution(
                stratum,
                measure,
                add_histograms(
                    p.control for p in parts if (p.stratum, p.measure) == (stratum, measure)
                ),
                add_histograms(
                    p.treatment for p in parts if (p.stratum, p.measure) == (stratum, measure)
                ),
            )
            for stratum, measure in places
        )


def assumed_part(people: People) -> float:
    """The part of everyone that people in some segments are taken to be."""
    return min(0.9, DEFAULT_SEGMENT * len(people))


def _matching(openings: tuple[Opening, ...], people: People) -> Opening | None:
    """The opening with the highest percentage of those that reach some people."""
    found = [
        each
        for each in openings
        if not each.segments or (people and set(people) <= set(each.segments))
    ]
    return max(found, key=lambda each: each.percentage, default=None)


def _matters(openings: tuple[Opening, ...], people: People) -> bool:
    """Whether some people are opened otherwise than everyone."""
    return _matching(openings, people) != _matching(openings, EVERYONE)
