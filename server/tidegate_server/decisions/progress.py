"""How far a release has come: everything that one evaluation hands to the next.

It is stored as one document per release, in the same commit as the decision it led to.
Every number in it is finite.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tidegate.counts import NOTHING, Counts
from tidegate.harm_evidence import Mixture, VarianceGuard

from tidegate_server.decisions.decision import Decision
from tidegate_server.decisions.distributions import Faded
from tidegate_server.decisions.probe import Probe
from tidegate_server.decisions.safety_evidence import Advance
from tidegate_server.domain.evidence import (
    NO_TRIPS,
    Evidence,
    GroupCounts,
    GroupValues,
    Histogram,
    Trips,
)
from tidegate_server.domain.release import Release, State


@dataclass(frozen=True, slots=True)
class CheckProgress:
    """How far one check has come.

    Attributes:
        evidence, guard, advance: of a sequential check: E, its guard, and A.
        control: of a check of a distribution against control: what its cut is taken from.
        seen_control, seen_treatment: of such a check, this stage's values in each arm, those
            beyond the cut as errors.
        value, limit: of a threshold check, as last taken; None before that.
        breaches: in a row.
        unreadable: evaluations in a row in which the source could not be read.
        passing: whether the last evaluation had a fresh and healthy value.
        problem: why the source could not be read, the last time.
    """

    evidence: Mixture = Mixture()
    guard: VarianceGuard = VarianceGuard()
    advance: Advance = Advance()
    control: Faded = Faded()
    value: float | None = None
    limit: float | None = None
    breaches: int = 0
    unreadable: int = 0
    passing: bool = False
    problem: str = ""
    seen_control: Counts = NOTHING
    seen_treatment: Counts = NOTHING


@dataclass(frozen=True, slots=True)
class Recent:
    """The treatment in one of the last windows, for thresholds that look back.

    ``distributions`` are pairs of a measure and its values.
    """

    closed_ms: int
    outcomes: int
    errors: int
    distributions: tuple[tuple[str, Histogram], ...] = ()


@dataclass(frozen=True, slots=True)
class Progress:
    """The state of a release's statistics after its last evaluation.

    Attributes:
        release: the release's id.
        attempt, step, stage, state: those of the release at the last evaluation.
        spending: which part of the false-alarm budget is being spent, from 1; attempts
            and epochs take the next one.
        generation: which set of failing users is being filled.
        windows: windows closed since the release began.
        epoch_windows: windows closed in this epoch; 0 makes the next one its first.
        stage_windows: windows closed in this stage; 0 makes the next one its first.
        stage_data_windows: of those, windows with outcomes.
        age: windows since the onset schedule of E last began; the schedule restarts with
            every stage and epoch.
        evaluated_ms, next_due_ms: store clock.
        control_ms, treatment_ms: when each arm last had a new outcome.
        silent_exposures: exposures since any arm last had an outcome.
        checks: every check, in the policy's order.
        probe, imbalance: the statistics of the release as a whole.
        readings, distribution_readings, trips: the store's totals as last read.
        control, treatment: both arms since the release began, late counts included.
        stage_control, stage_treatment: both arms in this stage, all strata.
        compared_control, compared_treatment: both arms in this stage, in the strata that
            have both by design.
        failing_treated: treated users who failed where a control group existed, since the
            attempt began.
        lost_windows: windows in a row in which too many instances were lost.
        before, before_distributions: what a draft measured before the release began.
        recent: the last windows, as far as some threshold looks back.
        decision: the last decision.
    """

    release: str
    attempt: int
    step: int
    stage: int
    state: State
    evaluated_ms: int
    next_due_ms: int
    control_ms: int
    treatment_ms: int
    checks: tuple[CheckProgress, ...]
    probe: Probe
    imbalance: Mixture
    spending: int = 1
    generation: int = 0
    windows: int = 0
    epoch_windows: int = 0
    stage_windows: int = 0
    stage_data_windows: int = 0
    age: int = 0
    readings: tuple[GroupCounts, ...] = ()
    distribution_readings: tuple[GroupValues, ...] = ()
    trips: Trips = NO_TRIPS
    control: Counts = NOTHING
    treatment: Counts = NOTHING
    stage_control: Counts = NOTHING
    stage_treatment: Counts = NOTHING
    compared_control: Counts = NOTHING
    compared_treatment: Counts = NOTHING
    failing_treated: int = 0
    silent_exposures: int = 0
    lost_windows: int = 0
    before: Counts = NOTHING
    before_distributions: tuple[tuple[str, Histogram], ...] = ()
    recent: tuple[Recent, ...] = ()
    decision: Decision | None = None

    def with_readings(self, evidence: Evidence) -> Progress:
        """Return the progress with these as the totals last read."""
        return replace(
            self,
            readings=evidence.readings,
            distribution_readings=evidence.distributions,
            trips=evidence.trips,
        )


def begin(release: Release) -> Progress:
    """The progress of a release that was never evaluated."""
    return Progress(
        release=release.id,
        attempt=release.attempt,
        step=release.step,
        stage=release.stage,
        state=release.state,
        evaluated_ms=release.started_ms,
        next_due_ms=release.started_ms + release.policy.interval_ms,
        control_ms=release.started_ms,
        treatment_ms=release.started_ms,
        checks=tuple(CheckProgress() for _ in release.policy.checks),
        probe=Probe(),
        imbalance=Mixture(),
    )
