"""The first version of the statistics as an evaluation uses it.

A new stage continues E and restarts A. A new attempt restarts everything and uses the next part
of the false-alarm budget. After 240 windows a new epoch does the same for E alone.
"""

from __future__ import annotations

from dataclasses import replace

from tidegate_server.decisions.compared_values import compared_counts
from tidegate_server.decisions.observations import Window
from tidegate_server.decisions.progress import CheckProgress, Progress
from tidegate_server.decisions.readings import CheckReading, ProbeReading, SplitReading
from tidegate_server.decisions.version_1.harm_evidence import (
    EPOCH_WINDOWS,
    Mixture,
    VarianceGuard,
    add_increments,
    begin_bets,
    increments,
    log_value,
    onset_mass,
    threshold,
    update_guard,
)
from tidegate_server.decisions.version_1.probe import FIRES_AT as PROBE_FIRES_AT
from tidegate_server.decisions.version_1.probe import update_probe
from tidegate_server.decisions.version_1.safety_evidence import (
    SafetyEvidence,
    allowed_excess,
    restart_bets,
    update_safety_evidence,
)
from tidegate_server.decisions.version_1.sample_ratio import (
    IMBALANCE_AT,
    log_imbalance,
    update_sample_ratio,
)
from tidegate_server.decisions.version_1.without_control import increments_without_control
from tidegate_server.domain.checks import Check
from tidegate_server.domain.release import Release

START, CALM, UNKNOWN = Mixture(), VarianceGuard(), SafetyEvidence()
"""The evidence of harm, the variance guard and the evidence of safety before a window."""


def restart_attempt(progress: Progress) -> Progress:
    """Restart everything except the control rate that the probe knows."""
    return replace(
        progress,
        checks=tuple(_complete(CheckProgress()) for _ in progress.checks),
        probe=replace(progress.probe, excess=0.0, retreats=0),
        imbalance=START,
        spending=progress.spending + 1,
        epoch_windows=0,
    )


def restart_stage(progress: Progress) -> Progress:
    """Restart A and the probe's excess."""
    return replace(
        progress,
        checks=tuple(
            replace(check, advance=restart_bets(check.advance or UNKNOWN))
            for check in progress.checks
        ),
        probe=replace(progress.probe, excess=0.0),
    )


def _complete(check: CheckProgress) -> CheckProgress:
    """Return a check with the statistics that one without windows has."""
    return replace(
        check,
        evidence=check.evidence or START,
        guard=check.guard or CALM,
        advance=check.advance or UNKNOWN,
    )


def update(release: Release, progress: Progress, window: Window) -> Progress:
    """Return the progress with the window in its statistics."""
    first = progress.epoch_windows == 0
    new_stage = progress.stage_windows == 0
    age = 0 if first or new_stage else progress.age + 1
    mass = onset_mass(age, first=first, new_stage=new_stage)
    return replace(
        progress,
        checks=tuple(
            _update_check(release, check, _complete(mine), progress, window, mass)
            for check, mine in zip(release.policy.checks, progress.checks, strict=True)
        ),
        probe=update_probe(progress.probe, window),
        imbalance=update_sample_ratio(
            progress.imbalance or START, window.strata, age=age, new_stage=new_stage
        ),
        age=age,
        epoch_windows=progress.epoch_windows + 1,
    )


def _update_check(
    release: Release,
    check: Check,
    before: CheckProgress,
    progress: Progress,
    window: Window,
    mass: float,
) -> CheckProgress:
    if check.sequential:
        return _compare_arms(release, check, before, progress, window, mass)
    if check.rate_limit:
        alone = not window.has_control and not progress.probe.seen
        gains = increments_without_control(window.treatment, check.threshold) if alone else None
        bets = begin_bets(before.evidence or START, mass)
        evidence = bets if gains is None else add_increments(bets, gains, 1.0, 1.0)
        return replace(before, evidence=evidence)
    return before


def _compare_arms(
    release: Release,
    check: Check,
    before: CheckProgress,
    progress: Progress,
    window: Window,
    mass: float,
) -> CheckProgress:
    """Return a check against the concurrent control group with E, its guard and A updated."""
    after, strata = compared_counts(check, before, window)
    earlier = before.guard or CALM
    guard = update_guard(earlier, strata, new_stage=progress.stage_windows == 0)
    gains = increments(strata, 1.0 + check.tolerance.relative, check.tolerance.absolute)
    policy = release.policy
    shares = [policy.opened(stage) / 100.0 for stage in range(1, len(policy.stages) + 1)]
    return replace(
        after,
        evidence=add_increments(
            begin_bets(before.evidence or START, mass), gains, earlier.factor, guard.factor
        ),
        guard=guard,
        advance=update_safety_evidence(
            before.advance or UNKNOWN, strata, allowed_excess(shares, release.stage)
        ),
    )


def end_epoch_if_over(release: Release, progress: Progress, window: Window) -> Progress:
    """Return the progress, in a new epoch after 240 windows."""
    if progress.epoch_windows < EPOCH_WINDOWS:
        return progress
    return replace(
        progress,
        checks=tuple(replace(check, evidence=START) for check in progress.checks),
        spending=progress.spending + 1,
        generation=progress.generation + 1,
        epoch_windows=0,
    )


def count_retreat(progress: Progress) -> Progress:
    """Return the progress after a retreat."""
    probe = replace(progress.probe, excess=0.0, retreats=progress.probe.retreats + 1)
    return replace(progress, probe=probe)


def read_check(release: Release, number: int, check: Check, progress: Progress) -> CheckReading:
    """Return what the statistics say of a guarded check."""
    mine = progress.checks[number]
    checks = release.policy.guarded_checks
    return CheckReading(
        log_evidence=log_value(mine.evidence or START),
        rollback_at=threshold(check.false_alarm, spending=progress.spending, checks=checks),
        log_advance=(mine.advance or UNKNOWN).log_value,
        overdispersion=(mine.guard or CALM).factor,
    )


def read_probe(release: Release, progress: Progress) -> ProbeReading:
    """Return what the probe says."""
    probe = progress.probe
    return ProbeReading(probe.excess, PROBE_FIRES_AT, probe.retreats, probe.rate, probe.seen)


def read_split(progress: Progress) -> SplitReading:
    """Return what is known of the split, from operations."""
    treated = progress.compared_treatment.outcomes
    return SplitReading(
        log_evidence=log_imbalance(progress.imbalance or START),
        limit=IMBALANCE_AT,
        treated=treated,
        both=treated + progress.compared_control.outcomes,
        counted="operations",
        checked=True,
    )
