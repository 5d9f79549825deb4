"""What a window adds to a release's progress: every statistic, updated once, in order.

Here live the restarts, too. A new stage goes on with E and begins A afresh. A new
attempt, or a changed treatment in the same stage, begins everything afresh and takes
the next part of the false-alarm budget; so does an epoch, for E alone.
"""

from __future__ import annotations

from dataclasses import replace

from tidegate.counts import NOTHING, StratumCounts
from tidegate.harm_evidence import (
    EPOCH_WINDOWS,
    Mixture,
    add_increments,
    begin_bets,
    increments,
    onset_mass,
    update_guard,
)

from tidegate_server.decisions.distributions import counted, cut_of, fade_in
from tidegate_server.decisions.observations import Window
from tidegate_server.decisions.probe import watch_treatment
from tidegate_server.decisions.progress import CheckProgress, Progress
from tidegate_server.decisions.safety_evidence import (
    allowed_excess,
    restart_bets,
    watch_harmlessness,
)
from tidegate_server.decisions.sample_ratio import watch_split
from tidegate_server.decisions.threshold_checks import (
    increments_alone,
    recent_after,
    watch_threshold,
)
from tidegate_server.domain.checks import Check
from tidegate_server.domain.evidence import add_histograms, total
from tidegate_server.domain.release import Release, State

LOST_SHARE = 0.1
"""The share of instances that may be lost before a release waits for them."""


def observe(release: Release, before: Progress, window: Window) -> Progress:
    """The progress after a window, before a decision is drawn from it.

    Args:
        release: the release as read together with the window.
        before: its progress after the last evaluation.
        window: what was added since, under the release's present step.
    """
    if before.generation != window.generation:
        before = replace(before, generation=window.generation)
    followed = _follow(before, release)
    if release.closed:
        return _while_closed(release, followed, window)
    progress = _count(followed, window)
    first = progress.epoch_windows == 0
    new_stage = progress.stage_windows == 0
    age = 0 if first or new_stage else progress.age + 1
    recent = recent_after(progress.recent, release.policy, window)
    if recent != progress.recent:
        progress = replace(progress, recent=recent)
    mass = onset_mass(age, first=first, new_stage=new_stage)
    return replace(
        progress,
        checks=tuple(
            _watch(release, number, check, mine, progress, window, mass)
            for number, (check, mine) in enumerate(
                zip(release.policy.checks, progress.checks, strict=True)
            )
        ),
        probe=watch_treatment(progress.probe, window),
        imbalance=watch_split(progress.imbalance, window.strata, age=age, new_stage=new_stage),
        age=age,
        windows=progress.windows + 1,
        epoch_windows=progress.epoch_windows + 1,
        stage_windows=progress.stage_windows + 1,
    )


def _watch(
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
    after = watch_threshold(number, check, before, progress, window)
    if check.rate_limit:
        alone = not window.has_control and not progress.probe.seen
        gains = increments_alone(window.treatment, check.threshold) if alone else None
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
    """E, its guard and A of a check against the concurrent control group."""
    new_stage = progress.stage_windows == 0
    strata: tuple[StratumCounts, ...] = window.strata
    control = before.control
    seen_control, seen_treatment = before.seen_control, before.seen_treatment
    if check.distribution is not None:
        values = {(each.measure, each.stratum): each for each in window.distributions}
        strata = counted(check, cut_of(check, control), window.strata, values)
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
            begin_bets(before.evidence, mass), gains, before.guard.phi, guard.phi
        ),
        guard=guard,
        advance=watch_harmlessness(before.advance, strata, allowed_excess(shares, release.stage)),
        control=control,
        seen_control=seen_control,
        seen_treatment=seen_treatment,
    )


def close_epoch(progress: Progress) -> Progress:
    """The progress with a new epoch begun, when the present one is over.

    The failing users are collected anew from here on: the commit that stores this must
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


def _while_closed(release: Release, progress: Progress, window: Window) -> Progress:
    """Everyone has the control: a draft measures it, a cooldown only lets time pass."""
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


def _follow(progress: Progress, release: Release) -> Progress:
    """The progress taken over to where people, or the last decision, put the release."""
    if progress.state is State.DRAFT and not release.closed:
        progress = replace(
            progress,
            control=NOTHING,
            treatment=NOTHING,
            generation=progress.generation + 1,
        )
    if release.attempt != progress.attempt:
        progress = _restart(progress)
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
    rested = {State.PAUSED, State.KILLED}
    if progress.state in rested and release.state not in rested:
        progress = replace(
            progress,
            control_ms=max(progress.control_ms, release.updated_ms),
            treatment_ms=max(progress.treatment_ms, release.updated_ms),
        )
    stands = (release.attempt, release.step, release.stage, release.state)
    if stands == (progress.attempt, progress.step, progress.stage, progress.state):
        return progress
    attempt, step, stage, state = stands
    return replace(progress, attempt=attempt, step=step, stage=stage, state=state)


def _restart(progress: Progress) -> Progress:
    """Everything afresh but the totals, and control's frozen rate for the probe."""
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


def _count(progress: Progress, window: Window) -> Progress:
    """The totals that people see and the clocks of silence, with the window added."""
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
    )


def too_many_lost(window: Window) -> bool:
    """Whether more instances went silent without a word than a few crashes explain.

    A crash of instances that serve the treatment hides its own errors.
    """
    live = window.live_instances or 0
    return window.lost_instances > LOST_SHARE * (live + window.lost_instances)
