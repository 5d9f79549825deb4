"""Simulates whole releases under a policy.

The decisions are made by the same functions as in the policy job; only the counts are drawn.
People approve at once, webhooks confirm, and Prometheus reports healthy values. A release that
the policy pauses has ended, since only a person can resume it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from tidegate.counts import Counts

from tidegate_server.decisions.apply_decision import apply_decision
from tidegate_server.decisions.decide import decide
from tidegate_server.decisions.decision import Action, Decision
from tidegate_server.decisions.evidence_words import duration
from tidegate_server.decisions.observations import Answer, Measured, Window
from tidegate_server.decisions.progress import Progress, initial_progress
from tidegate_server.domain import release_state_machine
from tidegate_server.domain.checks import Check, Compare, Metric, Operator
from tidegate_server.domain.policy import DAY, MINUTE, Policy
from tidegate_server.domain.release import LIVE_STATES, STATISTICS, Approval, Release, State
from tidegate_server.whatif.error_rates import ErrorRates, RateSequence
from tidegate_server.whatif.latency_model import LatencyModel
from tidegate_server.whatif.sampling import RandomGenerator
from tidegate_server.whatif.traffic_model import SimulationTime, TrafficModel
from tidegate_server.whatif.user_population import UserPopulation

HORIZON_MS = 30 * DAY
"""A release that has not ended by then is undecided."""

OPERATIONS_BEFORE = 10_000
"""Operations that were measured before the release, for checks that compare with that time."""

STOPPING = frozenset({Action.ROLLBACK, Action.COOL_DOWN, Action.PAUSE})

LEAVING = frozenset({Action.ADVANCE, Action.COMPLETE})

EVALUATIONS_PER_LOOK = 25
"""Evaluations, a few milliseconds, between two questions whether to go on."""


@dataclass(frozen=True, slots=True)
class StageRun:
    """What a simulated release did at one stage, over all its visits.

    Attributes:
        entered_ms: when it first entered the stage, after its start; None: never.
        left_ms: when it first advanced or completed from there; None: never.
        decision: the decision that left the stage; without one, the last decision made there;
            None: it never was there.
    """

    entered_ms: int | None = None
    left_ms: int | None = None
    decision: Decision | None = None

    @property
    def time_ms(self) -> int | None:
        """The time from the first entry until the release left; None: it never left."""
        if self.entered_ms is None or self.left_ms is None:
            return None
        return self.left_ms - self.entered_ms


@dataclass(frozen=True, slots=True)
class SimulationRun:
    """How one simulated release went.

    Attributes:
        state: its last state; a live state other than ``PAUSED`` means undecided.
        stopped_ms: when, after its start, the policy first stopped it: rolled it back, closed
            it for a cooldown, or paused it; None: never.
        stopped_stage: the stage at which that happened.
        elapsed_ms: the time from its start to its end.
        full_ms: the time from its start to the last stage; None: it never got there.
        windows: the number of evaluations.
        retreats: how often it retreated from 100 %.
        exposed: operations with the treatment.
        errors: how many of them failed.
        extra: how many of these failures, on average, the control would not have had.
        hurt: users who failed with the treatment, as the policy job counts them.
        stages: what it did at each stage.
        stage: the number of its last stage.
        cut_short: whether it was ended before its horizon, because time ran out.
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
    stages: tuple[StageRun, ...] = ()
    stage: int = 1
    cut_short: bool = False

    @property
    def stopped(self) -> bool:
        """Whether the policy ever stopped the release."""
        return self.stopped_ms is not None


def simulate(
    policy: Policy,
    model: TrafficModel,
    rng: RandomGenerator,
    *,
    starts_ms: int = 0,
    horizon_ms: int = HORIZON_MS,
    max_windows: int | None = None,
    goes_on: Callable[[SimulatedRelease], bool] | None = None,
) -> SimulationRun:
    """Simulate one release.

    Args:
        policy: the policy of the release.
        model: the traffic.
        rng: the random generator; the same one gives the same run.
        starts_ms: when the release starts, for time windows and freezes.
        horizon_ms: how long it may take.
        max_windows: how many evaluations it may take; None: as many as fit into the horizon.
        goes_on: asked every ``EVALUATIONS_PER_LOOK`` evaluations whether there is time to go on.
    """
    release = SimulatedRelease(policy, model, rng, starts_ms)
    while release.is_running and release.elapsed_ms < horizon_ms:
        if max_windows is not None and release.windows >= max_windows:
            break
        if goes_on and release.windows % EVALUATIONS_PER_LOOK == 0 and not goes_on(release):
            return replace(release.result(), cut_short=True)
        release.evaluate()
    return release.result()


class SimulatedRelease:
    """A simulated release; for the arguments see ``simulate``.

    Args:
        statistics: the version of the statistics that decides.
        keeps_bands: whether the bands of its checks are kept, for pictures.

    Attributes:
        release, progress: the release's current state.
        last_window: the window of the last evaluation; None before the first.
        windows: the number of evaluations so far.
    """

    def __init__(
        self,
        policy: Policy,
        model: TrafficModel,
        rng: RandomGenerator,
        starts_ms: int = 0,
        statistics: int = STATISTICS,
        *,
        keeps_bands: bool = False,
    ) -> None:
        self._model = model
        self._starts_ms = starts_ms
        self._users = UserPopulation(policy, model, rng)
        self._rates = RateSequence(model, rng)
        self._latency = LatencyModel(policy.distributions, model.latency_ratio, rng)
        self._measured = tuple(_healthy_values(policy))
        self._answers = tuple(Answer(each.webhook, True) for each in policy.confirm)
        self.release = _started(policy, starts_ms, statistics)
        self.progress = _after_draft(
            initial_progress(self.release, keeps_bands=keeps_bands), policy, model, self._latency
        )
        self.last_window: Window | None = None
        self.windows = 0
        self._changed = 0
        self._stopped: tuple[int, int] | None = None
        self._full_ms: int | None = None
        self._treated = Counts()
        self._extra = 0.0
        self._stages = [StageRun() for _ in policy.stages]
        self._stages[0] = StageRun(entered_ms=0)

    def __str__(self) -> str:
        """Return how far the release is."""
        stage = self.release.current_stage.name
        return f"{duration(self.elapsed_ms)} simulated, at stage {stage}"

    @property
    def is_running(self) -> bool:
        """Whether the release neither has ended nor waits for a person."""
        state = self.release.state
        return state in LIVE_STATES and state is not State.PAUSED

    @property
    def elapsed_ms(self) -> int:
        """The time since the start."""
        return self.progress.evaluated_ms - self._starts_ms

    def evaluate(self) -> Decision:
        """Draw the next window, decide, and carry the decision out."""
        before = self.release
        interval_ms = before.policy.interval_ms
        now_ms = self.progress.evaluated_ms + interval_ms
        time = SimulationTime(now_ms, self.windows + 1, self.windows - self._changed)
        rates = self._rates.draw(time, interval_ms)
        operations = self._model.traffic(time) * interval_ms / MINUTE
        strata = self._users.draw_window(before, operations, rates)
        window = Window(
            opened_ms=self.progress.evaluated_ms,
            closed_ms=now_ms,
            step=before.step,
            strata=strata,
            generation=self.progress.generation,
            live_instances=1,
            distributions=self._latency.distributions(strata),
            measured=self._measured,
            answers=self._answers,
        )
        self._add_costs(window, rates)
        self.last_window = window
        self.windows += 1
        self.progress, decision = decide(before, self.progress, window, now_ms)
        if self.progress.generation != window.generation:
            self._users.start_epoch()
        if decision.action in STOPPING and self._stopped is None:
            self._stopped = (self.elapsed_ms, before.stage)
        self.release = approve_fully(apply_decision(before, decision), now_ms)
        if self.release.step != before.step:
            self._changed = self.windows
        if not before.closed:
            self._follow_stage(before, decision)
        at_last = self.release.is_in_last_stage and not self.release.closed
        if at_last and self._full_ms is None:
            self._full_ms = self.elapsed_ms
        return decision

    def result(self) -> SimulationRun:
        """Return how the release has gone so far."""
        stopped_ms, stopped_stage = self._stopped or (None, None)
        return SimulationRun(
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
            stages=tuple(self._stages),
            stage=self.release.stage,
        )

    def _add_costs(self, window: Window, rates: ErrorRates) -> None:
        treated = window.treatment
        self._treated += treated
        self._extra += treated.outcomes * rates.excess

    def _follow_stage(self, before: Release, decision: Decision) -> None:
        """Note what a decision did at its stage, and whether it entered another one."""
        here = self._stages[before.stage - 1]
        if here.left_ms is None:
            left = decision.action in LEAVING
            left_ms = self.elapsed_ms if left else None
            self._stages[before.stage - 1] = replace(here, left_ms=left_ms, decision=decision)
        now = self._stages[self.release.stage - 1]
        if not self.release.closed and now.entered_ms is None:
            self._stages[self.release.stage - 1] = replace(now, entered_ms=self.elapsed_ms)


def _started(policy: Policy, starts_ms: int, statistics: int) -> Release:
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
        statistics=statistics,
        started_ms=starts_ms,
        stage_entered_ms=starts_ms,
        updated_ms=starts_ms,
    )


def _after_draft(
    progress: Progress, policy: Policy, model: TrafficModel, latency: LatencyModel
) -> Progress:
    """Return the progress after a draft that has measured the control, if a check needs it."""
    if all(check.compare is not Compare.BEFORE for check in policy.checks):
        return progress
    rate = model.error_rate(SimulationTime(progress.evaluated_ms, 0, 0))
    errors = round(OPERATIONS_BEFORE * rate)
    return replace(
        progress,
        before=Counts(OPERATIONS_BEFORE, OPERATIONS_BEFORE, errors, errors),
        before_distributions=tuple(
            (measure, latency.control_values(OPERATIONS_BEFORE)) for measure in policy.distributions
        ),
    )


def _healthy_values(policy: Policy) -> Iterator[Measured]:
    """Return what Prometheus reports of a healthy release."""
    for number, check in enumerate(policy.checks):
        if check.metric is not Metric.PROMETHEUS:
            continue
        yield Measured(number, "treatment", _healthy_value(check))
        if check.compare is not Compare.ABSOLUTE:
            yield Measured(number, str(check.compare), 1.0)


def _healthy_value(check: Check) -> float:
    if check.compare is not Compare.ABSOLUTE:
        return 1.0
    margin = {Operator.BELOW: -1.0, Operator.ABOVE: 1.0}
    return check.threshold + margin.get(check.operator, 0.0)


def approve_fully(release: Release, at_ms: int) -> Release:
    """Return a release with every approval that it waits for."""
    gate = release.current_stage.approval
    if gate is None or release.state is not State.AWAITING_APPROVAL:
        return release
    people = gate.approvers or tuple(f"person-{number}" for number in range(1, gate.count + 1))
    for name in people[: gate.count - len(release.approvals)]:
        release = release_state_machine.approve(release, Approval(name, name, at_ms))
    return release
