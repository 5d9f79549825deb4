"""Update every statistic of a release with a window, once and in order, and restart them.

A new stage continues E and restarts A. A new attempt, or a changed treatment in the same
stage, restarts everything and uses the next part of the false-alarm budget. A new epoch
does the same for E alone.
"""

from __future__ import annotations

from dataclasses import replace

from tidegate.counts import NOTHING, StratumCounts

from tidegate_server.decisions.distributions import (
    control_quantile_bucket,
    count_bad_operations,
    fade_in,
)
from tidegate_server.decisions.observations import Window
from tidegate_server.decisions.people import tally_users
from tidegate_server.decisions.progress import CheckProgress, Progress
from tidegate_server.decisions.threshold_checks import (
    add_recent_window,
    increments_without_control,
    update_threshold_check,
)
from tidegate_server.decisions.version_1.harm_evidence import (
    EPOCH_WINDOWS,
    Mixture,
    add_increments,
    begin_bets,
    increments,
    onset_mass,
    update_guard,
)
from tidegate_server.decisions.version_1.probe import update_probe
from tidegate_server.decisions.version_1.safety_evidence import (
    allowed_excess,
    restart_bets,
    update_safety_evidence,
)
from tidegate_server.decisions.version_1.sample_ratio import update_sample_ratio
from tidegate_server.domain.checks import Check
from tidegate_server.domain.evidence import add_histograms, total
from tidegate_server.domain.release import Release, State

LOST_SHARE = 0.1
"""The share of instances that may be lost before a release holds."""


def update_statistics(release: Release, before: Progress, window: Window) -> Progress:
    """Return the progress after a window, before a decision.

    Args:
        release: the release as read together with the window.
        before: its progress after the last evaluation.
        window: what was added since, under the release's present step.
    """
    if before.generation != window.generation:
        before = replace(before, generation=window.generation)
    followed = follow_release(before, release)
    if release.closed:
        return _measure_closed_release(release, followed, window)
    progress = _add_counts(followed, window)
    first = progress.epoch_windows == 0
    new_stage = progress.stage_windows == 0
    age = 0 if first or new_stage else progress.age + 1
    recent = add_recent_window(progress.recent, release.policy, window)
    if recent != progress.recent:
        progress = replace(progress, recent=recent)
    mass = onset_mass(age, first=first, new_stage=new_stage)
    return replace(
        progress,
        checks=tuple(
            _update_check(release, number, check, mine, progress, window, mass)
            for number, (check, mine) in enumerate(
                zip(release.policy.checks, progress.checks, strict=True)
            )
        ),
        probe=update_probe(progress.probe, window),
        imbalance=update_sample_ratio(
            progress.imbalance, window.strata, age=age, new_stage=new_stage
        ),
        age=age,
        windows=progress.windows + 1,
        epoch_windows=progress.epoch_windows + 1,
        stage_windows=progress.stage_windows + 1,
    )


def _update_check(
    release: Release,
    number: int,
    check: Check,
    before: CheckProgress,
    progress: Progress,
    window: Window,
    mass: float,
) -> CheckProgress:
    if check.sequential:
        return _compare_arms(release, check, before, progress, window, mass)
    after = update_threshold_check(number, check, before, progress, window)
    if check.rate_limit:
        alone = not window.has_control and not progress.probe.seen
        gains = increments_without_control(window.treatment, check.threshold) if alone else None
        bets = begin_bets(before.evidence, mass)
        evidence = bets if gains is None else add_increments(bets, gains, 1.0, 1.0)
        after = replace(after, evidence=evidence)
    return after


def _compare_arms(
    release: Release,
    check: Check,
    before: CheckProgress,
    progress: Progress,
    window: Window,
    mass: float,
) -> CheckProgress:
    """Return a check against the concurrent control group with E, its guard and A updated."""
    new_stage = progress.stage_windows == 0
    strata: tuple[StratumCounts, ...] = window.strata
    control = before.control
    seen_control, seen_treatment = before.seen_control, before.seen_treatment
    if check.distribution is not None:
        values = {(each.measure, each.stratum): each for each in window.distributions}
        strata = count_bad_operations(
            check, control_quantile_bucket(check, control), window.strata, values
        )
        seen_control += total(stratum.control for stratum in strata)
        seen_treatment += total(stratum.treatment for stratum in strata)
        control = fade_in(
            control,
            (each.control for each in window.distributions if each.measure == check.distribution),
        )
    guard = update_guard(before.guard, strata, new_stage=new_stage)
    gains = increments(strata, 1.0 + check.tolerance.relative, check.tolerance.absolute)
    policy = release.policy
    shares = [policy.opened(stage) / 100.0 for stage in range(1, len(policy.stages) + 1)]
    return replace(
        before,
        evidence=add_increments(
            begin_bets(before.evidence, mass), gains, before.guard.factor, guard.factor
        ),
        guard=guard,
        advance=update_safety_evidence(
            before.advance, strata, allowed_excess(shares, release.stage)
        ),
        control=control,
        seen_control=seen_control,
        seen_treatment=seen_treatment,
    )


def close_epoch_if_over(progress: Progress) -> Progress:
    """Return the progress, in a new epoch if the present one is over.

    In a new epoch every failing user counts again: the commit that stores the progress must
    also raise the evidence's generation to ``progress.generation``.
    """
    if progress.epoch_windows < EPOCH_WINDOWS:
        return progress
    return replace(
        progress,
        checks=tuple(replace(check, evidence=Mixture()) for check in progress.checks),
        spending=progress.spending + 1,
        generation=progress.generation + 1,
        epoch_windows=0,
    )


def _measure_closed_release(release: Release, progress: Progress, window: Window) -> Progress:
    """Add a window in which everyone gets the control; a draft also measures the control."""
    progress = replace(
        progress,
        control=progress.control + window.control + window.late_control,
        treatment=progress.treatment + window.treatment + window.late_treatment,
        control_ms=window.closed_ms,
        treatment_ms=window.closed_ms,
        windows=progress.windows + 1,
    )
    if release.state is not State.DRAFT:
        return progress
    before = dict(progress.before_distributions)
    for each in window.distributions:
        before[each.measure] = add_histograms((before.get(each.measure, ()), each.control))
    return replace(
        progress,
        before=progress.before + window.control,
        before_distributions=tuple(sorted(before.items())),
    )


def follow_release(progress: Progress, release: Release) -> Progress:
    """Return the progress with what restarts because people or the last decision moved it."""
    if progress.state is State.DRAFT and not release.closed:
        progress = replace(
            progress,
            control=NOTHING,
            treatment=NOTHING,
            generation=progress.generation + 1,
        )
    if release.attempt != progress.attempt:
        progress = _restart_attempt(progress)
    if release.step != progress.step:
        progress = replace(
            progress,
            checks=tuple(
                replace(
                    check,
                    advance=restart_bets(check.advance),
                    seen_control=NOTHING,
                    seen_treatment=NOTHING,
                )
                for check in progress.checks
            ),
            probe=replace(progress.probe, excess=0.0),
            stage_windows=0,
            stage_data_windows=0,
            stage_control=NOTHING,
            stage_treatment=NOTHING,
            compared_control=NOTHING,
            compared_treatment=NOTHING,
            control_ms=max(progress.control_ms, release.stage_entered_ms),
            treatment_ms=max(progress.treatment_ms, release.stage_entered_ms),
            silent_exposures=0,
        )
    resting = {State.PAUSED, State.KILLED}
    if progress.state in resting and release.state not in resting:
        progress = replace(
            progress,
            control_ms=max(progress.control_ms, release.updated_ms),
            treatment_ms=max(progress.treatment_ms, release.updated_ms),
        )
    status = (release.attempt, release.step, release.stage, release.state)
    if status == (progress.attempt, progress.step, progress.stage, progress.state):
        return progress
    attempt, step, stage, state = status
    return replace(progress, attempt=attempt, step=step, stage=stage, state=state)


def _restart_attempt(progress: Progress) -> Progress:
    """Restart everything except the totals and the control rate that the probe knows."""
    return replace(
        progress,
        checks=tuple(CheckProgress() for _ in progress.checks),
        probe=replace(progress.probe, excess=0.0, retreats=0),
        imbalance=Mixture(),
        recent=(),
        spending=progress.spending + 1,
        generation=progress.generation + 1,
        epoch_windows=0,
        failing_treated=0,
    )


def _add_counts(progress: Progress, window: Window) -> Progress:
    """Add a window to the totals and to the times since the last data."""
    control, treatment = window.control, window.treatment
    compared = [stratum for stratum in window.strata if stratum.compared]
    compared_control = total(stratum.control for stratum in compared)
    compared_treatment = total(stratum.treatment for stratum in compared)
    ended = control.outcomes + treatment.outcomes > 0
    exposed = control.exposures + treatment.exposures
    return replace(
        progress,
        control=progress.control + control + window.late_control,
        treatment=progress.treatment + treatment + window.late_treatment,
        stage_control=progress.stage_control + control,
        stage_treatment=progress.stage_treatment + treatment,
        compared_control=progress.compared_control + compared_control,
        compared_treatment=progress.compared_treatment + compared_treatment,
        failing_treated=progress.failing_treated + compared_treatment.failing,
        control_ms=window.closed_ms if control.outcomes else progress.control_ms,
        treatment_ms=window.closed_ms if treatment.outcomes else progress.treatment_ms,
        silent_exposures=0 if ended else progress.silent_exposures + exposed,
        stage_data_windows=progress.stage_data_windows + ended,
        lost_windows=progress.lost_windows + 1 if too_many_lost(window) else 0,
        users=tally_users(
            progress.users,
            window.strata,
            rate=progress.probe.rate if progress.probe.seen else None,
            rate_failures=progress.probe.errors,
        ),
    )


def too_many_lost(window: Window) -> bool:
    """Return whether more instances stopped reporting than a few crashes explain.

    An instance that crashes does not report the errors of the treatment it served.
    """
    live = window.live_instances or 0
    return window.lost_instances > LOST_SHARE * (live + window.lost_instances)
