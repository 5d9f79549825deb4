"""Whole releases under a policy in a simulated world.

The decisions are those of the policy job, by the same functions; only the counts are drawn.
People do at once what they are asked: they approve, and webhooks confirm. What Prometheus
would say is taken to be healthy. A release that the policy pauses has ended, since it takes
a person to go on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tidegate.counts import Counts

from tidegate_server.decisions.apply_decision import apply_decision
from tidegate_server.decisions.decide import decide
from tidegate_server.decisions.decision import Action, Decision
from tidegate_server.decisions.observations import Answer, Measured, Window
from tidegate_server.decisions.progress import Progress, initial_progress
from tidegate_server.domain import release_state_machine
from tidegate_server.domain.checks import Check, Compare, Metric, Operator
from tidegate_server.domain.policy import DAY, Policy
from tidegate_server.domain.release import LIVE_STATES, Approval, Release, State
from tidegate_server.whatif.latency_model import Durations
from tidegate_server.whatif.sampling import Chance
from tidegate_server.whatif.traffic_model import Audience, Moment, World

HORIZON_MS = 30 * DAY
"""A release that has not ended by then is undecided."""

MOST_WINDOWS = 20_000
"""And so is one that has not ended after so many evaluations."""

MEASURED_BEFORE = 10_000
"""Operations that were measured before the release, for checks against that time."""

STOPPING = frozenset({Action.ROLLBACK, Action.COOL_DOWN, Action.PAUSE})


@dataclass(frozen=True, slots=True)
class Run:
    """How one simulated release went.

    Attributes:
        state: where it ended; a live state other than ``PAUSED`` means undecided.
        stopped_ms: when, after its start, the policy stopped it for the first time: rolled
            it back, closed it for a while, or paused it; None: never.
        stopped_stage: at which stage.
        elapsed_ms: from its start to its end.
        full_ms: from its start to the last stage; None: it never got there.
        windows: evaluations.
        retreats: how often it went back from 100 %.
        exposed: operations with the treatment.
        errors: how many of them failed.
        extra: how many would, on average, not have failed with the control.
        hurt: users who failed with the treatment, counted as the policy job counts them.
    """

    state: State
    stopped_ms: int | None
    stopped_stage: int | None
    elapsed_ms: int
    full_ms: int | None
    windows: int
    retreats: int
    exposed: int
    errors: int
    extra: float
    hurt: int

    @property
    def stopped(self) -> bool:
        """Whether the policy ever stopped it."""
        return self.stopped_ms is not None


def simulate(
    policy: Policy,
    world: World,
    chance: Chance,
    *,
    starts_ms: int = 0,
    horizon_ms: int = HORIZON_MS,
    most_windows: int = MOST_WINDOWS,
) -> Run:
    """Simulate one release.

    Args:
        policy: what it is released under.
        world: who uses the application.
        chance: the generator of randomness; the same one gives the same run.
        starts_ms: when it begins, which matters for advance windows and freezes.
        horizon_ms: how long it may take.
        most_windows: how many evaluations it may take.
    """
    rehearsal = Rehearsal(policy, world, chance, starts_ms)
    while rehearsal.goes_on and rehearsal.windows < most_windows:
        if rehearsal.elapsed_ms >= horizon_ms:
            break
        rehearsal.window()
    return rehearsal.outcome()


class Rehearsal:
    """A simulated release on its way; arguments as in ``simulate``.

    Attributes:
        release, progress: as they stand.
        seen: the last window; None before the first.
        windows: how many there were.
    """

    def __init__(self, policy: Policy, world: World, chance: Chance, starts_ms: int = 0) -> None:
        self._world = world
        self._starts_ms = starts_ms
        self._audience = Audience(policy, world, chance)
        self._durations = Durations(policy.distributions, world.slower, chance)
        self._measured = tuple(_healthy(policy))
        self._answers = tuple(Answer(each.webhook, True) for each in policy.confirm)
        self.release = _started(policy, starts_ms)
        self.progress = _measured_before(
            initial_progress(self.release), policy, world, self._durations
        )
        self.seen: Window | None = None
        self.windows = 0
        self._changed = 0
        self._stopped: tuple[int, int] | None = None
        self._full_ms: int | None = None
        self._treated = Counts()
        self._extra = 0.0

    @property
    def goes_on(self) -> bool:
        """Whether the release neither has ended nor waits for a person."""
        state = self.release.state
        return state in LIVE_STATES and state is not State.PAUSED

    @property
    def elapsed_ms(self) -> int:
        """Time since the start."""
        return self.progress.evaluated_ms - self._starts_ms

    def window(self) -> Decision:
        """Close the next window, decide, and carry the decision out."""
        before = self.release
        interval_ms = before.policy.interval_ms
        now_ms = self.progress.evaluated_ms + interval_ms
        moment = Moment(now_ms, self.windows + 1, self.windows - self._changed)
        strata = self._audience.window(before, moment, interval_ms)
        window = Window(
            opened_ms=self.progress.evaluated_ms,
            closed_ms=now_ms,
            step=before.step,
            strata=strata,
            generation=self.progress.generation,
            live_instances=1,
            distributions=self._durations.of(strata),
            measured=self._measured,
            answers=self._answers,
        )
        self._tally(window, moment)
        self.seen = window
        self.windows += 1
        self.progress, decision = decide(before, self.progress, window, now_ms)
        if self.progress.generation != window.generation:
            self._audience.forget()
        if decision.action in STOPPING and self._stopped is None:
            self._stopped = (self.elapsed_ms, before.stage)
        self.release = approved(apply_decision(before, decision), now_ms)
        if self.release.step != before.step:
            self._changed = self.windows
        at_last = self.release.stage == len(before.policy.stages) and not self.release.closed
        if at_last and self._full_ms is None:
            self._full_ms = self.elapsed_ms
        return decision

    def outcome(self) -> Run:
        """What has become of it so far."""
        stopped_ms, stopped_stage = self._stopped or (None, None)
        return Run(
            state=self.release.state,
            stopped_ms=stopped_ms,
            stopped_stage=stopped_stage,
            elapsed_ms=self.elapsed_ms,
            full_ms=self._full_ms,
            windows=self.windows,
            retreats=self.progress.probe.retreats,
            exposed=self._treated.outcomes,
            errors=self._treated.errors,
            extra=self._extra,
            hurt=self._treated.failing,
        )

    def _tally(self, window: Window, moment: Moment) -> None:
        treated = window.treatment
        self._treated += treated
        rate = self._world.base(moment)
        self._extra += treated.outcomes * (min(1.0, rate * self._world.times(moment)) - rate)


def _started(policy: Policy, starts_ms: int) -> Release:
    return Release(
        id="simulated",
        flag="simulated",
        rule=None,
        control="control",
        treatment="treatment",
        salt="simulated",
        policy=policy,
        policy_revision=0,
        state=State.BAKING if len(policy.stages) == 1 else State.RUNNING,
        stage=1,
        step=1,
        reason="",
        started_by="simulation",
        started_ms=starts_ms,
        stage_entered_ms=starts_ms,
        updated_ms=starts_ms,
    )


def _measured_before(
    progress: Progress, policy: Policy, world: World, durations: Durations
) -> Progress:
    """The progress as a draft leaves it that has measured the control for a while."""
    if all(check.compare is not Compare.BEFORE for check in policy.checks):
        return progress
    rate = world.base(Moment(progress.evaluated_ms, 0, 0))
    errors = round(MEASURED_BEFORE * rate)
    return replace(
        progress,
        before=Counts(MEASURED_BEFORE, MEASURED_BEFORE, errors, errors),
        before_distributions=tuple(
            (measure, durations.usual(MEASURED_BEFORE)) for measure in policy.distributions
        ),
    )


def _healthy(policy: Policy) -> list[Measured]:
    """What Prometheus says of a healthy release."""
    found = []
    for number, check in enumerate(policy.checks):
        if check.metric is not Metric.PROMETHEUS:
            continue
        found.append(Measured(number, "treatment", _healthy_value(check)))
        if check.compare is not Compare.ABSOLUTE:
            found.append(Measured(number, str(check.compare), 1.0))
    return found


def _healthy_value(check: Check) -> float:
    if check.compare is not Compare.ABSOLUTE:
        return 1.0
    beside = {Operator.BELOW: -1.0, Operator.ABOVE: 1.0}
    return check.threshold + beside.get(check.operator, 0.0)


def approved(release: Release, at_ms: int) -> Release:
    """The release once everybody has approved who is asked; people do so at once here."""
    gate = release.policy.stages[release.stage - 1].approval
    if gate is None or release.state is not State.AWAITING_APPROVAL:
        return release
    people = gate.approvers or tuple(f"person-{number}" for number in range(1, gate.count + 1))
    for name in people[: gate.count - len(release.approvals)]:
        release = release_state_machine.approve(release, Approval(name, name, at_ms))
    return release
