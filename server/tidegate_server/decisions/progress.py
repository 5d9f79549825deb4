"""The progress of a release: everything that one evaluation passes on to the next.

It is stored as one document per release, in the same commit as the decision that follows
from it. Every number in it is finite.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tidegate.counts import NOTHING, Counts
from tidegate.epochs import EpochBlocks
from tidegate.harm_evidence import HarmEvidence

from tidegate_server.decisions.decision import Decision
from tidegate_server.decisions.detectable_ratio import ControlFailures
from tidegate_server.decisions.distributions import FadingHistogram
from tidegate_server.decisions.people import NO_USERS, UserTally
from tidegate_server.decisions.probe import Probe
from tidegate_server.decisions.ratio_band import RatioBand
from tidegate_server.decisions.safety_evidence import SafetyEvidence
from tidegate_server.decisions.sample_ratio import SampleRatio
from tidegate_server.decisions.value_probe import ValueProbe
from tidegate_server.decisions.version_1 import harm_evidence as version_1_harm
from tidegate_server.decisions.version_1 import safety_evidence as version_1_safety
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
    """The statistics of one check.

    Attributes:
        harm, safety: of a guarded check: E with its variance guard, and A.
        epoch: the number of E's epoch in this attempt, from 1.
        band: of a sequential check under version 2: which ratios of the arms are ruled out. No
            decision needs it, so simulations do without; None: it is not kept.
        value_probe: of a check of values against control: where no control group is left.
        control: of a check of a distribution against control: the values that its cut is from.
        seen_control, seen_treatment: of such a check: the number of values in this stage,
            with those beyond the cut as errors.
        value, limit: of a threshold check at the last evaluation; None: not known yet.
        breaches: how many in a row.
        unreadable: evaluations in a row in which the source could not be read.
        passing: whether the last evaluation had a fresh value within the limit.
        problem: why the source could not be read, the last time.
        evidence, guard, advance: E, its variance guard and A of version 1 of the statistics.
    """

    harm: HarmEvidence = HarmEvidence()
    safety: SafetyEvidence = SafetyEvidence()
    epoch: int = 1
    value_probe: ValueProbe = ValueProbe()
    band: RatioBand | None = None
    control: FadingHistogram = FadingHistogram()
    value: float | None = None
    limit: float | None = None
    breaches: int = 0
    unreadable: int = 0
    passing: bool = False
    problem: str = ""
    seen_control: Counts = NOTHING
    seen_treatment: Counts = NOTHING
    evidence: version_1_harm.Mixture | None = None
    guard: version_1_harm.VarianceGuard | None = None
    advance: version_1_safety.SafetyEvidence | None = None

    @property
    def is_unknown(self) -> bool:
        """Whether a threshold check can be read and has shown neither a pass nor a breach."""
        return not (self.passing or self.breaches or self.problem)


@dataclass(frozen=True, slots=True)
class Recent:
    """The treatment's counts in one of the last windows, for threshold checks.

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
        statistics: the version of the statistics, that of the release.
        generation: which set of failing users is in use.
        windows: windows closed since the release started.
        stage_windows: windows closed in this stage; 0 makes the next one its first.
        stage_data_windows: of those, windows with outcomes.
        evaluated_ms, next_due_ms: store clock.
        control_ms, treatment_ms: when each arm last had a new outcome.
        silent_exposures: exposures since an arm last had an outcome.
        checks: the statistics of every check, in the policy's order.
        probe, split: the statistics of the release as a whole.
        blocks: how far the present epoch has used up the users who can fail.
        control_failures: what control counted in this epoch, for the detectable ratio.
        readings, distribution_readings, trips: the totals as last read from the store.
        control, treatment: both arms since the release started, late counts included.
        stage_control, stage_treatment: both arms in this stage, in all strata.
        compared_control, compared_treatment: both arms in this stage, in the strata that
            have both by design.
        failing_treated: treated users who failed where there was a control group, in this
            attempt.
        lost_windows: windows in a row in which too many instances were lost.
        before, before_distributions: what a draft measured before the release started.
        recent: the last windows, as far back as the threshold checks need.
        users: what tells how many users were harmed and spared, since the release started.
        decision: the last decision.
        client: the same statistics of what clients reported, apart from those of servers;
            None: no client has reported. Its ``decision`` stays None.
        imbalance, spending, epoch_windows, age: of version 1 of the statistics: the split, the
            part of the false-alarm budget in use, windows of this epoch, and windows since the
            onset schedule last started.
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
    statistics: int = 1
    split: SampleRatio = SampleRatio()
    blocks: EpochBlocks = EpochBlocks()
    control_failures: tuple[ControlFailures, ...] = ()
    generation: int = 0
    windows: int = 0
    stage_windows: int = 0
    stage_data_windows: int = 0
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
    users: UserTally = NO_USERS
    decision: Decision | None = None
    client: Progress | None = None
    imbalance: version_1_harm.Mixture | None = None
    spending: int = 1
    epoch_windows: int = 0
    age: int = 0

    def with_readings(self, evidence: Evidence) -> Progress:
        """Return the progress with these as the totals last read."""
        client = self.client
        if client is not None and evidence.client is not None:
            client = client.with_readings(evidence.client)
        return replace(
            self,
            client=client,
            readings=evidence.readings,
            distribution_readings=evidence.distributions,
            trips=evidence.trips,
        )


def initial_progress(release: Release, *, keeps_bands: bool = False) -> Progress:
    """Return the progress of a release that was never evaluated.

    Args:
        release: the release.
        keeps_bands: whether the bands of its checks are kept.
    """
    has_bands = keeps_bands and release.statistics != 1
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
        checks=tuple(
            CheckProgress(band=RatioBand() if has_bands and check.sequential else None)
            for check in release.policy.checks
        ),
        probe=Probe(),
        statistics=release.statistics,
    )
