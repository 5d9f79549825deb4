"""What a window adds to a release's progress: every statistic, updated once, in order.

Here live the restarts, too. A new stage goes on with E and begins A afresh. A new
attempt, or a changed treatment in the same stage, begins everything afresh and takes
the next part of the false-alarm budget; so does an epoch, for E alone.
"""

from __future__ import annotations

from dataclasses import replace

from tidegate_server.decisions.advance import (
    Advance,
    allowed_excess,
    restart_bets,
    watch_harmlessness,
)
from tidegate_server.decisions.evidence import (
    Guard,
    Mixture,
    add_increments,
    begin_bets,
    increments,
    onset_mass,
    watch_dispersion,
)
from tidegate_server.decisions.imbalance import watch_split
from tidegate_server.decisions.probe import watch_treatment
from tidegate_server.decisions.progress import Progress
from tidegate_server.decisions.windows import NOTHING, Window, total
from tidegate_server.domain.release import Release, State

EPOCH_WINDOWS = 240
"""Windows after which the failing users are collected anew and E starts afresh."""


def observe(release: Release, before: Progress, window: Window) -> Progress:
    """The progress after a window, before a decision is drawn from it.

    Args:
        release: the release as read together with the window.
        before: its progress after the last evaluation.
        window: what was added since, under the release's present step.
    """
    known = replace(before, generation=window.generation)
    progress = _count(_follow(known, release), window)
    first = progress.epoch_windows == 0
    new_stage = progress.stage_windows == 0
    age = 0 if first or new_stage else progress.age + 1
    guard = watch_dispersion(progress.guard, window.strata, new_stage=new_stage)
    mass = onset_mass(age, first=first, new_stage=new_stage)
    shares = [stage.percentage / 100.0 for stage in release.policy.stages]
    return replace(
        progress,
        evidence=tuple(
            add_increments(
                begin_bets(mixture, mass),
                increments(window.strata, 1.0 + check.tolerance.relative, check.tolerance.absolute),
                progress.guard.phi,
                guard.phi,
            )
            for mixture, check in zip(progress.evidence, release.policy.checks, strict=True)
        ),
        guard=guard,
        advance=watch_harmlessness(
            progress.advance, window.strata, allowed_excess(shares, release.stage)
        ),
        probe=watch_treatment(progress.probe, window),
        imbalance=watch_split(progress.imbalance, window.strata, age=age, new_stage=new_stage),
        age=age,
        windows=progress.windows + 1,
        epoch_windows=progress.epoch_windows + 1,
        stage_windows=progress.stage_windows + 1,
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
        evidence=tuple(Mixture() for _ in progress.evidence),
        spending=progress.spending + 1,
        generation=progress.generation + 1,
        epoch_windows=0,
    )


def _follow(progress: Progress, release: Release) -> Progress:
    """The progress taken over to where people, or the last decision, put the release."""
    changed = release.step != progress.step and release.stage == progress.stage
    if release.attempt != progress.attempt or changed:
        progress = _restart(progress)
    if release.step != progress.step:
        progress = replace(
            progress,
            advance=restart_bets(progress.advance),
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
    return replace(
        progress,
        attempt=release.attempt,
        step=release.step,
        stage=release.stage,
        state=release.state,
    )


def _restart(progress: Progress) -> Progress:
    """Everything afresh but the totals, and control's frozen rate for the probe."""
    return replace(
        progress,
        evidence=tuple(Mixture() for _ in progress.evidence),
        guard=Guard(),
        advance=Advance(),
        probe=replace(progress.probe, excess=0.0, retreats=0),
        imbalance=Mixture(),
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
    )
